"""What a language model learns from texts: masked, next, masked-next words, and two views of one text.

Each objective is a function from a model and its texts to a `Task` of `lm/fit.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from linkwise.errors import InputError
from linkwise.lm.fit import Loss, Task
from linkwise.lm.heads import logits_at, padded, states
from linkwise.lm.load import LanguageModel
from linkwise.lm.trie import Longs

MASKED_SHARE = 0.15
HYBRID_SHARE = 0.3
HELD_OUT = 0.05
MOST_HELD_OUT = 1000
HYBRID_END = "This is the movie"
TEMPERATURE = 0.05

Bools = np.ndarray[Any, np.dtype[np.bool_]]


def windows(
    model: LanguageModel, texts: Sequence[str], max_tokens: int
) -> tuple[list[list[int]], Longs]:
    """Token rows of at most `max_tokens`, and the text of each (n,); a long text becomes several.

    Each begins as the model's texts do; the last of a text ends so.
    """
    start, end = model.text_start(), model.text_end()
    room = max_tokens - len(start) - len(end)
    if room < 1:
        raise InputError(
            f"--max-tokens is {max_tokens}; expected at least {max_tokens - room + 1}."
        )
    rows, of = [], []
    for begin in range(0, len(texts), 1000):
        part = list(texts[begin : begin + 1000])
        for number, tokens in enumerate(
            model.tokenizer(part, add_special_tokens=False)["input_ids"]
        ):
            for at in range(0, len(tokens), room):
                last = at + room >= len(tokens)
                rows.append([*start, *tokens[at : at + room], *(end if last else [])])
                of.append(begin + number)
    return rows, np.array(of, dtype=np.int64)


def task_of(
    lengths: Sequence[int] | Longs, loss: Any, of: Longs | None = None, *, whole: bool = False
) -> Task:
    """A task over rows of so many tokens: one text in twenty, at most a thousand, is held out whole.

    `of` says which text (or user) each row is of; without it each row is one.
    """
    owner = np.arange(len(lengths)) if of is None else of
    texts = np.unique(owner)
    order = np.random.default_rng(3).permutation(texts)
    out = np.isin(owner, order[: min(MOST_HELD_OUT, int(HELD_OUT * len(texts)))])
    return Task(
        lengths=np.array(lengths, dtype=np.int64),
        train=np.flatnonzero(~out),
        held_out=np.flatnonzero(out),
        loss=loss,
        whole=whole,
    )


# ----------------------------------------------------------------------------------------- masked words


def mlm(model: LanguageModel, texts: Sequence[str], max_tokens: int) -> Task:
    """Masked words (Devlin et al. 2019): of 15 % of the tokens, 80 % are hidden, 10 % replaced, 10 % kept."""
    return _masked_task(model, texts, max_tokens, shift=0)


def _masked_task(model: LanguageModel, texts: Sequence[str], max_tokens: int, shift: int) -> Task:
    """Hidden tokens, each read `shift` places before it; what has no such place is not hidden."""
    rows, of = windows(model, texts, max_tokens)
    mask, special = mask_token(model), list(set(model.tokenizer.all_special_ids))
    vocabulary = len(model.tokenizer)
    first = shift + len(model.prefix) if shift else 0

    def loss(chosen: Longs, rng: np.random.Generator) -> Loss:
        corrupted, hidden = [], []
        for row in chosen:
            tokens = np.array(rows[row])
            at = rng.random(len(tokens)) < MASKED_SHARE
            at &= ~np.isin(tokens, special)
            at[:first] = False
            corrupted.append(corrupt(tokens, at, mask, vocabulary, rng).tolist())
            hidden.append(at)
        return _masked_loss(model, [rows[row] for row in chosen], corrupted, hidden, shift)

    return task_of([len(row) for row in rows], loss, of)


def corrupt(
    tokens: Longs, at: Bools, mask: int, vocabulary: int, rng: np.random.Generator
) -> Longs:
    """Tokens with those marked hidden (80 %), replaced by any other (10 %) or kept (10 %)."""
    draw = rng.random(len(tokens))
    found = tokens.copy()
    found[at & (draw < 0.8)] = mask
    replaced = at & (draw >= 0.8) & (draw < 0.9)
    found[replaced] = rng.integers(0, vocabulary, int(replaced.sum()))
    return found


@dataclass(frozen=True)
class TitledText:
    """A synopsis that ends in its title: tokens, the word each belongs to (-1: none), the title's place."""

    tokens: list[int]
    words: Longs
    title: slice


def titled(model: LanguageModel, synopsis: str, title: str, max_tokens: int) -> TitledText:
    """`[synopsis]. This is the movie [title].`, the synopsis cut so that the rest fits."""
    start, end = model.text_start(), model.text_end()
    middle = model.encode_after(f" {HYBRID_END}")
    name, stop = model.encode_after(f" {title}"), model.encode_after(".")
    room = max_tokens - len(start) - len(end) - len(middle) - len(name) - 2 * len(stop)
    encoded = model.tokenizer(synopsis.rstrip(" ."), add_special_tokens=False)
    told = encoded["input_ids"][: max(0, room)]
    parts = [start, told, stop, middle, name, stop, end]
    words = np.full(sum(len(part) for part in parts), -1, dtype=np.int64)
    own = encoded.word_ids()[: len(told)]
    words[len(start) : len(start) + len(told)] = [-1 if w is None else w for w in own]
    at = sum(len(part) for part in parts[:4])
    tokens = [token for part in parts for token in part]
    return TitledText(tokens, words, slice(at, at + len(name)))


def mlm_hybrid(
    model: LanguageModel, texts: Sequence[str], titles: Sequence[str], max_tokens: int
) -> Task:
    """LMRecSys's adaptive pre-training: 30 % of the words or the whole title are hidden, one to one."""
    rows = [titled(model, t, n, max_tokens) for t, n in zip(texts, titles, strict=True)]
    mask = mask_token(model)

    def loss(chosen: Longs, rng: np.random.Generator) -> Loss:
        corrupted, hidden = [], []
        for row in chosen:
            text = rows[row]
            at = np.zeros(len(text.tokens), dtype=np.bool_)
            words = np.unique(text.words[text.words >= 0])
            if rng.random() < 0.5 or not len(words):
                at[text.title] = True
            else:
                n = max(1, round(HYBRID_SHARE * len(words)))
                at = np.isin(text.words, rng.choice(words, n, replace=False))
            corrupted.append(np.where(at, mask, text.tokens).tolist())
            hidden.append(at)
        return _masked_loss(model, [rows[row].tokens for row in chosen], corrupted, hidden)

    return task_of([len(row.tokens) for row in rows], loss)


def _masked_loss(
    model: LanguageModel,
    rows: Sequence[Sequence[int]],
    corrupted: Sequence[Sequence[int]],
    hidden: Sequence[Bools],
    shift: int = 0,
) -> Loss:
    """Cross-entropy of the hidden tokens, read `shift` places before them."""
    device = model.network.device
    ids, there = padded(corrupted, model.tokenizer.pad_token_id or 0, device)
    row = np.concatenate([np.full(int(at.sum()), number) for number, at in enumerate(hidden)])
    place = np.concatenate([np.flatnonzero(at) for at in hidden])
    token = np.concatenate([np.array(r)[at] for r, at in zip(rows, hidden, strict=True)])
    if not len(row):
        return Loss(torch.zeros((), device=device), 0, ids.numel())
    at_row, at_place, answer = (
        torch.from_numpy(x.astype(np.int64)).to(device) for x in (row, place - shift, token)
    )
    logits = logits_at(model.network, ids, there, at_row, at_place, bidirectional=shift > 0)
    total = functional.cross_entropy(logits, answer, reduction="sum")
    return Loss(total, len(row), ids.numel())


def mask_token(model: LanguageModel) -> int:
    """The token that hides others: [MASK], or, in a model that has none, `_` (as LLM2Vec does)."""
    if model.tokenizer.mask_token_id is not None:
        return int(model.tokenizer.mask_token_id)
    found = model.encode("_")
    if len(found) != 1:
        raise InputError(f"{model.folder}: the tokenizer has neither a mask token nor one for _.")
    return found[0]


# ------------------------------------------------------------------------------------------- next words


def clm(model: LanguageModel, texts: Sequence[str], max_tokens: int) -> Task:
    """The next token, at every place."""
    rows, of = windows(model, texts, max_tokens)

    def loss(chosen: Longs, rng: np.random.Generator) -> Loss:
        first = max(1, len(model.prefix))  # nothing is asked of a soft prompt
        return next_token_loss(model, [rows[row] for row in chosen], [first] * len(chosen))

    return task_of([len(row) for row in rows], loss, of)


def next_token_loss(
    model: LanguageModel, rows: Sequence[Sequence[int]], first: Sequence[int]
) -> Loss:
    """Cross-entropy of each row's tokens from place `first` on, each after those before it."""
    device = model.network.device
    ids, there = padded(rows, model.tokenizer.pad_token_id or 0, device)
    asked = there.clone()
    for at, place in enumerate(first):
        asked[at, :place] = False
    row, place_of = asked.nonzero(as_tuple=True)
    logits = logits_at(model.network, ids, there, row, place_of - 1)
    total = functional.cross_entropy(logits, ids[row, place_of], reduction="sum")
    return Loss(total, len(row), ids.numel())


def mntp(model: LanguageModel, texts: Sequence[str], max_tokens: int) -> Task:
    """Masked next token (LLM2Vec, BehnamGhader et al. 2024): a decoder that looks both ways.

    15 % of the tokens are hidden, as in `mlm`, and each is read at the place before it.
    """
    return _masked_task(model, texts, max_tokens, shift=1)


# --------------------------------------------------------------------------------------- two views of one


def contrastive(model: LanguageModel, texts: Sequence[str], max_tokens: int) -> Task:
    """SimCSE (Gao et al. 2021): a text's vectors under two dropouts are nearer than those of other texts.

    Mean-pooled vectors, cosine over a temperature of .05, the batch's other texts as negatives. A held-out
    text's own loss is taken with dropout, too: without it the two vectors are the same.
    """
    rows, of = windows(model, texts, max_tokens)
    if len(rows) < 2:
        raise InputError(
            "contrastive parts a text from others, and there is one; give it more texts."
        )

    def loss(chosen: Longs, rng: np.random.Generator) -> Loss:
        ids, there = padded(
            [rows[row] for row in chosen], model.tokenizer.pad_token_id or 0, model.network.device
        )
        training = model.network.training
        if not training:  # a held-out text, the same dropouts every time
            torch.manual_seed(int(rng.integers(2**31)))
            model.network.train()
        first, second = (
            functional.normalize(
                mean_state(
                    states(model.network, ids, there, bidirectional=model.bidirectional), there
                ),
                dim=1,
            )
            for _ in range(2)
        )
        model.network.train(training)
        alike = first @ second.T / TEMPERATURE  # (b, b)
        total = functional.cross_entropy(
            alike.float(), torch.arange(len(ids), device=ids.device), reduction="sum"
        )
        return Loss(total, len(ids), 2 * ids.numel())

    return task_of([len(row) for row in rows], loss, of, whole=True)


def mean_state(found: Any, there: Any) -> Any:
    """The mean of the states over the tokens of each row (b, size)."""
    weights = there[:, :, None].to(found.dtype)
    return (found * weights).sum(1) / weights.sum(1).clamp(min=1)


def set_dropout(network: Any, share: float) -> None:
    """Dropout of every layer; decoders come without any, and two views of a text need some."""
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = share
        elif isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = share
