"""Items, importances, sentences and the safest users, against loops over users and events."""

from __future__ import annotations

import math
import re
from itertools import product
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.churn.logs import (
    events_of,
    fitted_on,
    quick,
    rows_of,
    slow_labels,
    table_of,
    titled_log,
)
from tests.engine_fixtures import START

from linkwise.churn import insight
from linkwise.churn.config import ChurnConfig
from linkwise.churn.features import fit_spec
from linkwise.churn.fitted import Fitted, judge
from linkwise.churn.insight import Importance, find_insight
from linkwise.churn.models import Parts, fit_models
from linkwise.churn.study import labelled_table
from linkwise.churn.windows import Window
from linkwise.churn.words import describe_feature
from linkwise.context import Context
from linkwise.estimators.calibrate import IsotonicCalibrator
from linkwise.estimators.tabular import Boosting, BoostingConfig, Forest, ForestConfig

WINDOW = Window(START + 35, 25, 1, 7)


def slow_items(log: pl.DataFrame, labels: dict[Any, int], least: int) -> list[dict[str, Any]]:
    """Items by user, and Monroe et al.'s z-score from the formula, the most churners' own first."""
    users: dict[Any, set[Any]] = {}
    titles: dict[Any, list[str]] = {}
    for row in rows_of(log, WINDOW):
        if row["item"] is not None and row["user"] in labels:
            users.setdefault(row["item"], set()).add(row["user"])
            titles.setdefault(row["item"], []).extend([row["text"]] if row["text"] else [])
    kept = {item: found for item, found in users.items() if len(found) >= least}
    gone = {item: sum(labels[user] for user in found) for item, found in kept.items()}
    here = {item: len(found) - gone[item] for item, found in kept.items()}
    everyone, all_gone, all_here = (
        sum(map(len, kept.values())), sum(gone.values()), sum(here.values()),
    )  # fmt: skip
    rows = []
    for item, found in kept.items():
        prior = 500 * len(found) / everyone
        a, b = gone[item] + prior, here[item] + prior
        odds = math.log(a / (all_gone + 500 - a)) - math.log(b / (all_here + 500 - b))
        z = odds / math.sqrt(1 / a + 1 / b)
        text = max(titles[item], default="")
        row = {"item": item, "text": text, "churners": gone[item], "stayers": here[item]}
        rows.append(row | {"log_odds": odds, "z": z})
    return sorted(rows, key=lambda row: (-row["z"], row["item"]))


@pytest.mark.parametrize("most", [5, 100])
def test_items_equal_a_slow_count(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(insight, "TOP_ITEMS", most)
    monkeypatch.setattr(insight, "LEAST_USERS", 14)
    log = titled_log(1)
    labels = slow_labels(log, WINDOW)
    events = events_of(log)
    fitted = fitted_on(events, fit_spec(events, WINDOW), WINDOW, table_of(labels))
    expected = slow_items(log, labels, 14)
    assert 20 < len(expected) < 39, "some items have too few users, many have enough"
    assert 14 in [row["churners"] + row["stayers"] for row in expected]
    if most < len(expected) / 2:
        expected = expected[:most] + expected[-most:]
    found = insight._items(fitted, ChurnConfig())
    assert [item.item for item in found] == [str(row["item"]) for row in expected]
    for item, row in zip(found, expected, strict=True):
        assert (item.text, item.churners, item.stayers) == (
            row["text"], row["churners"], row["stayers"],
        )  # fmt: skip
        assert (item.log_odds, item.z) == pytest.approx((row["log_odds"], row["z"]), abs=1e-9)


def test_one_item_alone_is_not_compared() -> None:
    log = titled_log(2).with_columns(item=pl.lit(5))
    events = events_of(log)
    table = table_of(slow_labels(log, WINDOW))
    assert insight._items(fitted_on(events, fit_spec(events, WINDOW), WINDOW, table), quick()) == []


def learned(seed: int = 0, n: int = 300) -> Fitted:
    """Boosting and a forest on a table where `silent_days` matters, `noise` little and `one` never."""
    rng = np.random.default_rng(seed)
    silent = rng.integers(0, 20, n)
    rows = pl.DataFrame(
        {
            "last_event_time_from_cutoff": silent,
            "noise": rng.normal(size=n),
            "repeat_share": 1 - silent / 20,
            "one": np.ones(n),
        }
    )
    known = pl.Series(rng.random(n) < 0.7)
    rows = rows.with_columns(pl.when(known).then("repeat_share"))
    labels = (rng.random(n) < 1 / (1 + np.exp(5 - silent / 2))).astype(float)
    boosting = Boosting(BoostingConfig(rounds=20)).fit(rows, labels, seed=0, threads=1)
    forest = Forest(ForestConfig(trees=10)).fit(rows, labels, seed=0, threads=1)
    log = titled_log(1)
    events = events_of(log)
    table = table_of(dict(enumerate(labels.tolist())), rows)
    return fitted_on(
        events,
        fit_spec(events, WINDOW),
        WINDOW,
        table,
        {"boosting": boosting, "forest": forest},
        {"boosting": boosting.score(rows)},
    )


def slow_auc(labels: list[float], scores: list[float]) -> float:
    gone = [score for label, score in zip(labels, scores, strict=True) if label == 1]
    here = [score for label, score in zip(labels, scores, strict=True) if label == 0]
    wins = sum((a > b) + (a == b) / 2 for a, b in product(gone, here))
    return wins / (len(gone) * len(here))


def test_permutation_importance_equals_a_slow_count(tmp_path: Path) -> None:
    fitted = learned()
    context = Context(tmp_path, seed=4)
    found = insight._permutation(fitted, context)
    assert set(found) == {"last_event_time_from_cutoff", "noise", "repeat_share"}
    rng = context.rng("permutation")
    table = fitted.parts.report
    rows, labels = table.rows.to_dicts(), table.labels.tolist()
    before = slow_auc(labels, fitted.boosting.score(table.rows).tolist())
    for name, fall in found.items():
        after = []
        for _ in range(3):
            order = rng.permutation(len(rows)).tolist()
            shuffled = [
                row | {name: rows[other][name]} for row, other in zip(rows, order, strict=True)
            ]
            frame = pl.DataFrame(shuffled, schema=table.rows.schema)
            after.append(slow_auc(labels, fitted.boosting.score(frame).tolist()))
        assert fall == pytest.approx(before - mean(after), abs=1e-12)
    assert found["last_event_time_from_cutoff"] > abs(found["noise"])


def test_importances_equal_the_models_own_numbers(tmp_path: Path) -> None:
    fitted = learned()
    found, values, sampled = insight._importances(fitted, Context(tmp_path))
    rows = fitted.parts.report.rows
    assert len(sampled) == len(rows), "few users are all taken"
    contributions = fitted.boosting.contributions(rows)
    np.testing.assert_array_equal(values, contributions[:, :-1])
    # TreeSHAP is additive: values and base sum to the score.
    np.testing.assert_allclose(contributions.sum(axis=1), fitted.judged.scores["boosting"])
    shap = {name: mean(abs(v) for v in values[:, i]) for i, name in enumerate(rows.columns)}
    assert {one.feature: one.shap for one in found} == pytest.approx(shap)
    assert [one.feature for one in found] == sorted(shap, key=lambda name: (-shap[name], name))
    assert {one.feature: one.gain for one in found} == fitted.forest.importances
    unused = next(one for one in found if one.feature == "one")
    assert (unused.shap, unused.permutation, unused.gain) == (0, 0, 0)


def test_a_sample_keeps_its_rows_together() -> None:
    table = learned().parts.report
    sampled = insight._sample(table, 40, np.random.default_rng(1))
    assert len(sampled) == 40
    assert sampled.users.n_unique() == 40
    for i, user in enumerate(sampled.users):
        assert sampled.rows.row(i) == table.rows.row(user)
        assert sampled.labels[i] == table.labels[user]


def test_the_numbers_in_sentences_equal_a_slow_count(tmp_path: Path) -> None:
    fitted = learned()
    table = fitted.parts.report
    importances, values, sampled = insight._importances(fitted, Context(tmp_path))
    sentences = insight._sentences(importances, values, sampled, table)
    assert len(sentences) == 3, "the feature that no tree uses has none"
    for importance, sentence in zip(importances[:3], sentences, strict=True):
        name = importance.feature
        x = [float("nan") if v is None else float(v) for v in table.rows[name]]
        cut = insight.threshold(np.array(x), values[:, table.rows.columns.index(name)])
        assert cut is not None
        groups: dict[str, list[float]] = {"above": [], "below": [], "missing": []}
        for value, label in zip(x, table.labels.tolist(), strict=True):
            side = "missing" if math.isnan(value) else "above" if value > cut else "below"
            groups[side].append(label)
        sides = [
            groups["above"],
            groups["below"],
            *([groups["missing"]] if "repeat" in name else []),
        ]
        assert bool(groups["missing"]) == ("repeat" in name)
        assert sentence.startswith(f"{describe_feature(name)} ({name}): users above ")
        rates = [int(found) for found in re.findall(r"(\d+) % \[", sentence)]
        assert rates == [round(100 * mean(side)) for side in sides]
        assert ("where it is missing" in sentence) == ("repeat" in name)
    assert "churn more, " in next(s for s in sentences if s.startswith("Days since"))


def test_a_feature_that_changes_nothing_has_no_sentence() -> None:
    table = learned().parts.report
    nothing = [Importance("noise", 0.0, 0.0, 0.5)]
    values = np.zeros((len(table), table.rows.width))
    assert insight._sentences(nothing, values, table, table) == []


def test_the_safest_tenth_equals_a_slow_count() -> None:
    fitted = learned()
    table = fitted.parts.report
    risk = fitted.judged.scores["boosting"].tolist()
    order = sorted(range(len(table)), key=lambda i: (risk[i], i))
    safe = set(order[:30])
    expected = {}
    for name in table.rows.columns:
        x = table.rows[name].to_list()
        inside = [v for i, v in enumerate(x) if i in safe and v is not None]
        outside = [v for i, v in enumerate(x) if i not in safe and v is not None]
        spread = pstdev(inside + outside)
        if spread > 0:
            a, b = mean(inside), mean(outside)
            expected[name] = (a, b, (a - b) / spread)
    found, gone = insight._safest(fitted)
    assert {c.feature: (c.safest, c.others, c.difference) for c in found} == {
        name: pytest.approx(value) for name, value in expected.items()
    }
    sizes = [abs(common.difference) for common in found]
    assert sizes == sorted(sizes, reverse=True)
    assert len(found) == 3, "a feature with one value is not compared"
    assert (gone.n, gone.rate) == (30, mean(table.labels[i] for i in safe))


def test_insight_is_of_the_reported_users(tmp_path: Path) -> None:
    """The parts that `find_insight` counts itself, on a log with everything in it."""
    log = titled_log(8)
    # Some users pause for the whole feature window; some of them come for the first time after it.
    user, day = pl.col("user"), pl.col("day")
    log = log.filter((user % 6 > 0) | (day >= WINDOW.cutoff) | (day < WINDOW.start))
    log = log.filter((user % 12 > 0) | (day >= WINDOW.start))
    config, context = quick(), Context(tmp_path)
    events = events_of(log)
    spec = fit_spec(events, WINDOW)
    empty = fitted_on(events, spec, WINDOW, table_of(slow_labels(log, WINDOW)))
    table = labelled_table(events, spec, empty.rules, WINDOW, config)
    parts = Parts(table, table, table, table, table, "")
    models = fit_models(parts, spec, config, context)
    calibrators = {
        name: IsotonicCalibrator().fit(model.score(table.rows), table.labels, seed=0, samples=5)
        for name, model in models.items()
    }
    fitted = Fitted(
        events, spec, empty.rules, empty.plan, parts, models, calibrators,
        judge(models, calibrators, table),
    )  # fmt: skip
    found = find_insight(fitted, config, context)

    days: dict[int, set[int]] = {}
    for row in rows_of(log, WINDOW):
        days.setdefault(row["user"], set()).add(row["day"])
    for n, users in enumerate(found.active_days, start=1):
        assert users == sum(len(active) == n for active in days.values())
    assert len(found.active_days) == WINDOW.feature_days
    late, returning = set(), set()
    for row in log.to_dicts():
        if WINDOW.label_start <= row["day"] < WINDOW.label_end and row["user"] not in days:
            late.add(row["user"])
    for row in log.to_dicts():
        if row["user"] in late and row["day"] < WINDOW.start:
            returning.add(row["user"])
    assert (found.newcomers, found.returning) == (len(late), len(returning))
    assert late > returning > set()
    last = {user: max(active) for user, active in days.items()}
    labels = slow_labels(log, WINDOW)
    silent: dict[int, list[int]] = {}
    for user, day in last.items():
        silent.setdefault(WINDOW.cutoff - 1 - day, []).append(labels[user])
    assert {point.x: point.rate for point in found.by_recency} == pytest.approx(
        {gap: mean(churned) for gap, churned in silent.items()}
    )
    payers = {row["user"] for row in rows_of(log, WINDOW) if row["paid"]}
    share = f"{100 * len(payers) / len(days):.1f} % of the users pay."
    assert found.stage.reasons[-1] == share
