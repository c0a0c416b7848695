"""A language model as judge: sections after one shared patent, against each pair by itself.

    python benchmarks/judging.py

A patent of 400 tokens, 50 sections of 32; a decoder of the Llama kind with random weights (the time does not
depend on them). CPU seconds of one thread, the median of turns taken one after the other, and the largest
difference of the scores.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from linkwise.context import Context
from linkwise.lm.small import small_model
from linkwise.matching.config import PairsConfig
from linkwise.matching.judges import Pairs
from linkwise.matching.lm_judge import LMJudge
from linkwise.matching.sides import Side

WORDS = (
    "the", "gas", "is", "washed", "in", "a", "tower", "with", "lime", "and", "water", "so", "that", "dust",
    "acid", "stay", "behind",
)  # fmt: skip


def side(n: int, words: int, rng: np.random.Generator) -> Side:
    texts = [" ".join(rng.choice(WORDS, words)) for _ in range(n)]
    names = [str(k) for k in range(n)]
    return Side(names, [text.split()[0] for text in texts], texts, names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="small")
    parser.add_argument("--sections", type=int, default=50)
    parser.add_argument("--patent-tokens", type=int, default=400)
    parser.add_argument("--section-tokens", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    queries = side(1, 2 * options.patent_tokens, rng)
    items = side(options.sections, 2 * options.section_tokens, rng)
    config = PairsConfig(
        judge="-", epochs=0, patent_tokens=options.patent_tokens,
        section_tokens=options.section_tokens,
    )  # fmt: skip
    model = small_model(options.size, device="cpu")
    judge = LMJudge(lambda: (model, None), queries, items, config, Context(Path()), "", tune=None)
    n = options.sections
    pairs = Pairs(np.zeros(n, dtype=np.int64), np.arange(n), np.empty((n, 0)))

    def shared() -> np.ndarray:
        return judge.score(pairs)

    def one_by_one() -> np.ndarray:
        """Each pair's whole prompt run by itself, the answers' logits read behind it."""
        prompt, found = judge.prompt, []
        with torch.inference_mode():
            for item in range(n):
                tokens = [
                    *prompt.patent(queries.texts[0]),
                    *prompt.section(items.titles[item], items.texts[item]),
                ]
                logits = model.network(torch.tensor([tokens]), logits_to_keep=1).logits[0, -1]
                yes, no = prompt.answers
                found.append(float(logits[yes] - logits[no]))
        return np.array(found)

    seconds: dict[str, list[float]] = {"one by one": [], "shared": []}
    found = {}
    for _ in range(options.repeats):
        for name, run in (("one by one", one_by_one), ("shared", shared)):
            began = time.process_time()
            found[name] = run()
            seconds[name].append(time.process_time() - began)
    middle = {name: statistics.median(taken) for name, taken in seconds.items()}
    for name, value in middle.items():
        print(f"{name}: {value:.2f} CPU seconds for {n} pairs")
    print(f"one by one / shared: {middle['one by one'] / middle['shared']:.1f}")
    print(f"largest difference: {np.abs(found['shared'] - found['one by one']).max():.1e}")


if __name__ == "__main__":
    main()
