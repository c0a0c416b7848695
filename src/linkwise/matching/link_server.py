"""Pairs of texts and pollutants, judged by a chat model behind a server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from linkwise.context import Context
from linkwise.lm.budget import Budget
from linkwise.lm.prompting import map_questions, messages, probability
from linkwise.lm.replies import Cache
from linkwise.lm.server import Server
from linkwise.matching.link_config import LinkConfig
from linkwise.matching.link_pollutants import Screened
from linkwise.matching.pollutants import Pollutant
from linkwise.matching.similar import Collection

Floats = np.ndarray[Any, np.dtype[np.float64]]

INSTRUCTION = (
    "You are an expert in industrial pollution and its abatement. You are given a text and a pollutant, and "
    "say whether what the text describes helps to prevent, reduce, treat or measure the release of this "
    "pollutant. Only answer Yes or No."
)
LONGEST = 6000  # characters of a text that a server is shown


@dataclass(frozen=True)
class Served:
    """A server's name, its probabilities of yes (m,), NaN where there is no answer, and why there is none."""

    by: str
    probability: Floats
    failures: list[dict[str, str]]


def server_of(config: LinkConfig, context: Context) -> Server:
    """The server of a config, whose replies a resumed run does not pay for again."""
    assert config.server is not None
    assert config.model is not None
    return Server(
        config.server,
        config.model,
        key_variable=config.key_variable,
        budget=Budget(requests=config.requests),
        cache=Cache(context.work / "replies.jsonl"),
    )


def served_pairs(
    kind: str,
    screened: Screened,
    texts: Collection,
    pollutants: list[Pollutant],
    context: Context,
    server: Server,
) -> Served:
    """A server's probabilities of the screened pairs; an error of one question is kept with it.

    Raises what ends a run: a budget that is spent, a server that cannot be reached.
    """
    prompts = [
        messages(INSTRUCTION, question(kind, texts.texts[text], pollutants[pollutant].id))
        for text, pollutant in zip(screened.text, screened.pollutant, strict=True)
    ]
    with context.step(f"ask of {kind}s and pollutants", len(prompts)):
        answers = map_questions(
            lambda prompt: probability(server, prompt),
            prompts,
            advance=context.progress.advance,
            cancelled=context.cancelled,
        )
    if answers.stopped is not None:
        raise answers.stopped
    failures = [
        {
            "source_kind": kind,
            "source": texts.ids[screened.text[place]],
            "target_kind": "pollutant",
            "target": pollutants[screened.pollutant[place]].id,
            "error": str(error),
        }
        for place, error in answers.errors.items()
    ]
    values = [np.nan if answer is None else answer.value for answer in answers.answers]
    return Served(f"server: {server.model}", np.array(values, dtype=np.float64), failures)


def question(kind: str, text: str, pollutant: str) -> str:
    """What a server is asked about a text and a pollutant."""
    name = "Patent" if kind == "patent" else "Technique"
    return f"{name}:\n{text[:LONGEST]}\n\nPollutant: {pollutant}\n\nOnly answer Yes or No."
