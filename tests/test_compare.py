"""Two runs compared: the numbers of each again, differences by hand, and what cannot be compared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

import linkwise
from linkwise.cli import main
from linkwise.compare import compare
from linkwise.errors import InputError, UsageError
from linkwise.run import Run
from linkwise.testing.recommender import timed_log


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """Two runs on one log, the second with other models and settings."""
    folder = tmp_path_factory.mktemp("compare")
    log = timed_log(0)
    histories = log.histories
    hours = pl.Series((20_000 * 24 + histories.times) * 3_600_000_000)
    pl.DataFrame(
        {
            "user": log.users.gather(histories.rows),
            "item": log.catalogue.ids.gather(histories.items),
            "time": hours.cast(pl.Datetime("us")),
        }
    ).write_parquet(folder / "log.parquet")
    found = []
    for name, models, more in (
        ("a", "item-item,svd", {}),
        ("b", "svd,ease", {"svd": {"factors": 2}}),
    ):
        options = {"user": "user", "item": "item", "time": "time", "tune": 1, "bootstrap": 50}
        found.append(
            linkwise.recommend(
                folder / "log.parquet", out=folder / name, models=models, **options, **more
            )
        )
    return found[0], found[1]


def ndcg(run: Run, model: str) -> float:
    return next(
        float(row["value"])
        for row in run.metrics
        if (row["model"], row["metric"], row["k"], row["split"], row["slice"])
        == (model, "ndcg", 10, "test", "all")
    )


def test_values_are_those_of_the_runs(runs: tuple[Run, Run]) -> None:
    found = compare(*runs, samples=100)
    assert found.left_out == (0, 0)
    rows = found.rows.filter(pl.col("metric") == "ndcg", pl.col("k") == 10)
    pairs = set(rows.select("first_model", "second_model").rows())
    assert {("popularity", "popularity"), ("svd", "svd")} <= pairs
    for row in rows.iter_rows(named=True):
        assert row["first"] == pytest.approx(ndcg(runs[0], row["first_model"]))
        assert row["second"] == pytest.approx(ndcg(runs[1], row["second_model"]))
        assert row["difference"] == pytest.approx(row["first"] - row["second"])
        assert row["low"] <= row["difference"] <= row["high"]
    same = rows.filter(
        pl.col("first_model") == "popularity", pl.col("second_model") == "popularity"
    )
    assert same.select("difference", "low", "high", "p").rows() == [(0.0, 0.0, 0.0, 1.0)]


def test_queries_that_only_one_has_are_left_out(runs: tuple[Run, Run], tmp_path: Path) -> None:
    import shutil

    part = tmp_path / "part"
    shutil.copytree(runs[1].folder, part)
    table = pl.read_parquet(part / "evaluation.parquet")
    queries = table["query"].unique().sort()
    kept = table.filter(~pl.col("query").is_in(queries.head(3).implode()))
    # Another query has another target now: the two runs do not ask the same.
    changed = pl.when(pl.col("query") == queries[5]).then(pl.lit("other")).otherwise("item")
    kept.with_columns(item=changed).write_parquet(part / "evaluation.parquet")
    found = compare(runs[0], part, models=("svd", "ease"), samples=50)
    assert found.shared == len(queries) - 4
    assert found.left_out == (4, 1)
    own = pl.read_parquet(runs[0].folder / "evaluation.parquet").filter(
        pl.col("model") == "svd", ~pl.col("query").is_in([*queries.head(3), queries[5]])
    )
    hits = own.group_by("query").agg((pl.col("rank") <= 10).fill_null(False).any())["rank"].mean()
    row = found.rows.filter(pl.col("metric") == "hit_rate", pl.col("k") == 10)
    assert row["first"][0] == pytest.approx(hits)


def test_what_cannot_be_compared(
    runs: tuple[Run, Run], music_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    with pytest.raises(UsageError, match=r"a churn run and .* a recommend run"):
        compare(music_run, runs[0])
    with pytest.raises(UsageError, match='no model "bpr"; it has popularity, item-item, svd'):
        compare(*runs, models=("bpr", "svd"))
    other = tmp_path / "other"
    shutil.copytree(runs[0].folder, other)
    table = pl.read_parquet(other / "evaluation.parquet")
    table.with_columns(query=pl.lit("x") + pl.col("query")).write_parquet(
        other / "evaluation.parquet"
    )
    with pytest.raises(InputError, match="share no query with the same targets"):
        compare(runs[0], other)
    (other / "evaluation.parquet").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"evaluation\.parquet cannot be read"):
        compare(runs[0], other)
    folders = [str(run.folder) for run in runs]
    assert main(["compare", *folders, "--models", "svd"]) == 2
    assert main(["compare", *folders, "--samples", "1"]) == 2
    assert main(["compare", folders[0], str(tmp_path / "nowhere")]) == 2
    capsys.readouterr()


def test_the_command_line(runs: tuple[Run, Run], capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(run.folder) for run in runs]
    assert main(["compare", *folders, "--models", "svd,ease", "--samples", "50", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {(row["first_model"], row["second_model"]) for row in rows} == {("svd", "ease")}
    assert main(["compare", *folders, "--samples", "50"]) == 0
    assert "0 of the first run and 0 of the second are left out" in capsys.readouterr().out


def test_churn_runs(music_run: Run) -> None:
    """Models of one run against each other: AUC by sklearn."""
    found = compare(music_run, music_run, models=("boosting", "logistic"), samples=50)
    table = pl.read_parquet(music_run.folder / "evaluation.parquet")
    for side, model in (("first", "boosting"), ("second", "logistic")):
        own = table.filter(pl.col("model") == model)
        auc = roc_auc_score(own["label"], own["score"])
        row = found.rows.filter(pl.col("metric") == "auc")
        assert row[side][0] == pytest.approx(auc)
    assert found.unit == "users"
    assert np.isfinite(found.rows["low"].to_numpy()).all()
