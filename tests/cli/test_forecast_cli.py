"""`linkwise forecast` and `linkwise lm adapt --objective technology-tokens`, in this process."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from linkwise.cli import main
from linkwise.lm.load import read_about


@pytest.fixture(scope="module")
def patents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sim") / "pat"
    words = ["simulate", "patents", "--patents", "2000", "--codes", "120", "--seed", "5"]
    assert main([*words, "--out", str(folder), "--quiet"]) == 0
    return folder


def adapt(bert: Path, patents: Path, out: Path, *more: str) -> int:
    words = ["lm", "adapt", "--model", str(bert), "--texts", str(patents / "patents.parquet")]
    rest = ["--epochs", "1", "--max-tokens", "40", "--threads", "1", "--out", str(out)]
    return main([*words, *rest, *more])


def test_from_patents_to_a_forecast(
    bert: Path, patents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = ("--objective", "technology-tokens", "--until", "2005")
    titles = ("--code-titles", str(patents / "codes.tsv"))
    assert adapt(bert, patents, tmp_path / "tt", *tokens, *titles, "--quiet") == 0
    about = read_about(tmp_path / "tt")
    assert about["until"] == 2005
    assert about["objective"] == "technology-tokens"
    capsys.readouterr()
    words = ["forecast", str(patents / "patents.parquet"), "--embed", "2006-2010", *titles]
    options = ["--forecast", "2011-2015", "--lm", str(tmp_path / "tt"), "--max-tokens", "40",
               "--bootstrap", "20", "--threads", "1", "--map"]  # fmt: skip
    assert main([*words, *options, "--json", "--out", str(tmp_path / "run")]) == 0
    said = capsys.readouterr()
    models = {row["model"] for row in json.loads(said.out)}
    assert {
        f"{kind}: {tmp_path / 'tt'}" for kind in ("text", "tokens", "hidden tokens", "token rows")
    } <= models
    assert "Report:" in said.err
    for name in ("pairs.parquet", "map.parquet", "topics.parquet", "ranking.parquet"):
        assert (tmp_path / "run" / name).is_file()
    # A model that knows what is to be forecast is refused, and nothing is left behind.
    early = ["forecast", words[1], "--embed", "2001-2004", "--lm", str(tmp_path / "tt")]
    assert main([*early, "--out", str(tmp_path / "late")]) == 2
    assert "was tuned on patents up to 2005" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "late").exists()


def test_a_forecast_is_repeated_from_its_config(
    patents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["forecast", str(patents / "patents.parquet"), "--embed", "2006-2010", "--bootstrap"]
    rest = ["20", "--forecast", "2011-2015", "--threads", "1", "--out", str(tmp_path / "one")]
    assert main([*words, *rest]) == 0
    capsys.readouterr()
    assert main(["run", str(tmp_path / "one" / "config.toml"), "--out", str(tmp_path / "two")]) == 0
    assert "common neighbours" in capsys.readouterr().err
    for name in ("metrics.json", "ranking.parquet", "pairs.parquet", "report.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_folder_of_a_simulation_is_its_patents(
    patents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not its titles and its truth, which lie beside them; the console has the first pairs."""
    words = "--embed 2006-2010 --forecast 2011-2015 --bootstrap 20 --threads 1 --set learned=false"
    for name, path in (("folder", patents), ("file", patents / "patents.parquet")):
        said = ["forecast", str(path), *words.split(), "--out", str(tmp_path / name)]
        assert main(said) == 0
    shown = capsys.readouterr().err
    for name in ("metrics.json", "pairs.csv"):
        assert (tmp_path / "folder" / name).read_bytes() == (tmp_path / "file" / name).read_bytes()
    assert "Listed by PPMI vectors" in shown
    assert "Score: cosine of vectors of which codes are together on patents; higher" in shown
    lines = shown[shown.index("rank  pair") :].splitlines()
    pairs = pl.read_parquet(tmp_path / "file" / "pairs.parquet")
    for line, row in zip(lines[1:], pairs.head(10).iter_rows(named=True), strict=False):
        assert line.split()[:3] == [str(row["rank"]), row["a"], row["b"]]
    assert "codes, combined at all, 2011-2015" in shown


def test_patents_are_described(
    patents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "describe", str(patents), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    table = pl.read_parquet(patents / "patents.parquet").unique("family", keep="first")
    assert (found["patents"], found["codes by depth"]) == (len(table), {"main-group": 120})
    assert found["patents by year"] == {
        str(year): n for year, n in table.group_by("year").len().sort("year").iter_rows()
    }
    assert main(["data", "describe", str(patents)]) == 0
    assert "2,000 patents of 1996 to 2015, with 120 codes" in capsys.readouterr().out
    # Which of two columns is meant is for the user to say.
    both = tmp_path / "both.csv"
    both.write_text("id,year,cpc_code,ipc_code\na,2001,A01B1,A01B1\n")
    assert main(["data", "describe", str(both)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Patents? linkwise forecast PATENTS --codes cpc_code" in said


def test_an_option_is_suggested_only_where_it_is_near(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["forecast", "p", "--windw", "3", "--out", "x"]) == 2
    assert "Unknown option: --windw. See" in capsys.readouterr().err
    assert main(["forecast", "p", "--also-leve", "class", "--out", "x"]) == 2
    assert "Did you mean --also-level?" in capsys.readouterr().err


def test_a_map_without_a_language_model_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["forecast", str(tmp_path / "none.parquet"), "--map", "--out", str(tmp_path / "run")]
    assert main(words) == 2
    assert "--map draws the vectors of a language model" in capsys.readouterr().err


def test_the_year_goes_with_every_objective(
    bert: Path, patents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    column = ("--column", "abstract", "--quiet")
    assert adapt(bert, patents, tmp_path / "a", "--until", "1997", *column) == 0
    assert read_about(tmp_path / "a")["until"] == 1997
    assert adapt(tmp_path / "a", patents, tmp_path / "b", "--until", "1996", *column) == 0
    assert read_about(tmp_path / "b")["until"] == 1997  # its base knows 1997
    assert (
        adapt(tmp_path / "a", patents, tmp_path / "c", "--year", "nope", "--until", "1996", *column)
        == 3
    )
    assert "name the year's with --year" in " ".join(capsys.readouterr().err.split())
    assert adapt(bert, patents, tmp_path / "d", "--until", "1900", *column) == 3
    assert "no text is of 1900 or before" in " ".join(capsys.readouterr().err.split())


def test_technology_tokens_need_codes(
    bert: Path, patents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = tmp_path / "plain.csv"
    texts.write_text("id,abstract,year\na,toys that live,2000\nb,star wars,2001\n")
    words = [
        "lm",
        "adapt",
        "--model",
        str(bert),
        "--texts",
        str(texts),
        "--objective",
        "technology-tokens",
    ]
    assert main([*words, "--out", str(tmp_path / "x")]) == 3
    assert "no column of codes was found" in " ".join(capsys.readouterr().err.split())
    assert main([*words, "--out", str(tmp_path / "x"), "--train", "soft-prompt"]) == 2
