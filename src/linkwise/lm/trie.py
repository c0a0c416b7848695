"""Continuations as a token trie: what they begin with in common stands once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from linkwise.errors import InputError

Longs = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Children:
    """The children of some nodes: `node`, `token`, and `of`, the parent's place among the nodes (c,)."""

    node: Longs
    of: Longs
    token: Longs


@dataclass(frozen=True)
class Trie:
    """Nodes in the order of a depth-first walk; the root, the end of the context, is not among them.

    `token`, `parent` (-1: the root) and `depth` (1 for the first token) are (n_nodes,); a node's descendants
    follow it, up to below `stop` (n_nodes,). `end` is the node of each continuation's last token (n,): the
    same for two that are equal.
    """

    token: Longs
    parent: Longs
    depth: Longs
    stop: Longs
    end: Longs

    def __len__(self) -> int:
        return len(self.token)

    @property
    def inner(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Nodes with something below them: only these have to be run (n_nodes,)."""
        return self.stop > np.arange(len(self)) + 1

    def children(self, nodes: Longs) -> Children:
        """The children of some nodes; -1 is the root."""
        place = np.full(len(self) + 1, -1, dtype=np.int64)
        place[nodes] = np.arange(len(nodes))  # the root, -1, is the last place
        of = place[self.parent]
        node = np.flatnonzero(of >= 0)
        return Children(node, of[node], self.token[node])

    def sums(self, log_p: Floats) -> Floats:
        """What is added up from the root to each continuation's end, of values by node (n,)."""
        total = log_p.astype(np.float64).copy()
        for depth in range(2, int(self.depth.max(initial=1)) + 1):
            at = np.flatnonzero(self.depth == depth)
            total[at] += total[self.parent[at]]
        found: Floats = total[self.end]
        return found


def build_trie(continuations: Sequence[Sequence[int]]) -> Trie:
    """The trie of some token sequences; raises `InputError` for one without tokens."""
    for number, tokens in enumerate(continuations):
        if not len(tokens):
            raise InputError(f"continuation {number} has no tokens; every one needs at least one.")
    order = sorted(range(len(continuations)), key=lambda row: tuple(continuations[row]))
    token: list[int] = []
    parent: list[int] = []
    depth: list[int] = []
    end = np.zeros(len(continuations), dtype=np.int64)
    path: list[int] = []  # nodes of the continuation before
    before: Sequence[int] = ()
    for row in order:
        tokens = continuations[row]
        shared = 0
        while shared < min(len(tokens), len(before)) and tokens[shared] == before[shared]:
            shared += 1
        path = path[:shared]
        for place in range(shared, len(tokens)):
            token.append(int(tokens[place]))
            parent.append(path[-1] if path else -1)
            depth.append(place + 1)
            path.append(len(token) - 1)
        end[row] = path[-1]
        before = tokens
    stop = np.arange(1, len(token) + 1, dtype=np.int64)
    for node in range(len(token) - 1, -1, -1):  # children come after their parents
        if parent[node] >= 0:
            stop[parent[node]] = max(stop[parent[node]], stop[node])
    return Trie(
        np.array(token, np.int64), np.array(parent, np.int64), np.array(depth, np.int64), stop, end
    )
