"""The packaged encoder, and vectors of texts."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import linkwise.lm
from linkwise.errors import InputError, ResourceError, UsageError
from linkwise.lm import minilm
from linkwise.lm.encode import TextEncoder
from linkwise.lm.load import LanguageModel, save_model
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
    with pytest.raises(InputError, match="there is no such folder"):
        TextEncoder(str(tmp_path / "nothing"))
    broken = tmp_path / "broken"
    shutil.copytree(packaged_minilm(), broken)
    (broken / "model.safetensors").write_bytes(b"\x00" * 64)
    with pytest.raises(InputError, match="cannot be loaded"):
        TextEncoder(str(broken))


def test_the_public_function_and_what_it_refuses(encoder: TextEncoder) -> None:
    found = linkwise.lm.embed(TEXTS[:3], max_tokens=64, threads=1)
    np.testing.assert_array_equal(found, encoder.embed(TEXTS[:3], max_tokens=64))
    with pytest.raises(UsageError, match="one string"):
        linkwise.lm.embed("a text")
    with pytest.raises(InputError, match="text 1 is None"):
        linkwise.lm.embed(["a text", None])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="max_tokens is 1"):
        linkwise.lm.embed(["a text"], max_tokens=1)


def test_importing_the_room_loads_nothing_heavy() -> None:
    code = "import sys, linkwise.lm; print({'numpy', 'torch', 'transformers'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "set()\n"


def test_progress_ends_at_the_number_of_texts(encoder: TextEncoder) -> None:
    seen: list[int] = []
    encoder.embed(TEXTS, max_tokens=64, batch_tokens=100, advance=seen.append)
    assert seen == sorted(set(seen))
    assert seen[-1] == len(TEXTS)


DECODERS: dict[str, Any] = {
    "llama": transformers.LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, vocab_size=30522,
    ),
    "gpt2": transformers.GPT2Config(
        n_embd=32, n_layer=2, n_head=4, n_positions=64, vocab_size=30522
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", DECODERS)
def test_a_decoder_looks_both_ways_where_it_was_taught_to(kind: str, tmp_path: Path) -> None:
    """Against one text at a time, with a mask of zeros: nothing is hidden from any token."""
    torch.manual_seed(0)
    tokenizer = transformers.AutoTokenizer.from_pretrained(packaged_minilm())
    made = LanguageModel(transformers.AutoModel.from_config(DECODERS[kind]), tokenizer, tmp_path)
    save_model(made, tmp_path / "causal")
    save_model(made, tmp_path / "both", attention="bidirectional")
    texts = ["one two three four five six", "one", "one two six"]
    causal = TextEncoder(str(tmp_path / "causal"), threads=1)
    both = TextEncoder(str(tmp_path / "both"), threads=1)
    for encoder, full in ((causal, False), (both, True)):
        for text, vector in zip(texts, encoder.embed(texts), strict=True):
            ids = tokenizer(text, return_tensors="pt")["input_ids"]
            n = ids.shape[1]
            above = torch.full((n, n), 0.0 if full else torch.finfo(torch.float32).min).triu(1)
            with torch.inference_mode():
                states = encoder.network(input_ids=ids, attention_mask=above[None, None])
            mean = states.last_hidden_state[0].mean(0).numpy()
            np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)
    assert np.abs(causal.embed(texts) - both.embed(texts)).max() > 0.01
