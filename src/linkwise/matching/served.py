"""A chat model behind an OpenAI-compatible server as a judge, with labelled pairs as examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from linkwise.context import Context
from linkwise.lm.prompting import Probability, map_questions, messages, probability
from linkwise.lm.server import Server
from linkwise.matching.config import PairsConfig
from linkwise.matching.judges import Floats, Longs, Pairs
from linkwise.matching.lm_judge import instruction_of
from linkwise.matching.sides import Side

CHARACTERS = 4  # of a token, where the server keeps its tokenizer to itself
EDGE = 1e-4  # the least and, from one, the most that a share of answers says


class ServedJudge:
    """The log-odds of Yes of a model behind a server, from its log-probabilities.

    Where it gives none, or is asked to reason first, they are those of the share of yes over several answers;
    `how` counts which. Examples are labelled pairs of the training groups, as many of yes as of no.
    """

    def __init__(
        self, server: Server, queries: Side, items: Side, config: PairsConfig, context: Context
    ) -> None:
        self.server, self.queries, self.items = server, queries, items
        self.config, self.context = config, context
        self.how: Counter[str] = Counter()
        self.examples: list[tuple[str, str]] = []

    def fit(self, pairs: Pairs, label: Floats, group: Longs, held_out: Any) -> tuple[Any, Floats]:
        """Choose the examples from the pairs that are not held out; calibrated on those that are."""
        if not self.config.examples:
            return np.arange(len(pairs)), self.score(pairs)
        rng = np.random.default_rng(self.context.seed)
        chosen: list[int] = []
        for answer in (1, 0):
            some = np.flatnonzero((label == answer) & ~held_out)
            n = (self.config.examples + answer) // 2
            chosen += rng.choice(some, min(n, len(some)), replace=False).tolist()
        self.examples = [
            (
                self.question(int(pairs.query[row]), int(pairs.item[row])),
                "Yes" if label[row] else "No",
            )
            for row in rng.permutation(chosen).tolist()
        ]
        rows = np.flatnonzero(held_out)
        return rows, self.score(pairs.at(rows))

    def question(self, query: int, item: int) -> str:
        """What is asked about a pair."""
        config = self.config
        patent = self.queries.texts[query][: CHARACTERS * config.patent_tokens]
        section = f"{self.items.titles[item]}. {self.items.texts[item]}"
        section = section[: CHARACTERS * config.section_tokens]
        return f"{config.patent_name}: {patent}\n\n{config.section_name}: {section}\n\n{config.question}"

    def score(self, pairs: Pairs) -> Floats:
        """The log-odds of Yes of each pair.

        Raises the first error of the server, with what was answered kept in its cache.
        """
        asked = [
            self.question(q, i)
            for q, i in zip(pairs.query.tolist(), pairs.item.tolist(), strict=True)
        ]
        config = self.config
        self.context.progress.start(f"ask about {len(asked):,} pairs", len(asked))

        def ask(question: str) -> Probability:
            turns = messages(
                instruction_of(config),
                question,
                examples=self.examples,
                chain_of_thought=config.chain_of_thought,
            )
            return probability(self.server, turns, chain_of_thought=config.chain_of_thought)

        found = map_questions(
            ask,
            asked,
            advance=self.context.progress.advance,
            cancelled=self.context.cancelled,
        )
        self.context.progress.finish(0.0)
        error = found.stopped or next(iter(found.errors.values()), None)
        if error is not None:
            raise error
        answers = [answer for answer in found.answers if answer is not None]
        self.how.update(answer.how for answer in answers)
        p = np.clip([answer.value for answer in answers], EDGE, 1 - EDGE)
        return np.asarray(np.log(p) - np.log1p(-p))

    def save(self, folder: Path) -> Mapping[str, Any]:
        """The server's address and model, and the examples; never a key."""
        return {
            "server": self.server.base_url,
            "model": self.server.model,
            "key_variable": self.server.key_variable,
            "examples": self.examples,
            "how": dict(self.how),
        }
