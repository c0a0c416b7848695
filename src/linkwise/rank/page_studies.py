"""The report of a study of a ranker."""

from __future__ import annotations

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
    Mark,
    Report,
    Section,
    Table,
    Text,
    interval_columns,
)

if TYPE_CHECKING:
    from linkwise.rank.conditions import Found

Row = dict[str, Any]


def build_report(found: Found, simulated: bool, config: RankStudyConfig) -> Report:
    """The page: each task's AUC by condition, as a table and a figure, and the slopes."""
    from linkwise.rank.scaling import ANEW
    from linkwise.rank.study import RANKER

    slopes = [row for row in found.metrics if row["metric"] == "auc_slope"]
    own = [row for row in slopes if row["model"] == RANKER]
    tasks = [judged.name for judged in found.judged]
    gaps = [] if found.paired else _gaps(found, RANKER)
    apart = {_apart(row) for _, row, _ in gaps}
    lead = [
        *([_beaten(gaps)] if gaps else []),
        *([_rising(own)] if own else []),
        *([_lost(found)] if found.paired and not own else []),
    ]
    n = sum(len(judged.label) for judged in found.judged)
    return Report(
        title=found.title,
        lead=(*lead, *found.notes),
        simulated=simulated,
        # In some tasks and not in others: neither badge would be true.
        beats_baseline=apart.pop() if len(apart) == 1 else None,
        facts=(
            Fact(label="Tasks", value=str(len(tasks)), note=", ".join(tasks)),
            Fact(label="Events judged", value=f"{n:,}"),
            Fact(label="Base", value=config.base),
        ),
        sections=(
            *(_task_section(found, name) for name in tasks if _auc_rows(found, name)),
            *_relative_section(found, tasks),
            *([_slope_section(slopes)] if slopes else []),
            Section(
                title="How it was done",
                blocks=(Bullets(items=(*found.notes, *_how(found, anew=config.study in ANEW))),),
            ),
        ),
    )


def _how(found: Found, *, anew: bool) -> tuple[str, ...]:
    if found.paired:
        once = (
            "Intervals, those of slopes too, resample only the members who are tested: behind each condition "
            "stands one training, and what another would change (seed, members learned from) is not in them."
        )
        return (
            "All conditions are judged by the same events; differences are to the condition without one.",
            "Intervals: 95 %, bootstrap over members, all conditions of a task on the same resamples.",
            *([once] if anew else []),
        )
    return (
        "Each condition has events of its own, one with fewer than ten of each kind left out.",
        "Differences are to the model, neither the ranker nor the truth, that is best on these test events: "
        "it has the highest AUC over all of a task's, chosen by their labels, which favours it.",
        "Intervals: 95 %, bootstrap over members, all models of a condition on the same resamples.",
    )


def _gaps(found: Found, ranker: str) -> list[tuple[str, Row, str]]:
    """Of each task the ranker's AUC in the condition of the most events, and what it is compared with."""
    gaps = []
    for name in (judged.name for judged in found.judged):
        rows = [row for _, _, row in _auc_rows(found, name)]
        mine = [row for row in rows if row["model"] == ranker and row["difference"] is not None]
        if mine:
            widest = max(mine, key=lambda row: int(row["n"]))
            there = (row for row in rows if row["slice"] == widest["slice"])
            gaps.append((name, widest, next(r["model"] for r in there if r["difference"] is None)))
    return gaps


def _beaten(gaps: list[tuple[str, Row, str]]) -> str:
    """Whether the ranker beats the best other model, and by how much, of each task."""
    return (
        "The ranker beats the best other model (best on these test events), intervals apart, in "
        f"{sum(_apart(row) for _, row, _ in gaps)} of {len(gaps)} tasks: AUC "
        + "; ".join(f"{name} {_difference(row)} over {best}" for name, row, best in gaps)
        + "."
    )


def _rising(slopes: list[Row]) -> str:
    up = sum(row["low"] is not None and row["low"] > 0 for row in slopes)
    down = sum(row["high"] is not None and row["high"] < 0 for row in slopes)
    return (
        f"The ranker's AUC rises along the axis in {up} of {len(slopes)} tasks, interval above 0, and falls "
        f"in {down}: " + ", ".join(f"{row['slice']} {_signed(row)}" for row in slopes) + "."
    )


def _lost(found: Found) -> str:
    rows = [
        row for row in found.metrics if row["metric"] == "auc" and row["difference"] is not None
    ]
    said = "; ".join(f"{row['slice']}, {row['model']} {_difference(row)}" for row in rows)
    return f"Each part's worth is what is lost without it: {said}."


def _apart(row: Row) -> bool:
    return row["difference_low"] is not None and row["difference_low"] > 0


def _difference(row: Row) -> str:
    if row["difference_low"] is None:
        return f"{row['difference']:+.3f}"
    return f"{row['difference']:+.3f} [{row['difference_low']:+.3f}, {row['difference_high']:+.3f}]"


def _signed(row: Row) -> str:
    if row["low"] is None:
        return f"{row['value']:+.4f}"
    return f"{row['value']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]"


def _auc_rows(found: Found, task: str) -> list[tuple[str, str, Row]]:
    """The AUC of each condition and model of a task."""
    rows = [row for row in found.metrics if row["metric"] == "auc"]
    if found.paired:
        return [(row["model"], "ranker", row) for row in rows if row["slice"] == task]
    cut = f"{task}, "
    return [
        (row["slice"].removeprefix(cut), row["model"], row)
        for row in rows
        if row["slice"].startswith(cut)
    ]


def _task_section(found: Found, task: str) -> Section:
    rows = _auc_rows(found, task)
    relative = {
        row["model"]: (row["value"], row["low"], row["high"])
        for row in _relative(found)
        if row["slice"] == task
    }
    table = Table(
        caption=f"AUC of {task} by {found.axis}, with 95 % intervals over members",
        columns=(
            Column(name="condition"),
            *(() if found.paired else (Column(name="model"),)),
            Column(name="events", format="int"),
            *interval_columns("AUC", "float3", "AUC low", "AUC high"),
            *interval_columns("difference", "difference", "difference low", "difference high"),
            *(interval_columns(f"AUC / AUC of {found.reference}", "float3") if relative else ()),
        ),
        rows=tuple(
            (
                _marked(found, condition),
                *(() if found.paired else (model,)),
                row["n"],
                row["value"], row["low"], row["high"],
                row["difference"], row["difference_low"], row["difference_high"],
                *(relative[condition] if relative else ()),
            )
            for condition, model, row in rows
        ),
        limit=60,
    )  # fmt: skip
    return Section(title=task, blocks=(_figure(found, task, rows), table))


def _figure(found: Found, task: str, rows: list[tuple[str, str, Row]]) -> Figure:
    models = list(dict.fromkeys(model for _, model, _ in rows))
    caption = f"AUC of {task} by {found.axis}"
    alt = "The AUC of each condition with its interval; the numbers are in the table."
    if found.positions is not None:
        at = dict(zip(found.conditions, found.positions, strict=True))
        series = []
        for model in models:
            mine = [(at[c], row) for c, m, row in rows if m == model and c in at]
            mine = [(x, row) for x, row in mine if row["low"] is not None]
            if mine:
                series.append(_line(model, mine, model == "popularity"))
        if series:
            chart = LineChart(
                x_label=found.axis,
                y_label="AUC",
                series=tuple(series),
                log_x=found.log,
                y_from_zero=False,
                marks=_beyond(found),
            )
            return Figure(caption=caption, alt=alt, chart=chart)
    conditions = list(dict.fromkeys(condition for condition, _, _ in rows))
    by = {(condition, model): row for condition, model, row in rows}
    bars = tuple(
        BarSeries(
            name=model,
            values=[by[c, model]["value"] for c in conditions],
            low=[by[c, model]["low"] for c in conditions],
            high=[by[c, model]["high"] for c in conditions],
            baseline=model == "popularity",
        )
        for model in models
    )
    chart_of_bars = BarChart(
        categories=tuple(conditions), series=bars, value_label="AUC", category_label=found.axis
    )
    return Figure(caption=caption, alt=alt, chart=chart_of_bars)


def _line(name: str, points: list[tuple[float, Row]], baseline: bool = False) -> LineSeries:
    return LineSeries(
        name=name,
        x=[x for x, _ in points],
        y=[row["value"] for _, row in points],
        low=[row["low"] for _, row in points],
        high=[row["high"] for _, row in points],
        baseline=baseline,
    )


def _marked(found: Found, condition: str) -> str:
    mark = found.marks.get(condition)
    return condition if mark is None else f"{condition} ({mark})"


def _beyond(found: Found) -> tuple[Mark, ...]:
    """A line where the first marked condition stands."""
    assert found.positions is not None
    for condition, x in zip(found.conditions, found.positions, strict=True):
        if condition in found.marks:
            return (Mark(x=x, label=found.marks[condition]),)
    return ()


def _relative(found: Found) -> list[Row]:
    return [row for row in found.metrics if row["metric"] == "auc_relative"]


def _relative_section(found: Found, tasks: list[str]) -> list[Section]:
    """Each task's AUC as a share of that of the reference, if there is one: one line for a task."""
    if found.reference is None or found.positions is None:
        return []
    at = dict(zip(found.conditions, found.positions, strict=True))
    rows = [row for row in _relative(found) if row["low"] is not None]
    lines = {
        name: [(at[row["model"]], row) for row in rows if row["slice"] == name] for name in tasks
    }
    whole = f"AUC divided by that of {found.reference}"
    if not rows:
        return []
    chart = LineChart(
        x_label=found.axis,
        y_label=f"of {found.reference}",
        series=tuple(_line(name, points) for name, points in lines.items() if points),
        log_x=found.log,
        y_from_zero=False,
        marks=_beyond(found),
    )
    alt = "A line for each task, with intervals; the numbers are in the tasks' tables."
    said = (
        f"{whole}, of the same events and within each resample of the members: 1 where a shorter history "
        "tells as much."
    )
    return [
        Section(
            title="Normalised",
            blocks=(
                Figure(caption=f"{whole}, by {found.axis}", alt=alt, chart=chart),
                Text(paragraphs=(said,)),
            ),
        )
    ]


def _slope_section(slopes: list[Row]) -> Section:
    return Section(
        title="Slopes",
        blocks=(
            Table(
                caption="Slope of AUC along the axis, with 95 % intervals over members",
                columns=(
                    Column(name="task"),
                    Column(name="model"),
                    *interval_columns("slope", "difference", "low", "high"),
                ),
                rows=tuple(
                    (row["slice"], row["model"], row["value"], row["low"], row["high"])
                    for row in slopes
                ),
                limit=60,
            ),
        ),
    )
