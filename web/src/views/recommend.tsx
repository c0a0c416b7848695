// Lists of several models side by side, for a user of the log or for a history that is put together here.
import { get, post, runPath, useData, type Rows } from "../api";
import type { ViewProps } from "../app";
import { SectionShown } from "../blocks";
import { number, percent } from "../format";
import { Finder, Wait, type Item } from "../parts";
import { setParams } from "../route";

type Listed = { model: string; items: { item: string; title: string | null; score: number; rank: number; reason: string }[]; unknown: string[] };
const K = 10;

export function overlap(one: string[], other: string[]): number {
  const both = one.filter((item) => other.includes(item)).length;
  return both / Math.max(1, one.length + other.length - both);
}

export function RecommendView({ run, report, route }: ViewProps) {
  const user = route.params.get("user");
  const history = (route.params.get("history") ?? "").split(",").filter(Boolean);
  const models = useData((signal) => get<{ chosen: string; models: string[] }>("recommend/models", { run }, signal), [run]);
  const items = async (text: string, signal: AbortSignal): Promise<Item[]> => {
    const found = await get<{ rows: { item: string; title: string | null }[] }>("recommend/items", { run, q: text, limit: 12 }, signal);
    return found.rows.map((row) => ({ id: row.item, text: row.title ?? "" }));
  };
  const users = async (text: string, signal: AbortSignal): Promise<Item[]> => {
    const found = await get<Rows>(runPath(run, "/tables/recommendations"), { where: ["rank:eq:1", ...(text ? [`user:starts:${text}`] : [])], columns: ["user", "title"], limit: 12 }, signal);
    return found.rows.map((row) => ({ id: String(row.user), text: "" }));
  };
  const titles = useData(
    async (signal) => {
      const found: Record<string, string> = {};
      for (const id of history) {
        const { rows } = await get<{ rows: { item: string; title: string | null }[] }>("recommend/items", { run, q: id, limit: 5 }, signal);
        found[id] = rows.find((row) => row.item === id)?.title ?? id;
      }
      return found;
    },
    [history.join()],
  );
  const lists = useData(
    async (signal): Promise<Listed[]> => {
      if (user) return [await post<Listed>("recommend", { run, user, k: K }, signal)];
      const names = (await get<{ models: string[] }>("recommend/models", { run }, signal)).models.slice(0, 4);
      return Promise.all(names.map((model) => post<Listed>("recommend", { run, history, k: K, model }, signal)));
    },
    [run, user, history.join()],
  );
  const set = (ids: string[]) => setParams({ history: ids.join(","), user: null });
  return (
    <>
      <div class="controls">
        <Finder label="Add to a history" placeholder="words of a title" search={items} choose={(item) => set([...history, item.id])} />
        <Finder label="Or a user of the log" placeholder="id" search={users} choose={(item) => setParams({ user: item.id, history: null })} />
      </div>
      {user ? (
        <p>The list that the run made for user <strong>{user}</strong>. <button type="button" onClick={() => set([])}>Leave</button></p>
      ) : (
        <>
          <h2>The history, oldest first</h2>
          {history.length === 0 && <p>Empty: a new user, who gets the most popular items. Add items above.</p>}
          <ol class="chips">
            {history.map((id, k) => (
              <li key={`${id}${k}`}>
                {titles.data?.[id] ?? id} <button type="button" aria-label={`Remove ${titles.data?.[id] ?? id}`} onClick={() => set(history.filter((_, n) => n !== k))}>×</button>
              </li>
            ))}
          </ol>
        </>
      )}
      <Wait of={lists} what="the lists">
        {(found) => (
          <div aria-live="polite">
            <div class="lists">
              {found.map((list) => (
                <section key={list.model}>
                  <h3>{list.model}{models.data?.chosen === list.model && <span class="small"> chosen by the run</span>}</h3>
                  <ol class="list">
                    {list.items.map((item) => (
                      <li key={item.item}>
                        <strong>{item.title ?? item.item}</strong> <span class="small">{number(item.score)}{item.reason && ` · ${item.reason}`}</span>
                      </li>
                    ))}
                  </ol>
                </section>
              ))}
            </div>
            {found.length > 1 && (
              <p class="small">
                Shared by the lists of {found[0]!.model} and{" "}
                {found.slice(1).map((list) => `${list.model}: ${percent(overlap(found[0]!.items.map((i) => i.item), list.items.map((i) => i.item)))}`).join("; ")} of their items.
              </p>
            )}
          </div>
        )}
      </Wait>
      {report.sections.filter((s) => ["New users, and time", "How much the lists share"].includes(s.title)).map((section) => <SectionShown key={section.title} section={section} />)}
    </>
  );
}

