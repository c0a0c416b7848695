"""The packaged encoder, and vectors of texts."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from linkwise.errors import InputError, ResourceError
from linkwise.lm import minilm
from linkwise.lm.embed import TextEncoder
from linkwise.lm.minilm import check_weights, packaged_minilm

TEXTS = ["A film about toys that live", "", "Jumanji (1995)", "x " * 400, "Toy Story (1995)"]


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder(threads=1)


def test_vectors_equal_the_published_recipe_text_by_text(encoder: TextEncoder) -> None:
    """The mean of the last states over the tokens, normalised, one text at a time without padding."""
    found = encoder.embed(TEXTS, max_tokens=64, batch_tokens=100)
    assert found.shape == (5, 384)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    for text, vector in zip(TEXTS, found, strict=True):
        tokens = encoder.tokenizer(text, return_tensors="pt", truncation=True, max_length=64)
        with torch.inference_mode():
            states = encoder.network(**tokens).last_hidden_state[0]
        mean = states.mean(0).numpy()
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)


def test_what_means_the_same_is_near(encoder: TextEncoder) -> None:
    toys, _, jumanji, _, story = encoder.embed(TEXTS)
    assert toys @ story > toys @ jumanji + 0.2


def test_known_values(encoder: TextEncoder) -> None:
    """As sentence-transformers 6.2.0 computes them from the same weights."""
    (vector,) = encoder.embed(["Linkwise predicts links."])
    expected = [-0.04974, -0.09792, -0.03254, 0.08002, 0.10883, 0.00723]
    np.testing.assert_allclose(vector[:6], expected, atol=1e-4)


def test_no_text_gives_no_vector(encoder: TextEncoder) -> None:
    assert encoder.embed([]).shape == (0, 384)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"other weights")
    with pytest.raises(InputError, match=r"have SHA-256 .* expected 53aa"):
        check_weights(weights, minilm.SHA256)
    with pytest.raises(InputError, match="cannot be read"):
        check_weights(tmp_path / "none", minilm.SHA256)


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    packaged_minilm.cache_clear()
    monkeypatch.setattr(minilm, "PACKAGE", "gt_not_there")
    with pytest.raises(ResourceError, match=r"linkwise\[offline\]"):
        packaged_minilm()
    packaged_minilm.cache_clear()


def test_another_folder_and_a_wrong_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"neither \"minilm\" nor the folder"):
        TextEncoder(str(tmp_path / "nothing"))
    broken = tmp_path / "broken"
    shutil.copytree(packaged_minilm(), broken)
    (broken / "model.safetensors").write_bytes(b"\x00" * 64)
    with pytest.raises(InputError, match="cannot be loaded"):
        TextEncoder(str(broken))
