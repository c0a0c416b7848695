"""The continuation tree: the exact likelihood of many continuations of one context.

The context is run once, and what attention keeps of it, keys and values, is shared. The continuations
become a trie whose inner nodes are run packed, many to a call: a node attends to the context and to its own
ancestors, at the position of its depth. The last token of a continuation is never run, only looked up in its
parent's distribution.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from transformers import DynamicCache

from linkwise.errors import InputError
from linkwise.lm.heads import first_position, head_parts, room_of
from linkwise.lm.trie import Children, Floats, Longs, Trie, build_trie

Over = Literal["vocabulary", "catalogue"]
Normalise = Literal["sum", "mean"]
GROUP = 384  # nodes of a call: large enough for the matrices, small enough for the mask
MEMORY = 512 * 2**20  # bytes that the logits of a call may take
BATCH = 8  # contexts run together on a GPU; a CPU gains nothing from more than one
WALK = 64  # nodes that the best-first walk runs at a time
WORTH = 0.25  # share of the inner nodes beyond which walking on costs more than running all


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
    (found,) = score_trie(model, [context_ids], build_trie(continuations), over=over, group=group)
    return found  # type: ignore[no-any-return]


def score_trie(
    model: Any,
    contexts: Sequence[Sequence[int]],
    trie: Trie,
    *,
    over: Over = "vocabulary",
    group: int = GROUP,
    batch: int | None = None,
    memory: int = MEMORY,
    advance: Callable[[int], None] = lambda done: None,
) -> Floats:
    """`score` after many contexts, over continuations that were made a trie once (n_contexts, n).

    `batch` contexts are run together, the shorter ones padded; `group` nodes at a time, fewer where their
    logits would take more than `memory` bytes.
    """
    batch = batch or (1 if model.device.type == "cpu" else BATCH)
    found = np.zeros((len(contexts), len(trie.end)))
    # Contexts of like length together: little padding.
    order = sorted(range(len(contexts)), key=lambda row: len(contexts[row]))
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        some = [contexts[row] for row in rows]
        log_p = node_log_p(model, some, trie, over=over, group=group, memory=memory)
        for row, values in zip(rows, log_p, strict=True):
            found[row] = trie.sums(values)
        advance(start + len(rows))
    return found


def node_log_p(
    model: Any,
    contexts: Sequence[Sequence[int]],
    trie: Trie,
    *,
    over: Over = "vocabulary",
    group: int = GROUP,
    memory: int = MEMORY,
) -> Floats:
    """log p of each node's token after its ancestors and each context (n_contexts, n_nodes)."""
    if not len(trie):
        return np.zeros((len(contexts), 0))
    return Contexts(model, contexts, over).log_p(trie, group=group, memory=memory)


@dataclass(frozen=True)
class _Values:
    """Logits of some children (b, c), and of their parents' whole vocabulary the log-sum (b, g)."""

    chosen: Any
    total: Any | None


def _log_p(values: _Values, children: Children, over: Over) -> Floats:
    """log p of the children (b, c)."""
    chosen = values.chosen.double()
    of = torch.from_numpy(children.of).to(chosen.device)
    if over == "vocabulary":
        assert values.total is not None
        total = values.total.double()
    else:
        # The largest of each parent's children first, so that no exponential overflows.
        g = int(children.of.max()) + 1
        top = torch.full((len(chosen), g), -torch.inf, dtype=torch.float64, device=chosen.device)
        top = top.scatter_reduce(1, of.expand(len(chosen), -1), chosen, "amax")
        sums = torch.zeros_like(top).index_add(1, of, torch.exp(chosen - top[:, of]))
        total = top + torch.log(sums)
    found: Floats = (chosen - total[:, of]).cpu().numpy()
    return found


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


class Contexts:
    """Contexts that were run once, padded on the left, to be gone on from by any number of tries.

    Raises `InputError` for an empty context, or one that the model has no room for.
    """

    def __init__(
        self, model: Any, contexts: Sequence[Sequence[int]], over: Over = "vocabulary"
    ) -> None:
        lengths = [len(context) for context in contexts]
        if not min(lengths):
            raise InputError("the context has no tokens; begin it with the model's first token.")
        self.first_position = first_position(model)
        self.model, self.over = model, over
        self.width = max(lengths)
        self._check_room(0)
        # Over a catalogue only the children's own logits are needed: the head's rows for them, not all of it.
        self.parts = head_parts(model) if over == "catalogue" else None
        device = model.device
        ids = torch.zeros((len(contexts), self.width), dtype=torch.long)
        there = torch.zeros((len(contexts), self.width), dtype=torch.bool)
        for row, context in enumerate(contexts):
            ids[row, self.width - len(context) :] = torch.tensor(list(context), dtype=torch.long)
            there[row, self.width - len(context) :] = True
        self.there = there.to(device)  # (b, width)
        self.lengths = torch.tensor(lengths, device=device)
        options: dict[str, Any] = {}
        if min(lengths) < self.width:
            options = {
                "attention_mask": self.there.long(),
                "position_ids": (self.there.cumsum(1) - 1).clamp(min=0) + self.first_position,
            }
        # A plain cache: that of a model with a sliding window drops what the packed nodes push out.
        self.cache: Any = DynamicCache()
        self.nodes = np.empty(0, dtype=np.int64)  # those in the cache, in its order
        self.trie: Trie
        with _running(model):
            self._last = self._run(ids.to(device), last=True, **options)[:, -1:]

    def _check_room(self, deepest: int) -> None:
        room = room_of(self.model)
        if room is not None and self.width + deepest > room:
            raise InputError(
                f"the context of {self.width} tokens and the longest continuation make "
                f"{self.width + deepest}, and the model has room for {room}; shorten the history."
            )

    def log_p(self, trie: Trie, *, group: int = GROUP, memory: int = MEMORY) -> Floats:
        """log p of each node's token after its ancestors and each context (n_contexts, n_nodes)."""
        found = np.zeros((len(self.there), len(trie)))
        bytes_of_node = 4 * len(self.there) * int(self.model.config.vocab_size)
        group = max(1, min(group, memory // bytes_of_node))
        with _running(self.model):
            values, root = self.begin(trie)
            found[:, root.node] = _log_p(values, root, self.over)
            for nodes, extra in _groups(trie, group):
                # Ancestors from another group are run again: fewer than the depth of one node.
                children = trie.children(nodes)
                values = self.values(np.concatenate([extra, nodes]), len(extra), children)
                found[:, children.node] = _log_p(values, children, self.over)
                self.forget()
        return found

    def begin(self, trie: Trie) -> tuple[_Values, Children]:
        """Go on with a trie: the logits of the root's children, and these."""
        self._check_room(int(trie.depth.max(initial=1)) - 1)
        self.forget()
        self.trie = trie
        root = trie.children(np.array([-1]))
        return self._values(self._last, 0, root), root

    def values(self, nodes: Longs, skipped: int, children: Children) -> _Values:
        """The logits of the children of all nodes but the first `skipped`.

        The nodes' ancestors are among them or in the cache.
        """
        kept = np.concatenate([self.nodes, nodes])
        # A node sees itself and its ancestors: those at or before it whose walk has not ended yet.
        mine, theirs = nodes[:, None], kept[None, :]
        sees = (theirs <= mine) & (mine < self.trie.stop[kept][None, :])
        device, dtype, b = self.model.device, self.model.dtype, len(self.there)
        hidden = torch.zeros(
            (b, len(nodes), self.width + len(kept)), dtype=torch.bool, device=device
        )
        hidden[:, :, : self.width] = ~self.there[:, None, :]
        hidden[:, :, self.width :] = torch.from_numpy(~sees).to(device)
        mask = torch.zeros(hidden.shape, dtype=dtype, device=device)
        mask.masked_fill_(hidden, torch.finfo(dtype).min)
        depth = torch.from_numpy(self.trie.depth[nodes]).to(device)
        found = self._run(
            torch.from_numpy(self.trie.token[nodes]).to(device).expand(b, -1),
            position_ids=self.lengths[:, None] + depth - 1 + self.first_position,
            attention_mask=mask[:, None],
        )
        self.nodes = kept
        return self._values(found, skipped, children)

    def _run(self, ids: Any, last: bool = False, **options: Any) -> Any:
        """The last states (b, g, size) where the head is taken apart, else the logits (b, g, vocabulary)."""
        if self.parts is not None:
            out = self.model.base_model(
                input_ids=ids, past_key_values=self.cache, use_cache=True, **options
            )
            found = out.last_hidden_state
        else:
            keep = {"logits_to_keep": 1} if last else {}
            out = self.model(
                input_ids=ids, past_key_values=self.cache, use_cache=True, **options, **keep
            )
            found = out.logits
        self.cache = out.past_key_values
        return found

    def _values(self, found: Any, skipped: int, children: Children) -> _Values:
        of = torch.from_numpy(children.of).to(found.device)
        token = torch.from_numpy(children.token).to(found.device)
        found = found[:, skipped:]
        if self.parts is None:
            chosen = found[:, of, token].float()
            if self.over == "catalogue":
                return _Values(chosen, None)
            return _Values(chosen, torch.logsumexp(found.float(), dim=-1))
        before, linear = self.parts
        states = before(found)
        chosen = (states[:, of] * linear.weight[token]).sum(-1).float()  # (b, c)
        if linear.bias is not None:
            chosen = chosen + linear.bias[token].float()
        return _Values(chosen, None)

    def forget(self) -> None:
        """Leave the contexts alone in the cache."""
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
    by = lengths
    if normalise == "mean" and by is None:
        by = [len(continuation) for continuation in continuations]
    trie = build_trie(continuations)
    found = walk(
        model, context_ids, trie, k, lengths=by if normalise == "mean" else None, over=over
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
    trie: Trie,
    k: int,
    *,
    lengths: Sequence[float] | Floats | None = None,
    over: Over = "vocabulary",
) -> Walk:
    """`top` of a trie, sums divided by `lengths` (n,) where given; with how much of the trie was run."""
    n = len(trie.end)
    k = min(k, n)
    by = np.ones(n) if lengths is None else np.array(lengths, dtype=np.float64)
    longest = _longest_below(trie, by)
    ends: dict[int, list[int]] = {}
    for number, node in enumerate(trie.end):
        ends.setdefault(int(node), []).append(number)
    inner = trie.inner
    total = np.zeros(len(trie))
    best: list[tuple[float, int]] = []  # the k best so far: (score, -number), the worst first
    heap: list[tuple[float, int]] = []  # (-bound, node)
    run_nodes = 0

    def expand(values: _Values, children: Children) -> None:
        (total[children.node],) = _log_p(values, children, over)
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

    n_inner = max(1, int(inner.sum()))
    with _running(model):
        run = Contexts(model, [context_ids], over)
        expand(*run.begin(trie))
        while heap:
            nodes: list[int] = []
            # A bound that only equals the k-th score may still hide an earlier one: it is run.
            while heap and len(nodes) < WALK and (len(best) < k or -heap[0][0] >= best[0][0]):
                nodes.append(heapq.heappop(heap)[1])
            if not nodes:
                break
            if run_nodes > WORTH * n_inner:
                # The bounds part too little: what was run is forgotten, and all of it run packed.
                return _whole(model, context_ids, trie, k, by, over)
            batch = np.array(nodes, dtype=np.int64)
            run_nodes += len(batch)
            children = trie.children(batch)
            expand(run.values(batch, 0, children), children)
    ordered = sorted(best, reverse=True)
    items = np.array([-number for _, number in ordered], dtype=np.int64)
    scores = np.array([value for value, _ in ordered])
    return Walk(items, scores, run_nodes / n_inner)


def _whole(
    model: Any, context_ids: Sequence[int], trie: Trie, k: int, by: Floats, over: Over
) -> Walk:
    """The k best of the full ranking."""
    (scores,) = score_trie(model, [context_ids], trie, over=over)
    scores = scores / by
    items = np.lexsort((np.arange(len(scores)), -scores))[:k].astype(np.int64)
    return Walk(items, scores[items], 1.0)


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
