// Who is at risk, why, and what acting on it would bring.
import { download, get, runPath, useData, type Row, type Rows } from "../api";
import type { ViewProps } from "../app";
import { SectionShown } from "../blocks";
import { number, percent } from "../format";
import { Choice, Field, Grid, Slider, Wait } from "../parts";
import { setParams } from "../route";
import { useState } from "preact/hooks";

const STEPS = 1000;
// Users who are silent are not offered anything: they are written to, or watched.
const SILENT = [
  "watch: silent for 7 to 13 days",
  "reach out with recommended songs: silent for 14 days or more",
  "reach out with recommended items: silent for 14 days or more",
  "reach out: silent for 14 days or more",
];
const OPEN_TO_OFFERS = SILENT.map((action) => `action:ne:${action}`);
type Costs = { offer_cost: number; offer_success: number; user_value: number };
type Spread = { n: number; values: number[] };

// Expected profit of offers to the users from a probability on; `values` are equal steps of the whole list.
export function profit(spread: Spread, costs: Costs, from: number): { users: number; profit: number } {
  const steps = spread.values.length;
  if (!steps) return { users: 0, profit: 0 };
  const each = spread.n / steps;
  let users = 0;
  let sum = 0;
  for (const p of spread.values) {
    if (p < from) continue;
    users += each;
    sum += each * (p * costs.offer_success * costs.user_value - costs.offer_cost);
  }
  return { users: Math.round(users), profit: sum };
}

function ProfitSlider({ run, costs, from }: { run: string; costs: Costs; from: number }) {
  const spread = useData((signal) => get<Spread>(runPath(run, "/tables/ranking/quantiles"), { column: "probability", n: STEPS, where: OPEN_TO_OFFERS }, signal), [run]);
  return (
    <Wait of={spread} what="the probabilities">
      {(found) => {
        const bars = Array.from({ length: 101 }, (_, k) => profit(found, costs, k / 100));
        const best = bars.reduce((at, bar, k) => (bar.profit > bars[at]!.profit ? k : at), 0);
        const now = profit(found, costs, from);
        const top = Math.max(...bars.map((b) => Math.abs(b.profit)), 1);
        return (
          <section class="card">
            <h2>Offers from which risk on?</h2>
            <Slider label="Offer to users with a risk of at least" value={Math.round(100 * from)} set={(v) => setParams({ from: String(v / 100) })} min={0} max={100} step={1} shown={percent(from)} />
            <p aria-live="polite">
              <strong>{number(now.users)}</strong> of {number(found.n)} users who are not silent; expected profit <strong>{number(Math.round(now.profit))}</strong>. Best from {percent(best / 100)} on: {number(Math.round(bars[best]!.profit))}.
            </p>
            <svg class="chart spark" viewBox="0 0 404 90" role="img" aria-label={`Expected profit by the risk from which on offers are made; the highest is at ${percent(best / 100)}.`}>
              <line class="axis" x1="0" x2="404" y1="45" y2="45" />
              {bars.map((bar, k) => (
                <rect key={k} x={4 * k} width="3" y={bar.profit > 0 ? 45 - (40 * bar.profit) / top : 45} height={Math.max(0.5, (40 * Math.abs(bar.profit)) / top)} fill={k === Math.round(100 * from) ? "var(--c2)" : "var(--c1)"} />
              ))}
            </svg>
            <p class="small">
              An offer costs {number(costs.offer_cost)}, keeps {percent(costs.offer_success)} of the leaving users, and a user is worth {number(costs.user_value)}: settings of the run. From {STEPS + 1} equal steps of the list.
            </p>
          </section>
        );
      }}
    </Wait>
  );
}

export function ChurnView({ run, details, report, route }: ViewProps) {
  const params = route.params;
  const from = Number(params.get("from") ?? 0);
  const user = params.get("user") ?? "";
  const reason = params.get("reason") ?? "";
  const action = params.get("action") ?? "";
  const where = [
    ...(from > 0 ? [`probability:ge:${from}`] : []),
    ...(user ? [`item:has:${user}`] : []),
    ...(reason ? [`reason:has:${reason}`] : []),
    ...(action ? [`action:eq:${action}`] : []),
  ];
  const path = runPath(run, "/tables/ranking");
  const [saved, setSaved] = useState("");
  const found = useData((signal) => get<Rows>(path, { where, limit: 50, sort: "rank" }, signal), [run, from, user, reason, action]);
  const actions = useData((signal) => get<{ rows: { value: string; n: number }[] }>(`${path}/counts`, { by: "action", limit: 50 }, signal), [run]);
  const save = (format: string) => download(`${path}/file`, { format, where, sort: "rank" }, `${run}-users.${format}`).then(() => setSaved("The file was made."), (e: Error) => setSaved(e.message));
  const time = report.sections.filter((s) => s.title === "When they leave" || s.title === "Why they leave");
  return (
    <>
      <ProfitSlider run={run} costs={details.config.churn as Costs} from={from} />
      <h2>Users at risk</h2>
      <div class="controls">
        <Field label="User" value={user} set={(v) => setParams({ user: v })} />
        <Field label="Reason contains" value={reason} set={(v) => setParams({ reason: v })} />
        <Choice label="Action" value={action} set={(v) => setParams({ action: v })} options={[["", "any"], ...(actions.data?.rows ?? []).map(({ value, n }): [string, string] => [value, `${value} (${number(n)})`])]} />
      </div>
      <Wait of={found} what="the users">
        {(page) => (
          <>
            <p role="status">{number(page.total)} users{page.total > page.rows.length && `; the first ${page.rows.length} are shown`}.</p>
            <Grid
              caption="Users, the riskiest first"
              columns={[
                { name: "rank", right: true },
                { name: "item", label: "user" },
                { name: "probability", label: "risk", right: true, show: (row: Row) => `${number(row.probability)} [${number(row.low)}, ${number(row.high)}]` },
                { name: "reason", label: "reasons" },
                { name: "action" },
              ]}
              rows={page.rows}
              empty="No user meets the conditions."
            />
          </>
        )}
      </Wait>
      <p>
        <button type="button" onClick={() => void save("csv")}>Save as CSV</button> <button type="button" onClick={() => void save("parquet")}>Save as Parquet</button> <span role="status">{saved}</span>
      </p>
      {time.map((section) => <SectionShown key={section.title} section={section} />)}
    </>
  );
}
