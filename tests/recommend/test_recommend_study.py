"""The recommend study end to end, on the simulated log: files, verdict, lists for new histories."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

import linkwise
from linkwise.cli import main
from linkwise.run import Run


@pytest.fixture(scope="module")
def songs(music: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of three models on the small music log."""
    out = tmp_path_factory.mktemp("recommend") / "songs"
    words = ["recommend", str(music), "--schema", "music-box", "--models", "item-item,svd"]
    assert main([*words, "--k", "5,10", "--bootstrap", "50", "--quiet", "--out", str(out)]) == 0
    return Run(out)


def test_every_model_is_judged_on_the_same_queries(songs: Run) -> None:
    evaluation = pl.read_parquet(songs.folder / "evaluation.parquet")
    assert evaluation["model"].unique(maintain_order=True).to_list() == [
        "popularity", "item-item", "svd",
    ]  # fmt: skip
    pairs = {
        name: part.select("query", "item").rows()
        for (name,), part in evaluation.group_by("model", maintain_order=True)
    }
    assert pairs["popularity"] == pairs["item-item"] == pairs["svd"]


def test_metrics_follow_from_the_evaluation_and_the_lists(songs: Run) -> None:
    """Recall and hit rate counted again with plain loops; the lists agree with the ranks."""
    evaluation = pl.read_parquet(songs.folder / "evaluation.parquet")
    listed = {
        (row["model"], row["query"], row["item"]): row["rank"]
        for row in songs.ranking.iter_rows(named=True)
    }
    for model in ("popularity", "item-item", "svd"):
        recalls, hits = [], []
        for _, part in evaluation.filter(pl.col("model") == model).group_by("query"):
            inside = sum(rank is not None and rank <= 5 for rank in part["rank"])
            recalls.append(inside / len(part))
            hits.append(inside > 0)
        found = {
            row["metric"]: row["value"]
            for row in songs.metrics
            if (row["model"], row["k"], row["slice"], row["split"]) == (model, 5, "all", "test")
        }
        assert found["recall"] == pytest.approx(sum(recalls) / len(recalls))
        assert found["hit_rate"] == pytest.approx(sum(hits) / len(hits))
    for row in evaluation.filter(pl.col("model") == "svd").iter_rows(named=True):
        place = listed.get(("svd", row["query"], row["item"]))
        assert place is None or row["rank"] >= place  # ties stand against the model


def test_personal_models_beat_popularity_where_tastes_were_planted(songs: Run) -> None:
    rows = [
        row
        for row in songs.metrics
        if (row["metric"], row["k"], row["slice"], row["split"]) == ("ndcg", 10, "all", "test")
    ]
    for row in rows:
        if row["model"] != "popularity":
            assert row["difference_low"] > 0, row["model"]
    report = json.loads((songs.folder / "report.json").read_text())
    assert report["beats_baseline"] is True
    assert report["simulated"] is True


def test_every_user_gets_a_list_with_reasons(songs: Run) -> None:
    lists = pl.read_parquet(songs.folder / "recommendations.parquet")
    assert lists.columns == ["user", "item", "title", "score", "rank", "reason"]
    assert lists.group_by("user").len()["len"].unique().to_list() == [10]
    assert (
        lists["reason"]
        .str.contains(
            "^similar to .+, chosen before$|^chosen by many$|^fits the history as a whole$"
        )
        .all()
    )
    assert lists["reason"].str.starts_with("similar").mean() > 0.3


def test_a_new_history_gets_a_list(songs: Run, capsys: pytest.CaptureFixture[str]) -> None:
    some = pl.read_parquet(songs.folder / "recommendations.parquet")["item"].unique().sort()[:7]
    words = ["recommend", "--run", str(songs.folder), "--history", ",".join(some), "--k", "4"]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["rank"] for row in found] == [1, 2, 3, 4]
    assert not {row["item"] for row in found} & set(some)
    assert main([*words, "--model", "popularity"]) == 0
    assert main(["recommend", "--run", str(songs.folder), "--history", "nothing,known"]) == 3
    assert "the catalogue has none of the items nothing, known" in capsys.readouterr().err
    assert main(["recommend", "--run", str(songs.folder), "--for-user", "nobody"]) == 3
    assert main(["recommend", "--run", str(songs.folder)]) == 2
    assert main([*words, "--model", "sasrec"]) == 2


def test_a_run_can_be_repeated_from_its_config(songs: Run, tmp_path: Path) -> None:
    words = ["run", str(songs.folder / "config.toml"), "--quiet", "--out", str(tmp_path / "again")]
    assert main(words) == 0
    for name in ("metrics.json", "ranking.parquet", "recommendations.parquet", "report.html"):
        assert (tmp_path / "again" / name).read_bytes() == (songs.folder / name).read_bytes(), name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--for-user", "1", "--model", "svd"], "--model goes with --history"),
        (["--for-user", "1", "--dislikes", "2"], "--dislikes goes with --history"),
        (["--for-user", "1", "--at", "2026-01-01T10:00"], "--at goes with --history"),
        (["--for-user", "1", "--k", "20"], "lists of 10"),
        (["--history", "1", "--out", "x"], "leave the log and --out away"),
        (["--history", "1", "--daytime"], "its study's options cannot be changed"),
        (["--history", "1", "--blend", "tune"], "its study's options cannot be changed"),
    ],
)
def test_options_that_do_not_go_together(
    songs: Run, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recommend", "--run", str(songs.folder), *words]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_unknown_ids_are_named(songs: Run, capsys: pytest.CaptureFixture[str]) -> None:
    item = str(songs.recommendations["item"][0])
    words = ["recommend", "--run", str(songs.folder), "--history", f"{item},nobody", "--json"]
    assert main([*words, "--dislikes", "nothing"]) == 0
    shown = capsys.readouterr()
    assert "Not in the catalogue, and passed over: nobody, nothing." in shown.err
    by_hand = songs.recommend(pl.Series([item]), k=10).to_dicts()  # as run.recommendations gives it
    assert json.loads(shown.out) == by_hand


def test_histories_that_are_all_too_short_are_refused(
    music: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["recommend", str(music), "--schema", "music-box", "--models", "svd", "--quiet"]
    assert main([*words, "--split", "prefix:3", "--out", str(tmp_path / "o")]) == 3
    assert "has more than 5 different items" in " ".join(capsys.readouterr().err.split())


def test_a_value_that_is_no_rating_is_mentioned(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        [(f"u{u}", f"i{(u + d) % 9}", d, 3.5) for u in range(20) for d in range(5)],
        schema=["user", "item", "day", "price"],
        orient="row",
    ).with_columns(day=pl.date(2026, 1, 1) + pl.duration(days="day"))
    given = {"user": "user", "item": "item", "time": "day", "value": "price", "models": "svd"}
    given |= {"split": "leave-last-out", "tune": 1, "bootstrap": 20}
    run = linkwise.recommend(frame, **given)
    assert "The value column is not taken as a rating" in run.report.read_text()
    run = linkwise.recommend(frame, **given, rating="value", k=3)
    assert "The value column is not taken as a rating" not in run.report.read_text()
    assert run.config.recommend.k == (3,)


def test_from_python(music_table: pl.DataFrame) -> None:
    run = linkwise.recommend(
        music_table.filter(pl.col("item").is_not_null()), user="user", item="item", time="date",
        models="svd", split="leave-last-out", k="3", bootstrap=20, svd={"factors": 5},
    )  # fmt: skip
    assert {row["model"] for row in run.metrics} == {"popularity", "svd"}
    assert run.config.recommend.svd.factors == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--models", "magic"], 'there is no recommender "magic"'),
        (["--split", "sometimes"], "expected global-time:Q"),
        (["--blend", "tune"], "the model blend is not among --models"),
        (["--models", "blend", "--blend", "popularity=1,foo=1"], 'blend has a part "foo"'),
        (["--k", "0"], "expected numbers from 1 to 100"),
        (["--history", "1"], "--history, --dislikes, --for-user, --model and --at go with --run"),
    ],
)
def test_wrong_usage(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.csv"
    log.write_text("u,i,t\na,1,2024-01-01\n")
    base = [
        "recommend",
        str(log),
        "--user",
        "u",
        "--item",
        "i",
        "--time",
        "t",
        "--out",
        str(tmp_path / "o"),
    ]
    assert main([*base, *words]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("log", "options", "code", "message"),
    [
        ("a,1,2024-01-01\n", [], 3, "leaves 0 queries"),
        ("a,1,2024-01-01\na,2,2024-01-02\n", ["--min-rating", "9"], 3, "no event of the log"),
        ("a,1,2024-01-01\n" * 3, ["--rating", "value"], 3, "needs columns named by --value"),
        ("a,1,2024-01-01\n" * 3, ["--kinds", "play"], 3, 'no event of the kind "play"'),
    ],
)
def test_bad_logs(
    log: str,
    options: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "log.csv"
    path.write_text("u,i,t\n" + log)
    base = ["recommend", str(path), "--user", "u", "--item", "i", "--time", "t", "--quiet"]
    assert main([*base, "--out", str(tmp_path / "o"), *options]) == code
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "o").exists()


def test_what_a_user_turned_down_is_not_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every user of one taste dislikes the item that its others like best."""
    rows = [
        (f"u{user}", f"i{group}{item}", "play", f"2026-01-{1 + place:02d}")
        for user in range(60)
        for group in (user % 2,)
        for place, item in enumerate([(user + 3 * step) % 8 for step in range(5)])
    ]
    plain = pl.DataFrame(rows, schema=["user", "item", "event", "time"], orient="row")
    told = plain.clear()
    options = {"user": "user", "item": "item", "event": "event", "time": "time", "bootstrap": 20}
    options |= {"models": "item-item", "split": "leave-last-out", "tune": 1}
    for name in ("before", "after"):
        run = linkwise.recommend(pl.concat([plain, told]), out=tmp_path / name, **options)
        lists = pl.read_parquet(run.folder / "recommendations.parquet")
        if name == "before":
            first = lists.filter(pl.col("rank") == 1).select("user", "item")
            told = first.select(
                "user", "item", event=pl.lit("dislike"), time=pl.lit("2026-01-01")
            ).head(20)
    assert lists.join(told, on=["user", "item"]).is_empty()
    others = lists.filter(~pl.col("user").is_in(told["user"].implode()), pl.col("rank") == 1)
    assert others.join(first, on=["user", "item"]).height == len(others)
    words = ["recommend", "--run", str(run.folder), "--history", "i01,i04", "--json"]
    for more, there in (([], True), (["--dislikes", "i00"], False)):
        assert main([*words, *more]) == 0
        listed = [row["item"] for row in json.loads(capsys.readouterr().out)]
        assert ("i00" in listed) is there
