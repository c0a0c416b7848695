"""Scores of code pairs that need no text: vectors of co-occurrence, random walks, and rules on the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from linkwise.technology.vectors import Floats, unit

Longs = np.ndarray[Any, np.dtype[np.int64]]
Singles = np.ndarray[Any, np.dtype[np.float32]]

SIZE = 64  # of the vectors
# Walks from each code, their length, and how far apart two steps are alike.
WALKS, STEPS, REACH = 10, 40, 5
BLOCK = 1 << 22  # numbers of a dense block


def ppmi_vectors(together: Any, size: int = SIZE) -> Floats:
    """Positive pointwise mutual information of codes on one patent, factorised (Levy and Goldberg 2014).

    `together` is sparse (n_codes, n_codes), symmetric. Vectors of length one (n_codes, at most size); zeros
    for a code that is never together with another.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.linalg import eigsh

    n = together.shape[0]
    table = together.tocoo()
    degree = np.asarray(together.sum(axis=1), dtype=np.float64).ravel()
    total = degree.sum()
    if total == 0:
        return np.zeros((n, 1))
    information = np.log(table.data * total / (degree[table.row] * degree[table.col]))
    positive = csr_array((np.maximum(information, 0), (table.row, table.col)), shape=(n, n))
    if n <= 2 * size + 2:
        values, vectors = np.linalg.eigh(positive.toarray())
    else:
        start = np.random.default_rng(0).normal(size=n)
        values, vectors = eigsh(positive, k=size, which="LA", v0=start)
    keep = np.argsort(-values)[:size]
    keep = keep[values[keep] > 1e-9]
    return unit(vectors[:, keep] * np.sqrt(values[keep]))


def word2vec_vectors(
    sentences: Sequence[Sequence[str]],
    names: Sequence[str],
    seed: int,
    *,
    window: int,
    epochs: int = 20,
) -> Floats:
    """Skip-gram vectors (Mikolov et al. 2013) of what stands at most `window` places apart, of length one.

    (n_names, SIZE); zeros for a name that stands in no sentence.
    """
    from gensim.models import Word2Vec

    found = np.zeros((len(names), SIZE))
    sentences = [list(sentence) for sentence in sentences if len(sentence) > 1]
    if not sentences:
        return found
    model = Word2Vec(
        sentences, vector_size=SIZE, window=window, min_count=1, sg=1, negative=5, sample=0,
        epochs=epochs, workers=1, seed=seed + 1, shrink_windows=False,
    )  # fmt: skip
    for row, name in enumerate(names):
        if name in model.wv:
            found[row] = model.wv[name]
    return unit(found)


def walks(together: Any, rng: np.random.Generator) -> list[list[int]]:
    """Random walks on the graph of codes, by how often two are together (Perozzi et al. 2014).

    From every code that has a neighbour, `WALKS` of `STEPS` steps.
    """
    degree = np.asarray(together.sum(axis=1), dtype=np.float64).ravel()
    at = np.repeat(np.flatnonzero(degree > 0), WALKS)
    # Running weights over all links: a step is one search, among the links of the code where a walk stands.
    running = np.concatenate([[0.0], np.cumsum(together.data, dtype=np.float64)])
    begin = running[together.indptr[:-1]]
    path = np.empty((len(at), STEPS), dtype=np.int64)
    for step in range(STEPS):
        path[:, step] = at
        target = begin[at] + rng.random(len(at)) * degree[at]
        link = np.searchsorted(running, target, side="right") - 1
        at = together.indices[np.clip(link, together.indptr[at], together.indptr[at + 1] - 1)]
    return [row.tolist() for row in path]


def walk_vectors(together: Any, names: Sequence[str], seed: int) -> Floats:
    """Vectors of codes from random walks (n_codes, SIZE), of length one."""
    paths = walks(together, np.random.default_rng([seed, 11]))
    spoken = [[names[code] for code in path] for path in paths]
    return word2vec_vectors(spoken, names, seed, window=REACH, epochs=3)


Rule = Callable[[Any, Longs, Longs], Singles]


def degree_product(together: Any, first: Longs, second: Longs) -> Singles:
    """The product of how often each of two codes is together with others (n,)."""
    degree = np.asarray(together.sum(axis=1), dtype=np.float64).ravel()
    return (degree[first] * degree[second]).astype(np.float32)


def common_neighbours(together: Any, first: Longs, second: Longs) -> Singles:
    """Codes that both of two codes have been together with (n,)."""
    return _two_steps(together, lambda degree: np.ones(len(degree)), first, second)


def adamic_adar(together: Any, first: Longs, second: Longs) -> Singles:
    """Common neighbours, each by 1 / log of its own neighbours (Adamic and Adar 2003) (n,)."""
    # A common neighbour has two neighbours at least.
    return _two_steps(together, lambda d: 1 / np.log(np.maximum(d, 2.0)), first, second)


def resource_allocation(together: Any, first: Longs, second: Longs) -> Singles:
    """Common neighbours, each by 1 / its own neighbours (Zhou et al. 2009) (n,)."""
    return _two_steps(together, lambda d: 1 / np.maximum(d, 1.0), first, second)


def _two_steps(
    together: Any, weight: Callable[[Floats], Floats], first: Longs, second: Longs
) -> Singles:
    """Sums of a weight over the common neighbours of pairs, a block of rows at a time."""
    from scipy.sparse import csr_array, diags_array

    links = csr_array(
        (np.ones(len(together.data)), together.indices, together.indptr), shape=together.shape
    )
    weighted = (diags_array(weight(np.diff(links.indptr).astype(np.float64))) @ links).tocsr()
    n = links.shape[0]
    found = np.zeros(len(first), dtype=np.float32)
    order = np.argsort(first, kind="stable")
    starts = np.searchsorted(first[order], np.arange(n + 1))
    step = max(1, BLOCK // max(1, n))
    for begin in range(0, n, step):
        end = min(n, begin + step)
        rows = order[starts[begin] : starts[end]]
        if len(rows):
            block = (links[begin:end] @ weighted).toarray()
            found[rows] = block[first[rows] - begin, second[rows]]
    return found


RULES: dict[str, Rule] = {
    "degree product": degree_product,
    "common neighbours": common_neighbours,
    "Adamic-Adar": adamic_adar,
    "resource allocation": resource_allocation,
}


def cosines(vectors: Floats, first: Longs, second: Longs) -> Singles:
    """Products of vectors of pairs (n,), some pairs at a time."""
    found = np.empty(len(first), dtype=np.float32)
    step = max(1, BLOCK // max(1, vectors.shape[1]))
    for begin in range(0, len(first), step):
        part = slice(begin, begin + step)
        found[part] = np.einsum("ij,ij->i", vectors[first[part]], vectors[second[part]])
    return found
