// A report's sections as the dashboard shows them.
import { chartTable, ChartDrawn, type Chart } from "./charts";
import { formatted } from "./format";
import { Grid } from "./parts";

type TableColumn = { name: string; format: string; align: string | null; low: string | null; high: string | null };
export type Block =
  | { kind: "text"; paragraphs: string[]; tone: string }
  | { kind: "bullets"; items: string[] }
  | { kind: "table"; caption: string; columns: TableColumn[]; rows: unknown[][]; note: string }
  | { kind: "figure"; caption: string; alt: string; chart: Chart; note: string };
export type Section = { title: string; blocks: Block[] };
export type Report = { title: string; lead: string[]; simulated: boolean; sections: Section[]; details: { label: string; value: string }[] };

const FIRST = 200; // rows of a table that are shown

function ReportTable({ block }: { block: Extract<Block, { kind: "table" }> }) {
  const place = new Map(block.columns.map((c, k) => [c.name, k]));
  const ends = new Set(block.columns.flatMap((c) => [c.low, c.high]));
  const shown = block.columns.filter((c) => !ends.has(c.name));
  const rows = block.rows.slice(0, FIRST).map((row) =>
    Object.fromEntries(
      shown.map((c) => {
        const text = formatted(row[place.get(c.name)!], c.format);
        if (c.low === null || c.high === null) return [c.name, text];
        const [low, high] = [row[place.get(c.low)!], row[place.get(c.high)!]];
        return [c.name, low === null && high === null ? text : `${text} [${formatted(low, c.format)}, ${formatted(high, c.format)}]`];
      }),
    ),
  );
  return (
    <div class="block">
      <Grid caption={block.caption} columns={shown.map((c) => ({ name: c.name, right: c.align === "right" || (c.align === null && c.format !== "text") }))} rows={rows} />
      {block.rows.length > FIRST && <p class="small">The first {FIRST} of {block.rows.length} rows; all are in report.json.</p>}
      {block.note && <p class="small">{block.note}</p>}
    </div>
  );
}

export function BlockShown({ block }: { block: Block }) {
  if (block.kind === "text")
    return <div class={block.tone === "plain" ? "" : `tone ${block.tone}`}>{block.paragraphs.map((p, k) => <p key={k}>{p}</p>)}</div>;
  if (block.kind === "bullets") return <ul class="points">{block.items.map((item, k) => <li key={k}>{item}</li>)}</ul>;
  if (block.kind === "table") return <ReportTable block={block} />;
  const table = chartTable(block.chart);
  return (
    <figure class="card">
      <figcaption class="caption">{block.caption}</figcaption>
      <ChartDrawn chart={block.chart} alt={block.alt} />
      {block.note && <p class="small">{block.note}</p>}
      <details>
        <summary>The numbers</summary>
        <Grid caption={block.caption} columns={table.columns.map((name) => ({ name }))} rows={table.rows.slice(0, FIRST).map((row) => Object.fromEntries(table.columns.map((name, k) => [name, row[k]])))} />
        {table.rows.length > FIRST && <p class="small">The first {FIRST} of {table.rows.length} rows; all are in report.json.</p>}
      </details>
    </figure>
  );
}

export function SectionShown({ section, level = 2 }: { section: Section; level?: 2 | 3 }) {
  const Title = level === 2 ? "h2" : "h3";
  const figures = section.blocks.filter((b) => b.kind === "figure");
  return (
    <section>
      <Title>{section.title}</Title>
      {section.blocks.filter((b) => b.kind !== "figure").map((block, k) => <BlockShown key={k} block={block} />)}
      {figures.length > 0 && <div class="figures">{figures.map((block, k) => <BlockShown key={k} block={block} />)}</div>}
    </section>
  );
}
