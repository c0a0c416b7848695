"""Claim: the configuration model of 600 codes x 20,000 patents, against `bicm`: same pairs, far faster.

    pip install bicm==3.4
    python benchmarks/null_model.py

`bicm` 3.4 is right with its method poisson only (its normal and rna test the wrong tail), and needs the whole
matrix. Both run in this process, on one thread, in turns; CPU seconds, medians.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from linkwise.technology.null_model import (
    co_occurrence,
    configuration_model,
    membership,
    validate,
)


def patents(n: int, codes: int, seed: int) -> list[list[str]]:
    """Patents of one to eight codes, of very different frequencies, that keep to one of twenty fields."""
    rng = np.random.default_rng(seed)
    weight = rng.lognormal(sigma=1.2, size=codes)
    field = rng.integers(20, size=codes)
    own = [np.flatnonzero(field == f) for f in range(20)]
    found = []
    for _ in range(n):
        near = own[rng.integers(20)]
        size = min(int(rng.geometric(0.45)), 8)
        chosen = rng.choice(
            near, size=min(size, len(near)), replace=False, p=weight[near] / weight[near].sum()
        )
        if rng.random() < 0.2:
            chosen = np.append(chosen, rng.integers(codes))
        found.append([f"C{code}" for code in set(chosen.tolist())])
    return found


def timed(run: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Median CPU seconds, and the last result."""
    seconds, result = [], None
    for _ in range(repeats):
        began = time.process_time()
        result = run()
        seconds.append(time.process_time() - began)
    return median(seconds), result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patents", type=int, default=20_000)
    parser.add_argument("--codes", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    from bicm import BipartiteGraph

    sets = patents(options.patents, options.codes, 0)
    links = membership(sets)
    matrix = np.zeros((int(links.patent[-1]) + 1, len(links.names)), dtype=np.int64)
    matrix[links.patent, links.code] = 1

    def solved() -> Any:
        graph = BipartiteGraph()
        graph.set_biadjacency_matrix(matrix)
        graph.solve_tool()
        return graph

    def theirs() -> tuple[Any, Any]:
        graph = solved()
        settings = {"alpha": 0.05, "method": "poisson", "threads_num": 1, "progress_bar": False}
        return graph, graph.get_cols_projection(**settings)

    numbered, _ = timed(lambda: membership(sets), options.repeats)
    ours_solve, chance = timed(
        lambda: configuration_model(links.sizes, links.degrees), options.repeats
    )
    ours, table = timed(lambda: validate(sets), options.repeats)
    solved()  # compiles
    their_solve, graph = timed(solved, options.repeats)
    their_whole, (_, edges) = timed(theirs, options.repeats)
    probability = chance.probability[chance.patent_class][:, chance.code_class]
    found = {frozenset(pair) for pair in table.filter("validated").select("a", "b").iter_rows()}
    other = {
        frozenset((links.names[int(a)], links.names[int(b)])) for a, of in edges.items() for b in of
    }
    first = co_occurrence(links)[0]
    print(f"{options.codes} codes, {options.patents:,} patents, {len(first):,} pairs together")
    print(
        f"largest difference of a probability: {abs(probability - graph.get_bicm_matrix()).max():.1e}"
    )
    print(f"validated pairs: {len(found)} here, {len(other)} there, {len(found & other)} in both")
    print(
        f"solving: {ours_solve:.3f} CPU s against {their_solve:.1f}: {their_solve / ours_solve:,.0f} times"
    )
    print(f"whole: {ours:.3f} CPU s against {their_whole:.1f}: {their_whole / ours:,.0f} times")
    print(f"  of which numbering the codes of the patents: {numbered:.3f} CPU s")


if __name__ == "__main__":
    main()
