"""`linkwise ask` on the command line: what is printed where, the loop, JSON, and wrong usage."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from benchmarks import answering
from tests.chat_server import Stage, chat, stream

from linkwise.cli import main
from linkwise.matching.answer import REFUSAL


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    nodes, links = answering.made()
    return str(answering.links_run(tmp_path_factory.mktemp("ask") / "links", nodes, links))


def test_an_answer_with_its_sources(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", run, "How many pollutants are there?"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(
        "12 pollutants. [1]\n\nSources:\n[1] nodes.parquet, counted over pollut"
    )
    assert said.err == ""
    assert main(["ask", run, "Who invented EP4100000?"]) == 0
    assert capsys.readouterr().out == f"{REFUSAL}\n"


def test_json(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", run, "How many pollutants are there?", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"question", "answer", "sources", "refused", "how", "dropped"}
    assert found["answer"] == "12 pollutants. [1]"
    assert found["sources"] == [
        {"number": 1, "where": "nodes.parquet, counted over pollutants", "text": "12 pollutants"}
    ]
    assert (found["refused"], found["dropped"]) == (False, 0)


class Terminal(io.StringIO):
    """Input typed by a person."""

    def isatty(self) -> bool:
        return True


def test_a_conversation(
    run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = "Which techniques does EP4100000 help?\n???\nand its pollutants?\n\nnever read\n"
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    kept = tmp_path / "history.jsonl"
    assert main(["ask", run, "--history", str(kept)]) == 0
    said = capsys.readouterr()
    assert "12 techniques linked with patent EP4100000" in said.out
    assert "5 pollutants linked with patent EP4100000" in said.out
    assert "the question is empty" in said.err
    assert len(kept.read_text().splitlines()) == 2
    monkeypatch.setattr("sys.stdin", Terminal("How many goals are there?"))
    assert main(["ask", run]) == 0  # the end of the input ends it


def test_with_a_server(run: str, stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["ask", run, "How many pollutants are there?", "--server", stage.url, "--model", "tiny"]
    stage.play(stream("There are 12 pollutants [1]. ", "There are 13 [1]."))
    assert main(words) == 0
    said = capsys.readouterr()
    assert said.out.startswith("There are 12 pollutants. [1]\n\nSources:\n[1] nodes.parquet")
    assert "1 sentence of the model did not hold against the records and was dropped." in said.err
    assert stage.heard[-1].body["stream"] is True
    stage.play(chat("There are 12 [1]."))
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["how"] == "model"
    nobody = ["--server", "http://127.0.0.1:1/v1", "--model", "tiny", "--key-variable", ""]
    assert main([*words[:3], *nobody]) == 4
    assert "no connection" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "match"),
    [
        (["RUN"], 2, "there is no question"),
        (["RUN", ""], 2, "the question is empty"),
        (["RUN", "how?", "--model", "x"], 2, "--model needs --server"),
        (["RUN", "how?", "--server", "http://127.0.0.1:1/v1"], 2, "--server needs --model"),
        (["nowhere", "how?"], 2, "no such folder"),
    ],
)
def test_wrong_usage(
    run: str, words: list[str], code: int, match: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("sys.stdin", io.StringIO("piped"))
    assert main(["ask", *(run if word == "RUN" else word for word in words)]) == code
    assert match in " ".join(capsys.readouterr().err.split())


def test_damage_is_bad_input(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = answering.figures_run(tmp_path / "run")
    (broken / "metrics.json").write_text("{")
    assert main(["ask", str(broken), "Which model is best by NDCG@10?"]) == 3
    assert "metrics.json: the file is damaged (it is not JSON)" in " ".join(
        capsys.readouterr().err.split()
    )
