"""Kept vectors: those of the plain encoder, read and not made, by model and length, whatever breaks off."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.tiny_models import masked

from linkwise.errors import InputError, UsageError
from linkwise.lm import keep
from linkwise.lm.encode import TextEncoder
from linkwise.lm.keep import KeepingEncoder, text_encoder

TEXTS = [
    "dog",
    "the toy plays",
    "",
    "song dog dog",
    "dog",
    "the alien. the toy",
    "plays plays plays",
]


class NoneMadeError(Exception):
    """The network was run."""


def stop(*_: Any) -> Any:
    raise NoneMadeError


def test_kept_vectors_are_those_of_the_encoder_and_are_not_made_twice(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = TextEncoder(str(bert), threads=1).embed(TEXTS, max_tokens=8)
    first = KeepingEncoder(str(bert), tmp_path / "kept", threads=1)
    told: list[int] = []
    np.testing.assert_allclose(
        first.embed(TEXTS, max_tokens=8, advance=told.append), plain, atol=1e-6
    )
    assert told[-1] == len(TEXTS)
    made = first.embed(TEXTS[::-1], max_tokens=8)
    again = KeepingEncoder(str(bert), tmp_path / "kept", threads=1)
    monkeypatch.setattr(TextEncoder, "_vectors", stop)
    np.testing.assert_array_equal(again.embed(TEXTS[::-1], max_tokens=8), made)
    np.testing.assert_array_equal(again.embed(TEXTS[2:4], max_tokens=8), made[::-1][2:4])
    assert again.embed([], max_tokens=8).shape == (0, again.size)
    for texts, length in ((["another"], 8), (["dog"], 9)):
        with pytest.raises(NoneMadeError):
            again.embed(texts, max_tokens=length)


def test_another_model_has_vectors_of_its_own(bert: Path, tmp_path: Path) -> None:
    other = masked(tmp_path / "other", seed=5)
    kept = tmp_path / "kept"
    mine = KeepingEncoder(str(bert), kept, threads=1).embed(TEXTS)
    theirs = KeepingEncoder(str(other), kept, threads=1).embed(TEXTS)
    assert np.abs(mine - theirs).max() > 0.01
    np.testing.assert_allclose(theirs, TextEncoder(str(other)).embed(TEXTS), atol=1e-6)
    # The same weights that read texts in another way are another model, too.
    copy = Path(shutil.copytree(bert, tmp_path / "copy"))
    (copy / "tokenizer_config.json").write_text("{}")
    assert KeepingEncoder(str(copy), kept).folder != KeepingEncoder(str(bert), kept).folder


def test_what_a_killed_run_has_made_is_kept(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keep, "PIECE", 2)
    encoder = KeepingEncoder(str(bert), tmp_path, threads=1)
    run, calls = TextEncoder._vectors, []

    def breaks(self: Any, ids: Any, mask: Any) -> Any:
        calls.append(len(ids))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return run(self, ids, mask)

    monkeypatch.setattr(TextEncoder, "_vectors", breaks)
    with pytest.raises(KeyboardInterrupt):
        encoder.embed(TEXTS)
    assert not list(tmp_path.rglob("*.partial"))
    calls[:] = [0, 0, 0]
    found = KeepingEncoder(str(bert), tmp_path, threads=1).embed(TEXTS)
    assert sum(calls) == 6 - 4  # six different texts, of which two pieces of two were there
    monkeypatch.undo()
    np.testing.assert_allclose(found, TextEncoder(str(bert)).embed(TEXTS), atol=1e-6)


def test_a_damaged_file_and_a_folder_that_is_none_are_told(bert: Path, tmp_path: Path) -> None:
    KeepingEncoder(str(bert), tmp_path / "kept").embed(TEXTS)
    (path,) = (tmp_path / "kept").rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match="remove the file"):
        KeepingEncoder(str(bert), tmp_path / "kept").embed(TEXTS)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="cannot be made a folder"):
        KeepingEncoder(str(bert), tmp_path / "file")
    with pytest.raises(InputError, match="no string"):
        text_encoder(str(bert), str(tmp_path / "new")).embed([None])  # type: ignore[list-item]
