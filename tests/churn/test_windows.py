"""Cutoffs and labels, by hand and against plain Python."""

from __future__ import annotations

import narwhals as nw
import numpy as np
import polars as pl
import pytest

from linkwise.churn.windows import Window, labels, newcomers, plan
from linkwise.data.engine import collect
from linkwise.data.events import Events
from linkwise.errors import InputError


def log(rows: list[tuple[str, int]], kind: str = "play") -> Events:
    frame = pl.DataFrame(
        {"user": [r[0] for r in rows], "day": [r[1] for r in rows]},
        schema_overrides={"day": pl.Int32},
    ).with_columns(event=pl.lit(kind))
    days = frame["day"]
    return Events(
        frame=nw.from_native(frame.lazy()),
        columns=frozenset(frame.columns),
        first_day=int(days.min()),
        last_day=int(days.max()),
        n_rows=len(frame),
        n_users=frame["user"].n_unique(),
        kinds=(kind,),
    )


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        (44, {"train": 30, "report": 30}),
        (57, {"train": 30 + 13, "report": 30 + 13}),
        (58, {"train": 30, "report": 44}),
        (72, {"train": 30, "calibrate": 44, "report": 58}),
        (86, {"tune": 30, "train": 44, "calibrate": 58, "report": 72}),
        (120, {"tune": 64, "train": 78, "calibrate": 92, "report": 106}),
    ],
)
def test_cutoffs_count_back_from_the_end(days: int, expected: dict[str, int]) -> None:
    found = plan(log([("a", 100), ("a", 99 + days)]), 30, 0, 14)
    assert {role: w.cutoff - 100 for role, w in found.windows.items()} == expected
    assert found.final.cutoff == 100 + days


def test_label_windows_do_not_overlap_the_next_cutoffs_label() -> None:
    found = plan(log([("a", 0), ("a", 199)]), 30, 3, 14)
    report, calibrate = found.windows["report"], found.windows["calibrate"]
    assert calibrate.label_end == report.cutoff
    assert report.label_end == 200
    assert report.label_start == report.cutoff + 3


def test_too_short_a_log_says_how_long_it_is() -> None:
    with pytest.raises(InputError, match=r"43 days long.*need 44"):
        plan(log([("a", 0), ("a", 42)]), 30, 0, 14)


def test_labels_by_hand() -> None:
    window = Window(cutoff=10, feature_days=5, gap_days=2, label_days=3)
    events = log(
        [
            ("stays", 9), ("stays", 12),
            ("gone", 5),
            ("only in the gap", 7), ("only in the gap", 11),
            ("too early", 4), ("too late", 9), ("too late", 15),
            ("new", 12), ("returns", 1), ("returns", 14),
        ]
    )  # fmt: skip
    found = dict(collect(labels(events.frame, window, ())).iter_rows())
    assert found == {"stays": 0, "gone": 1, "only in the gap": 1, "too late": 1}
    late = collect(newcomers(events.frame, window, ())).row(0, named=True)
    assert late == {"users": 2, "returning": 1}


def test_activity_narrows_what_counts() -> None:
    window = Window(cutoff=10, feature_days=5, gap_days=0, label_days=5)
    play, visit = log([("a", 9)]), log([("a", 12), ("b", 9)], "visit")
    frame = nw.from_native(pl.concat([play.frame.to_native(), visit.frame.to_native()]))
    assert dict(collect(labels(frame, window, ())).iter_rows()) == {"a": 0, "b": 1}
    assert dict(collect(labels(frame, window, ("play",))).iter_rows()) == {"a": 1}


def test_labels_equal_plain_python_on_random_logs() -> None:
    rng = np.random.default_rng(4)
    rows = [(f"u{rng.integers(80)}", int(rng.integers(0, 60))) for _ in range(600)]
    window = Window(cutoff=40, feature_days=20, gap_days=3, label_days=7)
    expected = {}
    for user in {user for user, _ in rows}:
        days = [day for other, day in rows if other == user]
        if any(20 <= day < 40 for day in days):
            expected[user] = int(not any(43 <= day < 50 for day in days))
    assert dict(collect(labels(log(rows).frame, window, ())).iter_rows()) == expected
