"""A catalogue of titles as tokens: their likelihoods in a masked model's gaps, or after a context.

The inferences of LMRecSys: with L tokens in the longest of N titles, `one-pass` runs a prompt once with as
many gaps as any title may need, `by-length` once for each length, and `autoregressive` scores every title
exactly (in the paper N times L runs, here through the continuation tree).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from linkwise.errors import InputError
from linkwise.lm.heads import head_parts, logits_at, padded, states
from linkwise.lm.load import LanguageModel
from linkwise.lm.trie import Floats, Longs, Trie, build_trie

Inference = Literal["one-pass", "by-length", "autoregressive"]
Normalise = Literal["sum", "mean", "bytes", "catalogue"]
BATCH_TOKENS = 4096
CUT = 10  # tokens of a title, as in the paper


@dataclass(frozen=True)
class Titles:
    """Titles as token rows; `tokens` of one without any is empty.

    `lengths` (n,) are tokens, `bytes` (n,) of UTF-8 of what was kept. `same` (n,) numbers the different
    token rows: titles that are equal once cut share a number, and nothing can part them. `cut` counts those
    that were cut.
    """

    tokens: tuple[tuple[int, ...], ...]
    lengths: Longs
    bytes: Longs
    same: Longs
    cut: int

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def named(self) -> Longs:
        """The titles that have tokens."""
        return np.flatnonzero(self.lengths > 0)

    @property
    def twins(self) -> Longs:
        """How many titles have the same tokens as each, itself included (n,)."""
        found: Longs = np.bincount(self.same, minlength=1)[self.same]
        return found

    def divisor(self, normalise: Normalise) -> Floats:
        """What a sum of log-probabilities is divided by (n,)."""
        if normalise == "mean":
            return np.maximum(self.lengths, 1).astype(np.float64)
        if normalise == "bytes":
            return np.maximum(self.bytes, 1).astype(np.float64)
        return np.ones(len(self))

    def matrix(self) -> Longs:
        """Tokens in rows of the longest length, -1 behind the end (n, longest)."""
        found = np.full((len(self), max(1, int(self.lengths.max(initial=1)))), -1, dtype=np.int64)
        for row, tokens in enumerate(self.tokens):
            found[row, : len(tokens)] = tokens
        return found


def read_titles(
    model: LanguageModel, names: Sequence[str | None], *, most: int = CUT, lead: str = " "
) -> Titles:
    """The titles' tokens, each by itself after `lead` (the space before it), at most `most` of them."""
    rows: list[tuple[int, ...]] = []
    sizes = []
    cut = 0
    numbers: dict[tuple[int, ...], int] = {}
    for name in names:
        tokens = model.encode_after(lead + name) if name and name.strip() else []
        kept = tuple(tokens[:most])
        cut += len(tokens) > most
        rows.append(kept)
        text = model.tokenizer.decode(list(kept)) if len(tokens) > most else (name or "")
        sizes.append(len(text.strip().encode()))
        numbers.setdefault(kept, len(numbers))
    return Titles(
        tuple(rows),
        np.array([len(row) for row in rows], dtype=np.int64),
        np.array(sizes, dtype=np.int64),
        np.array([numbers[row] for row in rows], dtype=np.int64),
        cut,
    )


# ------------------------------------------------------------------------------------------ masked models


@dataclass(frozen=True)
class Gap:
    """A prompt with a place for a title: tokens before and after it."""

    before: tuple[int, ...]
    after: tuple[int, ...]


def gap_scores(
    model: LanguageModel,
    gaps: Sequence[Gap],
    titles: Titles,
    inference: Inference,
    *,
    advance: Callable[[int], None] = lambda done: None,
) -> Floats:
    """Sums over each title's tokens of log p at the gap's places (n_gaps, n); -inf without tokens.

    `one-pass`: as many masks as the longest title has tokens, of which a shorter one uses the first.
    `by-length`: each title is read from a run with as many masks as it has tokens.
    """
    found = np.full((len(gaps), len(titles)), -np.inf)
    order = sorted(range(len(gaps)), key=lambda row: len(gaps[row].before))
    width = max((len(g.before) + len(g.after) for g in gaps), default=0) + CUT
    size = max(1, BATCH_TOKENS // width)
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        with torch.inference_mode():
            values = gap_values(model, [gaps[row] for row in rows], titles, inference)
        found[rows] = values.double().cpu().numpy()
        advance(start + len(rows))
    found[:, titles.lengths == 0] = -np.inf
    return found


def gap_values(
    model: LanguageModel, gaps: Sequence[Gap], titles: Titles, inference: Inference
) -> Any:
    """`gap_scores` as one tensor of one batch, through which gradients flow (n_gaps, n)."""
    matrix = titles.matrix()
    if inference == "one-pass":
        return _read(_gap_log_p(model, gaps, matrix.shape[1]), matrix)
    parts = []
    places = []
    for length in np.unique(titles.lengths[titles.lengths > 0]):
        some = np.flatnonzero(titles.lengths == length)
        parts.append(_read(_gap_log_p(model, gaps, int(length)), matrix[some, :length]))
        places.append(some)
    empty = np.flatnonzero(titles.lengths == 0)
    if len(empty):
        parts.append(parts[0].new_zeros((len(gaps), len(empty))))
        places.append(empty)
    back = np.argsort(np.concatenate(places))
    return torch.cat(parts, dim=1)[:, torch.from_numpy(back).to(model.network.device)]


def _gap_log_p(model: LanguageModel, gaps: Sequence[Gap], masks: int) -> Any:
    """log p of every token at each mask (b, masks, vocabulary)."""
    hide = int(model.tokenizer.mask_token_id)
    rows = [[*gap.before, *[hide] * masks, *gap.after] for gap in gaps]
    ids, there = padded(rows, model.tokenizer.pad_token_id or 0, model.network.device)
    row = torch.arange(len(gaps)).repeat_interleave(masks)
    place = torch.tensor([len(gap.before) + at for gap in gaps for at in range(masks)])
    device = model.network.device
    logits = logits_at(model.network, ids, there, row.to(device), place.to(device))
    return torch.log_softmax(logits, dim=-1).view(len(gaps), masks, -1)


def _read(log_p: Any, matrix: Longs) -> Any:
    """Sums of the titles' tokens, each at its place (b, n)."""
    total = log_p.new_zeros((len(log_p), len(matrix)))
    for place in range(matrix.shape[1]):
        token = torch.from_numpy(matrix[:, place]).to(log_p.device)
        values = log_p[:, place, token.clamp(min=0)]
        total = total + values.masked_fill(token < 0, 0.0)
    return total


# ------------------------------------------------------------------------------------------ causal models


@dataclass(frozen=True)
class Ended:
    """Titles with an end token behind each, as a trie; `row` (m,) is the title of each continuation.

    Of titles with the same tokens the trie holds one path.
    """

    trie: Trie
    row: Longs


def ended_titles(titles: Titles, end: Sequence[int]) -> Ended:
    """Titles that have tokens, as a trie, each followed by `end` (none: as they are)."""
    rows = titles.named
    if not len(rows):
        raise InputError(
            "no title of the catalogue has a token; a language model has nothing to rank."
        )
    return Ended(build_trie([[*titles.tokens[row], *end] for row in rows]), rows)


@dataclass(frozen=True)
class Steps:
    """What is decided on the way to each title: at which node (-1: the root), and which of its children.

    `first` (n + 1,) is where each title's steps begin in `node` and `child`; children of node p are
    `token[start[p + 1]:start[p + 2]]`, and `child` counts from there.
    """

    first: Longs
    node: Longs
    child: Longs
    start: Longs
    token: Longs


def steps_of(ended: Ended, n: int) -> Steps:
    """The steps of `n` titles through a trie; a title without tokens has none."""
    trie = ended.trie
    parent = trie.parent + 1  # the root is 0
    order = np.argsort(parent, kind="stable")
    start = np.searchsorted(parent[order], np.arange(len(trie) + 2))
    place = np.empty(len(trie), dtype=np.int64)
    place[order] = np.arange(len(trie))
    end_of = dict(zip(ended.row.tolist(), trie.end.tolist(), strict=True))
    first, node, child = [0], [], []
    for row in range(n):
        path = []
        at = end_of.get(row, -1)
        while at >= 0:
            path.append(at)
            at = int(trie.parent[at])
        for each in reversed(path):
            node.append(int(trie.parent[each]))
            child.append(int(place[each] - start[parent[each]]))
        first.append(len(node))
    return Steps(
        np.array(first, dtype=np.int64),
        np.array(node, dtype=np.int64),
        np.array(child, dtype=np.int64),
        start,
        trie.token[order],
    )


def path_loss(
    model: LanguageModel,
    rows: Sequence[Sequence[int]],
    targets: Sequence[Sequence[tuple[int, int]]],
    steps: Steps,
) -> Any:
    """-log p of titles over a catalogue, summed, with gradients: only their paths and siblings are computed.

    `rows` are token sequences, `targets` of each the pairs (place, title): the title's first token would
    stand at `place`, after the tokens before it. At every step of the title's path the softmax is over the
    node's children, so that the probabilities of all titles add up to one.
    """
    network = model.network
    parts = head_parts(network)
    ids, there = padded(rows, model.tokenizer.pad_token_id or 0, network.device)
    row: list[int] = []
    place: list[int] = []
    node: list[int] = []
    child: list[int] = []
    for at, pairs in enumerate(targets):
        for begin, title in pairs:
            inside = slice(steps.first[title], steps.first[title + 1])
            n = inside.stop - inside.start
            row += [at] * n
            place += range(begin - 1, begin - 1 + n)
            node += steps.node[inside].tolist()
            child += steps.child[inside].tolist()
    if not row:
        return torch.zeros((), device=network.device)
    nodes, chosen = np.array(node, dtype=np.int64), np.array(child, dtype=np.int64)
    counts = steps.start[nodes + 2] - steps.start[nodes + 1]
    open_ = np.flatnonzero(counts > 1)  # where there is something to decide
    nodes, chosen, counts = nodes[open_], chosen[open_], counts[open_]
    device = network.device
    at_row, at_place = (
        torch.tensor(x, dtype=torch.long)[torch.from_numpy(open_)].to(device) for x in (row, place)
    )
    if parts is not None:
        before, linear = parts
        found = before(states(network, ids, there)[at_row, at_place])
    else:
        found = logits_at(network, ids, there, at_row, at_place)

    def read(of: Any, token: Any) -> Any:
        """Logits of single tokens (c,)."""
        if parts is None:
            return found[of, token]
        values = (found[of] * linear.weight[token]).sum(-1).float()
        return values if linear.bias is None else values + linear.bias[token].float()

    total = torch.zeros((), device=device)
    at_root = np.flatnonzero(nodes == -1)
    if len(at_root):  # many children, asked for often: one matrix product
        token = torch.from_numpy(steps.token[: steps.start[1]]).to(device)
        some = torch.from_numpy(at_root).to(device)
        if parts is None:
            logits = found[some][:, token]
        else:
            bias = None if linear.bias is None else linear.bias[token]
            logits = torch.nn.functional.linear(found[some], linear.weight[token], bias).float()
        answer = torch.from_numpy(chosen[at_root]).to(device)
        total = total + torch.nn.functional.cross_entropy(logits, answer, reduction="sum")
    below = np.flatnonzero(nodes >= 0)
    if len(below):
        sizes = counts[below]
        of = np.repeat(np.arange(len(below)), sizes)
        offset = np.arange(len(of)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        token_at = np.repeat(steps.start[nodes[below] + 1], sizes) + offset
        group = torch.from_numpy(of).to(device)
        logits = read(
            torch.from_numpy(below[of]).to(device),
            torch.from_numpy(steps.token[token_at]).to(device),
        )
        top = torch.full((len(below),), -torch.inf, device=device)
        top = top.scatter_reduce(0, group, logits.detach(), "amax")
        sums = torch.zeros_like(top).index_add(0, group, torch.exp(logits - top[group]))
        answer = torch.from_numpy(np.cumsum(sizes) - sizes + chosen[below]).to(device)
        total = total + (top + torch.log(sums) - logits[answer]).sum()
    return total
