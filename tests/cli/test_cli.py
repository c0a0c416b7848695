"""The command line, in this process: words in; exit code, standard output and standard error out."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from linkwise.cli import main
from linkwise.run import Run


def test_help_shows_a_worked_example_for_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["churn"], ["churn", "score"], ["simulate", "music"], ["data", "describe"],
                  ["run"], ["report"], ["doctor"], ["lm", "adapt"], ["lm", "tune"], ["lm", "embed"],
                  ["lm", "score"], ["lm", "probe"], ["recommend"], ["compare"]):  # fmt: skip
        assert main([*words, "--help"]) == 0
        shown = capsys.readouterr().out
        assert f"linkwise {' '.join(words)}" in shown.replace("Usage: ", "", 1), words


def test_no_command_shows_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "Predict who will be gone" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["churn", "x.csv", "--out", "o", "--feature-dys", "3"], "--feature-dys"),
        (["churn", "x.csv", "--out", "o", "--feature-days", "-3"], "--feature-days"),
        (["churn", "x.csv", "--out", "o", "--label-days", "soon"], "--label-days"),
        (["churn", "x.csv", "--out", "o", "--engine", "abacus"], "--engine"),
        (["churn", "x.csv", "--out", "o", "--timezone", "Mars/Olympus"], "Mars/Olympus"),
        (["churn", "x.csv", "--out", "o", "--rename-event", "a"], "OLD=NEW"),
        (["churn", "x.csv", "--out", "o", "--set", "churn.x.y=1"], "churn.x"),
        (["churn", "--out", "o"], "PATHS"),
        (["frobnicate"], "frobnicate"),
        (["run", "nowhere.toml", "--out", "o"], "nowhere.toml"),
        (["report", "nowhere"], "nowhere"),
    ],
)
def test_wrong_usage_exits_2_and_says_what(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.csv").write_text("user,time\na,2024-01-01\n")
    assert main(words) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert "pydantic" not in shown.err
    assert shown.out == ""
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.csv"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"user,date\na,2024-01-01\n", 'no column "time"'),
        (b"user,time\na,soon\n", "soon"),
        (b"user,time\na,2024-01-01\nb,2024-13-41\n", "line 3"),
        (b"user,time\na,2024-01-01\nb\xff,2024-01-02\n", "line 3"),
        (b"user,time\na,2024-01-01\nb,2024-01-02,9\n", "line 3"),
        (b"user,time\na,2024-01-01\na,2024-01-05\n", "5 days long"),
    ],
)
def test_bad_input_exits_3_and_leaves_nothing(
    content: bytes, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    log = tmp_path / "log.csv"
    log.write_bytes(content)
    words = ["churn", str(log), "--user", "user", "--time", "time", "--out", str(tmp_path / "o")]
    assert main([*words, "--quiet"]) == 3
    shown = capsys.readouterr()
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.csv"]


def test_one_class_only_exits_3(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 3, 30), eager=True)
    users = pl.DataFrame({"user": [f"u{i}" for i in range(60)]})
    log = tmp_path / "log.parquet"
    users.join(pl.DataFrame({"time": days}), how="cross").write_parquet(log)
    words = ["churn", str(log), "--user", "user", "--time", "time", "--out", str(tmp_path / "o")]
    assert main([*words, "--quiet"]) == 3
    assert "both classes are needed" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.parquet"]


def test_a_cut_parquet_file_and_mixed_folders_exit_3(
    music_table: pl.DataFrame, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    whole, cut = tmp_path / "whole.parquet", tmp_path / "cut.parquet"
    music_table.write_parquet(whole)
    cut.write_bytes(whole.read_bytes()[:-1000])
    columns = ["--user", "user", "--time", "date", "--quiet", "--out", str(tmp_path / "o")]
    assert main(["churn", str(cut), *columns]) == 3
    assert "cut short" in capsys.readouterr().err
    cut.unlink()
    (tmp_path / "more.csv").write_text("user,date\na,2024-01-01\n")
    assert main(["churn", str(tmp_path), *columns]) == 3
    assert "different formats" in capsys.readouterr().err


@pytest.mark.slow
def test_json_goes_to_standard_output_and_nothing_else_does(
    music_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", str(music_run.folder / "config.toml"), "--json", "--out", str(tmp_path / "o")]
    words += ["--set", "churn.ledger_auc=false", "--set", "churn.search=none"]
    assert main(words) == 0
    shown = capsys.readouterr()
    rows = json.loads(shown.out)
    assert rows == Run.open(tmp_path / "o").metrics
    assert "fit boosting" in shown.err
    assert "Simulated data." in shown.err
    assert "report.html" in shown.err


def test_report_prints_its_path_and_rebuilds(
    music_run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    before = music_run.report.read_bytes()
    assert main(["report", str(music_run.folder)]) == 0
    assert capsys.readouterr().out.strip() == str(music_run.report)
    assert main(["report", str(music_run.folder), "--rebuild"]) == 0
    assert music_run.report.read_bytes() == before


def test_score_ranks_a_newer_log_as_the_run_did(
    music_run: Run, music: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "list.parquet"
    words = [
        "churn",
        "score",
        str(music_run.folder),
        str(music),
        "--out",
        str(out),
        "--threads",
        "1",
    ]
    assert main(words) == 0
    found, listed = pl.read_parquet(out), music_run.ranking
    assert found["user"].to_list() == listed["item"].to_list()
    assert found["probability"].to_list() == listed["probability"].to_list()
    assert main(words) == 2
    assert "exists" in capsys.readouterr().err
    short = tmp_path / "short"
    short.mkdir()
    for path in sorted(music.glob("*_play.log"))[-5:]:
        (short / path.name).write_bytes(path.read_bytes())
    words[3], words[5] = str(short), str(tmp_path / "other.csv")
    assert main(words) == 3
    assert "5 days long" in capsys.readouterr().err


def test_environment_and_toml_give_way_to_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.csv").write_text("user,time\na,2024-01-01\n")
    (tmp_path / "linkwise.toml").write_text("[churn]\nfeature-days = 11\nlabel-days = 5\n")
    words = ["churn", "log.csv", "--user", "user", "--time", "time", "--out", "o", "--quiet"]
    assert main(words) == 3
    assert "(11 feature + 0 gap + 5 label days)" in capsys.readouterr().err
    monkeypatch.setenv("LINKWISE_CHURN_FEATURE_DAYS", "12")
    assert main(words) == 3
    assert "(12 feature + 0 gap + 5 label days)" in capsys.readouterr().err
    assert main([*words, "--feature-days", "13"]) == 3
    assert "(13 feature + 0 gap + 5 label days)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("[chrun]\nlabel-days = 5\n", "linkwise.toml: there is no verb chrun; expected tables"),
        ("label-days = 5\n", "linkwise.toml: there is no verb label-days; expected tables"),
        ("[churn]\nlable-days = 5\n", 'Unknown option: "lable-days" from'),
        ("[churn\n", "linkwise.toml: this is not TOML"),
    ],
)
def test_misspelt_settings_are_named(
    settings: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "linkwise.toml").write_text(settings)
    words = ["churn", "log.csv", "--user", "user", "--time", "time", "--out", "o", "--quiet"]
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_fields_that_do_not_fit_each_other_are_told_as_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "churn",
        "log.csv",
        "--schema",
        "music-box",
        "--user",
        "u",
        "--out",
        str(tmp_path / "o"),
    ]
    assert main(words) == 2
    assert "linkwise: --user has no effect on the schema music-box" in capsys.readouterr().err


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    from linkwise.errors import UsageError

    with pytest.raises(UsageError):
        main(["--debug", "report", str(tmp_path)])


def test_log_file_holds_steps_and_errors(tmp_path: Path) -> None:
    log = tmp_path / "log" / "linkwise.log"
    assert main(["--log-file", str(log), "report", str(tmp_path)]) == 2
    assert "no run folder" in log.read_text()


def test_doctor_names_the_parts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "duckdb" in shown
    assert "spark" in shown


def test_data_describe(music: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data", "describe", str(music), "--schema", "music-box", "--on-bad-row", "skip"]
    assert main([*words, "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    lines = sum(len(p.read_bytes().splitlines()) for p in music.glob("*.log"))
    assert described["rows"] + sum(bad["rows"] for bad in described["malformed"]) == lines
    assert {row["event"] for row in described["kinds"]} == {"play", "download", "search"}
    log = tmp_path / "shop.csv"
    log.write_text("customer,when\n7,2024-01-01\n")
    assert main(["data", "describe", str(log)]) == 0
    assert "customer" in capsys.readouterr().out
