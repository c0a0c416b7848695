"""Objectives against the library's own losses and counts by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.tiny_models import causal, masked

from linkwise.lm import objectives
from linkwise.lm.heads import both_ways
from linkwise.lm.load import LanguageModel, load_model

TEXTS = [
    "a user watched toy story and alien . the cat says meow",
    "the dog",
    "heat ran gandhi star wars ghostbusters " * 6,
    "",
]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return load_model(str(masked(tmp_path_factory.mktemp("lm") / "bert")), "masked")


@pytest.fixture(scope="module")
def gpt(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return load_model(str(causal(tmp_path_factory.mktemp("lm") / "gpt", "llama")), "causal")


def test_windows_hold_every_token_once(bert: LanguageModel) -> None:
    rows, of = objectives.windows(bert, TEXTS, 12)
    assert max(len(row) for row in rows) <= 12
    assert all(row[0] == 2 for row in rows)
    for text in range(len(TEXTS)):
        own = [row for row, number in zip(rows, of, strict=True) if number == text]
        assert [row[-1] == 3 for row in own] == [False] * (len(own) - 1) + [True] * bool(own)
        together = [token for row in own for token in row if token not in (2, 3)]
        assert together == bert.encode(TEXTS[text])


def test_a_text_is_held_out_whole(bert: LanguageModel) -> None:
    task = objectives.clm(bert, [TEXTS[2]] * 40, 12)
    _, of = objectives.windows(bert, [TEXTS[2]] * 40, 12)
    assert len(np.unique(of[task.held_out])) == 2
    assert not set(of[task.held_out]) & set(of[task.train])


def test_corruption_is_eighty_ten_ten() -> None:
    rng = np.random.default_rng(0)
    tokens = np.full(60_000, 7)
    at = np.arange(60_000) % 2 == 0
    found = objectives.corrupt(tokens, at, 4, 1000, rng)
    assert (found[~at] == 7).all()
    inside = found[at]
    shares = [(inside == 4).mean(), (inside == 7).mean()]
    np.testing.assert_allclose(shares, [0.8, 0.1], atol=0.01)  # .1 % of the replaced are 7 again


def _seen(model: LanguageModel, task: Any, rows: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the objective gave to the network: rows, corrupted rows, and where it asks."""
    seen: list[Any] = []

    def note(*args: Any, **options: Any) -> Any:
        seen.append(args)
        return objectives.Loss(torch.zeros(()), 0, 0)

    monkeypatch.setattr(objectives, "_masked_loss", note)
    task.loss(rows, np.random.default_rng(1))
    return seen[0][1:4]


def test_the_masked_loss_equals_the_library_s(bert: LanguageModel) -> None:
    rows, _ = objectives.windows(bert, TEXTS, 30)
    rng = np.random.default_rng(2)
    hidden = [rng.random(len(row)) < 0.3 for row in rows]
    corrupted = [np.where(at, 4, row).tolist() for row, at in zip(rows, hidden, strict=True)]
    with torch.inference_mode():
        found = objectives._masked_loss(bert, rows, corrupted, hidden)
        total, n = 0.0, 0
        for row, wrong, at in zip(rows, corrupted, hidden, strict=True):
            labels = torch.tensor([np.where(at, row, -100).tolist()])
            if at.any():
                total += float(bert.network(torch.tensor([wrong]), labels=labels).loss) * at.sum()
                n += int(at.sum())
    assert found.units == n
    assert float(found.total) == pytest.approx(total, rel=1e-4)


def test_special_tokens_are_never_hidden(
    bert: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = objectives.mlm(bert, TEXTS * 20, 30)
    rows, corrupted, hidden = _seen(bert, task, np.arange(len(task.lengths)), monkeypatch)
    share = np.concatenate(hidden).sum() / sum(t not in (2, 3) for row in rows for t in row)
    assert 0.11 < share < 0.19
    for row, wrong, at in zip(rows, corrupted, hidden, strict=True):
        assert not at[np.isin(row, [2, 3])].any()
        assert all(a == b for a, b, hide in zip(row, wrong, at, strict=True) if not hide)


def test_the_hybrid_hides_words_or_the_title(
    bert: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    plot, title = (
        "a ghostbusters cat watched the movie song of the dog and the heat",
        "toy story ii",
    )
    task = objectives.mlm_hybrid(bert, [plot] * 400, [title] * 400, 64)
    rows, corrupted, hidden = _seen(bert, task, np.arange(400), monkeypatch)
    text = bert.tokenizer.decode(rows[0][1:-1])
    assert text == f"{plot}. this is the movie {title}."
    own = objectives.titled(bert, plot, title, 64)
    titles = 0
    for wrong, at in zip(corrupted, hidden, strict=True):
        assert all(token == 4 for token, hide in zip(wrong, at, strict=True) if hide)
        if at[own.title].any():
            titles += 1
            assert at.sum() == 3  # toy story ii, whole, and nothing else
            assert at[own.title].all()
        else:
            words = set(own.words[at].tolist())
            assert len(words) == round(0.3 * 13)
            assert at.sum() == sum((own.words == word).sum() for word in words)  # whole words
    assert 160 < titles < 240  # one to one


def test_a_long_synopsis_is_cut_and_the_title_kept(bert: LanguageModel) -> None:
    found = objectives.titled(bert, "the cat says meow " * 50, "toy story", 40)
    assert len(found.tokens) == 40
    assert found.tokens[found.title] == bert.encode("toy story")


@pytest.mark.parametrize("which", ["bert", "gpt"])
def test_the_next_token_loss_equals_the_library_s(
    which: str, gpt: LanguageModel, bert: LanguageModel
) -> None:
    model = gpt
    if which == "bert":
        model = load_model(str(bert.folder), "causal", as_causal=True)
    rows, _ = objectives.windows(model, TEXTS[:3], 25)
    with torch.inference_mode():
        found = objectives.next_token_loss(model, rows, [1] * len(rows))
        each = [
            float(model.network(torch.tensor([row]), labels=torch.tensor([row])).loss)
            * (len(row) - 1)
            for row in rows
        ]
        half = objectives.next_token_loss(model, rows[:1], [5])
        labels = torch.tensor([[-100] * 5 + rows[0][5:]])
        answer = float(model.network(torch.tensor(rows[:1]), labels=labels).loss)
    assert found.units == sum(len(row) - 1 for row in rows)
    assert float(found.total) == pytest.approx(sum(each), rel=1e-4)
    assert float(half.total) == pytest.approx(answer * (len(rows[0]) - 5), rel=1e-4)


def test_masked_next_tokens_are_read_before_them_and_look_both_ways(gpt: LanguageModel) -> None:
    row = objectives.windows(gpt, TEXTS[:1], 60)[0][0]
    at = np.zeros(len(row), dtype=bool)
    at[[4, 9]] = True
    wrong = np.where(at, objectives.mask_token(gpt), row)
    with torch.inference_mode():
        found = objectives._masked_loss(gpt, [row], [wrong.tolist()], [at], shift=1)
        there = torch.ones((1, len(row)), dtype=torch.bool)
        logits = gpt.network(
            torch.tensor([wrong.tolist()]), attention_mask=both_ways(there, torch.float32)
        ).logits[0]
        expected = -sum(float(torch.log_softmax(logits[i - 1], 0)[row[i]]) for i in (4, 9))
        later = wrong.copy()
        later[-1] = 3
        other = objectives._masked_loss(gpt, [row], [later.tolist()], [at], shift=1)
    assert float(found.total) == pytest.approx(expected, rel=1e-4)
    assert float(other.total) != pytest.approx(float(found.total), rel=1e-4)  # the end is seen


def test_two_views_of_a_text(bert: LanguageModel) -> None:
    """Without dropout both views are one: the loss is of the texts' own cosines."""
    model = load_model(str(bert.folder), "encoder")
    texts = ["toy story", "the dog says woof", "alien"]
    task = objectives.contrastive(model, texts, 20)
    objectives.set_dropout(model.network, 0.0)
    with torch.inference_mode():
        found = task.loss(np.arange(3), np.random.default_rng(0))
        vectors = []
        for text in texts:
            ids = torch.tensor([[2, *model.encode(text), 3]])
            mean = model.network(ids).last_hidden_state[0].mean(0)
            vectors.append(mean / mean.norm())
        alike = torch.stack(vectors) @ torch.stack(vectors).T / 0.05
        expected = -float(torch.log_softmax(alike, 1).diagonal().sum())
    assert float(found.total) == pytest.approx(expected, rel=1e-3)
    objectives.set_dropout(model.network, 0.2)
    model.network.eval()  # held-out texts have their two views, too, and always the same ones
    with torch.inference_mode():
        a, b = (float(task.loss(np.arange(3), np.random.default_rng(0)).total) for _ in range(2))
    assert a == b
    assert a != pytest.approx(expected, rel=1e-3)
    assert not model.network.training
