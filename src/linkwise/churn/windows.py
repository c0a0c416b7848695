"""Feature windows, label windows and cutoffs: who may see what, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import narwhals as nw

from linkwise.data.engine import Frame, count_where
from linkwise.data.events import Events, from_epoch_day
from linkwise.errors import InputError

Role = Literal["tune", "train", "calibrate", "report"]


@dataclass(frozen=True)
class Window:
    """One cutoff with its feature window before it and its label window after it.

    All are days since 1970-01-01, half-open: features see [cutoff - feature_days, cutoff), the label sees
    [cutoff + gap_days, cutoff + gap_days + label_days). The last day of the feature window is the
    "cutoff day" of the feature names.
    """

    cutoff: int
    feature_days: int
    gap_days: int
    label_days: int

    @property
    def start(self) -> int:
        """First day of the feature window."""
        return self.cutoff - self.feature_days

    @property
    def label_start(self) -> int:
        """First day of the label window."""
        return self.cutoff + self.gap_days

    @property
    def label_end(self) -> int:
        """First day after the label window."""
        return self.label_start + self.label_days

    def describe(self) -> dict[str, str]:
        """The window's dates as text, each range with its last day."""
        last = from_epoch_day(self.cutoff - 1)
        return {
            "cutoff": str(from_epoch_day(self.cutoff)),
            "features": f"{from_epoch_day(self.start)} to {last}",
            "label": f"{from_epoch_day(self.label_start)} to {from_epoch_day(self.label_end - 1)}",
        }


@dataclass(frozen=True)
class Plan:
    """Which cutoff serves what.

    `windows` has a window per role that owns a cutoff; roles that are missing share the training cutoff's
    users, split by a stable hash. `final` scores the users who are active up to the log's end and are not
    labelled yet.
    """

    windows: dict[Role, Window]
    final: Window

    @property
    def report(self) -> Window:
        """The window whose users are reported."""
        return self.windows["report"]

    @property
    def train(self) -> Window:
        """The window whose users the models are fitted on."""
        return self.windows["train"]

    @property
    def single(self) -> bool:
        """Whether one cutoff serves all roles, so that users and not times separate them."""
        return self.train == self.report


def plan(events: Events, feature_days: int, gap_days: int, label_days: int) -> Plan:
    """Count the cutoffs back from the log's end, as far as the log reaches.

    With l the length of gap and label, the cutoffs are E-l (report), E-2l (calibrate), E-3l (train) and
    E-4l (tune). Three: training users also tune. Two: E-2l trains, tunes and calibrates on separate
    users. One: users are split into training, tuning, calibration and report parts.

    Raises `InputError` where not even one cutoff has a whole feature and label window.
    """
    step = gap_days + label_days
    n_days = events.end_day - events.first_day
    if n_days < feature_days + step:
        raise InputError(
            f"the log is {n_days} days long ({from_epoch_day(events.first_day)} to "
            f"{from_epoch_day(events.last_day)}), but the windows need {feature_days + step} "
            f"({feature_days} feature + {gap_days} gap + {label_days} label days). "
            "Shorten them with --feature-days and --label-days."
        )

    def window(k: int) -> Window:
        return Window(events.end_day - k * step, feature_days, gap_days, label_days)

    fitting = [k for k in (1, 2, 3, 4) if window(k).start >= events.first_day]
    roles: dict[int, dict[Role, int]] = {
        1: {"train": 1, "report": 1},
        2: {"train": 2, "report": 1},
        3: {"train": 3, "calibrate": 2, "report": 1},
        4: {"tune": 4, "train": 3, "calibrate": 2, "report": 1},
    }
    windows = {role: window(k) for role, k in roles[len(fitting)].items()}
    return Plan(windows, window(0))


def in_features(frame: Frame, window: Window) -> Frame:
    """The events of the feature window."""
    return frame.filter(nw.col("day") >= window.start, nw.col("day") < window.cutoff)


def in_label(frame: Frame, window: Window) -> Frame:
    """The events of the label window."""
    return frame.filter(nw.col("day") >= window.label_start, nw.col("day") < window.label_end)


def labels(frame: Frame, window: Window, activity: tuple[str, ...]) -> Frame:
    """`user, churned` (0 or 1) for every user with an activity in the feature window.

    Churned is who has no activity in the label window. `activity` are the kinds of event that count; with
    none given every event counts. Users first seen in the label window are not here; see `newcomers`.
    """
    return (
        _active_in(frame, window, activity)
        .filter(nw.col("before") > 0)
        .select("user", nw.when(nw.col("after") > 0).then(0).otherwise(1).alias("churned"))
    )


def newcomers(frame: Frame, window: Window, activity: tuple[str, ...]) -> Frame:
    """One row: how many users are active in the label window but not in the feature window.

    `returning` of them were seen before the feature window.
    """
    # Grouped, not unique(): that numbers the rows of every user first.
    earlier = frame.filter(nw.col("day") < window.start)
    seen = earlier.group_by("user").agg(nw.len().alias("seen"))
    late = _active_in(frame, window, activity).filter(nw.col("before") == 0, nw.col("after") > 0)
    return late.join(seen, on="user", how="left").select(
        nw.len().alias("users"), nw.col("seen").count().alias("returning")
    )


def _active_in(frame: Frame, window: Window, activity: tuple[str, ...]) -> Frame:
    if activity:
        frame = frame.filter(nw.col("event").is_in(activity))
    day: Any = nw.col("day")
    before = (day >= window.start) & (day < window.cutoff)
    after = (day >= window.label_start) & (day < window.label_end)
    return (
        frame.filter(day >= window.start, day < window.label_end)
        .group_by("user")
        .agg(
            count_where(before).alias("before"),
            count_where(after).alias("after"),
        )
    )
