"""The study as users run it: questions, protocols, lists, reports, and what is refused."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import linkwise
from linkwise.anomaly.split import tasks_of
from linkwise.anomaly.study_config import DetectConfig
from linkwise.cli import main
from linkwise.data.graph_files import write_tu
from linkwise.data.graphs import Graphs, put_together
from linkwise.data.simulate_graphs import simulate_graphs
from linkwise.errors import InputError, UsageError
from linkwise.metrics.binary import auc


def written(folder: Path, family: str, n: int = 60, seed: int = 0) -> str:
    write_tu(
        simulate_graphs(family, n, width=5, height=6, seed=seed), folder, readme="Simulated graphs."
    )  # type: ignore[arg-type]
    return str(folder)


def two_classes(n: int = 40, sizes: tuple[int, int] = (6, 6)) -> Graphs:
    parts = [
        simulate_graphs("2a", n, width=5, height=sizes[0], seed=1),
        simulate_graphs("3", n, width=5, height=sizes[1], seed=2),
    ]
    return put_together(parts, ["a", "b"])


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("graphs") / "two"
    write_tu(two_classes(), folder)
    return str(folder)


@pytest.fixture(scope="module")
def against(tmp_path_factory: pytest.TempPathFactory) -> linkwise.Run:
    base = tmp_path_factory.mktemp("against")
    normal, strange = written(base / "n", "2a"), written(base / "s", "3", seed=3)
    return linkwise.detect(
        normal, against=(strange,), detector=("wl", "netlsd"), out=base / "run", bootstrap=100
    )


def test_normal_against_strange_is_judged_ranked_and_explained(against: linkwise.Run) -> None:
    names = {p.name for p in against.folder.iterdir()}
    assert {
        "config.toml", "run.json", "metrics.json", "ranking.parquet", "evaluation.parquet", "model",
        "report.html",
    } <= names  # fmt: skip
    assert ".work" not in names
    rows = {(r["model"], r["metric"]): r for r in against.metrics if "exchanged" not in r["slice"]}
    assert {m for m, _ in rows} == {"wl", "netlsd", "size", "degrees", "wl-cosine"}
    frame = pl.read_parquet(against.folder / "evaluation.parquet")
    for name in ("wl", "netlsd"):
        own = frame.filter(pl.col("model") == name)
        assert len(own) == 12 + 60
        assert rows[name, "auc"]["value"] == pytest.approx(auc(own["label"], own["score"]))
    assert rows["netlsd", "auc"]["value"] > 0.99
    assert rows["size", "auc"]["baseline"] == rows["size", "auc"]["value"]
    ranking = against.ranking.filter(pl.col("model") == "wl")
    assert ranking["rank"].to_list() == list(range(1, 73))
    assert ranking["p_value"].is_sorted()
    assert ranking["reason"].head(20).null_count() == 0
    assert ranking["reason"][0].startswith("nodes ") or "edges" in ranking["reason"][0]
    assert set(ranking["strange"]) == {True, False}
    page = against.report.read_text()
    assert "Simulated" in page
    assert "Graphs that do not belong" in page


def test_flags_and_p_values_are_counted_among_held_out_normals(against: linkwise.Run) -> None:
    ranking = against.ranking.filter(pl.col("model") == "netlsd")
    held = round(0.2 * 48)
    np.testing.assert_allclose(
        np.unique((ranking["p_value"] * (held + 1)).round(6)) % 1, 0.0, atol=1e-6
    )
    normal = ranking.filter(~pl.col("strange"))["p_value"]
    assert normal.mean() > 0.2
    row = next(
        r for r in against.metrics
        if (r["model"], r["metric"]) == ("netlsd", "flagged_strange") and "exch" not in r["slice"]
    )  # fmt: skip
    assert row["value"] == ranking.filter("strange")["flagged"].mean()


def test_folds_judge_every_graph_once(classes: str, tmp_path: Path) -> None:
    run = linkwise.detect(
        classes, protocol="folds", anomalous_class="3", detector=("wl",), out=tmp_path / "r",
        folds=4, bootstrap=100,
    )  # fmt: skip
    ranking = run.ranking
    assert sorted(ranking["item"]) == sorted(set(ranking["item"]))
    assert len(ranking) == 80
    assert set(ranking["query"]) == {"class 3 strange"}
    row = next(r for r in run.metrics if (r["model"], r["metric"]) == ("wl", "auc"))
    frame = pl.read_parquet(run.folder / "evaluation.parquet").filter(pl.col("model") == "wl")
    folds = [auc(part["label"], part["score"]) for _, part in frame.group_by("query")]
    assert len(folds) == 4
    assert row["value"] == pytest.approx(np.mean(folds))


def test_each_class_in_turn_without_a_choice(classes: str, tmp_path: Path) -> None:
    run = linkwise.detect(
        classes, protocol="folds", detector=("degrees",), out=tmp_path / "r", without_references=True,
        bootstrap=100,
    )  # fmt: skip
    asked = [r["slice"] for r in run.metrics if "exchanged" not in r["slice"]]
    assert list(dict.fromkeys(asked)) == ["class 3 strange", "class 2a strange"]
    assert {r["model"] for r in run.metrics} == {"degrees", "size"}


def test_without_classes_graphs_are_ranked_among_themselves(tmp_path: Path) -> None:
    several = put_together(
        [simulate_graphs("2a", 40, width=4, height=5), simulate_graphs("2a", 1, width=9, height=9)],
        ["usual", "large"],
    )
    write_tu(build_without_labels(several), tmp_path / "g")
    run = linkwise.detect(tmp_path / "g", detector=("size",), out=tmp_path / "r")
    assert run.metrics == []
    assert run.ranking["item"][0] == "41"
    assert run.ranking["strange"].null_count() == 41
    assert len(run.ranking) == 41
    assert "81 nodes, where normal graphs have 20 to 20" in run.ranking["reason"][0]


def build_without_labels(graphs: Graphs) -> Graphs:
    from dataclasses import replace

    return replace(graphs, label=None)


def test_new_graphs_are_scored_as_the_run_would(against: linkwise.Run, tmp_path: Path) -> None:
    new = written(tmp_path / "new", "3", n=15, seed=9)
    same = written(tmp_path / "same", "2a", n=15, seed=9)
    out = tmp_path / "list.csv"
    found = linkwise.detect_score(against, [new, same], out=out)
    assert len(found) == 30
    assert found["rank"].to_list() == list(range(1, 31))
    assert out.read_text().count("\n") == 31
    strange = found["item"].str.starts_with("new")
    assert auc(strange.to_numpy().astype(int), found["score"]) > 0.6
    loose = linkwise.detect_score(against, [new, same], false_alarms=0.9)
    assert loose["flagged"].sum() >= found["flagged"].sum()
    with pytest.raises(UsageError, match="the file exists"):
        linkwise.detect_score(against, new, out=out)
    with pytest.raises(UsageError, match="between 0 and 1"):
        linkwise.detect_score(against, new, false_alarms=2.0)


def test_resuming_takes_what_was_done(classes: str, tmp_path: Path) -> None:
    from linkwise.config import RunConfig
    from linkwise.errors import Interrupted
    from linkwise.run import execute

    values = {
        "verb": "detect", "paths": [classes],
        "detect": {"normal_class": "2a", "detector": "auto", "bootstrap": 100},
    }  # fmt: skip
    config = RunConfig.from_values(values, "test")
    calls = {"n": 0}

    def stop() -> bool:
        calls["n"] += 1
        return calls["n"] > 3

    with pytest.raises(Interrupted):
        execute(config, tmp_path / "r", cancelled=stop)
    resumed = execute(config, tmp_path / "r", resume=True)
    whole = execute(config, tmp_path / "w")
    for name in ("metrics.json", "ranking.parquet", "evaluation.parquet", "report.html"):
        assert (resumed.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_the_command_line_shows_the_table_and_scores(
    classes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "r")
    args = ["detect", classes, "--normal-class", "2a", "--detector", "auto", "--out", out, "--json"]
    assert main([*args, "--threads", "1"]) == 0
    shown = capsys.readouterr()
    assert {row["model"] for row in json.loads(shown.out)} >= {"auto", "size"}
    assert "baseline" in shown.err
    assert "p-value" in shown.err
    assert main(["detect", "score", out, classes, "--quiet", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert len(listed) == 80
    assert main(["run", f"{out}/config.toml", "--out", str(tmp_path / "again"), "--quiet"]) == 0
    again = tmp_path / "again" / "ranking.parquet"
    assert again.read_bytes() == (Path(out) / "ranking.parquet").read_bytes()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--normal-class", "7"], 'no graph has the class "7"; the classes are 3, 2a'),
        (["--normal-class", "3", "--anomalous-class", "3"], "cannot be normal and strange at once"),
        ([], "Say --normal-class or --anomalous-class"),
        (["--normal-class", "3", "--detector", "magic"], 'there is no detector "magic"'),
        (["--normal-class", "3", "--against", "gone.zip"], "gone.zip: there is no such file"),
        (["--normal-class", "3", "--protocol", "folds", "--folds", "1"], "folds"),
    ],
)
def test_what_does_not_fit_is_refused(
    classes: str, tmp_path: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["detect", classes, *options, "--out", str(tmp_path / "r")]) in (2, 3)
    assert said in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


def test_no_files_and_runs_of_other_kinds_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["detect", "--out", str(tmp_path / "r")]) == 2
    assert "no graphs were given" in capsys.readouterr().err
    with pytest.raises(UsageError, match="no run folder"):
        linkwise.detect_score(tmp_path, "x.zip")


def test_too_few_graphs_are_refused() -> None:
    few = two_classes(10)
    with pytest.raises(InputError, match="10 normal graphs; expected 20"):
        tasks_of(few, 0, DetectConfig(normal_class="3"), 0)
    with pytest.raises(UsageError, match="goes with --protocol holdout"):
        tasks_of(few, 10, DetectConfig(protocol="folds"), 0)


def test_parts_never_share_a_graph() -> None:
    graphs = two_classes()
    for config in (
        DetectConfig(normal_class="2a"),
        DetectConfig(anomalous_class="2a", protocol="folds"),
    ):
        (task,) = tasks_of(graphs, 0, config, 4)
        strange = np.array([label == "3" for label in graphs.label or ()])
        if config.normal_class is None:
            strange = ~strange
        for part in task.parts:
            sets = [set(part.train.tolist()), set(part.calibrate.tolist()), set(part.test.tolist())]
            assert not sets[0] & sets[1]
            assert not sets[0] & sets[2]
            assert not sets[1] & sets[2]
            assert not strange[part.train].any()
            assert not strange[part.calibrate].any()
            np.testing.assert_array_equal(part.strange, strange[part.test])


def test_what_is_not_normal_has_no_part_in_learning(tmp_path: Path) -> None:
    """Changing every judged graph changes no detector: nothing of them was seen."""
    from linkwise.anomaly.perturb import perturb

    base = [simulate_graphs("2a", 60, width=4, height=5, seed=s) for s in (1, 2)]
    runs = []
    for number, strange in enumerate((base[1], perturb(base[1], "joined"))):
        write_tu(base[0], tmp_path / f"n{number}")
        write_tu(strange, tmp_path / f"s{number}")
        run = linkwise.detect(
            tmp_path / f"n{number}", against=(str(tmp_path / f"s{number}"),), detector=("auto",),
            out=tmp_path / f"r{number}", bootstrap=100,
        )  # fmt: skip
        runs.append(run.folder / "model")
    files = sorted(p.relative_to(runs[0]) for p in runs[0].rglob("*") if p.is_file())
    assert files
    for file in files:
        assert (runs[0] / file).read_bytes() == (runs[1] / file).read_bytes()
