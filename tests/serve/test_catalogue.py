"""Runs that appear, change, go and are damaged while the service runs."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from linkwise.serve import catalogue as module
from linkwise.serve.app import make_app
from linkwise.serve.catalogue import Catalogue, NoRunError


@pytest.fixture
def root(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one run of its own."""
    monkeypatch.setattr(module, "RESCAN", 0.0)
    shutil.copytree(runs / "graphs", tmp_path / "runs" / "first")
    return tmp_path / "runs"


def names(catalogue: Catalogue) -> set[str]:
    return {entry.id for entry in catalogue.entries()}


def test_runs_come_and_go(root: Path, runs: Path) -> None:
    catalogue = Catalogue(root)
    assert names(catalogue) == {"first"}
    shutil.copytree(runs / "links", root / "second")
    assert catalogue.get("second").verb == "match-link"
    shutil.rmtree(root / "first")
    with pytest.raises(NoRunError, match="no run"):
        catalogue.get("first")
    assert names(catalogue) == {"second"}


def test_a_replaced_run_is_read_anew(root: Path, runs: Path, tmp_path: Path) -> None:
    catalogue = Catalogue(root)
    before = catalogue.get("first")
    shutil.copytree(runs / "links", tmp_path / "other")
    (root / "first").rename(tmp_path / "old")
    (tmp_path / "other").rename(root / "first")
    after = catalogue.get("first")
    assert (before.verb, after.verb) == ("detect", "match-link")
    assert before.stamp != after.stamp


def test_what_is_being_made_is_not_shown(root: Path, runs: Path) -> None:
    shutil.copytree(runs / "links", root / ".second.partial-0123")
    (root / "notes").mkdir()
    (root / "readme.txt").write_text("no run")
    assert names(Catalogue(root)) == {"first"}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("run.json", "{", "run.json is damaged"),
        ("run.json", '{"format_version": 99}', "newer Linkwise"),
        ("run.json", None, "no run.json"),
        ("metrics.json", "[", "damaged"),
        ("metrics.json", '{"a": 1}', "metrics.json or run.json is damaged"),
        ("report.json", '{"title": 1}', "damaged"),
        ("config.toml", "verb = 1", ""),
        ("config.toml", None, "config.toml"),
        ("ranking.parquet", "PAR1", "damaged"),
        ("ranking.parquet", None, "ranking.parquet"),
    ],
)
def test_a_damaged_run_is_named_and_harms_no_other(
    root: Path, runs: Path, name: str, content: str | None, said: str
) -> None:
    shutil.copytree(runs / "graphs", root / "bad")
    if content is None:
        (root / "bad" / name).unlink()
    else:
        (root / "bad" / name).write_text(content)
    with TestClient(make_app(root)) as client:
        cards = {card["id"]: card for card in client.get("/v1/runs").json()["runs"]}
        assert cards["first"]["status"] == "ok"
        assert cards["bad"]["status"] == "corrupt"
        assert said in cards["bad"]["problem"]
        assert str(root) not in cards["bad"]["problem"]
        assert client.get("/v1/runs/bad").status_code == 404
        assert client.get("/v1/runs/first").status_code == 200


def test_a_run_damaged_later_is_dropped(root: Path) -> None:
    catalogue = Catalogue(root)
    catalogue.get("first")
    (root / "first" / "report.json").write_text("{")
    os.utime(root / "first" / "report.json", ns=(1, 1))
    with pytest.raises(NoRunError, match="damaged"):
        catalogue.get("first")


def test_names_are_never_paths(root: Path, runs: Path) -> None:
    shutil.copytree(runs / "links", root.parent / "outside")
    catalogue = Catalogue(root)
    for name in (
        "../outside",
        str(root.parent / "outside"),
        ".",
        "..",
        "",
        "first/../first",
        "first/",
    ):
        with pytest.raises(NoRunError):
            catalogue.get(name)


def test_a_run_itself_may_be_served(root: Path) -> None:
    assert names(Catalogue(root / "first")) == {"first"}


def test_models_of_a_run_that_is_gone_are_let_go(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "songs", tmp_path / "songs")
    with TestClient(make_app(tmp_path)) as client:

        def loaded() -> float:
            found = re.search(r"^linkwise_models_loaded (\S+)", client.get("/metrics").text, re.M)
            assert found
            return float(found[1])

        assert client.post("/v1/recommend", json={"history": []}).status_code == 200
        assert loaded() == 1
        shutil.rmtree(tmp_path / "songs")
        assert client.get("/v1/runs").json()["runs"] == []
        assert loaded() == 0
        assert client.post("/v1/recommend", json={"history": []}).status_code == 404
