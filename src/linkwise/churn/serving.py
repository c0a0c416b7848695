"""One user's risk from the user's own events, by a fitted run: as the list of a whole log would have it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import narwhals as nw
import polars as pl

from linkwise.churn.config import ChurnConfig
from linkwise.churn.shortlist import make_list
from linkwise.churn.study import describe, load_fitted, unlabelled
from linkwise.churn.windows import Window
from linkwise.context import Context
from linkwise.data.events import EPOCH
from linkwise.errors import InputError, LinkwiseError

# The one day that all users are scored at: their own days are moved to it, since features look back from the
# cutoff and never at the calendar. So the features' plan is made once, and users of other days share it.
CUTOFF = 100_000
TEXTS, SECONDS = ("event", "item", "device"), ("duration", "length")


@dataclass(frozen=True)
class Asked:
    """The events of one user, and the day on which the risk is asked for, which is not read itself.

    An event is a mapping of `time` (ISO, a date where the run was fitted on dates), and where they are known
    `event` (its kind), `item`, `duration` and `length` in seconds, `value`, `device`, `paid`.
    """

    events: Sequence[Mapping[str, Any]]
    at: date


class Risks:
    """The listed model of a churn run, held in memory with the plan of its features."""

    def __init__(self, folder: Path, config: ChurnConfig, seed: int) -> None:
        model = folder / "model"
        self.spec, rules, self.boosting, self.calibrator = load_fitted(model)
        self.stage = json.loads((model / "stage.json").read_text())["stage"]
        # A single user is described, whatever is thought of so many events; `bot` says it. Who is left alone
        # as a control is decided by lists: here nobody is.
        self.config = config.model_copy(update={"bots": "flag", "holdout": 0.0})
        self.seed = seed
        spec = self.spec
        self._schema: dict[str, Any] = {"user": pl.Int64, "event": pl.String, "day": pl.Int32}
        self._schema |= {"time": pl.Datetime("us")} if spec.clock else {}
        kinds = {"item": pl.String, "value": pl.Int64, "paid": pl.Boolean}
        kinds |= dict.fromkeys(SECONDS, pl.Int64)
        self._schema |= {name: kind for name, kind in kinds.items() if getattr(spec, name)}
        self._schema |= {"device": pl.String} if spec.devices else {}
        self._rows = pl.DataFrame(schema=self._schema)
        frame = pl.LazyFrame(schema=self._schema).map_batches(
            lambda _: self._rows, schema=pl.Schema(self._schema)
        )
        window = Window(CUTOFF, spec.feature_days, self.config.gap_days, self.config.label_days)
        described = describe(nw.from_native(frame), spec, rules, window, self.config.activity)
        self._plan = [nw.to_native(part) for part in described]

    def answer(self, asked: Sequence[Asked]) -> list[dict[str, Any] | LinkwiseError]:
        """Of each user `at, probability, low, high, score, reason, action, bot`, or why there is nothing."""
        found: list[dict[str, Any] | LinkwiseError] = [self._silent(one) for one in asked]
        frames = []
        for number, one in enumerate(asked):
            try:
                frames.append(self._events(number, one))
            except LinkwiseError as error:
                found[number] = error
        self._rows = pl.concat(frames) if frames else self._rows.head(0)
        # The in-memory engine: of a few hundred rows the default spends most time on starting itself.
        collected = pl.collect_all(self._plan, engine="in-memory")
        table = unlabelled(collected, self.spec, self.config)
        if not len(table):
            return found
        listed = make_list(
            table,
            self.boosting,
            self.calibrator,
            self.spec,
            self.stage,
            self.config,
            Context(folder=Path(), seed=self.seed),
        )
        names = ("probability", "low", "high", "score", "reason", "action", "bot")
        for line in listed.iter_rows(named=True):
            at = str(asked[line["user"]].at)
            found[line["user"]] = {"at": at} | {name: line[name] for name in names}
        return found

    def _silent(self, one: Asked) -> InputError:
        acts = f" of the kinds {', '.join(self.config.activity)}" if self.config.activity else ""
        return InputError(
            f"the user has no event{acts} in the {self.spec.feature_days} days before {one.at}: by the run's "
            "own definition such a user is gone already, and is not scored."
        )

    def _events(self, number: int, one: Asked) -> pl.DataFrame:
        """The events as the log's frame has them: days, milliseconds, hundredths."""
        shift = CUTOFF - (one.at - EPOCH).days
        times = [self._time(event["time"], k) for k, event in enumerate(one.events, 1)]
        columns: dict[str, Any] = {
            "user": [number] * len(times),
            "day": [(time.date() - EPOCH).days + shift for time in times],
        }
        for name in self._schema:
            if name in columns:
                continue
            if name == "time":
                try:
                    columns[name] = [time + timedelta(days=shift) for time in times]
                except OverflowError:
                    raise InputError(f"at is {one.at}; expected a day near the events.") from None
                continue
            values = [event.get(name) for event in one.events]
            if name in TEXTS:
                values = [None if value is None else str(value) for value in values]
            elif name in (*SECONDS, "value"):
                factor = 1000 if name in SECONDS else 100
                values = [None if value is None else round(value * factor) for value in values]
            columns[name] = values
        if "event" in columns:
            columns["event"] = [kind or "event" for kind in columns["event"]]
        return pl.DataFrame(columns, schema_overrides=self._schema).select(list(self._schema))

    def _time(self, text: str, number: int) -> datetime:
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            raise InputError(
                f'event {number}: time is "{text}"; expected a date or a time, 2026-04-20T18:05:00.'
            ) from None
        if time.tzinfo is not None:
            raise InputError(
                f'event {number}: time is "{text}"; give it by the log\'s own clock, without a zone.'
            )
        if self.spec.clock and len(text) <= len("2026-04-20"):
            raise InputError(
                f'event {number}: time is "{text}"; the run was fitted on clock times, give one.'
            )
        return time
