"""The run folder: whole or not there, refused, resumed, repeated."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import linkwise
from linkwise.churn import models
from linkwise.config import RunConfig, with_changes
from linkwise.errors import InputError, Interrupted, ResourceError, UsageError
from linkwise.estimators.tabular import Forest
from linkwise.run import FORMAT_VERSION, Run, execute

METRIC_COLUMNS = [
    "model", "split", "slice", "metric", "k", "value", "low", "high", "n", "baseline",
    "difference", "difference_low", "difference_high",
]  # fmt: skip


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a run but the one that tells the time, by its path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "run.json"
    }


def test_the_folder_holds_what_the_contract_says(music_run: Run) -> None:
    assert leftovers(music_run.folder) == [
        "churn.csv", "cleaning.parquet", "config.toml", "evaluation.parquet", "features.parquet",
        "metrics.json", "model", "ranking.parquet", "report.html", "report.json", "run.json",
    ]  # fmt: skip
    info = music_run.info
    assert info["format_version"] == FORMAT_VERSION
    assert {"seed", "packages", "inputs", "timings", "peak_memory_mib"} <= set(info)
    assert all(list(row) == METRIC_COLUMNS for row in music_run.metrics)
    evaluation = pl.read_parquet(music_run.folder / "evaluation.parquet")
    assert evaluation.columns == ["model", "slice", "query", "item", "rank", "score", "label"]
    assert music_run.ranking.columns[:5] == ["model", "query", "item", "score", "rank"]
    assert not list(music_run.folder.rglob("*.pkl"))


def test_nothing_is_left_beside_a_finished_run(music_run: Run) -> None:
    assert leftovers(music_run.folder.parent) == [music_run.folder.name, "churn.lock"]


def test_evaluation_reproduces_the_reported_auc(music_run: Run) -> None:
    from sklearn.metrics import roc_auc_score

    evaluation = pl.read_parquet(music_run.folder / "evaluation.parquet")
    for model in ("recency", "logistic", "forest", "boosting"):
        part = evaluation.filter(pl.col("model") == model)
        expected = roc_auc_score(part["label"].to_numpy(), part["score"].to_numpy())
        row = next(
            r for r in music_run.metrics
            if (r["model"], r["metric"], r["split"]) == (model, "auc", "test")
        )  # fmt: skip
        assert row["value"] == pytest.approx(expected, abs=1e-12)
        assert row["n"] == len(part)


def test_an_existing_folder_is_refused_and_left_alone(
    music_config: RunConfig, tmp_path: Path
) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="--overwrite"):
        execute(music_config, out)
    assert (out / "thesis.txt").read_text() == "years of work"
    assert leftovers(tmp_path) == ["mine"]


def test_a_failing_run_leaves_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("who,when\na,2024-01-01\n")
    config = RunConfig.from_values(
        {"paths": [str(log)], "input": {"user": "who", "time": "when"}}, "test"
    )
    with pytest.raises(InputError, match="1 days long"):
        execute(config, tmp_path / "runs" / "churn")
    assert leftovers(tmp_path / "runs") == []


@pytest.mark.slow
def test_an_interrupted_run_goes_on_and_ends_the_same(
    music_run: Run, music_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "churn"

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Forest, "save", interrupted)
        with pytest.raises(Interrupted, match="--resume"):
            execute(music_config, out)
    assert not out.exists()
    (partial,) = tmp_path.iterdir()
    assert partial.name == f".churn.partial-{music_config.digest}"

    read, fitted = [], []
    with monkeypatch.context() as patch:
        from linkwise.churn import study
        from linkwise.estimators.tabular import Logistic

        describe = study.user_features
        patch.setattr(study, "user_features", lambda *a: read.append(1) or describe(*a))
        fit = Logistic.fit
        patch.setattr(Logistic, "fit", lambda *a, **k: fitted.append(1) or fit(*a, **k))
        run = execute(music_config, out, resume=True)
    assert fitted == [], "the finished model was fitted again"
    assert len(read) == 1, "the finished features were made again (only the list's are new)"
    assert contents(run.folder) == contents(music_run.folder)
    assert leftovers(tmp_path) == ["churn"]


def test_resuming_needs_the_same_options_and_files(
    music_table: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log.parquet"
    music_table.write_parquet(log)
    out = tmp_path / "runs" / "churn"

    def config(**churn: object) -> RunConfig:
        values = {"input": {"user": "user", "time": "date"}, "churn": churn, "paths": [str(log)]}
        return RunConfig.from_values(values, "test")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(models, "_tuned_forest", interrupted)
    with pytest.raises(UsageError, match="no interrupted run"):
        execute(config(), out, resume=True)
    with pytest.raises(Interrupted):
        execute(config(), out)
    with pytest.raises(UsageError, match="same options"):
        execute(config(label_days=13), out, resume=True)
    whole = log.read_bytes()
    music_table.head(len(music_table) - 1).write_parquet(log)
    with pytest.raises(UsageError, match="input files changed"):
        execute(config(), out, resume=True)
    log.write_bytes(whole)
    with pytest.raises(Interrupted):  # what was finished is still there: it got as far as before
        execute(config(), out, resume=True)


def test_overwrite_never_removes_what_is_no_run(music_config: RunConfig, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match=r"no run folder.*leaves it alone"):
        execute(music_config, out, overwrite=True)
    (out / "run.json").write_text("{}")
    log = out / "log.csv"
    log.write_text("user,time\na,2024-01-01\n")
    inside = music_config.model_copy(update={"paths": (str(log),)})
    with pytest.raises(UsageError, match="input lies inside"):
        execute(inside, out, overwrite=True)
    assert (out / "thesis.txt").read_text() == "years of work"
    assert log.exists()


@pytest.mark.slow
def test_overwrite_replaces_only_once_the_new_run_stands(
    music_run: Run, music_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "churn"
    out.mkdir()
    (out / "run.json").write_text("{}")
    (out / "old.txt").write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(models, "check_classes", lambda _: 1 / 0)
        from linkwise.churn import study

        patch.setattr(study, "check_classes", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            execute(music_config, out, overwrite=True)
    assert leftovers(tmp_path) == ["churn"]
    assert (out / "old.txt").exists()
    run = execute(music_config, out, overwrite=True)
    assert leftovers(tmp_path) == ["churn"]
    assert contents(run.folder) == contents(music_run.folder), "the same config gave other bytes"


def test_config_survives_toml(music_run: Run, music_config: RunConfig) -> None:
    assert music_run.config == music_config


def test_changes_reach_nested_fields_and_name_what_is_wrong(music_run: Run) -> None:
    path = music_run.folder / "config.toml"
    changed = RunConfig.from_toml(
        path, ["churn.boosting.num_leaves=9", "input.timezone=Europe/Paris"]
    )
    assert changed.churn.boosting.num_leaves == 9
    assert changed.input.timezone == "Europe/Paris"
    with pytest.raises(UsageError, match=r"no field churn\.leaves"):
        RunConfig.from_toml(path, ["churn.leaves=9"])
    with pytest.raises(UsageError, match=r'churn\.label_days is "-1"'):
        RunConfig.from_toml(path, ["churn.label_days=-1"])
    with pytest.raises(UsageError, match="FIELD=VALUE"):
        with_changes({}, ["churn.trials"])


def test_a_newer_run_format_is_refused(music_run: Run, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"format_version": FORMAT_VERSION + 1}))
    with pytest.raises(UsageError, match="newer Linkwise"):
        Run.open(tmp_path)
    with pytest.raises(UsageError, match="there is no such folder"):
        Run.open(tmp_path / "nowhere")


@pytest.mark.slow
def test_the_python_function_takes_frames(music_table: pl.DataFrame) -> None:
    options = {
        "user": "user", "item": "item", "time": "date", "event": "event", "duration": "duration",
        "length": "length", "device": "device", "paid": "paid", "text": "text", "trials": 1,
        "bootstrap": 20, "ledger_auc": False, "threads": 1, "search": "none",
    }  # fmt: skip
    run = linkwise.churn(music_table, **options)
    again = linkwise.churn(music_table.to_pandas(), **options)
    assert run.ranking.equals(again.ranking)
    assert run.report.exists()


def test_the_python_function_names_unknown_options(music: Path) -> None:
    with pytest.raises(UsageError, match='no option "feature_dys"'):
        linkwise.churn(music, feature_dys=3)
    with pytest.raises(InputError, match="expected paths or"):
        linkwise.churn(42)


def test_a_full_disk_is_told_and_leaves_nothing(music: Path, tmp_path: Path) -> None:
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)); "
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "from linkwise.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    words = ["churn", str(music), "--schema", "music-box", "--on-bad-row", "skip", "--quiet"]
    out = tmp_path / "churn"
    done = subprocess.run(
        [sys.executable, "-c", code, *words, "--out", str(out)], capture_output=True, text=True
    )
    assert done.returncode == ResourceError.exit_code, done.stderr
    assert "disk is full" in done.stderr
    assert "Traceback" not in done.stderr
    assert leftovers(tmp_path) == []
