// Candidates ranked for a member, and the exact prompt that the model saw.
import { get, post, useData } from "../api";
import type { ViewProps } from "../app";
import { number } from "../format";
import { Choice, Field, Finder, Grid, Wait, type Item } from "../parts";
import { href, setParams } from "../route";

type Task = { name: string; noun: string; output: string; trained: boolean };
type Ranked = { items: { rank: number; item: string; score: number; text: string; before: string | null; why: string }[] };
type Prompt = { parts: { name: string; text: string; tokens: number }[]; tokens: number; shown: number; left_out: number };

const records = (run: string, task: string, table: "members" | "items") => async (text: string, signal: AbortSignal): Promise<Item[]> =>
  (await get<{ rows: Item[] }>(`rank/${table}`, { run, task, q: text, limit: 12 }, signal)).rows;

// The task and member of the address; where it names none, the first of each.
function useAsked({ run, route }: ViewProps) {
  const tasks = useData((signal) => get<{ rows: Task[] }>("rank/tasks", { run }, signal), [run]);
  const task = route.params.get("task") ?? tasks.data?.rows[0]?.name ?? "";
  const first = useData(async (signal) => (task ? (await records(run, task, "members")("", signal))[0]?.id ?? "" : ""), [run, task]);
  return { tasks, task, member: route.params.get("member") ?? first.data ?? "" };
}

function TaskChoice({ tasks, task }: { tasks: Task[]; task: string }) {
  return <Choice label="Task" value={task} set={(v) => setParams({ task: v, member: null, candidate: null })} options={tasks.map((t): [string, string] => [t.name, `${t.name} (${t.noun}${t.trained ? "" : ", not trained on"})`])} />;
}

export function RankView(props: ViewProps) {
  const { run, route } = props;
  const { tasks, task, member } = useAsked(props);
  const isNew = route.params.get("new") === "yes";
  const at = route.params.get("at") ?? "";
  const found = useData(
    async (signal) => (task && member ? post<Ranked>("rank", { run, task, member, k: 20, new: isNew, ...(at ? { at } : {}) }, signal) : null),
    [run, task, member, isNew, at],
  );
  return (
    <Wait of={tasks} what="the tasks">
      {({ rows }) => (
        <>
          <div class="controls">
            <TaskChoice tasks={rows} task={task} />
            <Finder label="Member" placeholder="id or words" search={records(run, task, "members")} choose={(item) => setParams({ task, member: item.id })} />
            <Choice label="Candidates" value={isNew ? "yes" : ""} set={(v) => setParams({ new: v })} options={[["", "all"], ["yes", "not acted on yet"]]} />
            <Field label="As of" placeholder="2026-04-20" value={at} set={(v) => setParams({ at: v })} />
          </div>
          <h2>{member ? `Candidates for ${member}` : "Candidates"}</h2>
          <Wait of={found} what="the candidates">
            {(list) => list && (
              <Grid
                caption={`The first ${list.items.length} by ${task}`}
                columns={[
                  { name: "rank", right: true },
                  { name: "score", right: true },
                  { name: "item", show: (row) => <a href={href(run, "prompt", { task, member, candidate: String(row.item), ...(at ? { at } : {}) })}>{String(row.item)}</a> },
                  { name: "text" },
                  { name: "before", label: "the member has" },
                  { name: "why", label: "why, log-odds" },
                ]}
                rows={list.items}
              />
            )}
          </Wait>
          <p class="small">The id of a candidate opens the prompt that the model saw.</p>
        </>
      )}
    </Wait>
  );
}

export function PromptView(props: ViewProps) {
  const { run, route } = props;
  const { tasks, task, member } = useAsked(props);
  const candidate = route.params.get("candidate");
  const at = route.params.get("at") ?? "";
  const ask = { run, task, member, ...(at ? { at } : {}) };
  const prompt = useData(async (signal) => (task && member ? post<Prompt>("rank/prompt", { ...ask, candidate }, signal) : null), [run, task, member, candidate, at]);
  const score = useData(async (signal) => (task && member && candidate ? post<Ranked>("rank", { ...ask, candidates: [candidate] }, signal) : null), [run, task, member, candidate, at]);
  return (
    <Wait of={tasks} what="the tasks">
      {({ rows }) => (
        <>
          <div class="controls">
            <TaskChoice tasks={rows} task={task} />
            <Finder label="Member" placeholder="id or words" search={records(run, task, "members")} choose={(item) => setParams({ task, member: item.id })} />
            <Finder label="Candidate" placeholder="id or words" search={records(run, task, "items")} choose={(item) => setParams({ task, member, candidate: item.id })} />
            <Field label="As of" placeholder="2026-04-20" value={at} set={(v) => setParams({ at: v })} />
          </div>
          {score.data?.items[0] && (
            <p class="score" aria-live="polite">
              {candidate} for {member}: <strong>{number(score.data.items[0].score)}</strong> {score.data.items[0].why && <span class="small">{score.data.items[0].why}</span>}
            </p>
          )}
          {score.error && <p class="problem" role="alert">{score.error.message}</p>}
          <Wait of={prompt} what="the prompt">
            {(found) =>
              found && (
                <>
                  <h2>What the model saw</h2>
                  <p>{number(found.tokens)} tokens; {found.shown} past events are shown, {found.left_out} had no room.</p>
                  {found.parts.map((part) => (
                    <section key={part.name} class="prompt">
                      <h3>{part.name} <span class="small">{number(part.tokens)} tokens</span></h3>
                      <div class="meter" role="img" aria-label={`${Math.round((100 * part.tokens) / found.tokens)} % of the prompt`}>
                        <svg viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true"><rect width={(100 * part.tokens) / found.tokens} height="4" fill="var(--c1)" /></svg>
                      </div>
                      <p class="said">{part.text || "(nothing)"}</p>
                    </section>
                  ))}
                </>
              )
            }
          </Wait>
        </>
      )}
    </Wait>
  );
}
