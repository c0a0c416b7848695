// Questions about a run, answered from its records, with sources that open the record.
import { useRef, useState } from "preact/hooks";
import { events } from "../api";
import type { ViewProps } from "../app";
import { href } from "../route";

type Source = { number: number; where: string; text: string };
type Turn = { question: string; lines: string[]; sources: Source[]; refused: boolean; how: string; dropped: number; problem?: string; done: boolean };

const EXAMPLES: Record<string, string[]> = {
  churn: ["Which model is best by AUC?", "How many users were scored?"],
  recommend: ["Which model is best by NDCG@10?", "Does svd beat popularity by NDCG@10?"],
  "match-link": ["Which pollutant has the most patents?", "Which patents help with mercury?"],
  detect: ["Which detector is best by AUC?"],
};

// The place of a source as an address: a row of a table, a table, or the report.
export function placeOf(run: string, where: string, tables: string[]): string {
  const file = /^(\w+)\.parquet(?: rows? ([\d,]+))?/.exec(where);
  if (file?.[1] && tables.includes(file[1])) {
    const params: Record<string, string> = { table: file[1] };
    if (file[2]) params.row = String(Number(file[2].replace(/,/g, "")) - 1);
    return href(run, "tables", params);
  }
  return href(run, "report");
}

export function AskView({ run, details, route }: ViewProps) {
  const [turns, setTurns] = useState<Turn[]>([]);
  const [text, setText] = useState(route.params.get("q") ?? "");
  const session = useRef<string | null>(null);
  const running = turns.some((turn) => !turn.done);

  const ask = async (question: string) => {
    const place = turns.length;
    const change = (changes: (turn: Turn) => Partial<Turn>) => setTurns((all) => all.map((turn, k) => (k === place ? { ...turn, ...changes(turn) } : turn)));
    setTurns((all) => [...all, { question, lines: [], sources: [], refused: false, how: "", dropped: 0, done: false }]);
    setText("");
    try {
      for await (const { event, data } of events("ask", { run, question, session: session.current }, new AbortController().signal)) {
        if (event === "line") change((turn) => ({ lines: [...turn.lines, String(data.text)] }));
        else if (event === "answer") {
          session.current = String(data.session);
          change(() => ({ lines: String(data.answer).split("\n"), sources: data.sources as Source[], refused: Boolean(data.refused), how: String(data.how), dropped: Number(data.dropped) }));
        } else change(() => ({ problem: String(data.detail) }));
      }
    } catch (error) {
      change(() => ({ problem: (error as Error).message }));
    }
    change(() => ({ done: true }));
  };

  return (
    <div class="ask">
      <p>Answers come from this run's records alone, each with its sources; what the records do not say is refused.</p>
      <div role="log" aria-live="polite" aria-label="Questions and answers">
        {turns.map((turn, k) => (
          <article key={k} class="turn">
            <h2 class="question">{turn.question}</h2>
            {turn.lines.map((line, n) => <p key={n} class={turn.refused ? "refused" : ""}>{line}</p>)}
            {!turn.done && <p class="wait">…</p>}
            {turn.problem && <p class="problem">{turn.problem}</p>}
            {turn.dropped > 0 && <p class="small">{turn.dropped} sentences of the model did not hold against the records and were dropped.</p>}
            {turn.sources.length > 0 && (
              <ol class="sources" aria-label="Sources">
                {turn.sources.map((source) => (
                  <li key={source.number} value={source.number}>
                    <a href={placeOf(run, source.where, details.card.tables)}>{source.where}</a>: {source.text}
                  </li>
                ))}
              </ol>
            )}
          </article>
        ))}
      </div>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (text.trim() && !running) void ask(text.trim());
        }}
      >
        <div class="field wide">
          <label for="question">Your question</label>
          <input id="question" type="text" value={text} maxLength={4000} autocomplete="off" onInput={(e) => setText(e.currentTarget.value)} />
        </div>
        <button type="submit" disabled={running || !text.trim()}>Ask</button>
      </form>
      {!turns.length && EXAMPLES[details.card.verb] && (
        <p class="examples">
          For example:{" "}
          {EXAMPLES[details.card.verb]!.map((example) => (
            <button key={example} type="button" class="link" onClick={() => void ask(example)}>{example}</button>
          ))}
        </p>
      )}
    </div>
  );
}
