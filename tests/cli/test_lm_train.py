"""`linkwise lm adapt`, `tune`, `score` and `probe`, in this process."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from linkwise.cli import main
from linkwise.errors import ResourceError
from linkwise.lm import load_model, tree
from linkwise.lm.fit import _Run
from linkwise.lm.objectives import windows


@pytest.fixture
def films(tmp_path: Path) -> Path:
    path = tmp_path / "films.parquet"
    plots = [f"toys that live {i} and a cat" for i in range(30)]
    titles = [f"toy story {i % 9} (19{i + 50})" for i in range(30)]
    pl.DataFrame({"plot": plots, "title": titles}).write_parquet(path)
    return path


def adapt(model: Path, films: Path, out: Path, *more: str, epochs: int = 1) -> int:
    words = ["lm", "adapt", "--model", str(model), "--texts", str(films), "--column", "plot"]
    return main([*words, "--out", str(out), "--epochs", str(epochs), "--threads", "1", *more])


def test_adapt_writes_a_model_and_says_how_it_went(
    bert: Path, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert adapt(bert, films, tmp_path / "out", "--objective", "mlm-hybrid", "--json") == 0
    history = json.loads(capsys.readouterr().out)["history"]
    assert len(history) == 1
    assert history[0]["tokens_per_second"] > 0
    assert load_model(str(tmp_path / "out"), "masked").about == {"objective": "mlm-hybrid"}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert adapt(bert, films, tmp_path / "out", "--objective", "mlm") == 2
    assert "the folder exists" in " ".join(capsys.readouterr().err.split())
    assert adapt(bert, films, tmp_path / "out", "--objective", "mlm", "--overwrite") == 0
    assert load_model(str(tmp_path / "out"), "masked").about == {"objective": "mlm"}


def test_a_failed_training_leaves_nothing(
    bert: Path, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A text without titles, a causal objective without --as, a learning rate beyond reason."""
    assert (
        adapt(bert, films, tmp_path / "o", "--objective", "mlm-hybrid", "--title-column", "name")
        == 3
    )
    assert 'no column "name"' in " ".join(capsys.readouterr().err.split())
    assert adapt(bert, films, tmp_path / "o", "--objective", "clm") == 3
    assert "--as causal" in " ".join(capsys.readouterr().err.split())
    assert adapt(bert, films, tmp_path / "o", "--resume") == 2
    assert "no interrupted run to resume" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "o").exists()
    assert not list(tmp_path.glob(".o*"))


def test_another_folder_is_never_overwritten(tmp_path: Path, bert: Path, films: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "notes.txt").write_text("mine")
    assert adapt(bert, films, tmp_path / "precious", "--overwrite") == 2
    assert (tmp_path / "precious" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ResourceError("full."), ValueError("x")])
def test_a_training_that_stopped_goes_on(
    error: BaseException,
    bert: Path,
    films: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Interrupted, or out of memory after an epoch: it ends as one that never stopped."""
    assert adapt(bert, films, tmp_path / "whole", epochs=3) == 0
    judge = _Run.judge

    def stop(run: _Run, network: object, epoch: int) -> None:
        judge(run, network, epoch)
        if epoch == 1:
            raise error

    with monkeypatch.context() as patched:
        patched.setattr(_Run, "judge", stop)
        assert adapt(bert, films, tmp_path / "half", epochs=3) != 0
    assert not (tmp_path / "half").exists()
    said = " ".join(capsys.readouterr().err.split())
    if isinstance(error, ResourceError):
        assert "--resume goes on from there" in said
    if isinstance(error, KeyboardInterrupt):
        assert "--resume goes on from the last checkpoint" in said
    assert adapt(bert, films, tmp_path / "half", "--resume", epochs=3) == 0
    assert not list(tmp_path.glob(".half*"))
    for name in ("whole", "half"):
        assert (tmp_path / name / "model.safetensors").is_file()
    whole, half = (
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "half")
    )
    assert whole == half


def test_tune_score_and_probe_agree_with_the_library(
    gpt: Path, bert: Path, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("prompt,answer\n" + "a cat says,meow\nthe dog says,woof\n" * 10)
    words = ["lm", "tune", "--model", str(gpt), "--data", str(pairs), "--threads", "1", "--quiet"]
    assert main([*words, "--epochs", "2", "--train", "lora", "--out", str(tmp_path / "t")]) == 0
    (tmp_path / "lines.txt").write_text("meow\nwoof\nmeow woof\n")
    words = ["lm", "score", "--lm", str(tmp_path / "t"), "--context", "a cat says", "--json"]
    words += ["--continuations", str(tmp_path / "lines.txt")]
    model = load_model(str(tmp_path / "t"), "causal")
    context = [*model.text_start(), *model.encode("a cat says")]
    lines = ["meow", "woof", "meow woof"]
    expected = tree.score(model.network, context, [model.encode(f" {line}") for line in lines])
    capsys.readouterr()
    assert main(words) == 0
    found = {row["continuation"]: row["score"] for row in json.loads(capsys.readouterr().out)}
    np.testing.assert_allclose([found[line] for line in lines], expected, atol=1e-4)
    assert main([*words, "--top", "1", "--normalise", "mean"]) == 0
    (best,) = json.loads(capsys.readouterr().out)
    lengths = [len(model.encode(f" {line}")) for line in lines]
    assert best["score"] == pytest.approx(max(expected / lengths), abs=1e-4)
    (tmp_path / "empty.txt").write_text("meow\n \nwoof\n\t\n")
    capsys.readouterr()
    assert main([*words[:-1], str(tmp_path / "empty.txt"), "--threads", "1"]) == 3
    assert "2 of 4 continuations have no tokens, in row 2, 4" in " ".join(
        capsys.readouterr().err.split()
    )
    assert main([*words, "--threads", "0"]) == 2
    probe = [
        "lm",
        "probe",
        "--model",
        str(bert),
        "--texts",
        str(films),
        "--column",
        "plot",
        "--json",
    ]
    assert main([*probe, "--sample", "9", "--quiet"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["texts"] == 9
    assert result["mrr"]["low"] <= result["mrr"]["value"] <= result["mrr"]["high"]
    assert main(["lm", "probe", "--texts", str(films), "--column", "plot"]) == 3
    assert "no trained masked head" in " ".join(capsys.readouterr().err.split())


def test_two_steps_from_a_decoder_to_an_encoder(
    gpt: Path, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """mntp, then contrastive: what is written looks both ways, and embeds so."""
    assert adapt(gpt, films, tmp_path / "a", "--objective", "mntp", "--quiet") == 0
    assert (
        adapt(tmp_path / "a", films, tmp_path / "b", "--objective", "contrastive", "--quiet") == 0
    )
    model = load_model(str(tmp_path / "b"), "encoder")
    assert model.bidirectional
    (tmp_path / "lines.txt").write_text("meow")
    words = ["lm", "score", "--lm", str(tmp_path / "a"), "--context", "a"]
    assert main([*words, "--continuations", str(tmp_path / "lines.txt")]) == 3
    assert "taught to look both ways" in " ".join(capsys.readouterr().err.split())
    from linkwise.lm import embed

    texts = ["toys that live and a cat", "toys that live and a dog"]
    first, second = embed(texts, str(tmp_path / "b"))
    rows, _ = windows(model, texts, 90)
    assert len(rows) == 2
    ids = torch.tensor([model.tokenizer(texts[0])["input_ids"]])
    mask = torch.zeros((1, 1, ids.shape[1], ids.shape[1]))
    with torch.inference_mode():
        mean = model.network(ids, attention_mask=mask).last_hidden_state[0].mean(0)
    np.testing.assert_allclose(first, (mean / mean.norm()).numpy(), atol=1e-4)
    assert not np.allclose(first, second)
