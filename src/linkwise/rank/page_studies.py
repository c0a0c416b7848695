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
    Report,
    Section,
    Table,
    interval_columns,
)

if TYPE_CHECKING:
    from linkwise.rank.studies import Found

Row = dict[str, Any]


def build_report(found: Found, simulated: bool, config: RankStudyConfig) -> Report:
    """The page: each task's AUC by condition, as a table and a figure, and the slopes."""
    from linkwise.rank.study import RANKER

    slopes = [row for row in found.metrics if row["metric"] == "auc_slope"]
    own = [row for row in slopes if row["model"] == RANKER]
    tasks = [judged.name for judged in found.judged]
    if own:
        up = sum(row["low"] is not None and row["low"] > 0 for row in own)
        down = sum(row["high"] is not None and row["high"] < 0 for row in own)
        verdict = (
            f"AUC rises along the axis in {up} of {len(own)} tasks, interval above 0, and falls in {down}: "
            + ", ".join(f"{row['slice']} {_signed(row)}" for row in own)
            + "."
        )
        best: bool | None = None
    else:
        rows = _compared(found, RANKER)
        apart = [row for row in rows if (row["difference_low"] or 0) > 0]
        verdict = (
            f"{len(apart)} of {len(rows)} comparisons are apart in the ranker's favour."
            if not found.paired
            else "Each part's worth is what is lost without it: "
            + "; ".join(
                f"{row['slice']}, {row['model']} {row['difference']:+.3f} "
                f"[{row['difference_low']:+.3f}, {row['difference_high']:+.3f}]"
                for row in rows
                if row["difference_low"] is not None
            )
            + "."
        )
        best = None if found.paired else bool(rows) and len(apart) == len(rows)
    n = sum(len(judged.label) for judged in found.judged)
    return Report(
        title=found.title,
        lead=(verdict, *found.notes),
        simulated=simulated,
        beats_baseline=best,
        facts=(
            Fact(label="Tasks", value=str(len(tasks)), note=", ".join(tasks)),
            Fact(label="Events judged", value=f"{n:,}"),
            Fact(label="Base", value=config.base),
        ),
        sections=(
            *(_task_section(found, name) for name in tasks if _auc_rows(found, name)),
            *([_slope_section(slopes)] if slopes else []),
            Section(
                title="How it was done",
                blocks=(
                    Bullets(
                        items=(
                            *found.notes,
                            "All conditions are judged by the same events; differences are to the condition "
                            "without one."
                            if found.paired
                            else "Each condition has events of its own, one with fewer than ten of each kind "
                            "left out; differences are to the best model that is neither the ranker nor "
                            "the truth, by its AUC over all events.",
                            "Intervals: 95 %, bootstrap over members, all conditions on the same resamples.",
                        )
                    ),
                ),
            ),
        ),
    )


def _signed(row: Row) -> str:
    if row["low"] is None:
        return f"{row['value']:+.4f}"
    return f"{row['value']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]"


def _compared(found: Found, ranker: str) -> list[Row]:
    """The rows of AUC that are compared with another: conditions, or the ranker in each."""
    return [
        row
        for row in found.metrics
        if row["metric"] == "auc"
        and row["difference"] is not None
        and (found.paired or row["model"] == ranker)
    ]


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
    table = Table(
        caption=f"AUC of {task} by {found.axis}, with 95 % intervals over members",
        columns=(
            Column(name="condition"),
            *(() if found.paired else (Column(name="model"),)),
            Column(name="events", format="int"),
            *interval_columns("AUC", "float3", "AUC low", "AUC high"),
            *interval_columns("difference", "difference", "difference low", "difference high"),
        ),
        rows=tuple(
            (
                condition,
                *(() if found.paired else (model,)),
                row["n"],
                row["value"], row["low"], row["high"],
                row["difference"], row["difference_low"], row["difference_high"],
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
            mine = [(at[condition], row) for condition, m, row in rows if m == model]
            mine = [(x, row) for x, row in mine if row["low"] is not None]
            if mine:
                series.append(
                    LineSeries(
                        name=model,
                        x=[x for x, _ in mine],
                        y=[row["value"] for _, row in mine],
                        low=[row["low"] for _, row in mine],
                        high=[row["high"] for _, row in mine],
                        baseline=model == "popularity",
                    )
                )
        if series:
            chart = LineChart(
                x_label=found.axis,
                y_label="AUC",
                series=tuple(series),
                log_x=found.log,
                y_from_zero=False,
            )
            return Figure(caption=caption, alt=alt, chart=chart)
    conditions = [c for c in found.conditions if any(c == condition for condition, _, _ in rows)]
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
