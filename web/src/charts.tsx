// The charts of a report, drawn from its own numbers as SVG; each has a table of them beside it.
import { useId } from "preact/hooks";
import { formatted, number, percent } from "./format";

type Series = {
  name: string;
  x: (number | string)[];
  y: (number | null)[];
  low?: (number | null)[] | null;
  high?: (number | null)[] | null;
  baseline?: boolean;
};
type Mark = { x: number | string; label: string };
type Reference = { value: number; label: string };
type Bars = { name: string; values: (number | null)[]; low?: (number | null)[] | null; high?: (number | null)[] | null; baseline?: boolean };
export type Network = {
  name: string;
  x: number[];
  y: number[];
  node_weight: number[];
  edges: [number, number][];
  edge_weight: number[];
  missing: [number, number][];
  node_names?: string[];
};
export type Chart =
  | { kind: "line"; x_label: string; y_label: string; series: Series[]; log_x: boolean; log_y: boolean; x_format: string; y_format: string; y_from_zero: boolean; marks: Mark[]; references: Reference[]; interval: string }
  | { kind: "bar"; categories: string[]; series: Bars[]; value_label: string; category_label: string; horizontal: boolean; value_format: string; references: Reference[]; interval: string }
  | { kind: "histogram"; edges: number[]; counts: number[]; x_label: string; y_label: string; log_x: boolean; log_y: boolean; marks: Mark[] }
  | { kind: "reliability"; series: { name: string; predicted: (number | null)[]; observed: (number | null)[]; low: (number | null)[]; high: (number | null)[]; count: (number | null)[]; baseline: boolean }[]; x_label: string; y_label: string }
  | { kind: "scatter"; series: { name: string; x: number[]; y: number[]; baseline: boolean; mark: boolean }[]; x_label: string; y_label: string; log_x: boolean }
  | { kind: "network"; pictures: Network[] };

const W = 480;
const H = 300;
const LEFT = 62;
const BOTTOM = 48;
const TOP = 12;
const RIGHT = 14;
const DASHES = ["", "7 3", "2 2", "8 3 2 3", "4 2", "10 4"];
const colour = (index: number, baseline?: boolean) => (baseline ? "var(--base)" : `var(--c${(index % 6) + 1})`);

type Scale = { at: (value: number) => number; ticks: number[]; low: number; high: number };

// A scale from values to pixels; logarithmic ones begin at the lowest value above 0.
export function scale(values: number[], from: number, to: number, log = false, zero = false): Scale {
  const kept = values.filter((v) => Number.isFinite(v) && (!log || v > 0));
  let low = Math.min(...kept, ...(zero && !log ? [0] : []));
  let high = Math.max(...kept, ...(zero && !log ? [0] : []));
  if (!kept.length) [low, high] = log ? [1, 10] : [0, 1];
  if (low === high) [low, high] = log ? [low / 2, high * 2] : [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2];
  const f = log ? Math.log10 : (v: number) => v;
  const ticks: number[] = [];
  if (log) {
    for (let e = Math.ceil(f(low) - 1e-9); e <= f(high) + 1e-9; e++) ticks.push(10 ** e);
  } else {
    const raw = (high - low) / 5;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw)!;
    if (zero) {
      low = Math.floor(low / step + 1e-9) * step;
      high = Math.ceil(high / step - 1e-9) * step;
    }
    for (let t = Math.ceil(low / step - 1e-9) * step; t <= high + step * 1e-6; t += step) ticks.push(Number(t.toPrecision(12)));
  }
  return { at: (v) => from + ((f(v) - f(low)) / (f(high) - f(low))) * (to - from), ticks, low, high };
}

const asNumber = (x: number | string) => (typeof x === "number" ? x : Date.parse(x));
const tick = (value: number, format: string) =>
  format === "percent" ? percent(value) : Math.abs(value) < 1 && value !== 0 ? String(value).replace("0.", ".") : value.toLocaleString("en-GB");

function Axes(props: { x: Scale; y: Scale; xLabel: string; yLabel: string; xText: (v: number) => string; yText: (v: number) => string }) {
  const { x, y } = props;
  return (
    <g class="axes">
      {y.ticks.map((t) => (
        <g key={t}>
          <line class="grid" x1={LEFT} x2={W - RIGHT} y1={y.at(t)} y2={y.at(t)} />
          <text x={LEFT - 6} y={y.at(t) + 4} text-anchor="end">{props.yText(t)}</text>
        </g>
      ))}
      {x.ticks.map((t) => (
        <text key={t} x={x.at(t)} y={H - BOTTOM + 18} text-anchor="middle">{props.xText(t)}</text>
      ))}
      <line class="axis" x1={LEFT} x2={W - RIGHT} y1={H - BOTTOM} y2={H - BOTTOM} />
      <text class="label" x={(LEFT + W - RIGHT) / 2} y={H - 6} text-anchor="middle">{props.xLabel}</text>
      <text class="label" x={-(TOP + H - BOTTOM) / 2} y={12} text-anchor="middle" transform="rotate(-90)">{props.yLabel}</text>
    </g>
  );
}

function Legend({ names }: { names: { name: string; baseline?: boolean }[] }) {
  if (names.length < 2) return null;
  return (
    <ul class="legend">
      {names.map(({ name, baseline }, i) => (
        <li key={name}>
          <svg width="26" height="10" aria-hidden="true">
            <line x1="1" x2="25" y1="5" y2="5" stroke={colour(i, baseline)} stroke-width="2.5" stroke-dasharray={baseline ? "4 3" : DASHES[i % 6]} />
          </svg>
          {name}
        </li>
      ))}
    </ul>
  );
}

// Pieces of a line between gaps.
function path(points: ([number, number] | null)[]): string {
  let text = "";
  let pen = false;
  for (const point of points) {
    if (point === null) pen = false;
    else {
      text += `${pen ? "L" : "M"}${point[0].toFixed(1)} ${point[1].toFixed(1)}`;
      pen = true;
    }
  }
  return text;
}

function Lines({ chart }: { chart: Extract<Chart, { kind: "line" }> }) {
  const dates = typeof chart.series[0]?.x[0] === "string";
  const xs = chart.series.flatMap((s) => s.x.map(asNumber)).concat(chart.marks.map((m) => asNumber(m.x)));
  const ys = chart.series.flatMap((s) => [...s.y, ...(s.low ?? []), ...(s.high ?? [])]).concat(chart.references.map((r) => r.value));
  const x = scale(xs, LEFT, W - RIGHT, chart.log_x);
  const y = scale(ys.filter((v): v is number => v !== null), H - BOTTOM, TOP, chart.log_y, chart.y_from_zero);
  const xText = (v: number) => (dates ? new Date(v).toISOString().slice(0, 10) : tick(v, chart.x_format));
  return (
    <>
      <Axes x={{ ...x, ticks: dates ? [x.low, (x.low + x.high) / 2, x.high] : x.ticks }} y={y} xLabel={chart.x_label} yLabel={chart.y_label} xText={xText} yText={(v) => tick(v, chart.y_format)} />
      {chart.references.map((r) => (
        <g key={r.label}>
          <line class="reference" x1={LEFT} x2={W - RIGHT} y1={y.at(r.value)} y2={y.at(r.value)} />
          <text x={W - RIGHT} y={y.at(r.value) - 4} text-anchor="end">{r.label}</text>
        </g>
      ))}
      {chart.marks.map((m) => (
        <g key={m.label}>
          <line class="reference" x1={x.at(asNumber(m.x))} x2={x.at(asNumber(m.x))} y1={TOP} y2={H - BOTTOM} />
          <text x={x.at(asNumber(m.x)) + 4} y={TOP + 10}>{m.label}</text>
        </g>
      ))}
      {chart.series.map((s, i) => {
        const place = (values: (number | null)[]) =>
          s.x.map((v, k): [number, number] | null => {
            const value = values[k];
            return value === null || value === undefined || (chart.log_y && value <= 0) ? null : [x.at(asNumber(v)), y.at(value)];
          });
        const low = s.low && s.high ? place(s.low).filter((p): p is [number, number] => p !== null) : [];
        const high = s.low && s.high ? place(s.high).filter((p): p is [number, number] => p !== null) : [];
        return (
          <g key={s.name}>
            {low.length > 1 && <path d={`${path(high)}${path([...low].reverse()).replace("M", "L")}Z`} fill={colour(i, s.baseline)} opacity="0.15" />}
            <path d={path(place(s.y))} fill="none" stroke={colour(i, s.baseline)} stroke-width="2.2" stroke-dasharray={s.baseline ? "4 3" : DASHES[i % 6]} />
            {s.x.length < 25 && place(s.y).map((p, k) => p && <circle key={k} cx={p[0]} cy={p[1]} r="2.6" fill={colour(i, s.baseline)} />)}
          </g>
        );
      })}
    </>
  );
}

function BarsDrawn({ chart }: { chart: Extract<Chart, { kind: "bar" }> }) {
  const all = chart.series.flatMap((s) => [...s.values, ...(s.low ?? []), ...(s.high ?? [])]).filter((v): v is number => v !== null);
  const longest = Math.max(...chart.categories.map((c) => c.length));
  const left = Math.min(230, 16 + 7 * Math.min(longest, 31));
  const height = Math.max(chart.categories.length * chart.series.length * 16 + 60, 120);
  const x = scale([...all, ...chart.references.map((r) => r.value)], left, W - 44, false, true);
  const slot = (height - 52) / chart.categories.length;
  const thick = Math.min(18, (slot - 4) / chart.series.length);
  return {
    height,
    body: (
      <>
        <g class="axes">
          {x.ticks.map((t) => (
            <g key={t}>
              <line class="grid" x1={x.at(t)} x2={x.at(t)} y1={4} y2={height - 46} />
              <text x={x.at(t)} y={height - 32} text-anchor="middle">{tick(t, chart.value_format)}</text>
            </g>
          ))}
          <text class="label" x={(left + W) / 2} y={height - 10} text-anchor="middle">{chart.value_label}</text>
        </g>
        {chart.references.map((r) => (
          <line key={r.label} class="reference" x1={x.at(r.value)} x2={x.at(r.value)} y1={4} y2={height - 46} />
        ))}
        {chart.categories.map((name, k) => (
          <g key={k}>
            <text x={left - 6} y={4 + slot * (k + 0.5) + 4} text-anchor="end">{name.length > 31 ? `${name.slice(0, 30)}…` : name}</text>
            {chart.series.map((s, i) => {
              const value = s.values[k];
              if (value === null || value === undefined) return null;
              const y = 4 + slot * (k + 0.5) - (thick * chart.series.length) / 2 + thick * i;
              const [low, high] = [s.low?.[k], s.high?.[k]];
              return (
                <g key={s.name}>
                  <rect x={Math.min(x.at(0), x.at(value))} y={y} width={Math.abs(x.at(value) - x.at(0))} height={thick - 2} fill={colour(i, s.baseline)} />
                  {low != null && high != null && <line class="whisker" x1={x.at(low)} x2={x.at(high)} y1={y + thick / 2 - 1} y2={y + thick / 2 - 1} />}
                  {chart.series.length === 1 && <text x={x.at(Math.max(value, high ?? value)) + 4} y={y + thick / 2 + 3}>{chart.value_format === "percent" ? percent(value, 1) : number(value)}</text>}
                </g>
              );
            })}
          </g>
        ))}
      </>
    ),
  };
}

function Histogram({ chart }: { chart: Extract<Chart, { kind: "histogram" }> }) {
  const x = scale(chart.edges, LEFT, W - RIGHT, chart.log_x);
  const counts = chart.log_y ? chart.counts.filter((c) => c > 0) : chart.counts;
  const y = scale(chart.log_y ? [...counts, 0.5] : counts, H - BOTTOM, TOP, chart.log_y, !chart.log_y);
  return (
    <>
      <Axes x={x} y={y} xLabel={chart.x_label} yLabel={chart.y_label} xText={(v) => tick(v, "")} yText={(v) => tick(v, "")} />
      {chart.counts.map((count, k) =>
        count > 0 ? (
          <rect key={k} x={x.at(chart.edges[k]!)} y={y.at(count)} width={Math.max(0.5, x.at(chart.edges[k + 1]!) - x.at(chart.edges[k]!) - 1)} height={Math.max(0, H - BOTTOM - y.at(count))} fill="var(--c1)" />
        ) : null,
      )}
      {chart.marks.map((m) => (
        <g key={m.label}>
          <line class="reference" x1={x.at(asNumber(m.x))} x2={x.at(asNumber(m.x))} y1={TOP} y2={H - BOTTOM} />
          <text x={x.at(asNumber(m.x)) + 4} y={TOP + 10}>{m.label}</text>
        </g>
      ))}
    </>
  );
}

function Reliability({ chart }: { chart: Extract<Chart, { kind: "reliability" }> }) {
  const all = chart.series.flatMap((s) => [...s.predicted, ...s.observed, ...s.high]).filter((v): v is number => v !== null);
  const top = Math.min(1, Math.max(...all, 0.05) * 1.05);
  const x = scale([0, top], LEFT, W - RIGHT, false, true);
  const y = scale([0, top], H - BOTTOM, TOP, false, true);
  const corner = Math.min(x.high, y.high);
  return (
    <>
      <Axes x={x} y={y} xLabel={chart.x_label} yLabel={chart.y_label} xText={(v) => tick(v, "percent")} yText={(v) => tick(v, "percent")} />
      <line class="reference" x1={x.at(0)} y1={y.at(0)} x2={x.at(corner)} y2={y.at(corner)} />
      {chart.series.map((s, i) => {
        const points = s.predicted.map((p, k): [number, number] | null => (p === null || s.observed[k] == null ? null : [x.at(p), y.at(s.observed[k]!)]));
        return (
          <g key={s.name}>
            {points.map((p, k) => p && s.low[k] != null && s.high[k] != null && <line key={k} class="whisker" x1={p[0]} x2={p[0]} y1={y.at(s.low[k]!)} y2={y.at(Math.min(s.high[k]!, y.high))} />)}
            <path d={path(points)} fill="none" stroke={colour(i, s.baseline)} stroke-width="2.2" stroke-dasharray={s.baseline ? "4 3" : DASHES[i % 6]} />
            {points.map((p, k) => p && <circle key={k} cx={p[0]} cy={p[1]} r="3" fill={colour(i, s.baseline)} />)}
          </g>
        );
      })}
    </>
  );
}

function Scatter({ chart }: { chart: Extract<Chart, { kind: "scatter" }> }) {
  const named = Boolean(chart.x_label);
  const x = scale(chart.series.flatMap((s) => s.x), named ? LEFT : 8, W - RIGHT, chart.log_x);
  const y = scale(chart.series.flatMap((s) => s.y), named ? H - BOTTOM : H - 8, TOP);
  return (
    <>
      {named && <Axes x={x} y={y} xLabel={chart.x_label} yLabel={chart.y_label} xText={(v) => tick(v, "")} yText={(v) => tick(v, "")} />}
      {chart.series.map((s, i) => (
        <g key={s.name} fill={s.mark ? "var(--ink)" : colour(i, s.baseline)} opacity={s.mark ? 1 : 0.65}>
          {s.x.map((v, k) => <circle key={k} cx={x.at(v)} cy={y.at(s.y[k]!)} r={s.mark ? 3 : 2} />)}
        </g>
      ))}
      {!named &&
        chart.series.filter((s) => !s.baseline && !s.mark).slice(0, 14).map((s) => {
          const middle = (values: number[]) => [...values].sort((a, b) => a - b)[values.length >> 1]!;
          return <text key={s.name} class="halo" x={x.at(middle(s.x))} y={y.at(middle(s.y))} text-anchor="middle">{s.name}</text>;
        })}
    </>
  );
}

export function NetworkDrawn({ picture, label }: { picture: Network; label: string }) {
  const size = 260;
  const x = scale(picture.x, 16, size - 16);
  const y = scale(picture.y, size - 16, 16);
  // One scale for both axes, so that the drawing keeps its shape.
  const span = Math.max(x.high - x.low, y.high - y.low) || 1;
  const at = (value: number, s: Scale, flip: boolean) => {
    const part = (value - (s.low + s.high) / 2) / span;
    return size / 2 + (flip ? -part : part) * (size - 32);
  };
  const px = picture.x.map((v) => at(v, x, false));
  const py = picture.y.map((v) => at(v, y, true));
  const name = (k: number) => picture.node_names?.[k] ?? String(k);
  return (
    <svg class="network" viewBox={`0 0 ${size} ${size}`} role="img" aria-label={label}>
      {picture.edges.map(([u, v], k) => {
        const weight = picture.edge_weight[k] ?? 0;
        return <line key={k} x1={px[u]} y1={py[u]} x2={px[v]} y2={py[v]} stroke={weight > 0 ? "var(--c2)" : "var(--base)"} stroke-width={1 + 4 * weight} opacity={weight > 0 ? 1 : 0.5} />;
      })}
      {picture.missing.map(([u, v], k) => <line key={k} x1={px[u]} y1={py[u]} x2={px[v]} y2={py[v]} stroke="var(--c4)" stroke-width="2" stroke-dasharray="4 4" />)}
      {px.map((cx, k) => (
        <circle key={k} cx={cx} cy={py[k]} r={2.5 + 4 * (picture.node_weight[k] ?? 0)} fill={(picture.node_weight[k] ?? 0) > 0 ? "var(--c2)" : "var(--ink)"}>
          <title>{name(k)}</title>
        </circle>
      ))}
    </svg>
  );
}

export function ChartDrawn({ chart, alt }: { chart: Chart; alt: string }) {
  const id = useId();
  if (chart.kind === "network") {
    return (
      <div class="networks">
        {chart.pictures.map((p) => (
          <figure key={p.name}>
            <NetworkDrawn picture={p} label={`${p.name}: ${p.x.length} nodes, ${p.edges.length} edges`} />
            <figcaption>{p.name}</figcaption>
          </figure>
        ))}
      </div>
    );
  }
  const bars = chart.kind === "bar" ? BarsDrawn({ chart }) : null;
  return (
    <>
      {"series" in chart && (chart.kind !== "scatter" || chart.x_label) && <Legend names={chart.series} />}
      <svg class="chart" viewBox={`0 0 ${W} ${bars ? bars.height : H}`} role="img" aria-labelledby={id}>
        <title id={id}>{alt}</title>
        {chart.kind === "line" && <Lines chart={chart} />}
        {bars?.body}
        {chart.kind === "histogram" && <Histogram chart={chart} />}
        {chart.kind === "reliability" && <Reliability chart={chart} />}
        {chart.kind === "scatter" && <Scatter chart={chart} />}
      </svg>
    </>
  );
}

// The numbers of a chart, as a table has them.
export function chartTable(chart: Chart): { columns: string[]; rows: string[][] } {
  if (chart.kind === "line")
    return { columns: ["series", chart.x_label, chart.y_label, "low", "high"], rows: chart.series.flatMap((s) => s.x.map((x, k) => [s.name, typeof x === "number" ? formatted(x, "number") : x, formatted(s.y[k], "number"), formatted(s.low?.[k], "number"), formatted(s.high?.[k], "number")])) };
  if (chart.kind === "bar")
    return { columns: [chart.category_label || "category", "series", chart.value_label, "low", "high"], rows: chart.categories.flatMap((c, k) => chart.series.map((s) => [c, s.name, formatted(s.values[k], "number"), formatted(s.low?.[k], "number"), formatted(s.high?.[k], "number")])) };
  if (chart.kind === "histogram")
    return { columns: [`${chart.x_label}, from`, "to", chart.y_label], rows: chart.counts.map((c, k) => [number(chart.edges[k]), number(chart.edges[k + 1]), number(c)]) };
  if (chart.kind === "reliability")
    return { columns: ["series", "predicted", "observed", "low", "high", "rows"], rows: chart.series.flatMap((s) => s.predicted.map((p, k) => [s.name, number(p), number(s.observed[k]), number(s.low[k]), number(s.high[k]), number(s.count[k])])) };
  if (chart.kind === "scatter")
    return { columns: ["group", chart.x_label || "x", chart.y_label || "y"], rows: chart.series.flatMap((s) => s.x.map((x, k) => [s.name, number(x), number(s.y[k])])) };
  return { columns: ["graph", "edge", "weight"], rows: chart.pictures.flatMap((p) => p.edges.map(([u, v], k) => [p.name, `${p.node_names?.[u] ?? u} – ${p.node_names?.[v] ?? v}`, number(p.edge_weight[k])])) };
}
