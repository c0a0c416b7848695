"""Settings chosen on the validation, and the blend and segments of a study."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tomli_w

import linkwise
from linkwise.cli import main
from linkwise.context import Context
from linkwise.data.interactions import Histories
from linkwise.data.queries import split
from linkwise.errors import InputError, UsageError
from linkwise.metrics.ranking import per_query
from linkwise.recommend.blend import BlendConfig
from linkwise.recommend.config import RecommendConfig
from linkwise.recommend.ease import EASE, EASEConfig
from linkwise.recommend.evaluate import judge
from linkwise.recommend.fitting import candidates, changed, fit_model
from linkwise.recommend.segments import Segments, SegmentsConfig
from linkwise.recommend.svd import SVD, SVDConfig
from linkwise.run import Run
from linkwise.testing.recommender import GROUPS, grouped_log, timed_log


def test_the_setting_that_is_best_on_the_validation_is_taken() -> None:
    parts = split(timed_log(0), "global-time:0.8")
    config = RecommendConfig(models="ease", refit=False)
    found = fit_model("ease", parts, 0, config, {}, Context(folder=Path()))
    by_hand = {}
    for ridge in (250.0, 500.0, 1000.0, 100.0):
        model = EASE(EASEConfig(ridge=ridge)).fit(parts.train)
        ranks = judge(model, parts.validation).ranks
        by_hand[ridge] = per_query(ranks, parts.validation.targets.offsets, 10)["ndcg"].mean()
    assert [value for _, value in found.trials] == pytest.approx(list(by_hand.values()))
    assert found.validated == max(by_hand.values())
    assert isinstance(found.model.config, EASEConfig)
    assert by_hand[found.model.config.ridge] == found.validated


def test_what_was_set_by_hand_stays() -> None:
    assert [changed(c) for c in candidates(SVDConfig(), 3)] == [
        "values one",
        "factors 100, values one",
    ]
    assert [changed(c) for c in candidates(SVDConfig(factors=20), 4)] == ["factors 20, values one"]
    assert candidates(SVDConfig(values="one", factors=20), 4) == []
    assert candidates(SVDConfig(), 1) == []


def test_weights_learned_on_the_validation_outlive_the_refit() -> None:
    parts = split(timed_log(0), "global-time:0.8")
    found = {}
    for refit in (False, True):
        config = RecommendConfig(blend="tune", models="blend", refit=refit)  # type: ignore[arg-type]
        model = fit_model("blend", parts, 0, config, {}, Context(folder=Path())).model
        found[refit] = model.weights_  # type: ignore[attr-defined]
    assert found[True] == found[False]
    assert found[True] != BlendConfig().weights


def test_blends_from_text() -> None:
    assert BlendConfig.model_validate("tune").tune == 50
    found = BlendConfig.model_validate("popularity=.5, nmf+svd = 1")
    assert found.weights == {"popularity": 0.5, "nmf+svd": 1.0}
    for text in ("popularity", "popularity=x", "=1", "popularity=1,"):
        with pytest.raises(ValueError, match="is no blend; expected tune, or weights"):
            BlendConfig.model_validate(text)


def test_segments_put_each_user_in_the_group_of_the_nearest_centre() -> None:
    """Users of planted groups share a segment, and get the list of its model."""
    log = grouped_log()
    config = SegmentsConfig(model="item-item", segments=GROUPS, factors=6)
    model = Segments(config).fit(log, context=Context(folder=Path(), seed=1))
    places = model._places(log.histories)
    nearest = np.linalg.norm(places[:, None] - model.centres_[None], axis=2).argmin(axis=1)
    for group in range(GROUPS):
        _, counts = np.unique(nearest[group::GROUPS], return_counts=True)
        assert counts.max() > 0.8 * counts.sum()
    scores = model.scores(log.histories)
    for user in (0, 5, 30):
        history = log.histories.take(np.array([user]))
        own = model.parts_[nearest[user]]
        np.testing.assert_allclose(scores[user], own.scores(history)[0], rtol=1e-6)


def test_small_segments_use_the_model_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linkwise.recommend.segments.LEAST_USERS", 1000)
    log = grouped_log()
    model = Segments(SegmentsConfig(model="svd", segments=3, factors=4)).fit(log)
    assert len({id(part) for part in model.parts_}) == 1
    history = Histories.of([[0, 4]])
    np.testing.assert_allclose(model.scores(history), SVD().fit(log).scores(history), atol=1e-6)


def test_segments_of_segments_are_refused() -> None:
    with pytest.raises(ValueError, match="to give each segment"):
        RecommendConfig(segments=SegmentsConfig(model="segments"))


@pytest.fixture(scope="module")
def studied(music_log: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("fitting") / "run"
    words = ["recommend", str(music_log), "--user", "user", "--item", "item", "--time", "date"]
    words += ["--event", "event", "--duration", "duration", "--length", "length", "--text", "text"]
    words += ["--models", "blend,segments", "--blend", "tune", "--tune", "2", "--bootstrap", "50"]
    assert main([*words, "--set", "segments.segments=3", "--quiet", "--out", str(out)]) == 0
    return Run(out)


def test_a_study_records_what_it_tried(studied: Run) -> None:
    names = {row["model"] for row in studied.metrics}
    assert {"popularity", "svd", "segments", "blend"} <= names
    trials = [row for row in studied.metrics if row["slice"].startswith("trial: ")]
    by_model = {name: [r for r in trials if r["model"] == name] for name in ("svd", "blend")}
    assert [row["slice"] for row in by_model["svd"]] == ["trial: as given", "trial: values one"]
    assert len(by_model["blend"]) == 51
    assert by_model["blend"][0]["slice"].startswith("trial: popularity 0.200, item-item 0.200")
    best = max(by_model["blend"], key=lambda row: row["value"])
    about = json.loads((studied.folder / "model" / "blend" / "recommender.json").read_text())
    for name, weight in about["config"]["weights"].items():
        assert f"{name} {weight:.3f}" in best["slice"]
    page = json.loads((studied.folder / "report.json").read_text())
    titles = [section["title"] for section in page["sections"]]
    assert "One model for each segment" in titles
    assert "Which differences are real" in titles
    text = studied.report.read_text()
    assert "One svd model for each of 3 groups of users" in text
    assert "the best of 2 settings tried" in text


def test_ratings_of_songs_have_errors(studied: Run) -> None:
    rows = {
        (row["model"], row["split"], row["slice"]): row
        for row in studied.metrics
        if row["metric"] == "rmse"
    }
    chosen = tomllib.loads((studied.folder / "config.toml").read_text())
    assert chosen["recommend"]["svd"]["values"] == "rating"  # what was given; what is best is tried
    name = "svd" if ("svd", "test", "all") in rows else "svd on ratings"
    held = rows[name, "test", "all"]
    assert held["baseline"] == rows["item mean", "test", "all"]["value"]
    assert held["low"] < held["value"] < held["high"]
    assert (name, "train", "in-sample, unknown as 0") in rows


def test_songs_stand_beside_users_to_be_reached(
    studied: Run, music_run: Run, music_log: Path, tmp_path: Path
) -> None:
    """`churn score` with a recommend run named: the first three of each list, and nobody else gets any."""
    run = tmp_path / "churn"
    shutil.copytree(music_run.folder, run)
    config = tomllib.loads((run / "config.toml").read_text())
    config["churn"]["recommend"] = str(studied.folder)
    (run / "config.toml").write_text(tomli_w.dumps(config))
    found = linkwise.score(run, music_run.config.paths[0])
    reached = found["action"].str.starts_with("reach out")
    assert reached.any()
    assert (found["items"].is_not_null() == reached).all()
    lists = pl.read_parquet(studied.folder / "recommendations.parquet")
    user = found.filter(reached)["user"][0]
    own = lists.filter(pl.col("user") == user).sort("rank")["title"].head(3)
    assert found.filter(pl.col("user") == user)["items"].to_list() == ["; ".join(own)]


def test_a_folder_that_is_no_recommend_run_is_refused(music_run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder of a recommend run"):
        linkwise.churn(
            music_run.config.paths[0], schema="music-box", recommend=str(music_run.folder),
            out=tmp_path / "x",
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_a_recommend_run_of_another_log_is_refused(
    music_run: Run, music_table: pl.DataFrame, tmp_path: Path
) -> None:
    others = music_table.filter(pl.col("item").is_not_null()).with_columns(
        user="x" + pl.col("user")
    )
    run = linkwise.recommend(
        others, user="user", item="item", time="date", models="svd", split="leave-last-out",
        bootstrap=20, tune=1, out=tmp_path / "other",
    )  # fmt: skip
    assert not set(run.recommendations["user"]) & set(music_table["user"])
    with pytest.raises(InputError, match="knows none of the log's users"):
        linkwise.churn(music_run.config.paths[0], schema="music-box", recommend=str(run.folder))
