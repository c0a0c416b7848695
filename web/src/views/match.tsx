// What each text was matched with, and the sentences that speak for it.
import { get, post, runPath, useData, type Row, type Rows } from "../api";
import type { ViewProps } from "../app";
import { number } from "../format";
import { Choice, Finder, Grid, Wait, type Item } from "../parts";
import { setParams } from "../route";
import { useState } from "preact/hooks";

const COLUMNS = [
  { name: "rank", right: true },
  { name: "item", label: "matched with", show: (row: Row) => <><strong>{String(row.title ?? row.item)}</strong> <span class="small">{String(row.item)}</span></> },
  { name: "probability", label: "probability", right: true, show: (row: Row) => number(row.probability ?? row.score) },
  { name: "yes", label: "yes" },
  { name: "query_part", label: "the text says" },
  { name: "item_part", label: "and the other" },
];

export function MatchView({ run, details, route }: ViewProps) {
  const query = route.params.get("query") ?? "";
  const only = route.params.get("only") ?? "";
  const hasNodes = details.card.tables.includes("nodes");
  const search = async (text: string, signal: AbortSignal): Promise<Item[]> => {
    if (!hasNodes) {
      const { rows } = await get<{ rows: { value: string }[] }>(runPath(run, "/tables/ranking/counts"), { by: "query", where: text ? [`query:has:${text}`] : [], limit: 12 }, signal);
      return rows.map((row) => ({ id: row.value, text: "" }));
    }
    const found = await get<Rows>(runPath(run, "/tables/nodes/search"), { q: text || "a", column: ["id", "title"], limit: 40 }, signal);
    return found.rows.filter((row) => row.kind === "query" || row.kind === "patent").slice(0, 12).map((row) => ({ id: String(row.id), text: String(row.title ?? "") }));
  };
  const first = useData(async (signal) => String((await get<Rows>(runPath(run, "/ranking"), { limit: 1 }, signal)).rows[0]?.query ?? ""), [run]);
  const asked = query || first.data || "";
  const found = useData(
    async (signal) => (asked ? get<Rows>(runPath(run, "/ranking"), { query: asked, sort: "rank", where: only === "yes" ? ["yes:eq:true"] : [], limit: 100 }, signal) : null),
    [run, asked, only],
  );
  const text = useData(async (signal) => (asked && hasNodes ? (await get<Rows>(runPath(run, "/tables/nodes"), { where: [`id:eq:${asked}`], limit: 1 }, signal)).rows[0] : undefined), [run, asked]);
  return (
    <>
      <div class="controls">
        <Finder label="Text" placeholder="id or words" search={search} choose={(item) => setParams({ query: item.id })} />
        <Choice label="Show" value={only} set={(v) => setParams({ only: v })} options={[["", "all that were judged"], ["yes", "only yes"]]} />
      </div>
      <h2>{String(text.data?.title ?? asked)}</h2>
      {text.data?.text ? <p class="said">{String(text.data.text)}</p> : null}
      <Wait of={found} what="the matches">{(page) => <Grid caption={`Matched with ${asked}`} columns={COLUMNS} rows={page?.rows ?? []} empty="Nothing was matched." />}</Wait>
      {details.card.asks.includes("match") && <OwnText run={run} />}
    </>
  );
}

function OwnText({ run }: { run: string }) {
  const [text, setText] = useState("");
  const [rows, setRows] = useState<Row[] | null>(null);
  const [said, setSaid] = useState("");
  return (
    <section class="card">
      <h2>A text of yours</h2>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          setSaid("Matching …");
          post<{ items: Row[] }>("match", { run, text, k: 20 }).then(
            (found) => {
              setRows(found.items);
              setSaid("");
            },
            (error: Error) => setSaid(error.message),
          );
        }}
      >
        <div class="field wide">
          <label for="own-text">Text</label>
          <textarea id="own-text" rows={5} value={text} onInput={(e) => setText(e.currentTarget.value)} />
        </div>
        <button type="submit" disabled={!text.trim()}>Match</button> <span role="status">{said}</span>
      </form>
      {rows && <Grid caption="Matched with your text" columns={COLUMNS} rows={rows} />}
    </section>
  );
}
