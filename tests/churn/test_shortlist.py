"""The list: reasons, actions, profit, and a CSV that is safe to open."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from linkwise.churn import shortlist
from linkwise.churn.config import ChurnConfig
from linkwise.churn.shortlist import profit_curve, suggest
from linkwise.churn.study import load_fitted
from linkwise.churn.words import reason
from linkwise.data.splits import user_hash
from linkwise.data.spreadsheet import neutral, write_csv
from linkwise.estimators.calibrate import IsotonicCalibrator
from linkwise.run import Run


def actions(stage: str = "stickiness", paid: bool = True, **costs: float) -> list[str]:
    """Actions for: risky and free, risky and paid, safe, silent 7, silent 13, silent 14, held out."""
    return suggest(
        probability=np.array([0.9, 0.9, 0.01, 0.9, 0.9, 0.9, 0.9]),
        silent=np.array([0, 0, 0, 7, 13, 14, 20.0]),
        paying=np.array([False, True, False, False, False, False, False]) if paid else None,
        held=np.array([False] * 6 + [True]),
        stage=stage,
        reach=shortlist.REACH_SONGS,
        config=ChurnConfig(**costs),
    )


def test_actions_follow_the_rules() -> None:
    assert actions() == [
        shortlist.TRIAL, shortlist.DISCOUNT, shortlist.LEAVE, shortlist.WATCH, shortlist.WATCH,
        shortlist.REACH_SONGS, shortlist.HOLDOUT,
    ]  # fmt: skip


def test_a_log_that_does_not_say_who_pays_gets_plain_offers() -> None:
    assert actions(paid=False)[:3] == [shortlist.OFFER, shortlist.OFFER, shortlist.LEAVE]


def test_holdout_does_not_depend_on_who_else_is_listed(music_run: Run) -> None:
    held = music_run.ranking.filter(pl.col("holdout"))["item"].to_list()
    hashes = user_hash(held, f"holdout-{music_run.config.seed}")
    assert len(held) > 0
    assert (hashes < music_run.config.churn.holdout).all()


def test_email_only_at_the_stage_of_revenue_where_the_offer_costs_more_than_the_user() -> None:
    dear = {"offer_cost": 60.0, "user_value": 50.0}
    assert actions("revenue", **dear)[:3] == [shortlist.EMAIL] * 3
    assert shortlist.EMAIL not in actions("stickiness", **dear)
    assert shortlist.EMAIL not in actions("revenue")


def test_profit_curve_by_hand() -> None:
    config = ChurnConfig(offer_cost=2, user_value=50, offer_success=0.1)
    curve, best = profit_curve(np.array([0.2, 0.9, 0.5]), config)
    np.testing.assert_allclose(curve, [0, 2.5, 3.0, 2.0])
    assert best == 2


def test_nobody_is_worth_an_offer_that_costs_too_much() -> None:
    curve, best = profit_curve(np.array([0.9, 0.5]), ChurnConfig(offer_cost=1000))
    assert best == 0
    assert curve[0] == 0


def test_list_and_ranking_agree_and_are_in_order(music_run: Run) -> None:
    ranking = music_run.ranking
    assert ranking.columns == [
        "model", "query", "item", "score", "rank", "probability", "low", "high", "reason",
        "action", "holdout",
    ]  # fmt: skip
    assert ranking["score"].is_sorted(descending=True)
    assert (ranking["low"] <= ranking["probability"]).all()
    assert (ranking["probability"] <= ranking["high"]).all()
    assert ranking["probability"].is_sorted(descending=True)
    listed = pl.read_csv(music_run.folder / "churn.csv", schema_overrides={"user": pl.String})
    assert listed["user"].to_list() == ranking["item"].to_list()
    assert ranking["item"].n_unique() == len(ranking)
    assert ranking["rank"].to_list() == list(range(1, len(ranking) + 1))


def test_probabilities_are_the_calibrators(music_run: Run) -> None:
    *_, calibrator = load_fitted(music_run.folder / "model")
    assert isinstance(calibrator, IsotonicCalibrator)
    ranking = music_run.ranking
    np.testing.assert_allclose(
        calibrator.predict(ranking["score"].to_numpy()), ranking["probability"].to_numpy()
    )


def test_reasons_are_the_largest_contributions(music_run: Run) -> None:
    _, _, model, _ = load_fitted(music_run.folder / "model")
    rows = pl.read_parquet(music_run.folder / "features.parquet").head(40)
    found = shortlist.reasons_of(rows, model)
    values = model.contributions(rows)[:, :-1]
    for i, text in enumerate(found):
        expected: list[str] = []
        silent: set[str] = set()
        for j in sorted(range(values.shape[1]), key=lambda j: -values[i, j])[:9]:
            words = reason(model.columns_[j], rows[model.columns_[j]][i])
            kind = words.split()[1] if words.startswith("no ") and "days" in words else words
            if values[i, j] > 0 and kind not in silent:
                silent.add(kind)
                expected.append(words)
        assert text == ("; ".join(expected[:3]) or shortlist.UNREMARKABLE)


def test_holdout_is_a_random_share_of_the_list(music_run: Run) -> None:
    ranking = music_run.ranking
    assert ranking["holdout"].mean() == pytest.approx(0.1, abs=0.06)
    assert (ranking.filter(pl.col("holdout"))["action"] == shortlist.HOLDOUT).all()


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r"])
def test_formulas_are_neutralised_in_csv(sign: str, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    text = f"{sign}cmd|' /C calc'!A0"
    write_csv(pl.DataFrame({"user": [text], "score": [-1.5], "reason": ['a "b", c']}), path)
    with path.open(newline="") as stream:
        header, row = list(csv.reader(stream))
    assert header == ["user", "score", "reason"]
    assert row[0] == "'" + text
    assert float(row[1]) == -1.5
    assert row[2] == 'a "b", c'


def test_ordinary_text_is_left_alone() -> None:
    assert neutral("a=b") == "a=b"
    assert neutral(7) == 7
    assert neutral(None) is None
