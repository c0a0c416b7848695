// Any table of a run: conditions, order, pages, files.
import { useEffect, useState } from "preact/hooks";
import { download, get, runPath, useData, type Rows } from "../api";
import type { ViewProps } from "../app";
import { number } from "../format";
import { Choice, Field, Grid, Wait } from "../parts";
import { setParams } from "../route";

const OPERATORS: [string, string][] = [["has", "contains"], ["eq", "is"], ["ne", "is not"], ["ge", "at least"], ["le", "at most"], ["starts", "begins with"]];

export function TablesView({ run, details, route }: ViewProps) {
  const names = Object.keys(details.columns);
  const table = route.params.get("table") ?? names[0] ?? "ranking";
  const columns = Object.keys(details.columns[table] ?? {});
  const column = route.params.get("column") ?? columns[0] ?? "";
  const operator = route.params.get("operator") ?? "has";
  const value = route.params.get("value") ?? "";
  const sort = route.params.get("sort") ?? "";
  const row = route.params.get("row");
  const where = value ? [`${column}:${operator}:${value}`] : [];
  const [pages, setPages] = useState<(string | null)[]>([null]);
  useEffect(() => setPages([null]), [table, column, operator, value, sort]);
  const after = pages[pages.length - 1] ?? null;
  const path = runPath(run, `/tables/${table}`);
  const found = useData(
    (signal) => (row === null ? get<Rows>(path, { where, sort, after, limit: 50 }, signal) : get<Rows>(`${path}/at`, { row }, signal)),
    [path, column, operator, value, sort, after, row],
  );
  const [saving, setSaving] = useState("");
  const save = (format: string) => {
    setSaving("Making the file …");
    download(`${path}/file`, { format, where, sort }, `${run}-${table}.${format}`).then(
      () => setSaving("The file was made."),
      (error: Error) => setSaving(error.message),
    );
  };
  return (
    <>
      <div class="controls">
        <Choice label="Table" value={table} set={(v) => setParams({ table: v, column: null, value: null, sort: null, row: null })} options={names} />
        <Choice label="Column" value={column} set={(v) => setParams({ column: v, row: null })} options={columns} />
        <Choice label="Condition" value={operator} set={(v) => setParams({ operator: v, row: null })} options={OPERATORS} />
        <Field label="Value" value={value} set={(v) => setParams({ value: v, column, row: null })} />
        <Choice label="Order" value={sort} set={(v) => setParams({ sort: v, row: null })} options={[["", "as in the file"], ...columns.flatMap((c): [string, string][] => [[c, `${c}, lowest first`], [`-${c}`, `${c}, highest first`]])]} />
      </div>
      <Wait of={found} what="the rows">
        {(page) => (
          <>
            <p role="status">{row === null ? `${number(page.total)} rows` : <>Row {row} of the table. <a href="#" onClick={(e) => { e.preventDefault(); setParams({ row: null }); }}>Show all rows</a></>}</p>
            <Grid caption={table} columns={(page.rows[0] ? Object.keys(page.rows[0]) : columns).map((name) => ({ name }))} rows={page.rows} empty="No row meets the condition." />
            <p class="pager">
              <button type="button" disabled={pages.length < 2} onClick={() => setPages(pages.slice(0, -1))}>Before</button>{" "}
              <button type="button" disabled={page.next === null} onClick={() => setPages([...pages, page.next])}>Next</button>
            </p>
          </>
        )}
      </Wait>
      <p>
        <button type="button" onClick={() => save("csv")}>Save as CSV</button> <button type="button" onClick={() => save("parquet")}>Save as Parquet</button> <span role="status">{saving}</span>
      </p>
    </>
  );
}
