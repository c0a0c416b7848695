// The forecast pairs with what speaks for them, and the neighbours of a code.
import { useMemo } from "preact/hooks";
import { post, useData, type Row } from "../api";
import type { ViewProps } from "../app";
import { cell, number } from "../format";
import { Finder, Grid, Wait, type Item } from "../parts";
import { href, setParams } from "../route";

type Pair = Row & { a: string; b: string; rank: number; title_a: string; title_b: string; score: number };

const codeTitle = (code: string, title: unknown) => (title ? `${code} ${cell(title)}` : code);

function Evidence({ pair, run, hasMap }: { pair: Pair; run: string; hasMap: boolean }) {
  const told: [string, string][] = [
    ["Rank", number(pair.rank)],
    ["Score", `${number(pair.score)}${pair.model ? ` by ${cell(pair.model)}` : ""}`],
    ["Patents with each", pair.n_patents_a === undefined ? "" : `${number(pair.n_patents_a)} and ${number(pair.n_patents_b)}`],
    ["Codes both have been with", pair.n_common === undefined ? "" : `${number(pair.n_common)}: ${cell(pair.common)}`],
    ["Cosine of their vectors", pair.cosine === undefined ? "" : `${number(pair.cosine)} (${cell(pair.cosine_of)})`],
    ["In earlier years", cell(pair.past)],
    [`Patents of ${pair.a} nearest to ${pair.b}`, cell(pair.patents_a)],
    [`Patents of ${pair.b} nearest to ${pair.a}`, cell(pair.patents_b)],
    ["First combined by", cell(pair.first_combined_by)],
    ["Later more often together than by chance", pair.above_chance === null || pair.above_chance === undefined ? "" : `${cell(pair.above_chance)} (p ${number(pair.p_value)})`],
  ];
  return (
    <section class="card" aria-live="polite">
      <h2>{codeTitle(pair.a, pair.title_a)} with {codeTitle(pair.b, pair.title_b)}</h2>
      <dl class="details">{told.filter(([, value]) => value).map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}</dl>
      {hasMap && <p><a href={href(run, "map", { pair: `${pair.a}|${pair.b}`, codes: "yes" })}>Show it on the map</a></p>}
    </section>
  );
}

export function PairsView({ run, details, route }: ViewProps) {
  const code = route.params.get("code") ?? "";
  const chosen = route.params.get("pair") ?? "";
  const found = useData((signal) => post<{ pairs: Pair[] }>("forecast/pairs", { run, codes: code ? [code] : [], k: 100 }, signal), [run, code]);
  const near = useData(async (signal) => (code ? post<{ vectors: string; neighbours: Row[] }>("forecast/neighbours", { run, code, k: 10 }, signal) : null), [run, code]);
  const codes = useMemo(() => {
    const all = new Map<string, string>();
    for (const pair of found.data?.pairs ?? []) all.set(pair.a, cell(pair.title_a)).set(pair.b, cell(pair.title_b));
    return all;
  }, [found.data]);
  const search = async (text: string): Promise<Item[]> => {
    const typed = text.trim();
    const listed = [...codes].filter(([name, title]) => `${name} ${title}`.toLowerCase().includes(typed.toLowerCase())).map(([id, title]) => ({ id, text: title }));
    return (typed && !listed.some((item) => item.id === typed) ? [...listed, { id: typed, text: "" }] : listed).slice(0, 12);
  };
  const pair = found.data?.pairs.find((p) => `${p.a}|${p.b}` === chosen);
  return (
    <>
      <div class="controls">
        <Finder label="Pairs of a code" placeholder="A61K, or words of its title" search={search} choose={(item) => setParams({ code: item.id, pair: null })} />
        {code && <p>{code} <button type="button" onClick={() => setParams({ code: null, pair: null })}>All codes</button></p>}
      </div>
      {pair && <Evidence pair={pair} run={run} hasMap={details.card.tables.includes("map")} />}
      <Wait of={found} what="the pairs">
        {({ pairs }) => (
          <Grid
            caption={code ? `Forecast pairs with ${code}` : "Codes never combined before, the likeliest pairs first"}
            columns={[
              { name: "rank", right: true },
              { name: "pair", show: (row) => <button type="button" class="link" onClick={() => setParams({ pair: `${cell(row.a)}|${cell(row.b)}` }, true)}>{cell(row.a)} with {cell(row.b)}</button> },
              { name: "title_a", label: "first" },
              { name: "title_b", label: "second" },
              { name: "score", right: true },
              { name: "n_common", label: "common codes", right: true },
              { name: "combined", label: "came true" },
            ]}
            rows={pairs}
            empty="No forecast pair has this code."
          />
        )}
      </Wait>
      {code && (
        <Wait of={near} what="the neighbours">
          {(of) => of && <Grid caption={`Codes nearest to ${code} by ${of.vectors}`} columns={[{ name: "code" }, { name: "title" }, { name: "cosine", right: true }]} rows={of.neighbours} />}
        </Wait>
      )}
    </>
  );
}
