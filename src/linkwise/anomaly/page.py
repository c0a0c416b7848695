"""The report of a detection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from linkwise.anomaly.audit import clusters, rank_correlation
from linkwise.anomaly.choose import mark_of
from linkwise.anomaly.registry import AUTO, BASELINE, REFERENCES
from linkwise.anomaly.study_config import LEARN_ANOMALIES
from linkwise.report import (
    Bullets,
    Column,
    Fact,
    Figure,
    LineChart,
    LineSeries,
    NetworkChart,
    Report,
    ScatterChart,
    ScatterSeries,
    Section,
    Table,
    Text,
    interval_columns,
)

if TYPE_CHECKING:
    from linkwise.anomaly.reasons import Reasons
    from linkwise.anomaly.study import Judged
    from linkwise.anomaly.study_config import DetectConfig
    from linkwise.data.graphs import Graphs

Floats = np.ndarray[Any, np.dtype[np.float64]]

BINS = 40  # of a distribution
DRAWN = 3  # strange graphs that are drawn, each beside its nearest normal one
CLUSTERED = 5_000  # graphs up to which scores are clustered: time grows with the square


def build_report(
    graphs: Graphs,
    answered: Sequence[Judged],
    turned: Judged | None,
    reasons: Reasons,
    more: tuple[Any, ...],
    simulated: bool,
    config: DetectConfig,
    left_out: int,
) -> Report:
    """The page: the verdict, detectors side by side, the strangest graphs, what the score saw.

    `left_out` is the number of strange graphs that are not judged because they equal a known anomaly.
    """
    first = answered[0]
    lead, beats = _verdict(answered, config)
    sections = [_detectors(judged, config) for judged in answered if judged.task.labelled]
    sections += [_choices(judged) for judged in answered[:1] if judged.choices]
    sections += [
        _strangest(graphs, first, reasons, config),
        _distributions(first, config),
        *more,
    ]
    if first.task.labelled:
        sections += [_calibration(answered, config), _audit(graphs, first, turned, config)]
    facts = (
        Fact(label="Graphs", value=f"{len(graphs):,}"),
        Fact(label="Asked", value=first.task.slice if len(answered) == 1 else "each class in turn"),
        Fact(label="Detector", value=", ".join(config.detector)),
        Fact(label="Protocol", value=_protocol(config, first)),
    )
    if config.known_anomalies:
        taught = ", ".join(n for n in config.detector if n in LEARN_ANOMALIES)
        lead = (
            *lead,
            f"{taught}: learned from known anomalies, too; others did not. {left_out:,} strange graphs equal "
            "a known one, and are not judged.",
        )
    return Report(
        title="Graphs that do not belong",
        lead=(*lead, *_mended(graphs)),
        simulated=simulated,
        beats_baseline=beats,
        facts=facts,
        sections=(*sections, _method(config, first)),
    )


def _protocol(config: DetectConfig, judged: Judged) -> str:
    if not judged.task.labelled:
        return f"{config.folds} folds, no labels"
    if config.protocol == "folds":
        return f"{config.folds} folds"
    return f"holdout of {config.test_share:.0%} of the normal graphs"


def _mended(graphs: Graphs) -> tuple[str, ...]:
    said = [f"{count:,} {rule}" for rule, count in graphs.ledger.items() if count]
    return (f"In the files: {'; '.join(said)}.",) if said else ()


def _row(judged: Judged, model: str, metric: str = "auc") -> dict[str, Any]:
    return next(r for r in judged.metrics if (r["model"], r["metric"]) == (model, metric))


def _verdict(
    answered: Sequence[Judged], config: DetectConfig
) -> tuple[tuple[str, ...], bool | None]:
    """The first lines, and whether the first detector beats size alone in every question."""
    name = config.detector[0]
    if not answered[0].task.labelled:
        flagged = int(answered[0].verdict(name, "flagged").sum())
        n = len(answered[0].rows)
        return (
            f"{flagged} of {n:,} graphs are flagged as strange, at a false discovery rate of "
            f"{config.false_alarms:.0%}. Nothing says which really are, so nothing is judged.",
            "Every graph was judged by a detector that had not seen it; all others were taken as normal, "
            "so strange ones among them blunt it.",
        ), None
    lines, beats = [], []
    for judged in answered:
        row = _row(judged, name)
        size = _row(judged, BASELINE)
        text = (
            f"{judged.task.slice}: {_called(judged, name)} reaches an AUC of {row['value']:.3f} "
            f"[{row['low']:.3f}, {row['high']:.3f}]"
        )
        if name == BASELINE:
            lines.append(f"{text}; that is what size alone reaches.")
            continue
        low = row["difference_low"]
        above = low is not None and low > 0
        beats.append(above)
        verdict = (
            "more" if above else "no more than" if row["difference"] <= 0 else "not surely more"
        )
        words = {
            "more": "more than size alone",
            "no more than": "no more than size alone",
            "not surely more": "not surely more than size alone",
        }[verdict]
        lines.append(
            f"{text}, {words} ({size['value']:.3f}; difference {row['difference']:+.3f} "
            f"[{row['difference_low']:+.3f}, {row['difference_high']:+.3f}])."
        )
        best = max(judged.said, key=lambda model: _row(judged, model)["value"])
        if best != name and _row(judged, best)["value"] > row["value"] + 0.005:
            lines.append(
                f"The best of all was {best} with {_row(judged, best)['value']:.3f}; which one is best is "
                "known only where strange graphs are."
            )
    return tuple(lines), all(beats) if beats else None


def _called(judged: Judged, name: str) -> str:
    if name != AUTO or not judged.choices:
        return name
    chosen = [choice.name for choice in judged.choices]
    counted = sorted(set(chosen), key=lambda one: -chosen.count(one))
    return f"auto ({', '.join(counted)})"


def _detectors(judged: Judged, config: DetectConfig) -> Section:
    rows = []
    for model in sorted(judged.said, key=lambda m: -_row(judged, m)["value"]):
        auc, ap = _row(judged, model), _row(judged, model, "average_precision")
        found = _row(judged, model, "flagged_strange")
        false = _row(judged, model, "flagged_normal")
        rows.append(
            (
                _called(judged, model) + (" (baseline)" if model == BASELINE else ""),
                auc["value"], auc["low"], auc["high"], auc["difference"], auc["difference_low"],
                auc["difference_high"], ap["value"], ap["low"], ap["high"], found["value"], false["value"],
            )
        )  # fmt: skip
    strange = judged.strange
    notes = [
        f"{int(strange.sum()):,} strange, {int((~strange).sum()):,} normal graphs judged. Intervals: 95 %, "
        "bootstrap over graphs"
        + (", means over folds." if len(judged.task.parts) > 1 else ".")
        + f" Flagged: at a false discovery rate of {config.false_alarms:.0%}."
    ]
    if len([name for name in config.detector if name != AUTO]) + len(REFERENCES) > 3:
        notes.append("Taking the best of these rows after the fact would use the labels.")
    return Section(
        title=f"Detectors, {judged.task.slice}",
        blocks=(
            Table(
                caption="How well each tells strange graphs from normal ones",
                columns=(
                    Column(name="detector"),
                    *interval_columns("AUC", "float3"),
                    *interval_columns("more than size", "difference"),
                    *interval_columns("average precision", "float3"),
                    Column(name="strange flagged", format="percent"),
                    Column(name="normal flagged", format="percent"),
                ),
                rows=tuple(rows),
                note=" ".join(notes),
            ),
        ),
    )


def _choices(judged: Judged) -> Section:
    """By what `auto` chose: its candidates on graphs made strange."""
    kinds = list(next(iter(judged.choices[0].aucs.values())))
    rows: list[tuple[Any, ...]] = []
    for name in judged.choices[0].aucs:
        told = [choice for choice in judged.choices if name in choice.aucs]
        means = [float(np.mean([c.aucs[name][kind] for c in told])) for kind in kinds]
        chosen = sum(choice.name == name for choice in judged.choices)
        rows.append((name, *means, mark_of(dict(zip(kinds, means, strict=True))), chosen))
    rows.sort(key=lambda row: -float(row[-2]))
    return Section(
        title="How auto chose",
        blocks=(
            Table(
                caption="AUC of training graphs against the same made strange, in three folds",
                columns=(
                    Column(name="candidate"),
                    *(Column(name=kind, format="float3") for kind in kinds),
                    Column(name="mark", format="float3"),
                    Column(name="chosen in folds" if len(judged.choices) > 1 else "chosen"),
                ),
                rows=tuple(rows),
                note="Rewired: a fifth of the edges exchange ends. Relabelled: a fifth of the nodes take "
                "others' labels. Joined: two graphs and an edge between them. The mark is the geometric "
                "mean. No label was used.",
            ),
        ),
    )


def _strangest(graphs: Graphs, judged: Judged, reasons: Reasons, config: DetectConfig) -> Section:
    from linkwise.anomaly.pictures import picture

    name = config.detector[0]
    place = {int(row): at for at, row in enumerate(judged.rows)}
    score, p = judged.score(name), judged.verdict(name, "p_value")
    by_size, flagged = judged.verdict(name, "by_size"), judged.verdict(name, "flagged")
    rows = []
    for reason in reasons.strangest:
        at = place[reason.row]
        known = () if graphs.label is None else (graphs.label[reason.row],)
        rows.append(
            (
                graphs.ids[reason.row], *known, float(score[at]), float(p[at]), float(by_size[at]),
                "yes" if flagged[at] else "no", int(graphs.n_nodes[reason.row]),
                int(graphs.n_edges[reason.row]), reasons.words[reason.row],
            )
        )  # fmt: skip
    blocks: list[Any] = [
        Table(
            caption=f"The strangest graphs by {_called(judged, name)}, and why",
            columns=(
                Column(name="graph"),
                *(() if graphs.label is None else (Column(name="class"),)),
                Column(name="score", format="float2"),
                Column(name="p-value", format="float4"),
                Column(name="p-value among its size", format="float4"),
                Column(name="flagged"),
                Column(name="nodes", format="int"),
                Column(name="edges", format="int"),
                Column(name="why"),
            ),
            rows=tuple(rows),
            note="Scores are in deviations of held-out normal graphs. A p-value is the share of these that "
            "are as strange or stranger, the graph itself counted. All graphs stand in ranking.parquet.",
            limit=10,
            source="ranking.parquet",
        )
    ]
    drawn = [r for r in reasons.strangest if graphs.n_nodes[r.row]][:DRAWN]
    pictures = []
    for reason in drawn:
        pictures.append(
            picture(graphs, reason.row, f"strange: {graphs.ids[reason.row]}", reason.contributions)
        )
        if reason.nearest is not None and graphs.n_nodes[reason.nearest]:
            near = f"nearest normal: {graphs.ids[reason.nearest]}"
            pictures.append(picture(graphs, reason.nearest, near, None))
    if pictures:
        said = "; ".join(f"{graphs.ids[r.row]}: {reasons.words[r.row]}" for r in drawn)
        explained = any(reason.contributions is not None for reason in drawn)
        blocks.append(
            Figure(
                caption="The strangest graphs, each beside its nearest normal one",
                alt=f"Graphs as drawn. {said}",
                chart=NetworkChart(pictures=tuple(pictures)),
                note=(
                    "Squares and thick lines add most to the score; dashed lines are edges that the family "
                    "would have there."
                    if explained
                    else "This detector cannot say which nodes or edges make the score."
                ),
            )
        )
    return Section(title="The strangest graphs", blocks=tuple(blocks))


def _distributions(judged: Judged, config: DetectConfig) -> Section:
    """Scores of the graphs learned from, of normal ones held out, and of strange ones."""
    name = config.detector[0]
    said = judged.said[name]
    parts = {"learned from": np.concatenate([one.train for one in said])}
    score = judged.score(name)
    if judged.strange is None:
        parts["judged"] = score
    else:
        parts["normal, not seen"] = score[~judged.strange]
        parts["strange"] = score[judged.strange]
    low = min(float(np.quantile(values, 0.005)) for values in parts.values())
    high = max(float(np.quantile(values, 0.98)) for values in parts.values())
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    middles = ((edges[1:] + edges[:-1]) / 2).tolist()
    series = tuple(
        LineSeries(
            name=f"{what} ({len(values):,})",
            x=middles,
            y=(np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / len(values)).tolist(),
            baseline=what == "learned from",
        )
        for what, values in parts.items()
    )
    medians = ", ".join(f"{what} {np.median(values):.2f}" for what, values in parts.items())
    return Section(
        title="How scores are spread",
        blocks=(
            Figure(
                caption=f"Scores by {_called(judged, name)}, in deviations of held-out normal graphs",
                alt=f"Shares of graphs by score. Medians: {medians}.",
                chart=LineChart(
                    x_label="score", y_label="share of graphs", series=series, y_format="percent"
                ),
                note="What lies beyond the ends is drawn at them.",
            ),
        ),
    )


def _calibration(answered: Sequence[Judged], config: DetectConfig) -> Section:
    rows = []
    for judged in answered:
        for name in config.detector:
            p, by_size = judged.verdict(name, "p_value"), judged.verdict(name, "by_size")
            normal, strange = ~judged.strange, judged.strange
            for bar in (0.01, 0.05, 0.1):
                rows.append(
                    (
                        judged.task.slice, name, bar, float((p[normal] <= bar).mean()),
                        float((p[strange] <= bar).mean()), float((by_size[normal] <= bar).mean()),
                        float((by_size[strange] <= bar).mean()),
                    )
                )  # fmt: skip
    held = min(len(part.calibrate) for judged in answered for part in judged.task.parts)
    notes = [
        "A p-value holds if no more than the bar's share of normal graphs falls under it, but for chance."
    ]
    if held < 99:
        notes.append(
            f"With {held} graphs to count among, the least p-value is {1 / (held + 1):.3f}."
        )
    return Section(
        title="Do the p-values hold?",
        blocks=(
            Table(
                caption="Share of judged graphs under each bar",
                columns=(
                    Column(name="asked"),
                    Column(name="detector"),
                    Column(name="p-value at most", format="float2"),
                    Column(name="normal", format="percent"),
                    Column(name="strange", format="percent"),
                    Column(name="normal, among its size", format="percent"),
                    Column(name="strange, among its size", format="percent"),
                ),
                rows=tuple(rows),
                note=" ".join(notes),
            ),
        ),
    )


def _audit(graphs: Graphs, judged: Judged, turned: Judged | None, config: DetectConfig) -> Section:
    """What the score really saw: size, duplicates, the direction of the choice, clusters."""
    name = config.detector[0]
    rows, strange, score = judged.rows, judged.strange, judged.score(name)
    nodes = graphs.n_nodes[rows].astype(np.float64)
    points = []
    same = judged.twins
    size = _row(judged, BASELINE)
    points.append(
        f"Size alone (nodes and edges, distance to the nearest normal graph's) reaches an AUC of "
        f"{size['value']:.3f}."
    )
    points.append(
        f"Among normal graphs the score's rank correlation with the number of nodes is "
        f"{rank_correlation(score[~strange], nodes[~strange]):+.2f}, among strange ones "
        f"{rank_correlation(score[strange], nodes[strange]):+.2f}."
    )
    if same is not None:
        points.append(
            f"{same.copies:,} of {same.graphs:,} judged graphs have a twin that no refinement tells apart; "
            f"{same.across:,} have one of the other kind. No score that treats equal graphs alike passes an "
            f"AUC of {same.ceiling:.3f}."
        )
    if len(score) <= CLUSTERED:
        points.append(
            f"Cutting the scores into two clusters, without labels, puts {clusters(score, strange):.1%} of "
            "the judged graphs where they belong (Ward's distance; clusters named the better way)."
        )
    blocks: list[Any] = [Bullets(items=tuple(points))]
    if turned is not None:
        table = tuple(
            (
                _called(turned, model),
                *(_row(judged, model)[key] for key in ("value", "low", "high")),
                *(_row(turned, model)[key] for key in ("value", "low", "high")),
            )
            for model in turned.said
            if model in judged.said
        )
        blocks.append(
            Table(
                caption="The choice of the normal class, the other way round",
                columns=(
                    Column(name="detector"),
                    *interval_columns("AUC as asked", "float3"),
                    *interval_columns("AUC exchanged", "float3"),
                ),
                rows=table,
                note="Exchanged: learned from the strange graphs, the normal ones judged as strange. A "
                "detector that is right one way and below .5 the other sees how dense a class lies, not "
                "what belongs to it.",
            )
        )
    if int(nodes.min()) > 0:
        kinds = {"normal": ~strange, "strange": strange}
        groups = tuple(
            ScatterSeries(
                name=kind, x=nodes[at].tolist(), y=score[at].tolist(), baseline=kind == "normal"
            )
            for kind, at in kinds.items()
        )
        blocks.append(
            Figure(
                caption=f"Score by {_called(judged, name)} against size",
                alt="Each judged graph by its nodes and its score; "
                + points[1][0].lower()
                + points[1][1:],
                chart=ScatterChart(
                    series=groups,
                    x_label="nodes",
                    y_label="score",
                    log_x=True,
                ),
            )
        )  # fmt: skip
    return Section(title="What the score saw", blocks=tuple(blocks))


def _method(config: DetectConfig, judged: Judged) -> Section:
    part = judged.task.parts[0]
    items = [
        f"A detector learns from normal graphs alone ({len(part.train):,} in the first part); p-values are "
        f"counted among {len(part.calibrate):,} others that nothing was learned from, and graphs flagged by "
        "Benjamini and Hochberg's rule.",
        "size: log counts of nodes and edges; degrees, labels: histograms; wl: counts of Weisfeiler-Lehman "
        "subtrees after one round, wl-cosine their directions after four; netlsd: heat traces. Each by the "
        f"distance to the {config.reference.neighbours} nearest normal graphs."
        if config.reference.by == "knn"
        else f"References: by {config.reference.by}.",
        "The detector in model/ is the one judged here."
        if config.protocol == "holdout" and judged.task.labelled
        else "The detector in model/ learned from the normal graphs of all folds.",
    ]
    return Section(
        title="How it was done",
        blocks=(
            Bullets(items=tuple(items)),
            Text(paragraphs=("linkwise detect score RUN FILE ranks new graphs with it.",)),
        ),
    )
