// All runs as cards, with their verdict.
import { get, useData, type Card } from "../api";
import { day, VERBS } from "../format";
import { Choice, Wait } from "../parts";
import { href, setParams, type Route } from "../route";

function RunCard({ card }: { card: Card }) {
  if (card.status === "corrupt")
    return (
      <article class="card run-card corrupt">
        <h2>{card.id}</h2>
        <p class="verdict no">This run cannot be read: {card.problem}</p>
      </article>
    );
  const said = card.beats_baseline === true ? "Beats the baseline" : card.beats_baseline === false ? "Does not beat the baseline" : null;
  return (
    <article class="card run-card">
      <p class="small">{VERBS[card.verb] ?? card.verb} · {day(card.finished)}{card.simulated && <strong class="sim"> · simulated data</strong>}</p>
      <h2><a href={href(card.id)}>{card.title}</a></h2>
      <p class="id">{card.id}</p>
      {said && <p class={`say ${card.beats_baseline ? "yes" : "no"}`}>{said}</p>}
      <p>{card.lead[0]}</p>
      <dl class="facts">
        {card.facts.slice(0, 3).map((fact) => <div key={fact.label}><dt>{fact.label}</dt><dd>{fact.value}</dd></div>)}
      </dl>
    </article>
  );
}

export function Home({ route }: { route: Route }) {
  const runs = useData((signal) => get<{ runs: Card[] }>("runs", {}, signal), []);
  const verb = route.params.get("verb") ?? "";
  return (
    <>
      <h1>Runs</h1>
      <Wait of={runs} what="the runs">
        {({ runs: all }) => {
          const verbs = [...new Set(all.filter((c) => c.status === "ok").map((c) => c.verb))];
          const shown = all.filter((c) => !verb || c.verb === verb);
          return (
            <>
              {verbs.length > 1 && <Choice label="Kind" value={verb} set={(v) => setParams({ verb: v })} options={[["", "all"], ...verbs.map((v): [string, string] => [v, VERBS[v] ?? v])]} />}
              {all.length === 0 && <p>There is no finished run in this folder yet. Runs are found here as soon as they are finished.</p>}
              <div class="cards">{shown.map((card) => <RunCard key={card.id} card={card} />)}</div>
            </>
          );
        }}
      </Wait>
    </>
  );
}
