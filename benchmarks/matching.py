"""Exact search against faiss's flat index: 65,000 queries, 4,200 items, 384 numbers, the 50 best.

    pip install faiss-cpu
    python benchmarks/matching.py

CPU seconds of one thread, the median of turns taken one after the other, and whether both find the same.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from linkwise.matching.search import top_k


def vectors(n: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Vectors of length one about a few hundred topics, as texts' are."""
    topics = rng.normal(size=(300, size))
    found = topics[rng.integers(300, size=n)] + rng.normal(size=(n, size))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=65_000)
    parser.add_argument("--items", type=int, default=4_200)
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--top", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    import faiss
    import torch

    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    rng = np.random.default_rng(0)
    queries, items = (vectors(n, options.size, rng) for n in (options.queries, options.items))

    def flat() -> np.ndarray:
        index = faiss.IndexFlatIP(options.size)
        index.add(items)
        return index.search(queries, options.top)[1]

    def ours() -> np.ndarray:
        return top_k(queries, items, options.top)[0]

    seconds: dict[str, list[float]] = {"faiss flat": [], "linkwise": []}
    found = {}
    for _ in range(options.repeats):
        for name, search in (("faiss flat", flat), ("linkwise", ours)):
            began = time.process_time()
            found[name] = search()
            seconds[name].append(time.process_time() - began)
    middle = {name: statistics.median(taken) for name, taken in seconds.items()}
    for name, value in middle.items():
        print(f"{name}: {value:.2f} CPU seconds")
    same = (found["faiss flat"] == found["linkwise"]).mean()
    sets = np.mean(
        [len(np.intersect1d(a, b)) / options.top for a, b in zip(*found.values(), strict=True)]
    )
    print(f"faiss / linkwise: {middle['faiss flat'] / middle['linkwise']:.2f}")
    print(f"the same items: {sets:.6f}; at the same places: {same:.6f}")


if __name__ == "__main__":
    main()
