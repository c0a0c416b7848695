"""The report of a rank run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from linkwise.rank.config import RankStudyConfig
from linkwise.report import (
    BarChart,
    BarSeries,
    Bullets,
    Column,
    Fact,
    Figure,
    LineChart,
    LineSeries,
    Report,
    Section,
    Table,
    interval_columns,
)

if TYPE_CHECKING:
    from linkwise.rank.ranker import Ranker
    from linkwise.rank.study import Judged

Metrics = list[dict[str, Any]]
AUC = interval_columns("AUC", "float3", "AUC low", "AUC high")


def build_report(
    judged: Sequence[Judged],
    metrics: Metrics,
    ranker: Ranker,
    config: RankStudyConfig,
    simulated: bool,
) -> Report:
    """The page: the verdict, AUC by task and model, members with a short past, how training went."""
    from linkwise.rank.study import RANKER

    own = [
        row
        for row in metrics
        if row["metric"] == "auc" and row["model"] == RANKER and "," not in row["slice"]
    ]
    better = [row for row in own if row["difference_low"] is not None and row["difference_low"] > 0]
    trained = [found.name for found in judged if found.trained]
    held_out = [found.name for found in judged if not found.trained]
    apart = sum(row["split"] == "held out" for row in own)
    verdict = (
        f"The ranker beats popularity (paired interval above 0) in {len(better)} of {len(own)} tasks"
        + (
            f" ({sum(row['split'] == 'held out' for row in better)} of {apart} that it was not trained on)"
            if apart
            else ""
        )
        + ": AUC "
        + ", ".join(f"{row['value']:.3f} ({row['slice']})" for row in own)
        + "."
    )
    n = sum(len(found.label) for found in judged)
    if judged[0].surface.clock:
        when = (
            f"{config.gap_days} days and more after the training; the past of a member is known up to the "
            f"{config.refresh_days} days' period of an event"
        )
    else:  # there is no gap, and a period is one position
        when = "after the training; the past of a member is known up to an event's own position"
    return Report(
        title="One text model for every surface",
        lead=(
            verdict,
            *_against_the_best(metrics),
            f"Judged on {n:,} events that were really shown, {when}.",
            *_unheard(ranker),
        ),
        simulated=simulated,
        # In some tasks and not in others: neither badge would be true.
        beats_baseline=bool(better) if len(better) in (0, len(own)) else None,
        facts=(
            Fact(label="Tasks trained on", value=str(len(trained)), note=", ".join(trained)),
            Fact(
                label="Tasks held out", value=str(len(held_out)), note=", ".join(held_out) or "none"
            ),
            Fact(label="Base", value=ranker.config.base),
            *(
                ()
                if config.teacher is None
                else (Fact(label="Teacher", value=config.teacher, note=f"counts {config.soft:g}"),)
            ),
        ),
        sections=(
            _tasks_section(judged, metrics),
            *_cold_section(metrics),
            _training_section(ranker),
            *_evidence_section(ranker),
            *_steering_section(metrics, ranker),
            _method_section(judged, ranker),
        ),
    )


def _against_the_best(metrics: Metrics) -> list[str]:
    """How the ranker stands beside the best of the models that were trained on each task."""
    over = [row for row in metrics if ", over " in row["slice"]]
    above = sum(row["difference_low"] > 0 for row in over)
    below = sum(row["difference_high"] < 0 for row in over)
    if not over:
        return []
    return [
        f"Beside the best other model of each task (trained on it; best on these events), it is above in "
        f"{above} of {len(over)} tasks, intervals apart, and below in {below}."
    ]


def _over(baseline: str) -> tuple[Column, ...]:
    return interval_columns(f"over {baseline}", "difference", "difference low", "difference high")


def _auc(metrics: Metrics, slice_name: str) -> Metrics:
    return [row for row in metrics if row["metric"] == "auc" and row["slice"] == slice_name]


def _tasks_section(judged: Sequence[Judged], metrics: Metrics) -> Section:
    rows = []
    for found in judged:
        for row in _auc(metrics, found.name):
            rows.append(
                (
                    found.name,
                    "trained" if found.trained else "held out",
                    row["model"],
                    row["value"], row["low"], row["high"],
                    row["difference"], row["difference_low"], row["difference_high"],
                )
            )  # fmt: skip
    return Section(
        title="Tasks",
        blocks=(
            _short_table(judged, metrics),
            _tasks_figure(judged, metrics),
            Table(
                caption="AUC by task and model, with 95 % intervals over members",
                columns=(
                    Column(name="task"),
                    Column(name="in training"),
                    Column(name="model"),
                    *AUC,
                    *_over("popularity"),
                ),
                rows=tuple(rows),
                limit=7,
            ),
        ),
    )


def _short_table(judged: Sequence[Judged], metrics: Metrics) -> Table:
    """A line for each task: the ranker, the best other model, and what is possible."""
    from linkwise.rank.study import RANKER, TRUTH

    rows = []
    truth = any(TRUTH in found.scores for found in judged)
    for found in judged:
        of = {row["model"]: row for row in _auc(metrics, found.name)}
        over = next((r for r in metrics if r["slice"].startswith(f"{found.name}, over ")), None)
        if over is None:
            continue
        other = over["slice"].removeprefix(f"{found.name}, over ")
        rows.append(
            (
                found.name,
                "trained" if found.trained else "held out",
                *(of[RANKER][key] for key in ("value", "low", "high")),
                other,
                of[other]["value"],
                *(over[key] for key in ("difference", "difference_low", "difference_high")),
                of["popularity"]["value"],
                *([of[TRUTH]["value"] if TRUTH in of else None] if truth else []),
            )
        )
    return Table(
        caption="AUC by task, with 95 % intervals over members",
        columns=(
            Column(name="task"),
            Column(name="in training"),
            *interval_columns("ranker", "float3", "AUC low", "AUC high"),
            Column(name="best other"),
            Column(name="its AUC", format="float3"),
            *interval_columns("over it", "difference", "difference low", "difference high"),
            Column(name="popularity", format="float3"),
            *([Column(name="best possible", format="float3")] if truth else []),
        ),
        rows=tuple(rows),
        note="All models of a task are judged on the same events, and all but the ranker are trained on the "
        "task itself, also where the ranker never saw it. The best other is that of the highest AUC on these "
        "events, chosen by their labels, which favours it.",
    )


def _tasks_figure(judged: Sequence[Judged], metrics: Metrics) -> Figure:
    models = list(dict.fromkeys(model for found in judged for model in found.scores))
    names = [found.name for found in judged if _auc(metrics, found.name)]
    series = []
    for model in models:
        found_rows = [
            next((row for row in _auc(metrics, name) if row["model"] == model), None)
            for name in names
        ]
        if any(row is None for row in found_rows):
            continue
        rows = [row for row in found_rows if row is not None]
        series.append(
            BarSeries(
                name=model,
                values=[row["value"] for row in rows],
                low=[row["low"] for row in rows],
                high=[row["high"] for row in rows],
                baseline=model == "popularity",
            )
        )
    return Figure(
        caption="AUC by task",
        alt="Bars of the AUC of each model for each task, with intervals; the numbers are in the table.",
        chart=BarChart(
            categories=tuple(names), series=tuple(series), value_label="AUC", category_label="task"
        ),
    )


def _cold_section(metrics: Metrics) -> list[Section]:
    rows = [
        (
            row["slice"].partition(",")[0], row["model"], row["n"],
            row["value"], row["low"], row["high"],
            row["difference"], row["difference_low"], row["difference_high"],
        )
        for row in metrics
        if row["metric"] == "auc" and "past events" in row["slice"]
    ]  # fmt: skip
    if not rows:
        return []
    return [
        Section(
            title="Members with a short past",
            blocks=(
                Table(
                    caption="AUC where at most ten past events are known",
                    columns=(
                        Column(name="task"),
                        Column(name="model"),
                        Column(name="events", format="int"),
                        *AUC,
                        *_over("the best other"),
                    ),
                    rows=tuple(rows),
                    limit=40,
                    note="The best other is neither the ranker nor the truth: of the highest AUC over all of "
                    "the task's test events, chosen by their labels, which favours it.",
                ),
            ),
        )
    ]


def _training_section(ranker: Ranker) -> Section:
    rows = tuple(
        (task, counts["known"], counts["learned"], counts["no_room"])
        for task, counts in ranker.learned_.items()
    )
    table = Table(
        caption="Members whose answers are learned",
        columns=(
            Column(name="task"),
            Column(name="with events in the training time", format="int"),
            Column(name="learned from", format="int"),
            Column(name="without room for an event", format="int"),
        ),
        rows=rows,
        note="About one member in twenty is held out to judge; with --sequences the others are drawn. Of "
        "members without room the description alone fills --max-tokens.",
    )
    history = [entry for entry in ranker.history_ if "held_out" in entry]
    if len(history) < 2:
        return Section(title="Training", blocks=(table,))
    figure = Figure(
        caption="Loss of an answer on members held out, by updates",
        alt="A line of the loss on members held out, by the number of updates.",
        chart=LineChart(
            x_label="updates",
            y_label="nats",
            series=(
                LineSeries(
                    name="held out",
                    x=[int(entry["step"]) for entry in history],
                    y=[entry["held_out"] for entry in history],
                ),
            ),
            y_from_zero=False,
        ),
    )
    return Section(title="Training", blocks=(table, figure))


def _steering_section(metrics: Metrics, ranker: Ranker) -> list[Section]:
    from linkwise.rank.study import STEERING

    heard = ranker.evidence_ is None or ranker.evidence_.hears
    meant = (
        "An order that moved scores further than words that ask for nothing would be obeyed."
        if heard
        else "The scores never read an answer, whose weight is 0 in all tasks: words move them as any text "
        "does, and whether an order would be obeyed is not tested."
    )

    rows = [row for row in metrics if row["metric"] == "steering"]
    if not rows:
        return []
    return [
        Section(
            title="Items that give orders",
            blocks=(
                Table(
                    caption="How far words before an item's text move its probability of yes: "
                    f"{rows[0]['slice']}",
                    columns=(
                        Column(name="words"),
                        Column(name="events", format="int"),
                        *interval_columns("mean shift", "difference", "low", "high"),
                    ),
                    rows=tuple(
                        (STEERING[int(row["k"])], row["n"], row["value"], row["low"], row["high"])
                        for row in rows
                    ),
                    note=f"Item texts stay between their brackets. {meant}",
                ),
            ),
        )
    ]


def _unheard(ranker: Ranker) -> tuple[str, ...]:
    """That the answers weigh nothing, where they do not."""
    if ranker.evidence_ is None or ranker.evidence_.hears:
        return ()
    return (
        "The model's answers weigh nothing in these scores: instruction, question, notes and the order of "
        "the past do not move them. They are made of how an item's text goes with the description and with "
        "past items.",
    )


def _evidence_section(ranker: Ranker) -> list[Section]:
    found = ranker.evidence_
    if found is None:
        return []
    rows = [
        (task, *(round(weight, 2) for weight in weights))
        for task, weights in {**found.own, "any other": found.shared}.items()
    ]
    return [
        Section(
            title="What the scores are made of",
            blocks=(
                Table(
                    caption="The log-odds of yes are a sum: an offset, and weights times what is told of a "
                    "member and an item",
                    columns=(
                        Column(name="task"),
                        Column(name="answer"),
                        Column(name="description"),
                        Column(name="acted on before"),
                        Column(name="passed by before"),
                        Column(name="offset"),
                    ),
                    rows=tuple(rows),
                    note="Answer: the log-odds of the answers' tokens. The others: products of the item's "
                    "vector and those of the member's description and past items, about their means; the "
                    "description with the other sign in tasks of turning items down. Weights are learned "
                    "from members held out of training. A task that the model never saw has those of the "
                    "last row.",
                ),
            ),
        )
    ]


def _method_section(judged: Sequence[Judged], ranker: Ranker) -> Section:
    left = sum(found.left_out for found in judged)
    known, spans = "an event's own position", "all time"
    if judged[0].surface.clock:
        known = "the beginning of the period that a test event falls into"
        spans = "1, 7 and 30 days and of all time"
    return Section(
        title="How it was done",
        blocks=(
            Bullets(
                items=(
                    "The model is trained on all events before the end of the training time, in the tasks "
                    "that are not held out, and not again. It sees a member's past events as text, up to "
                    f"{known}.",
                    f"{left:,} past events, over all prompts, had no room in the prompts' budget of tokens.",
                    "Popularity is the smoothed share of an item's earlier showings that were acted on. "
                    f"Logistic regression and boosting have counts of {spans}, of the member, the item, and "
                    "the member with items of the same kind, and how the texts' words meet. DCN-v2 has these "
                    "and ids; the two towers have ids and the texts' words.",
                    "Intervals: 95 %, bootstrap over members.",
                )
            ),
        ),
    )
