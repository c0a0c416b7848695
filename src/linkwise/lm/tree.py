"""The continuation tree: the exact likelihood of many continuations of one context.

The context is run once, and what attention keeps of it, keys and values, is shared. The continuations
become a trie whose inner nodes are run packed, many to a call: a node attends to the context and to its own
ancestors, at the position of its depth. The last token of a continuation is never run, only looked up in its
parent's distribution.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from linkwise.errors import InputError
from linkwise.lm.trie import Floats, Longs, Trie, build_trie

Over = Literal["vocabulary", "catalogue"]
Normalise = Literal["sum", "mean"]
GROUP = 384  # nodes of a call: large enough for the matrices, small enough for the mask
WALK = 64  # nodes that the best-first walk runs at a time


def score(
    model: Any,
    context_ids: Sequence[int],
    continuations: Sequence[Sequence[int]],
    *,
    over: Over = "vocabulary",
    group: int = GROUP,
) -> Floats:
    """The log-likelihood of each continuation after the context, summed over its tokens, nats (n,).

    `model` is any causal model of `transformers`. `over="catalogue"` normalises each step over the tokens
    that go on in the trie in place of the whole vocabulary: where no continuation is the beginning of
    another, as with an end token after each, the probabilities add up to one.

    Raises `InputError` for an empty context, a continuation without tokens, or more tokens than the model has
    positions for.
    """
    trie = build_trie(continuations)
    return trie.sums(node_log_p(model, context_ids, trie, over=over, group=group))


def node_log_p(
    model: Any,
    context_ids: Sequence[int],
    trie: Trie,
    *,
    over: Over = "vocabulary",
    group: int = GROUP,
) -> Floats:
    """log p of each node's token after its ancestors and the context (n_nodes,)."""
    found = np.zeros(len(trie))
    if not len(trie):
        return found
    with _running(model):
        run = _Context(model, context_ids, trie)
        _fill(found, run.last, _children(trie, np.array([-1])), over)
        for nodes, extra in _groups(trie, group):
            # Ancestors from another group are run again: fewer than the depth of one node.
            logits = run.logits(np.concatenate([extra, nodes]))[len(extra) :]
            _fill(found, logits, _children(trie, nodes), over)
            run.forget()
    return found


@dataclass(frozen=True)
class _Children:
    """The children of some nodes: `node` (c,), and `of` (c,), the place of the parent among the nodes."""

    node: Longs
    of: Longs
    token: Longs


def _children(trie: Trie, nodes: Longs) -> _Children:
    place = np.full(len(trie) + 1, -1, dtype=np.int64)
    place[nodes] = np.arange(len(nodes))  # the root, -1, is the last place
    of = place[trie.parent]
    node = np.flatnonzero(of >= 0)
    return _Children(node, of[node], trie.token[node])


def _fill(found: Floats, logits: Any, children: _Children, over: Over) -> None:
    """Write log p of the children, from the logits of their parents (g, vocabulary)."""
    of = torch.from_numpy(children.of).to(logits.device)
    token = torch.from_numpy(children.token).to(logits.device)
    chosen = logits[of, token].double()
    if over == "vocabulary":
        total = torch.logsumexp(logits, dim=1).double()[of]
    else:
        # The largest of each parent's children first, so that no exponential overflows.
        top = torch.full((len(logits),), -torch.inf, dtype=torch.float64, device=logits.device)
        top = top.scatter_reduce(0, of, chosen, "amax")
        sums = torch.zeros_like(top).index_add(0, of, torch.exp(chosen - top[of]))
        total = (top + torch.log(sums))[of]
    found[children.node] = (chosen - total).cpu().numpy()


def _groups(trie: Trie, size: int) -> Iterator[tuple[Longs, Longs]]:
    """Inner nodes, so many at a time in the order of the walk, and the ancestors that went before them."""
    inner = np.flatnonzero(trie.inner)
    for start in range(0, len(inner), size):
        nodes = inner[start : start + size]
        path = []
        node = int(trie.parent[nodes[0]])  # in a depth-first walk only the first one's are missing
        while node >= 0:
            path.append(node)
            node = int(trie.parent[node])
        yield nodes, np.array(path[::-1], dtype=np.int64)


class _Context:
    """A context that was run, with room behind it for nodes of the trie."""

    def __init__(self, model: Any, context_ids: Sequence[int], trie: Trie) -> None:
        if not len(context_ids):
            raise InputError("the context has no tokens; begin it with the model's first token.")
        longest = len(context_ids) + int(trie.depth.max()) - 1
        positions = getattr(model.config, "max_position_embeddings", None)
        if positions is not None and longest > positions:
            raise InputError(
                f"the context of {len(context_ids)} tokens and the longest continuation make {longest}, and "
                f"the model has {positions} positions; shorten the history."
            )
        self.model, self.trie, self.length = model, trie, len(context_ids)
        ids = torch.tensor([list(context_ids)], device=model.device)
        out = model(input_ids=ids, use_cache=True, logits_to_keep=1)
        self.cache = out.past_key_values
        self.last = out.logits[0, -1:].float()  # (1, vocabulary)
        self.nodes = np.empty(0, dtype=np.int64)  # those in the cache, in its order

    def logits(self, nodes: Longs) -> Any:
        """The logits after each node (g, vocabulary); its ancestors are among them or in the cache."""
        kept = np.concatenate([self.nodes, nodes])
        # A node sees itself and its ancestors: those at or before it whose walk has not ended yet.
        mine, theirs = nodes[:, None], kept[None, :]
        sees = (theirs <= mine) & (mine < self.trie.stop[kept][None, :])
        device, dtype = self.model.device, self.model.dtype
        mask = torch.zeros((len(nodes), self.length + len(kept)), dtype=dtype, device=device)
        hidden = torch.from_numpy(~sees).to(device)
        mask[:, self.length :].masked_fill_(hidden, torch.finfo(dtype).min)
        depth = torch.from_numpy(self.trie.depth[nodes]).to(device)
        out = self.model(
            input_ids=torch.from_numpy(self.trie.token[nodes]).to(device)[None],
            position_ids=(self.length + depth - 1)[None],
            attention_mask=mask[None, None],
            past_key_values=self.cache,
            use_cache=True,
        )
        self.cache, self.nodes = out.past_key_values, kept
        return out.logits[0].float()

    def forget(self) -> None:
        """Leave the context alone in the cache."""
        if len(self.nodes):
            self.cache.crop(-len(self.nodes))
        self.nodes = np.empty(0, dtype=np.int64)


def top(
    model: Any,
    context_ids: Sequence[int],
    continuations: Sequence[Sequence[int]],
    k: int,
    *,
    normalise: Normalise = "sum",
    lengths: Sequence[float] | None = None,
    over: Over = "vocabulary",
) -> tuple[Longs, Floats]:
    """The k likeliest continuations, best first, and their scores: those of `score`, exactly.

    `normalise="mean"` divides by the number of tokens, or by `lengths` where given (bytes). Log-probabilities
    only fall along a path, so no continuation below a node scores above the node's sum, or that sum over the
    greatest length below it: the walk runs the most promising nodes first and stops where none can reach
    the k best (equal scores in the order of the continuations).
    """
    found = walk(
        model, context_ids, continuations, k, normalise=normalise, lengths=lengths, over=over
    )
    return found.items, found.scores


@dataclass(frozen=True)
class Walk:
    """What a best-first walk found: the k best and their scores (k,), and the share of inner nodes run."""

    items: Longs
    scores: Floats
    visited: float


def walk(
    model: Any,
    context_ids: Sequence[int],
    continuations: Sequence[Sequence[int]],
    k: int,
    *,
    normalise: Normalise = "sum",
    lengths: Sequence[float] | None = None,
    over: Over = "vocabulary",
) -> Walk:
    """`top`, with how much of the trie was run."""
    trie = build_trie(continuations)
    n = len(continuations)
    k = min(k, n)
    by = np.ones(n)
    if normalise == "mean":
        by = np.array(
            [len(c) for c in continuations] if lengths is None else lengths, dtype=np.float64
        )
    longest = _longest_below(trie, by)
    ends: dict[int, list[int]] = {}
    for number, node in enumerate(trie.end):
        ends.setdefault(int(node), []).append(number)
    inner = trie.inner
    total = np.zeros(len(trie))
    best: list[tuple[float, int]] = []  # the k best so far: (score, -number), the worst first
    heap: list[tuple[float, int]] = []  # (-bound, node)
    run_nodes = 0

    def expand(logits: Any, nodes: Longs) -> None:
        children = _children(trie, nodes)
        _fill(total, logits, children, over)
        for node in children.node:
            if trie.parent[node] >= 0:
                total[node] += total[trie.parent[node]]
            for number in ends.get(int(node), ()):
                entry = (total[node] / by[number], -number)
                if len(best) < k:
                    heapq.heappush(best, entry)
                elif entry > best[0]:
                    heapq.heapreplace(best, entry)
            if inner[node]:
                heapq.heappush(heap, (-total[node] / longest[node], int(node)))

    with _running(model):
        run = _Context(model, context_ids, trie)
        expand(run.last, np.array([-1]))
        while heap:
            nodes: list[int] = []
            # A bound that only equals the k-th score may still hide an earlier one: it is run.
            while heap and len(nodes) < WALK and (len(best) < k or -heap[0][0] >= best[0][0]):
                nodes.append(heapq.heappop(heap)[1])
            if not nodes:
                break
            batch = np.array(nodes, dtype=np.int64)
            run_nodes += len(batch)
            expand(run.logits(batch), batch)
    ordered = sorted(best, reverse=True)
    items = np.array([-number for _, number in ordered], dtype=np.int64)
    scores = np.array([value for value, _ in ordered])
    return Walk(items, scores, run_nodes / max(1, int(inner.sum())))


def _longest_below(trie: Trie, by: Floats) -> Floats:
    """The greatest length of a continuation that ends at or below each node (n_nodes,)."""
    found = np.zeros(len(trie))
    np.maximum.at(found, trie.end, by)
    for node in range(len(trie) - 1, -1, -1):
        if trie.parent[node] >= 0:
            found[trie.parent[node]] = max(found[trie.parent[node]], found[node])
    return found


@contextmanager
def _running(model: Any) -> Iterator[None]:
    """Without gradients, and without dropout."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)
