"""Titles in gaps and along paths, against one title at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.tiny_models import causal, masked

from linkwise.errors import InputError
from linkwise.lm.load import LanguageModel, load_model
from linkwise.lm.probe import true_text_ranks
from linkwise.lm.titles import (
    Gap,
    ended_titles,
    gap_scores,
    gap_values,
    path_loss,
    read_titles,
    steps_of,
)
from linkwise.lm.tree import score, score_trie

NAMES = [
    "toy story",
    "toy",
    "alien",
    "",
    "star wars ghostbusters",
    "alien",
    None,
    "heat ii",
    "the cat",
]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return load_model(str(masked(tmp_path_factory.mktemp("lm") / "bert")), "masked")


@pytest.fixture(scope="module", params=["gpt2", "llama", "bert"])
def decoder(request: Any, tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    folder = tmp_path_factory.mktemp("lm") / request.param
    if request.param == "bert":
        return load_model(str(masked(folder)), "causal", as_causal=True)
    return load_model(str(causal(folder, request.param)), "causal")


def test_titles_are_cut_and_twins_known(bert: LanguageModel) -> None:
    titles = read_titles(bert, NAMES, most=3)
    assert titles.lengths.tolist() == [2, 1, 1, 0, 3, 1, 0, 2, 2]
    assert titles.cut == 1  # star wars ghost ##busters
    assert titles.twins[[2, 5]].tolist() == [2, 2]
    assert titles.twins[0] == 1
    assert titles.named.tolist() == [0, 1, 2, 4, 5, 7, 8]
    assert titles.bytes[0] == len("toy story")
    assert titles.bytes[4] == len("star wars ghost")
    np.testing.assert_array_equal(titles.divisor("mean")[:5], [2, 1, 1, 1, 3])


def slow_gap(model: LanguageModel, gap: Gap, tokens: tuple[int, ...], masks: int) -> float:
    """One title alone, without padding."""
    ids = [*gap.before, *[4] * masks, *gap.after]
    with torch.inference_mode():
        log_p = torch.log_softmax(model.network(torch.tensor([ids])).logits[0].float(), -1)
    return sum(float(log_p[len(gap.before) + at, token]) for at, token in enumerate(tokens))


@pytest.mark.parametrize("inference", ["one-pass", "by-length"])
def test_gaps_equal_one_title_at_a_time(inference: Any, bert: LanguageModel) -> None:
    titles = read_titles(bert, NAMES, most=3)
    gaps = [Gap((2, 7, 8, 9, 10), (30, 3)), Gap((2, 7), (30, 3)), Gap((2, *range(5, 25)), (3,))]
    found = gap_scores(bert, gaps, titles, inference)
    for row, gap in enumerate(gaps):
        for title, tokens in enumerate(titles.tokens):
            if not tokens:
                assert found[row, title] == -np.inf
                continue
            masks = 3 if inference == "one-pass" else len(tokens)
            expected = slow_gap(bert, gap, tokens, masks)
            assert found[row, title] == pytest.approx(expected, abs=1e-4)
    values = gap_values(bert, gaps, titles, inference)
    assert values.requires_grad
    named = titles.named
    np.testing.assert_allclose(values.detach().numpy()[:, named], found[:, named], atol=1e-4)


def test_the_path_s_loss_is_that_of_the_whole_catalogue(decoder: LanguageModel) -> None:
    """Its value by the tree, its gradient by a softmax over every title's own run."""
    titles = read_titles(decoder, NAMES)
    end = decoder.encode(".")[:1]
    ended = ended_titles(titles, end)
    steps = steps_of(ended, len(titles))
    contexts = [[*decoder.text_start(), 7, 8], [*decoder.text_start(), 9]]
    rows = [[*contexts[0], *titles.tokens[0]], [*contexts[1], *titles.tokens[4]]]
    network = decoder.network
    network.zero_grad()
    loss = path_loss(decoder, rows, [[(len(contexts[0]), 0)], [(len(contexts[1]), 4)]], steps)
    log_p = score_trie(network, contexts, ended.trie, over="catalogue")
    place = {int(title): at for at, title in enumerate(ended.row)}
    assert float(loss) == pytest.approx(-(log_p[0, place[0]] + log_p[1, place[4]]), abs=1e-4)
    loss.backward()
    found = {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}
    network.zero_grad()
    total = torch.zeros(())
    for context, answer in zip(contexts, (0, 4), strict=True):
        path = [*titles.tokens[answer], *end]
        for at, token in enumerate(path):
            siblings = sorted(
                {
                    [*other, *end][at]
                    for other in titles.tokens
                    if other and [*other, *end][:at] == path[:at] and len(other) >= at
                }
            )
            logits = network(torch.tensor([[*context, *path[:at]]])).logits[0, -1, siblings]
            total = total - torch.log_softmax(logits, 0)[siblings.index(token)]
    assert float(total) == pytest.approx(float(loss), abs=1e-4)
    total.backward()
    for name, p in network.named_parameters():
        if p.grad is not None:
            torch.testing.assert_close(found[name], p.grad, atol=1e-4, rtol=1e-3)
    network.zero_grad()


def test_many_targets_of_one_row_are_added_up(decoder: LanguageModel) -> None:
    titles = read_titles(decoder, NAMES)
    steps = steps_of(ended_titles(titles, decoder.encode(".")[:1]), len(titles))
    start = [*decoder.text_start(), 7]
    row = [*start, *titles.tokens[0], 9, *titles.tokens[7]]
    second = len(start) + len(titles.tokens[0]) + 1
    with torch.inference_mode():
        both = path_loss(decoder, [row], [[(len(start), 0), (second, 7)]], steps)
        apart = [
            path_loss(decoder, [row], [[pair]], steps) for pair in ((len(start), 0), (second, 7))
        ]
    assert float(both) == pytest.approx(sum(float(x) for x in apart), abs=1e-4)


def test_a_catalogue_without_tokens_is_an_error(bert: LanguageModel) -> None:
    with pytest.raises(InputError, match="no title of the catalogue has a token"):
        ended_titles(read_titles(bert, ["", None]), ())


TEXTS = ["toys that live", "the dog says woof", "a cat and a dog", "star wars", "song of the two"]
TITLES = ["toy story", "alien", "the cat", "star wars", "heat"]


def test_the_rank_of_the_true_text(bert: LanguageModel, decoder: LanguageModel) -> None:
    for model, is_causal in ((bert, False), (decoder, True)):
        found = true_text_ranks(model, TEXTS, TITLES, causal=is_causal)
        names = read_titles(model, TITLES)
        scores = np.zeros((5, 5))
        for row, text in enumerate(TEXTS):
            lead = model.encode(" This is the movie")
            before = [*model.text_start(), *model.encode(text), *model.encode("."), *lead]
            for column, tokens in enumerate(names.tokens):
                if is_causal:
                    value = score(model.network, before, [tokens])[0]
                else:
                    gap = Gap(tuple(before), (*model.encode("."), 3))
                    value = slow_gap(model, gap, tokens, int(names.lengths.max()))
                scores[row, column] = value / len(tokens)
        scores -= scores.mean(axis=1, keepdims=True)
        expected = [
            1 + sum(scores[r, t] >= scores[t, t] for r in range(5) if r != t) for t in range(5)
        ]
        assert found.tolist() == expected
    with pytest.raises(InputError, match="5 texts and 4 titles"):
        true_text_ranks(bert, TEXTS, TITLES[:4])
