// Pollutants by their number of patents, what each is linked with, the technique tree, and a patent's page.
import { allRows, get, runPath, useData, type Row, type Rows } from "../api";
import type { ViewProps } from "../app";
import { cell, number } from "../format";
import { Choice, Finder, Grid, Wait, type Item } from "../parts";
import { href, setParams } from "../route";

type Counted = { rows: { value: string; n: number }[] };
type End = "source" | "target";

const ORIGINS = ["", "model", "person", "published"];

// A technique's number without its last part: "CWW:::3.3.2" lies below "CWW:::3.3".
export function above(id: string): string {
  return /[.:]/.test(id) ? id.replace(/(\.[^.:]*|:+[^.:]*)$/, "") : "";
}

type Branch = { id: string; title: string; n: number; below: Branch[] };

export function treeOf(nodes: { id: string; title: string }[], counts: Map<string, number>): Branch[] {
  const all = new Map<string, Branch>();
  const make = (id: string, title: string): Branch => {
    const known = all.get(id);
    if (known) {
      if (title) known.title = title;
      return known;
    }
    const branch = { id, title, n: counts.get(id) ?? 0, below: [] };
    all.set(id, branch);
    return branch;
  };
  const roots: Branch[] = [];
  for (const node of nodes) make(node.id, node.title);
  for (const id of [...all.keys()]) {
    let child = all.get(id)!;
    for (let up = above(id); ; up = above(up)) {
      if (!up) {
        if (!roots.includes(child)) roots.push(child);
        break;
      }
      const parent = make(up, "");
      if (!parent.below.includes(child)) parent.below.push(child);
      child = parent;
    }
  }
  const total = (branch: Branch): number => {
    branch.below.sort((a, b) => a.id.localeCompare(b.id, "en", { numeric: true }));
    return (branch.n += branch.below.reduce((sum, child) => sum + total(child), 0));
  };
  roots.forEach(total);
  return roots.sort((a, b) => a.id.localeCompare(b.id, "en", { numeric: true }));
}

function Tree({ branches, run, open }: { branches: Branch[]; run: string; open: boolean }) {
  return (
    <ul class="tree">
      {branches.map((branch) => {
        const label = <>{branch.title || branch.id} <span class="small">{branch.title && branch.id} {branch.n > 0 && `· ${number(branch.n)} links with patents`}</span></>;
        const link = <a href={href(run, "links", { kind: "technique", id: branch.id })}>matches</a>;
        return (
          <li key={branch.id}>
            {branch.below.length ? (
              <details open={open}>
                <summary>{label}</summary>
                {branch.title && link}
                <Tree branches={branch.below} run={run} open={false} />
              </details>
            ) : (
              <>{label} {link}</>
            )}
          </li>
        );
      })}
    </ul>
  );
}

// All that a node is linked with, by kind, with where each link came from.
function NodePage({ run, kind, id, hasMap }: { run: string; kind: string; id: string; hasMap: boolean }) {
  const node = useData(async (signal) => (await get<Rows>(runPath(run, "/tables/nodes"), { where: [`kind:eq:${kind}`, `id:eq:${id}`], limit: 1 }, signal)).rows[0] ?? {}, [run, kind, id]);
  const links = useData(
    async (signal) => {
      const side = (mine: End) => get<Rows>(runPath(run, "/tables/links"), { where: [`${mine}_kind:eq:${kind}`, `${mine}:eq:${id}`], sort: "-score", limit: 500 }, signal);
      const [out, into] = await Promise.all([side("source"), side("target")]);
      const other = (rows: Row[], end: End) => rows.map((row) => ({ ...row, other_kind: row[`${end}_kind`], other: row[end] }) as Row);
      return { rows: [...other(out.rows, "target"), ...other(into.rows, "source")], total: out.total + into.total };
    },
    [run, kind, id],
  );
  return (
    <>
      <p><a href={href(run, "links")}>All pollutants</a></p>
      <Wait of={node} what="the record">
        {(of) => (
          <>
            <h2>{cell(of.title) || id}</h2>
            <p class="small">{kind} {id} {of.year ? `· ${cell(of.year)}` : ""}</p>
            {hasMap && kind === "pollutant" && <p><a href={href(run, "map", { pollutant: id })}>Its patents on the map</a></p>}
            {of.text ? <p class="said">{cell(of.text)}</p> : null}
          </>
        )}
      </Wait>
      <Wait of={links} what="the links">
        {({ rows, total }) => {
          const kinds = [...new Set(rows.map((row) => cell(row.other_kind)))];
          return (
            <>
              {total > rows.length && <p class="small">The {rows.length} strongest of {number(total)} links; all are in the table of links.</p>}
              {!rows.length && <p>It has no link.</p>}
              {kinds.map((other) => (
                <Grid
                  key={other}
                  caption={`Linked ${other}s`}
                  columns={[
                    { name: "other", label: other, show: (row) => <a href={href(run, "links", { kind: other, id: cell(row.other) })}>{cell(row.other)}</a> },
                    { name: "score", right: true },
                    { name: "origin" },
                    { name: "by" },
                    { name: "reason" },
                    { name: "source_part", label: "the one says" },
                    { name: "target_part", label: "the other says" },
                  ]}
                  rows={rows.filter((row) => row.other_kind === other).slice(0, 100)}
                />
              ))}
            </>
          );
        }}
      </Wait>
    </>
  );
}

export function PollutionView({ run, details, route }: ViewProps) {
  const hasMap = details.card.tables.includes("map");
  const kind = route.params.get("kind");
  const id = route.params.get("id");
  const origin = route.params.get("origin") ?? "";
  const path = runPath(run, "/tables/links/counts");
  const where = origin ? [`origin:eq:${origin}`] : [];
  const pollutants = useData((signal) => get<Counted>(path, { by: "target", distinct: "source", where: ["source_kind:eq:patent", "target_kind:eq:pollutant", ...where], limit: 500 }, signal), [run, origin]);
  const goals = useData((signal) => get<Counted>(path, { by: "source", distinct: "target", where: ["source_kind:eq:pollutant", "target_kind:eq:goal", ...where], limit: 500 }, signal), [run, origin]);
  const tree = useData(
    async (signal) => {
      const rows = await allRows(runPath(run, "/tables/nodes"), { where: ["kind:eq:technique"], columns: ["id", "title"] }, Infinity, signal);
      const nodes = rows.map((row) => ({ id: cell(row.id), title: cell(row.title) }));
      const counts = await get<Counted>(path, { by: "target", where: ["source_kind:eq:patent", "target_kind:eq:technique", ...where], limit: 10_000 }, signal);
      return treeOf(nodes, new Map(counts.rows.map((row) => [row.value, row.n])));
    },
    [run, origin],
  );
  const search = async (text: string, signal: AbortSignal): Promise<Item[]> =>
    (await get<Rows>(runPath(run, "/tables/nodes/search"), { q: text || "a", column: ["id", "title"], limit: 12 }, signal)).rows.map((row) => ({ id: `${cell(row.kind)}|${cell(row.id)}`, text: `${cell(row.title) || cell(row.id)} (${cell(row.kind)})` }));
  const finder = (
    <div class="controls">
      <Finder label="Find a patent, technique, pollutant or goal" placeholder="words, or an id" search={search} choose={(item) => { const [k = "", ...rest] = item.id.split("|"); setParams({ kind: k, id: rest.join("|") }, true); }} />
      {!id && <Choice label="Links by" value={origin} set={(v) => setParams({ origin: v })} options={ORIGINS.map((o): [string, string] => [o, o || "anyone"])} />}
    </div>
  );
  if (kind && id) return <>{finder}<NodePage run={run} kind={kind} id={id} hasMap={hasMap} /></>;
  const goalsOf = new Map((goals.data?.rows ?? []).map((row) => [row.value, row.n]));
  return (
    <>
      {finder}
      <Wait of={pollutants} what="the pollutants">
        {({ rows }) => {
          const most = Math.max(...rows.map((row) => row.n), 1);
          return (
            <Grid
              caption="Pollutants by their number of patents"
              columns={[
                { name: "value", label: "pollutant", show: (row) => <a href={href(run, "links", { kind: "pollutant", id: cell(row.value) })}>{cell(row.value)}</a> },
                { name: "n", label: "patents", right: true },
                { name: "bar", label: "", show: (row) => <svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true"><rect width={(100 * Number(row.n)) / most} height="8" fill="var(--c1)" /></svg> },
                { name: "goals", label: "goals", right: true, show: (row) => number(goalsOf.get(cell(row.value)) ?? 0) },
                ...(hasMap ? [{ name: "map", label: "", show: (row: Row) => <a href={href(run, "map", { pollutant: cell(row.value) })} aria-label={`${cell(row.value)} on the map`}>map</a> }] : []),
              ]}
              rows={rows}
              empty="No patent is linked with a pollutant."
            />
          );
        }}
      </Wait>
      <h2>Techniques</h2>
      <Wait of={tree} what="the techniques">{(branches) => <Tree branches={branches} run={run} open={branches.length < 3} />}</Wait>
    </>
  );
}
