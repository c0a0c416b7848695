// The whole report, and how the run was made.
import { runPath } from "../api";
import type { ViewProps } from "../app";
import { SectionShown } from "../blocks";

export function ReportView({ run, details, report }: ViewProps) {
  return (
    <>
      <div class="lead">{report.lead.map((line, k) => <p key={k}>{line}</p>)}</div>
      <dl class="facts">
        {details.card.facts.map((fact) => <div key={fact.label}><dt>{fact.label}</dt><dd>{fact.value}</dd>{fact.note && <dd class="small">{fact.note}</dd>}</div>)}
      </dl>
      {report.sections.map((section) => <SectionShown key={section.title} section={section} />)}
      <section>
        <h2>How it was made</h2>
        <dl class="details">
          {report.details.map((fact) => <div key={fact.label}><dt>{fact.label}</dt><dd>{fact.value}</dd></div>)}
        </dl>
        <p><a href={`../v1/${runPath(run, "/report.html")}`} target="_blank" rel="noopener">The report as one page, to print or to send</a></p>
      </section>
    </>
  );
}
