// The strangest graphs, how many are flagged at a rate of false alarms, and a graph of the user's own.
import { useState } from "preact/hooks";
import { allRows, post, runPath, useData, type Row } from "../api";
import type { ViewProps } from "../app";
import { SectionShown } from "../blocks";
import { NetworkDrawn, type Network } from "../charts";
import { number, percent } from "../format";
import { Choice, Grid, Slider, Wait } from "../parts";
import { setParams } from "../route";

const MOST = 20_000;

// Benjamini and Hochberg 1995: the largest k whose k-th smallest p-value is at most rate k / n.
export function flagged(p: number[], rate: number): number {
  const sorted = [...p].sort((a, b) => a - b);
  let last = 0;
  sorted.forEach((value, k) => {
    if (value <= (rate * (k + 1)) / sorted.length) last = k + 1;
  });
  return last;
}

export function GraphsView({ run, details, report, route }: ViewProps) {
  const own = (details.config.detect as { false_alarms?: number } | undefined)?.false_alarms;
  const rate = Number(route.params.get("rate") ?? own ?? 0.05);
  const all = useData((signal) => allRows(runPath(run, "/ranking"), {}, MOST, signal), [run]);
  return (
    <>
      <Wait of={all} what="the graphs">
        {(rows) => {
          const lists = [...new Set(rows.map((row) => `${row.model} · ${row.query}`))];
          const list = route.params.get("list") ?? lists[0] ?? "";
          const mine = rows.filter((row) => `${row.model} · ${row.query}` === list).sort((a, b) => Number(a.rank) - Number(b.rank));
          const n = flagged(mine.map((row) => Number(row.p_value)), rate);
          const strange = mine.slice(0, n).filter((row) => row.strange).length;
          const known = mine.some((row) => row.strange !== null && row.strange !== undefined);
          return (
            <>
              <div class="controls">
                <Choice label="Detector" value={list} set={(v) => setParams({ list: v })} options={lists} />
                <Slider label="False alarms among the flagged, at most" value={Math.round(100 * rate)} set={(v) => setParams({ rate: String(v / 100) })} min={1} max={50} step={1} shown={percent(rate)} />
              </div>
              <p aria-live="polite">
                <strong>{n}</strong> of {mine.length} graphs are flagged{known && n > 0 && `; ${strange} of them are of the strange class, ${n - strange} are false alarms`}.
              </p>
              <Grid
                caption="Graphs, the strangest first"
                columns={[
                  { name: "rank", right: true },
                  { name: "item", label: "graph" },
                  { name: "score", right: true },
                  { name: "p_value", label: "p", right: true },
                  { name: "flag", label: "flagged", show: (row: Row) => (Number(row.rank) <= n ? "flagged" : "") },
                  { name: "class" },
                  { name: "nodes", right: true },
                  { name: "edges", right: true },
                  { name: "reason", label: "why" },
                ]}
                rows={mine.slice(0, 100)}
              />
            </>
          );
        }}
      </Wait>
      {report.sections.filter((s) => ["The strangest graphs", "How scores are spread", "Do the p-values hold?"].includes(s.title)).map((section) => <SectionShown key={section.title} section={section} />)}
    </>
  );
}

type Strange = { score: number; p_value: number; p_value_by_size: number; flagged: boolean; n_nodes: number; n_edges: number; reason: string; picture: Network };

// Lines of "a b", nodes alone as "a"; "a: label" gives a node its kind.
export function readGraph(text: string): { edges: [string, string][]; nodes: string[]; labels: Record<string, string> } {
  const edges: [string, string][] = [];
  const nodes: string[] = [];
  const labels: Record<string, string> = {};
  for (const line of text.split("\n")) {
    const labelled = /^\s*([^\s:,;]+)\s*:\s*(\S+)\s*$/.exec(line);
    if (labelled) {
      labels[labelled[1]!] = labelled[2]!;
      nodes.push(labelled[1]!);
      continue;
    }
    const ends = line.split(/[\s,;]+/).filter(Boolean);
    if (ends.length >= 2) edges.push([ends[0]!, ends[1]!]);
    else if (ends.length === 1) nodes.push(ends[0]!);
  }
  return { edges, nodes, labels };
}

export function OwnGraphView({ run }: ViewProps) {
  const [text, setText] = useState("a b\nb c\nc d\nd a");
  const [found, setFound] = useState<Strange | null>(null);
  const [said, setSaid] = useState("");
  return (
    <>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          setSaid("Scoring …");
          post<Strange>("detect", { run, ...readGraph(text) }).then(
            (answer) => {
              setFound(answer);
              setSaid("");
            },
            (error: Error) => {
              setFound(null);
              setSaid(error.message);
            },
          );
        }}
      >
        <div class="field wide">
          <label for="graph">Edges, one a line: two names. A line "name: kind" gives a node its kind.</label>
          <textarea id="graph" rows={8} value={text} onInput={(e) => setText(e.currentTarget.value)} />
        </div>
        <button type="submit">How strange is it?</button> <span role="status">{said}</span>
      </form>
      {found && (
        <section class="card" aria-live="polite">
          <h2>{found.flagged ? "Strange to this family" : "Not strange to this family"}</h2>
          <p>p-value <strong>{number(found.p_value)}</strong>, among normal graphs of like size {number(found.p_value_by_size)}; score {number(found.score)} deviations above the normal mean; {found.n_nodes} nodes, {found.n_edges} edges.</p>
          <p>{found.reason}</p>
          <div class="networks"><NetworkDrawn picture={found.picture} label={`Your graph; what makes it strange is drawn thick. ${found.reason}`} /></div>
        </section>
      )}
    </>
  );
}
