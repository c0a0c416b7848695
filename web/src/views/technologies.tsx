// The map of patents and codes, the neighbours of a code, and the forecast pairs with what speaks for them.
import { useMemo, useState } from "preact/hooks";
import { get, getBytes, post, runPath, useData, type Row, type Rows } from "../api";
import type { ViewProps } from "../app";
import { cell, number } from "../format";
import { PointMap, readEye, type Line, type Mark } from "../map";
import { Choice, Finder, Grid, Slider, Wait, type Item } from "../parts";
import { PALETTE, readPoints, type PointSet } from "../points";
import { href, setParams } from "../route";

const NAMED = 12; // codes whose names fit beside each other
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

export function MapView({ run, details, route }: ViewProps) {
  const params = route.params;
  const columns = Object.keys(details.columns.map ?? {});
  const colourings = ["topic", "year", "kind"].filter((name) => columns.includes(name));
  const colour = params.get("colour") ?? colourings[0] ?? "";
  const showCodes = params.get("codes") === "yes";
  const until = Number(params.get("year") ?? 0);
  const pairs = useData((signal) => get<Rows>(runPath(run, "/tables/pairs"), { sort: "rank", limit: 30 }, signal), [run]);
  const topics = useData(async (signal) => (details.card.tables.includes("topics") ? (await get<Rows>(runPath(run, "/tables/topics"), { limit: 200 }, signal)).rows : []), [run]);
  const codes = useData((signal) => get<Rows>(runPath(run, "/tables/map"), { where: ["kind:eq:code"], limit: 1000 }, signal), [run]);
  const patents = useData(async (signal) => readPoints(await getBytes(runPath(run, "/tables/map/points"), { colour, where: ["kind:eq:patent"] }, signal)), [run, colour]);
  const years = useData(
    async (signal): Promise<PointSet | null> => (columns.includes("year") ? readPoints(await getBytes(runPath(run, "/tables/map/points"), { colour: "year", where: ["kind:eq:patent"] }, signal)) : null),
    [run],
  );
  const frame = useData(async (signal) => JSON.parse(await headerOf(await getBytes(runPath(run, "/tables/map/points"), { where: ["kind:eq:patent"] }, signal))) as { x: [number, number]; y: [number, number] }, [run]);
  const [chosen, setChosen] = useState<number[]>([]);
  const yearOf = useMemo(() => {
    const found = years.data;
    if (!found?.colour || !found.about) return null;
    const { categories, range } = found.about;
    return Float32Array.from(found.colour, (v) => (categories ? Number(categories[v]) : range ? range[0] + v * (range[1] - range[0]) : NaN));
  }, [years.data]);
  const visible = useMemo(() => (until && yearOf ? Uint8Array.from(yearOf, (year) => (year <= until ? 1 : 0)) : null), [until, yearOf]);
  const rows = chosen.slice(0, 100).map((k) => String(patents.data?.row[k] ?? 0));
  const listed = useData(async (signal) => (rows.length ? (await get<Rows>(runPath(run, "/tables/map/at"), { row: rows }, signal)).rows : []), [run, rows.join()]);
  const search = async (text: string, signal: AbortSignal): Promise<Item[]> =>
    (await get<Rows>(runPath(run, "/tables/map/search"), { q: text || "a", column: ["id", "title"], limit: 12 }, signal)).rows.map((row) => ({ id: String(row.row), text: `${cell(row.id)} ${cell(row.title)}` }));

  // Codes come as rows with coordinates of the file; the map's are -1 to 1.
  const at = (x: unknown, y: unknown): [number, number] => {
    const { x: fx, y: fy } = frame.data ?? { x: [-1, 1], y: [-1, 1] };
    return [(2 * (Number(x) - fx[0])) / (fx[1] - fx[0]) - 1, (2 * (Number(y) - fy[0])) / (fy[1] - fy[0]) - 1];
  };
  const placeOf = new Map((codes.data?.rows ?? []).map((row) => [String(row.id), at(row.x, row.y)]));
  const wanted = params.get("pair");
  const marks: (Mark & { code?: string })[] = [];
  const lines: Line[] = [];
  if (showCodes || wanted) {
    for (const pair of pairs.data?.rows ?? []) {
      const strong = `${cell(pair.a)}|${cell(pair.b)}` === wanted;
      if (wanted && !strong) continue;
      const [from, to] = [placeOf.get(cell(pair.a)), placeOf.get(cell(pair.b))];
      if (!from || !to) continue;
      lines.push({ from, to, strong });
      for (const [code, place] of [[cell(pair.a), from], [cell(pair.b), to]] as const)
        if (!marks.some((mark) => mark.code === code)) marks.push({ x: place[0], y: place[1], code, label: strong || marks.length < NAMED ? code : "", strong });
    }
    if (wanted && !lines.length) for (const code of wanted.split("|")) {
      const place = placeOf.get(code);
      if (place) marks.push({ x: place[0], y: place[1], label: code, strong: true });
    }
  }
  for (const k of chosen.slice(0, 1)) if (patents.data) marks.push({ x: patents.data.x[k]!, y: patents.data.y[k]!, label: "", strong: true });
  const topicName = (id: string) => {
    const row = topics.data?.find((t) => String(t.topic) === id);
    return row ? cell(row.words ?? row.name ?? id).split("; ").slice(0, 4).join(", ") : id === "-1" ? "no topic" : id;
  };
  const spread = useMemo(() => yearOf?.reduce<[number, number]>(([low, high], year) => [Math.min(low, year), Math.max(high, year)], [Infinity, -Infinity]) ?? null, [yearOf]);
  return (
    <>
      <div class="controls">
        <Choice label="Colour by" value={colour} set={(v) => setParams({ colour: v })} options={colourings} />
        <Choice label="Forecast pairs" value={showCodes ? "yes" : ""} set={(v) => setParams({ codes: v, pair: null })} options={[["", "hide"], ["yes", "show the first 30"]]} />
        {spread && Number.isFinite(spread[0]) && <Slider label="Patents up to" value={until || spread[1]!} set={(v) => setParams({ year: v >= spread[1]! ? null : String(v) })} min={spread[0]!} max={spread[1]!} step={1} shown={String(until || spread[1])} />}
        <Finder
          label="Find a patent or a code"
          placeholder="words of a title, or an id"
          search={search}
          choose={(item) => {
            const row = Number(item.id);
            const k = patents.data?.row.indexOf(row) ?? -1;
            if (k >= 0) setChosen([k]);
            else setParams({ pair: `${item.text.split(" ")[0]}|${item.text.split(" ")[0]}` });
          }}
        />
      </div>
      <Wait of={patents} what="the map">
        {(points) => (
          <>
            <PointMap
              points={points}
              visible={visible}
              eye={readEye(params.get("eye"))}
              marks={marks}
              lines={lines}
              label={`Map of ${number(points.n)} patents`}
              choose={(k) => setChosen([k])}
              lasso={setChosen}
            />
            {points.about?.categories && (
              <ul class="legend">
                {points.about.categories.slice(0, 12).map((name, k) => (
                  <li key={name}>
                    <svg width="12" height="12" aria-hidden="true"><circle cx="6" cy="6" r="5" fill={name === "-1" ? "var(--base)" : PALETTE[k % PALETTE.length]} /></svg> {points.about?.column === "topic" ? topicName(name) : name}
                  </li>
                ))}
              </ul>
            )}
            {points.about?.range && <p class="small">{points.about.column}: light is {number(points.about.range[0])}, dark red {number(points.about.range[1])}.</p>}
            <p class="small">Near points are alike; how far apart two distant areas lie means little.</p>
          </>
        )}
      </Wait>
      <p role="status">{chosen.length > 0 && `${number(chosen.length)} ${chosen.length === 1 ? "patent" : "patents"} chosen${chosen.length > 100 ? "; the first 100 are listed" : ""}.`}</p>
      <Wait of={listed} what="the patents">
        {(of) => (of.length ? <Grid caption="Chosen on the map" columns={[{ name: "id" }, { name: "title" }, ...(columns.includes("year") ? [{ name: "year" }] : []), { name: "topic", show: (row: Row) => topicName(String(row.topic)) }]} rows={of} /> : <p class="small">Click a point, draw a lasso, or search, to list patents here.</p>)}
      </Wait>
      <Wait of={pairs} what="the pairs">
        {({ rows: of }) => <Grid caption="The first forecast pairs" columns={[{ name: "rank", right: true }, { name: "pair", show: (row) => <a href={href(run, "pairs", { pair: `${cell(row.a)}|${cell(row.b)}` })}>{cell(row.a)} with {cell(row.b)}</a> }, { name: "score", right: true }]} rows={of.slice(0, 10)} />}
      </Wait>
    </>
  );
}

async function headerOf(buffer: ArrayBuffer): Promise<string> {
  const size = new DataView(buffer).getUint32(0, true);
  return new TextDecoder().decode(new Uint8Array(buffer, 4, size));
}
