"""Cleaning, bots and the ledger's counts on random logs, against loops over the events."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.churn.logs import (
    NO_RULES,
    Row,
    events_of,
    fitted_on,
    quick,
    rows_of,
    slow_labels,
    table_of,
    titled_log,
)
from tests.engine_fixtures import START

from linkwise.churn import ledger
from linkwise.churn.clean import (
    BURST_RULE,
    PLAY_RULE,
    CleaningRules,
    cleaned,
    count_rules,
    events_rule,
    find_bots,
    fit_rules,
    rule_names,
)
from linkwise.churn.config import ChurnConfig
from linkwise.churn.features import fit_spec, user_features
from linkwise.churn.windows import Window
from linkwise.context import Context
from linkwise.data.engine import collect

WINDOW = Window(START + 35, 25, 1, 7)
NAMES = {"duration": "play_time", "length": "song_length"}


def faulty_log(seed: int) -> pl.DataFrame:
    """A random log with negative and huge values among the others."""
    log, rng = titled_log(seed), np.random.default_rng(seed)
    lucky = pl.Series(rng.random(len(log)))
    return log.with_columns(
        pl.when(lucky < 0.03).then(-pl.col("duration")).otherwise("duration").alias("duration"),
        pl.when(lucky > 0.98)
        .then(-pl.col("length"))
        .when(lucky > 0.92)
        .then(pl.col("length") * 3)
        .otherwise("length")
        .alias("length"),
    )


def broken_rules(row: Row, field: str, rules: CleaningRules) -> list[str]:
    value, name = row[field], NAMES[field]
    if value is None:
        return [f"{name} missing"]
    found = [f"{name} zero"] if value == 0 and field == "length" else []
    found += [f"{name} negative"] if value < 0 else []
    if value > rules.above[field]:
        found.append(f"{name} above the {rules.percentile:g}th percentile")
    return found


def test_thresholds_and_means_equal_a_slow_count() -> None:
    log = faulty_log(1)
    events = events_of(log)
    config = ChurnConfig(outliers_above=90, bots_above=80, impute="mean")
    rules = fit_rules(events.frame, fit_spec(events, WINDOW), WINDOW, config)
    seen = rows_of(log, WINDOW)
    for field in NAMES:
        values = sorted(
            row[field] for row in seen if row["event"] == "play" and (row[field] or 0) > 0
        )
        below = [value for value in values if value <= rules.above[field]]
        assert rules.above[field] == np.percentile(values, 90, method="inverted_cdf")
        assert rules.means[field] == round(sum(below) / len(below))
    counts: dict[Any, int] = {}
    for row in seen:
        counts[row["user"]] = counts.get(row["user"], 0) + 1
    assert rules.max_events == np.percentile(list(counts.values()), 80, method="inverted_cdf")


@pytest.mark.parametrize("impute", ["missing", "mean"])
@pytest.mark.parametrize("off", [None, *range(7)])
def test_cleaned_values_equal_a_slow_pass(impute: str, off: int | None) -> None:
    log = faulty_log(2)
    events = events_of(log)
    spec = fit_spec(events, WINDOW)
    config = ChurnConfig.model_validate({"outliers_above": 90, "impute": impute})
    rules = fit_rules(events.frame, spec, WINDOW, config)
    names = rule_names(rules, spec)
    assert len(names) == 7
    if off is not None:
        rules = rules.without(names[off])
    found = collect(cleaned(events.frame, spec, rules)).to_dicts()
    assert len(found) == len(log)
    for before, after in zip(log.to_dicts(), found, strict=True):
        for field in NAMES:
            broken = broken_rules(before, field, rules)
            value = None if [rule for rule in broken if rule not in rules.off] else before[field]
            if f"{NAMES[field]} missing" in rules.off and before[field] is None:
                value = 0
            if value is None and impute == "mean":
                value = rules.means[field]
            assert after[field] == value, (before, rules.off)


def test_counts_of_the_rules_equal_a_slow_count() -> None:
    log = faulty_log(3)
    events = events_of(log)
    spec = fit_spec(events, WINDOW)
    rules = fit_rules(events.frame, spec, WINDOW, ChurnConfig(outliers_above=90))
    plays = [row for row in rows_of(log, WINDOW) if row["event"] == "play"]
    touched: dict[str, list[Any]] = {name: [] for name in rule_names(rules, spec)}
    for row in plays:
        for field in NAMES:
            for rule in broken_rules(row, field, rules):
                touched[rule].append(row["user"])
    assert min(map(len, touched.values())) > 0
    for row in count_rules(events.frame, spec, rules, WINDOW):
        users = touched.pop(row["rule"])
        assert (row["rows"], row["users"]) == (len(users), len(set(users)))
        assert row["share"] == pytest.approx(len(users) / len(plays))
    assert not touched


def slow_bots(log: pl.DataFrame, rules: CleaningRules) -> set[tuple[Any, str]]:
    events: dict[Any, list[Row]] = {}
    for row in rows_of(log, WINDOW):
        events.setdefault(row["user"], []).append(row)
    found = set()
    for user, rows in events.items():
        if rules.max_events is not None and len(rows) > rules.max_events:
            found.add((user, events_rule(rules)))
        played: dict[int, int] = {}
        for row in rows:
            if row["event"] == "play":
                played[row["day"]] = played.get(row["day"], 0) + (row["duration"] or 0)
        if any(total > 24 * 3600 * 1000 for total in played.values()):
            found.add((user, PLAY_RULE))
        times = sorted(row["time"] for row in rows)
        for first, eleventh in zip(times, times[10:], strict=False):
            if (eleventh - first).total_seconds() < 10:
                found.add((user, BURST_RULE))
    return found


def hasty_log(seed: int) -> pl.DataFrame:
    """A random log in which some users hurry, and some play more hours than a day has."""
    log = titled_log(seed)
    hasty = pl.col("user") % 4 == 1
    tenth = (
        START + (pl.col("day") - START) // 10 * 10
    )  # all that they do, they do on every tenth day
    log = log.with_columns(day=pl.when(hasty).then(tenth).otherwise("day").cast(pl.Int32))
    place = pl.int_range(pl.len()).over("user", "day")
    hurried = pl.from_epoch("day", time_unit="d").cast(pl.Datetime) + pl.duration(
        # Of some users every 0.95 s, of others every second: eleven events in exactly 10 s are no burst yet.
        milliseconds=place * pl.when(pl.col("user") % 8 == 1).then(950).otherwise(1000)
    )
    return log.with_columns(
        time=pl.when(hasty).then(hurried).otherwise("time"),
        duration=pl.when(pl.col("user") % 3 == 1)
        .then(pl.col("duration") * 150)
        .otherwise("duration"),
    )


def test_bots_equal_a_slow_search() -> None:
    log = hasty_log(4)
    events = events_of(log)
    rules = replace(NO_RULES, max_events=70)
    found = find_bots(events.frame, fit_spec(events, WINDOW), rules, WINDOW)
    expected = slow_bots(log, rules)
    for rule in (events_rule(rules), PLAY_RULE, BURST_RULE):
        caught = {user for user, broken in expected if broken == rule}
        assert 0 < len(caught) < log["user"].n_unique() / 2, rule
    assert list(found.iter_rows()) == sorted(expected)


def test_the_ledgers_counts_of_bots_equal_a_slow_count() -> None:
    log = hasty_log(5)
    events = events_of(log)
    rules = replace(NO_RULES, max_events=70)
    seen = rows_of(log, WINDOW)
    bots = slow_bots(log, rules)
    counted = ledger._count_bots(events, fit_spec(events, WINDOW), rules, WINDOW)
    assert [row["rule"] for row in counted] == [events_rule(rules), PLAY_RULE, BURST_RULE]
    for row in counted:
        users = {user for user, rule in bots if rule == row["rule"]}
        rows = sum(event["user"] in users for event in seen)
        assert (row["users"], row["rows"]) == (len(users), rows)
        assert row["share"] == pytest.approx(rows / len(seen))


def test_without_a_rule_the_same_users_have_the_features_of_the_log_without_it() -> None:
    log = faulty_log(6)
    events = events_of(log)
    spec = fit_spec(events, WINDOW)
    rules = fit_rules(events.frame, spec, WINDOW, ChurnConfig(outliers_above=90))
    table = table_of(slow_labels(log, WINDOW))
    fitted = replace(fitted_on(events, spec, WINDOW, table), rules=rules)
    looser = rules.without("play_time negative")
    train, report = ledger._without(fitted, looser, quick())
    expected = collect(user_features(cleaned(events.frame, spec, looser), spec, WINDOW))
    strict = collect(user_features(cleaned(events.frame, spec, rules), spec, WINDOW))
    for found in (train, report):
        assert found.users.equals(table.users)
        assert found.labels.tolist() == table.labels.tolist()
        assert found.rows.equals(expected.drop("user"))
    assert not expected.equals(strict), "the rule did something"


def test_without_a_bot_rule_its_bots_are_trained_on_and_not_reported() -> None:
    log = hasty_log(7)
    events = events_of(log)
    spec = fit_spec(events, WINDOW)
    rules = replace(NO_RULES, max_events=70)
    labels = slow_labels(log, WINDOW)
    bots = slow_bots(log, rules)
    people = {user: gone for user, gone in labels.items() if user not in {u for u, _ in bots}}
    fitted = replace(fitted_on(events, spec, WINDOW, table_of(people)), rules=rules)
    later = replace(WINDOW, cutoff=WINDOW.cutoff + 8)
    windows = {"train": WINDOW, "calibrate": later, "report": later}
    plan = replace(fitted.plan, windows=windows)
    train, report = ledger._without(replace(fitted, plan=plan), rules.without(BURST_RULE), quick())
    others = {user for user, rule in bots if rule != BURST_RULE}
    assert train.users.to_list() == sorted(set(labels) - others)
    assert len(train) > len(people)
    assert train.labels.tolist() == [labels[user] for user in train.users]
    assert report.users.to_list() == sorted(people)


def test_a_rule_that_touched_nothing_is_not_measured(tmp_path: Path) -> None:
    log = titled_log(8).with_columns(duration=pl.lit(5_000), length=pl.lit(9_000))
    events = events_of(log)
    spec = fit_spec(events, WINDOW)
    fitted = fitted_on(events, spec, WINDOW, table_of(slow_labels(log, WINDOW)))
    entries = ledger.make_ledger(fitted, quick(ledger_auc=True), Context(tmp_path))
    assert len(entries) == 7
    assert all(entry.rows == 0 and entry.auc_without is None for entry in entries)
