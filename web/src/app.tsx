// The shell: which run and which view of it, and the way between them.
import { useEffect, useRef, useState } from "preact/hooks";
import { get, Problem, runPath, setToken, useData, type Card, type Details } from "./api";
import type { Report } from "./blocks";
import { day, VERBS } from "./format";
import { Wait } from "./parts";
import { href, useRoute, type Route } from "./route";
import { AskView } from "./views/ask";
import { ChurnView } from "./views/churn";
import { GraphsView, OwnGraphView } from "./views/graphs";
import { Home } from "./views/home";
import { MatchView } from "./views/match";
import { PollutionView } from "./views/pollution";
import { PromptView, RankView } from "./views/rank";
import { RecommendView } from "./views/recommend";
import { ReportView } from "./views/report";
import { TablesView } from "./views/tables";
import { PairsView } from "./views/pairs";
import { MapView } from "./views/patent-map";

export type ViewProps = { run: string; details: Details; report: Report; route: Route };
type View = { name: string; title: string; show: (props: ViewProps) => preact.JSX.Element };

// The views of a run, the first of which opens.
function viewsOf(card: Card): View[] {
  const own: View[] = [];
  const add = (name: string, title: string, show: View["show"]) => own.push({ name, title, show });
  if (card.verb === "churn") add("users", "Users at risk", (p) => <ChurnView {...p} />);
  if (card.verb === "recommend") add("lists", "Lists", (p) => <RecommendView {...p} />);
  if (card.verb === "rank" && card.asks.includes("rank")) {
    add("rank", "Rank candidates", (p) => <RankView {...p} />);
    add("prompt", "Prompt", (p) => <PromptView {...p} />);
  }
  if (card.verb === "forecast") {
    if (card.tables.includes("map")) add("map", "Map", (p) => <MapView {...p} />);
    add("pairs", "Pairs", (p) => <PairsView {...p} />);
  }
  if (card.verb === "match" || card.verb === "match-pairs") add("match", "Matches", (p) => <MatchView {...p} />);
  if (card.verb === "match-link") {
    add("links", "Pollutants and patents", (p) => <PollutionView {...p} />);
    if (card.tables.includes("map")) add("map", "Map", (p) => <MapView {...p} />);
  }
  if (card.verb === "detect") {
    add("graphs", "Strangest graphs", (p) => <GraphsView {...p} />);
    add("own", "A graph of yours", (p) => <OwnGraphView {...p} />);
  }
  return [
    ...own,
    { name: "report", title: "Report", show: (p) => <ReportView {...p} /> },
    { name: "tables", title: "Tables", show: (p) => <TablesView {...p} /> },
    { name: "ask", title: "Ask", show: (p) => <AskView {...p} /> },
  ];
}

function RunPage({ route }: { route: Route }) {
  const run = route.run!;
  const details = useData((signal) => get<Details>(runPath(run), {}, signal), [run]);
  const report = useData((signal) => get<Report>(runPath(run, "/report"), {}, signal), [run]);
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => heading.current?.focus({ preventScroll: true }), [run]);
  return (
    <Wait of={details} what="the run">
      {(found) => {
        const views = viewsOf(found.card);
        const view = views.find((v) => v.name === route.view) ?? views[0]!;
        return (
          <>
            {found.card.simulated && <p class="banner">Simulated data: these are no measurements of real people, patents or graphs.</p>}
            <header class="run">
              <p class="small">
                {VERBS[found.card.verb] ?? found.card.verb} · {found.card.id} · {day(found.card.finished)}
              </p>
              <h1 tabIndex={-1} ref={heading}>{found.card.title}</h1>
              <p class={`verdict ${found.card.beats_baseline === false ? "no" : found.card.beats_baseline ? "yes" : ""}`}>{found.card.lead[0]}</p>
              <nav aria-label="Views of this run">
                <ul class="tabs">
                  {views.map((v) => (
                    <li key={v.name}>
                      <a href={href(run, v.name)} aria-current={v === view ? "page" : undefined}>{v.title}</a>
                    </li>
                  ))}
                </ul>
              </nav>
            </header>
            <Wait of={report} what="the report">{(doc) => <div key={`${run}/${view.name}`}>{view.show({ run, details: found, report: doc, route })}</div>}</Wait>
          </>
        );
      }}
    </Wait>
  );
}

function TokenForm() {
  return (
    <form
      class="token"
      onSubmit={(event) => {
        event.preventDefault();
        setToken(new FormData(event.currentTarget).get("token") as string);
        location.reload();
      }}
    >
      <h1>Linkwise</h1>
      <p>This service asks for its token, the value of LINKWISE_TOKEN where it runs. It is kept until this tab is closed.</p>
      <div class="field">
        <label for="token">Token</label>
        <input id="token" name="token" type="password" autocomplete="current-password" required />
      </div>
      <button type="submit">Go on</button>
    </form>
  );
}

export function App() {
  const route = useRoute();
  const [locked, setLocked] = useState(false);
  useEffect(() => {
    get("runs").catch((error: Error) => error instanceof Problem && error.status === 401 && setLocked(true));
  }, []);
  useEffect(() => {
    document.title = route.run ? `${route.run} · Linkwise` : "Linkwise";
  }, [route.run]);
  if (locked) return <main class="page"><TokenForm /></main>;
  return (
    <>
      <a class="skip" href="#main" onClick={(e) => { e.preventDefault(); document.getElementById("main")?.focus(); }}>Skip to the content</a>
      <header class="top">
        <a class="brand" href={href(null)}>Linkwise</a>
        <nav aria-label="Runs"><a href={href(null)}>All runs</a></nav>
      </header>
      <main id="main" class="page" tabIndex={-1}>{route.run === null ? <Home route={route} /> : <RunPage key={route.run} route={route} />}</main>
    </>
  );
}
