"""Two hundred candidates for one member: one run of the member's prompt against a prompt for each.

    python benchmarks/ranking.py --base small --history 1000 --candidates 200 --sample 20

A simulated network gives member, history and candidates; weights are as they begin (the cost is the same).
CPU seconds on one thread, both ways in one process, the median of some runs; the one-by-one way is run on a
sample of the candidates and scaled. Printed as JSON, with the largest difference of the probabilities.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from linkwise.data.simulate_members import MembersSimulation, simulate_members
from linkwise.rank.config import RankConfig
from linkwise.rank.ranker import Ranker
from linkwise.rank.surface import read_surface
from linkwise.rank.task import HistoryText, read_task


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", default="small")
    parser.add_argument("--history", type=int, default=1000, help="tokens")
    parser.add_argument("--candidates", type=int, default=200)
    parser.add_argument("--sample", type=int, default=20, help="candidates scored one by one")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        net = simulate_members(
            MembersSimulation(members=1000, days=600, seed=1), Path(folder) / "n"
        )
        task = read_task(net / "tasks" / "apply.toml")
        history = HistoryText(group_by_action=False, budget_tokens=options.history)
        surface = read_surface(task.model_copy(update={"history": history}))
    ranker = Ranker(RankConfig(base=options.base))
    v = ranker.verbaliser(surface)
    member = int(np.argmax(np.diff(surface.start)))
    items = np.random.default_rng(0).choice(len(surface.items), options.candidates, replace=False)
    prompt = v.prompt(member).tokens
    asked = [v.candidate(int(item)) for item in items]

    def tree() -> Any:
        ranker._contexts.clear()
        return ranker.log_p(prompt, asked, v.answers.tokens)

    def one_by_one() -> Any:
        found = []
        with torch.inference_mode():
            for tokens in asked[: options.sample]:
                ids = torch.tensor([[*prompt, *tokens]])
                logits = ranker.model.network(ids, logits_to_keep=1).logits[0, -1].double()
                found.append(torch.log_softmax(logits[list(v.answers.tokens)], 0).numpy())
        return np.array(found)

    fast, by_tree = _timed(tree, options.repeats)
    slow, single = _timed(one_by_one, options.repeats)
    ranker.log_p(prompt, asked, v.answers.tokens)
    warm, _ = _timed(lambda: ranker.log_p(prompt, asked, v.answers.tokens), options.repeats)
    slow *= options.candidates / options.sample
    difference = np.abs(by_tree[: options.sample] - single).max()
    print(
        json.dumps(
            {
                "base": options.base,
                "prompt_tokens": len(prompt),
                "candidates": options.candidates,
                "candidate_tokens": float(np.mean([len(tokens) for tokens in asked])),
                "tree_cpu_seconds": fast,
                "tree_cached_context_cpu_seconds": warm,
                "one_by_one_cpu_seconds": slow,
                "one_by_one_measured_on": options.sample,
                "ratio": slow / fast,
                "largest_difference_log_p": float(difference),
                "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            },
            indent=1,
        )
    )


def _timed(run: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """The median CPU seconds of some runs, and what the last one gave."""
    seconds = []
    found = None
    for _ in range(repeats):
        began = time.process_time()
        found = run()
        seconds.append(time.process_time() - began)
    return float(np.median(seconds)), found


if __name__ == "__main__":
    main()
