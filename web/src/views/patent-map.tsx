// The map of patents with their codes or pollutants: coloured by topic, year, or one code or pollutant.
import { useEffect, useMemo, useState } from "preact/hooks";
import { allRows, get, getBytes, runPath, useData, type Row, type Rows } from "../api";
import type { ViewProps } from "../app";
import { cell, number } from "../format";
import { PointMap, readEye, type Line, type Mark } from "../map";
import { Choice, Finder, Grid, Slider, Wait, type Item } from "../parts";
import { PALETTE, readPoints, type PointSet } from "../points";
import { href, setParams } from "../route";

const NAMED = 12; // marks whose names fit beside each other
const MOST_MARKS = 20_000;

// What colours the points: a column, the patents with a code, or a pollutant's scores.
function colouring(kind: string, about: string, colour: string): Record<string, unknown> {
  if (!about) return { colour };
  if (kind === "code") return { colour: `codes:has:${about}` };
  return { colour: "score", colour_from: "ranking", colour_key: "query", colour_where: ["query_kind:eq:patent", `item_kind:eq:${kind}`, `item:eq:${about}`] };
}

export function MapView({ run, details, route }: ViewProps) {
  const params = route.params;
  const columns = Object.keys(details.columns.map ?? {});
  const colourings = ["topic", "year"].filter((name) => columns.includes(name));
  const kind = details.card.verb === "forecast" ? "code" : "pollutant";
  const about = params.get(kind) ?? "";
  const shown = params.get("show") === kind ? kind : "patent"; // what the points are
  const where = [`kind:eq:${shown}`];
  const colour = params.get("colour") ?? colourings[0] ?? "";
  const showCodes = params.get("codes") === "yes";
  const until = Number(params.get("year") ?? 0);
  const pairs = useData(async (signal) => (details.card.tables.includes("pairs") ? await get<Rows>(runPath(run, "/tables/pairs"), { sort: "rank", limit: 30 }, signal) : null), [run]);
  const topics = useData(async (signal) => (details.card.tables.includes("topics") ? (await get<Rows>(runPath(run, "/tables/topics"), { limit: 200 }, signal)).rows : []), [run]);
  const marked = useData((signal) => allRows(runPath(run, "/tables/map"), { where: [`kind:eq:${kind}`], columns: ["id", "x", "y", "title"] }, MOST_MARKS, signal), [run]);
  const patents = useData(async (signal) => readPoints(await getBytes(runPath(run, "/tables/map/points"), { ...(shown === "patent" ? colouring(kind, about, colour) : { colour: "topic" }), where }, signal)), [run, colour, about, shown]);
  const years = useData(
    async (signal): Promise<PointSet | null> => (columns.includes("year") ? readPoints(await getBytes(runPath(run, "/tables/map/points"), { colour: "year", where: ["kind:eq:patent"] }, signal)) : null),
    [run],
  );
  const [chosen, setChosen] = useState<number[]>([]);
  useEffect(() => setChosen([]), [shown]);
  const yearOf = useMemo(() => {
    const found = years.data;
    if (!found?.colour || !found.about) return null;
    const { categories, range } = found.about;
    return Float32Array.from(found.colour, (v) => (categories ? Number(categories[v]) : range ? range[0] + v * (range[1] - range[0]) : NaN));
  }, [years.data]);
  const visible = useMemo(() => (until && yearOf && shown === "patent" ? Uint8Array.from(yearOf, (year) => (year <= until ? 1 : 0)) : null), [until, yearOf, shown]);
  const rows = chosen.slice(0, 100).map((k) => String(patents.data?.row[k] ?? 0));
  const listed = useData(async (signal) => (rows.length ? (await get<Rows>(runPath(run, "/tables/map/at"), { row: rows }, signal)).rows : []), [run, rows.join()]);
  const search = async (text: string, signal: AbortSignal): Promise<Item[]> =>
    (await get<Rows>(runPath(run, "/tables/map/search"), { q: text || "a", column: ["id", "title"], limit: 12 }, signal)).rows.map((row) => ({ id: row.kind === "patent" ? `row ${cell(row.row)}` : cell(row.id), text: `${cell(row.id)} ${cell(row.title)}` }));

  const findMark = async (text: string): Promise<Item[]> =>
    (marked.data ?? [])
      .map((row) => ({ id: cell(row.id), text: cell(row.title) }))
      .filter((item) => `${item.id} ${item.text}`.toLowerCase().includes(text.trim().toLowerCase()))
      .slice(0, 12);

  // Marks come as rows with coordinates of the file; the map's are -1 to 1.
  const at = (x: unknown, y: unknown): [number, number] => {
    const { x: fx, y: fy } = patents.data?.frame ?? { x: [-1, 1], y: [-1, 1] };
    return [(2 * (Number(x) - fx[0])) / (fx[1] - fx[0]) - 1, (2 * (Number(y) - fy[0])) / (fy[1] - fy[0]) - 1];
  };
  const placeOf = new Map((marked.data ?? []).map((row) => [String(row.id), at(row.x, row.y)]));
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
  if (about) {
    const place = placeOf.get(about);
    if (place) marks.push({ x: place[0], y: place[1], label: about, strong: true });
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
        <Choice label="Points are" value={shown} set={(v) => setParams({ show: v === "patent" ? null : v })} options={[["patent", "patents"], [kind, `${kind}s`]]} />
        {shown === "patent" && <Choice label="Colour by" value={about ? kind : colour} set={(v) => setParams({ colour: v, [kind]: null })} options={about ? [...colourings, [kind, `${kind} ${about}`]] : colourings} />}
        <Finder label={`Patents of one ${kind}`} placeholder={kind === "code" ? "a code, or words of its title" : "a pollutant"} search={findMark} choose={(item) => setParams({ [kind]: item.id }, true)} />
        {pairs.data && <Choice label="Forecast pairs" value={showCodes ? "yes" : ""} set={(v) => setParams({ codes: v, pair: null })} options={[["", "hide"], ["yes", "show the first 30"]]} />}
        {shown === "patent" && spread && Number.isFinite(spread[0]) && <Slider label="Patents up to" value={until || spread[1]!} set={(v) => setParams({ year: v >= spread[1]! ? null : String(v) })} min={spread[0]!} max={spread[1]!} step={1} shown={String(until || spread[1])} />}
        {shown === "patent" && <Finder
          label={`Find a patent or a ${kind}`}
          placeholder="words of a title, or an id"
          search={search}
          choose={(item) => {
            if (!item.id.startsWith("row ")) return setParams({ [kind]: item.id }, true);
            const k = patents.data?.row.indexOf(Number(item.id.slice(4))) ?? -1;
            if (k >= 0) setChosen([k]);
          }}
        />}
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
              label={`Map of ${number(points.n)} ${shown}s`}
              choose={(k) => setChosen([k])}
              lasso={setChosen}
            />
            {points.about?.categories && (
              <ul class="legend">
                {points.about.categories.slice(0, 12).map((name, k) => (
                  <li key={name}>
                    <svg width="12" height="12" aria-hidden="true"><circle cx="6" cy="6" r="5" fill={name === "-1" ? "var(--base)" : PALETTE[k % PALETTE.length]} /></svg> {about && shown === "patent" ? `patents with ${name}` : points.about?.column === "topic" ? topicName(name) : name}
                  </li>
                ))}
              </ul>
            )}
            {points.about?.range && <p class="small">{about && shown === "patent" ? `How well a patent goes with ${about}` : points.about.column}: light is {number(points.about.range[0])}, dark red {number(points.about.range[1])}{about ? "; grey was not looked at" : ""}.</p>}
            <p class="small">Near points are alike; how far apart two distant areas lie means little.</p>
          </>
        )}
      </Wait>
      <p role="status">{chosen.length > 0 && `${number(chosen.length)} ${shown}${chosen.length === 1 ? "" : "s"} chosen${chosen.length > 100 ? "; the first 100 are listed" : ""}.`}</p>
      <Wait of={listed} what="the patents">
        {(of) => (of.length ? <Grid caption="Chosen on the map" columns={[{ name: "id", show: (row: Row) => (shown === "patent" ? cell(row.id) : <a href={shown === "code" ? href(run, "pairs", { code: cell(row.id) }) : href(run, "links", { kind: shown, id: cell(row.id) })}>{cell(row.id)}</a>) }, { name: "title" }, ...(columns.includes("year") ? [{ name: "year" }] : []), { name: "topic", show: (row: Row) => topicName(String(row.topic)) }]} rows={of} /> : <p class="small">Click a point, draw a lasso, or search, to list {shown}s here.</p>)}
      </Wait>
      <Wait of={pairs} what="the pairs">
        {(of) => of && <Grid caption="The first forecast pairs" columns={[{ name: "rank", right: true }, { name: "pair", show: (row) => <a href={href(run, "pairs", { pair: `${cell(row.a)}|${cell(row.b)}` })}>{cell(row.a)} with {cell(row.b)}</a> }, { name: "score", right: true }]} rows={of.rows.slice(0, 10)} />}
      </Wait>
    </>
  );
}
