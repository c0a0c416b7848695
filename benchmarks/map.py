"""The map of 650,000 patents on one core: seconds of each step, peak memory, planted topics found again.

Vectors of 384 numbers belong to 60 topics of unlike sizes in 12 fields. They vary along a few directions of
their topic, as texts do, and a little along all; one in four lies towards another topic of its field. Texts
are a topic's words among common ones, and codes belong to topics. Written are the files that the dashboard
reads.

    python benchmarks/map.py --points 20000
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

SIZE, TOPICS, WORDS, CODES = 384, 60, 30, 10  # WORDS and CODES are those of each topic
FIELDS, WAYS = 12, 6  # fields of topics, and directions along which a topic's vectors vary
APART, ALONG, AROUND = (
    0.8,
    0.35,
    0.02,
)  # topics of a field, vectors along a direction, and along any axis


def vocabulary(n: int, rng: np.random.Generator) -> list[str]:
    """n made-up words of three syllables, all different."""
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    places = rng.choice(len(syllables) ** 3, n, replace=False)
    return [
        "".join(syllables[i] for i in np.unravel_index(place, [len(syllables)] * 3)) for place in places
    ]  # fmt: skip


def make(
    n: int, seed: int
) -> tuple[np.ndarray, np.ndarray, list[str], list[set[str]], list[list[str]]]:
    """Vectors (n, 384), topics (n,), texts of 12 words, sets of one to four codes; words of topics."""
    rng = np.random.default_rng(seed)
    share = 1 / (np.arange(TOPICS) + 20.0)
    topic = rng.choice(TOPICS, n, p=share / share.sum())

    def directions(k: int) -> np.ndarray:  # (k, SIZE), of length 1
        found = rng.standard_normal((k, SIZE), dtype=np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    centres = directions(FIELDS)[np.arange(TOPICS) % FIELDS] + APART * directions(TOPICS)
    ways = ALONG * directions(TOPICS * WAYS).reshape(TOPICS, WAYS, SIZE)
    vectors = np.empty((n, SIZE), dtype=np.float32)
    for first in range(0, n, 10_000):
        mine = topic[first : first + 10_000]
        piece = AROUND * rng.standard_normal((len(mine), SIZE), dtype=np.float32)
        amounts = rng.standard_normal((len(mine), WAYS), dtype=np.float32)
        lean = rng.uniform(0, 0.45, (len(mine), 1)) * (rng.random((len(mine), 1)) < 0.25)
        other = (mine + FIELDS * rng.integers(1, TOPICS // FIELDS, len(mine))) % TOPICS
        piece += (lean * (centres[other] - centres[mine])).astype(np.float32)
        for t in range(TOPICS):
            piece[mine == t] += centres[t] + amounts[mine == t] @ ways[t]
        vectors[first : first + len(mine)] = piece
    known = vocabulary(2000 + TOPICS * WORDS, rng)
    general, own = known[:2000], [known[2000 + t * WORDS :][:WORDS] for t in range(TOPICS)]
    common = (2000 * rng.random((n, 6)) ** 3).astype(int)
    telling = (WORDS * rng.random((n, 6)) ** 2).astype(int)
    texts = [
        " ".join([*(general[i] for i in c), *(own[t][i] for i in w)])
        for t, c, w in zip(topic.tolist(), common.tolist(), telling.tolist(), strict=True)
    ]
    code = rng.integers(CODES, size=(n, 4)).tolist()
    sizes = rng.integers(1, 5, size=n).tolist()
    codes = [
        {f"T{t:02d}/{one}" for one in row[:size]}
        for t, row, size in zip(topic.tolist(), code, sizes, strict=True)
    ]
    return vectors, topic, texts, codes, own


def measure(n: int, seed: int, page: Path | None) -> dict[str, Any]:
    """Run all steps; seconds of each, with the peak memory of the process up to its end."""
    from sklearn.metrics import adjusted_rand_score

    from linkwise.estimators.map import (
        MapConfig,
        figure,
        layout,
        place,
        principal_components,
        topics,
        write_map,
    )

    steps: dict[str, tuple[float, float]] = {}

    @contextmanager
    def step(name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # kB on Linux
        steps[name] = (round(time.perf_counter() - began, 1), round(peak, 2))
        print(f"{name}: {steps[name][0]:,.1f} s, peak {peak:.2f} GiB", file=sys.stderr, flush=True)

    config = MapConfig()
    with step("making the data"):
        vectors, planted, texts, code_sets, vocabularies = make(n, seed)
    with step("principal components"):
        components = principal_components(vectors, config.components)
    with step("layout"):
        coordinates = layout(
            components, config, seed, lambda done: print(done, end="% ", flush=True)
        )
    with step("topics"):
        found = topics(coordinates, texts, config)
    with step("codes"):
        codes = place(coordinates, found.labels, code_sets)
    with tempfile.TemporaryDirectory(prefix="linkwise-benchmark-") as folder, step("writing"):
        ids = [f"P{i}" for i in range(n)]
        write_map(Path(folder), ids, texts, coordinates, found, codes, {})
    with step("figure"):
        drawn = figure(coordinates, found, seed)
    if page is not None:
        from linkwise.report import Report, Section, render

        section = Section(title="Map", blocks=[drawn])
        report = Report(
            title="A map", lead=["Planted topics."], simulated=True, beats_baseline=None, sections=[section]
        )  # fmt: skip
        page.write_text(render(report))
    # Of each topic found, the share of its words that belong to the planted topic most of it is.
    right = []
    for topic, said in found.table.select("topic", "words").iter_rows():
        most = np.bincount(planted[found.labels == topic]).argmax()
        right += [word in vocabularies[most] for word in said]
    return {
        "points": n,
        "steps": steps,
        "topics": found.table.height,
        "without_topic": float((found.labels < 0).mean()),
        "adjusted_rand": float(adjusted_rand_score(planted, found.labels)),
        "words_right": float(np.mean(right)) if right else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=650_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", type=Path, help="write a report page with the map to this file")
    parser.add_argument("--out", type=Path, help="write the results as JSON to this file")
    options = parser.parse_args()
    found = measure(options.points, options.seed, options.page)
    print(f"\n{found['points']:,} points of {SIZE} numbers, {TOPICS} planted topics")
    for name, (seconds, peak) in found["steps"].items():
        print(f"{name:22} {seconds:9,.1f} s   peak so far {peak:6.2f} GiB")
    print(
        f"{found['topics']} topics found; {found['without_topic']:.1%} of points have none; adjusted Rand "
        f"{found['adjusted_rand']:.3f}; {found['words_right']:.1%} of the words are their topic's"
    )
    if options.out:
        options.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
