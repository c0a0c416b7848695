"""The continuation tree against one sequence at a time, and the walk against the full ranking."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertLMHeadModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    RobertaConfig,
    RobertaForCausalLM,
)

from linkwise.errors import InputError
from linkwise.lm.tree import score, score_trie, top, walk
from linkwise.lm.trie import build_trie

VOCABULARY = 50
SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}


def make(shape: str, attention: str = "sdpa") -> Any:
    torch.manual_seed(1)
    if shape == "gpt2":
        config = GPT2Config(vocab_size=VOCABULARY, n_positions=64, n_embd=32, n_layer=2, n_head=4)
        model: Any = GPT2LMHeadModel(config)
    elif shape == "llama":
        model = LlamaForCausalLM(LlamaConfig(**SMALL))
    else:
        model = Qwen2ForCausalLM(Qwen2Config(**SMALL))
    model.set_attn_implementation(attention)
    for weight in model.parameters():  # far from uniform, so that errors show
        weight.data.mul_(3) if weight.dim() > 1 else None
    return model.eval()


MODELS = {shape: make(shape) for shape in ("gpt2", "llama", "qwen")}


def bert() -> Any:
    """A masked model's layers as a decoder: `--as causal`."""
    torch.manual_seed(2)
    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=48, max_position_embeddings=64, is_decoder=True,
    )  # fmt: skip
    model = BertLMHeadModel(config)
    for weight in model.parameters():
        weight.data.mul_(6) if weight.dim() > 1 else None
    return model.eval()


def roberta() -> Any:
    """Positions begin behind that of the padding."""
    torch.manual_seed(3)
    config = RobertaConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=48, max_position_embeddings=64 + VOCABULARY, is_decoder=True,
        pad_token_id=VOCABULARY - 1,  # no context or title of these tests has it, but for an end
    )  # fmt: skip
    model = RobertaForCausalLM(config)
    for weight in model.parameters():
        weight.data.mul_(6) if weight.dim() > 1 else None
    return model.eval()


MODELS["bert"] = bert()
MODELS["roberta"] = roberta()


def titles(rng: np.random.Generator, n: int, letters: int = 4, longest: int = 6) -> list[list[int]]:
    """Sequences with much in common: equal ones, and beginnings of others, among them."""
    return [rng.integers(0, letters, rng.integers(1, longest + 1)).tolist() for _ in range(n)]


def naive(model: Any, context: list[int], continuations: list[list[int]]) -> np.ndarray:
    """Each whole sequence by itself."""
    found = []
    for tokens in continuations:
        ids = torch.tensor([context + tokens])
        with torch.inference_mode():
            log_p = torch.log_softmax(model(ids).logits[0].float(), dim=-1)
        at = range(len(context) - 1, len(context) + len(tokens) - 1)
        found.append(sum(float(log_p[i, t]) for i, t in zip(at, tokens, strict=True)))
    return np.array(found)


@pytest.mark.parametrize("shape", MODELS)
@pytest.mark.parametrize("group", [1, 7, 384])
def test_the_tree_equals_one_sequence_at_a_time(shape: str, group: int) -> None:
    rng = np.random.default_rng(2)
    for _ in range(3):
        context = rng.integers(0, VOCABULARY - 1, rng.integers(1, 12)).tolist()
        continuations = titles(rng, 60)
        found = score(MODELS[shape], context, continuations, group=group)
        np.testing.assert_allclose(found, naive(MODELS[shape], context, continuations), atol=1e-4)


def test_eager_attention_too() -> None:
    model = make("llama", "eager")
    rng = np.random.default_rng(3)
    continuations = titles(rng, 40)
    np.testing.assert_allclose(
        score(model, [1, 2, 3], continuations, group=9),
        naive(model, [1, 2, 3], continuations),
        atol=1e-4,
    )


def test_bfloat16_within_its_own_error() -> None:
    """Half the bits: log-probabilities within .2 nats a token here, in nearly the same order."""
    rng = np.random.default_rng(4)
    continuations = titles(rng, 60)
    exact = score(MODELS["llama"], [5, 6], continuations)
    half = score(make("llama").to(torch.bfloat16), [5, 6], continuations)
    lengths = np.array([len(c) for c in continuations])
    assert np.abs((half - exact) / lengths).max() < 0.2
    assert np.corrcoef(exact, half)[0, 1] > 0.999


def test_sums_equal_the_library_s_own_loss() -> None:
    model, context, tokens = MODELS["gpt2"], [3, 1, 4], [1, 5, 9, 2]
    labels = torch.tensor([[-100] * 3 + tokens])
    with torch.inference_mode():
        loss = float(model(torch.tensor([context + tokens]), labels=labels).loss)
    (found,) = score(model, context, [tokens])
    assert found == pytest.approx(-loss * len(tokens), abs=1e-4)


@pytest.mark.parametrize("shape", [shape for shape in MODELS if shape != "roberta"])
def test_catalogue_probabilities_add_up_to_one(shape: str) -> None:
    """And equal the softmax over the tokens that go on, one step at a time."""
    rng = np.random.default_rng(5)
    end = VOCABULARY - 1
    continuations = [[*each, end] for each in {tuple(t) for t in titles(rng, 60)}]
    model = MODELS[shape]
    found = score(model, [7, 8, 9], continuations, over="catalogue", group=5)
    assert np.exp(found).sum() == pytest.approx(1, abs=1e-6)
    for number in range(0, len(continuations), 9):
        tokens, expected = continuations[number], 0.0
        for place, token in enumerate(tokens):
            going_on = sorted(
                {c[place] for c in continuations if c[:place] == tokens[:place] and len(c) > place}
            )
            with torch.inference_mode():
                logits = model(torch.tensor([[7, 8, 9, *tokens[:place]]])).logits[0, -1, going_on]
            expected += float(torch.log_softmax(logits, 0)[going_on.index(token)])
        assert found[number] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("seed", range(200))
def test_the_walk_finds_the_top_of_the_full_ranking(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = MODELS[["gpt2", "llama", "qwen"][seed % 3]]
    continuations = titles(rng, int(rng.integers(1, 40)))
    context = rng.integers(0, VOCABULARY, 4).tolist()
    k = int(rng.integers(1, 12))
    kind = seed % 4
    full = score(model, context, continuations, over="catalogue" if kind == 3 else "vocabulary")
    lengths: list[float] | None = None
    if kind == 1:
        full = full / [len(c) for c in continuations]
    elif kind == 2:
        lengths = rng.integers(1, 9, len(continuations)).astype(float).tolist()
        full = full / lengths
    items, values = top(
        model, context, continuations, k,
        normalise="mean" if kind in (1, 2) else "sum", lengths=lengths,
        over="catalogue" if kind == 3 else "vocabulary",
    )  # fmt: skip
    expected = np.sort(full)[::-1][:k]
    np.testing.assert_allclose(values, expected, atol=1e-4)
    np.testing.assert_allclose(full[items], values, atol=1e-4)
    assert len(set(items.tolist())) == len(items) == min(k, len(continuations))


@pytest.mark.parametrize("shape", MODELS)
@pytest.mark.parametrize("over", ["vocabulary", "catalogue"])
def test_many_contexts_padded_equal_one_by_one(shape: str, over: Any) -> None:
    """Whatever is run together, and however little memory the logits may take."""
    rng = np.random.default_rng(8)
    contexts = [rng.integers(0, VOCABULARY - 1, n).tolist() for n in (3, 11, 1, 7, 7)]
    continuations = titles(rng, 50)
    trie = build_trie(continuations)
    model = MODELS[shape]
    alone = [score(model, context, continuations, over=over) for context in contexts]
    for batch, memory in ((2, 2**29), (5, 2**29), (3, 5000)):
        found = score_trie(model, contexts, trie, over=over, batch=batch, memory=memory)
        np.testing.assert_allclose(found, alone, atol=1e-4)


def test_the_walk_leaves_much_out() -> None:
    rng = np.random.default_rng(6)
    continuations = titles(rng, 400, letters=20, longest=5)
    found = walk(MODELS["gpt2"], [1, 2, 3], build_trie(continuations), 5)
    assert found.visited < 0.5


def test_shared_beginnings_are_run_once() -> None:
    trie = build_trie([[1, 2, 3], [1, 2], [1, 4], [5], [1, 2, 3]])
    assert len(trie) == 5
    assert trie.inner.sum() == 2  # 1 and 1 2
    assert trie.end[0] == trie.end[4]
    np.testing.assert_allclose(trie.sums(np.arange(5.0)), [0 + 1 + 2, 0 + 1, 0 + 3, 4, 0 + 1 + 2])


def test_one_continuation_and_bad_input() -> None:
    model = MODELS["gpt2"]
    np.testing.assert_allclose(score(model, [1], [[2]]), naive(model, [1], [[2]]), atol=1e-4)
    with pytest.raises(InputError, match="continuation 1 has no tokens"):
        score(model, [1], [[2], []])
    with pytest.raises(InputError, match="the context has no tokens"):
        score(model, [], [[2]])
    with pytest.raises(InputError, match=r"make 66, and the model has room for 64"):
        score(model, [1] * 60, [[2] * 7])


def test_a_model_in_training_stays_in_training() -> None:
    model = make("gpt2").train()
    first, again = (score(model, [1, 2], [[3, 4], [3]]) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert model.training
