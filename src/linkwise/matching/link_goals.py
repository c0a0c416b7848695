"""How much a pollutant matters for each goal: asked of a server in JSON, or by text similarity."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from linkwise.errors import InputError, explain
from linkwise.lm.prompting import map_questions
from linkwise.lm.server import Server
from linkwise.matching.goals import Goals
from linkwise.matching.pollutants import Pollutant
from linkwise.matching.similar import SIMILARITIES, Similar, with_rivals

Floats = np.ndarray[Any, np.dtype[np.float64]]

TEXT = "text similarity"
TOP = 3  # goals with an explanation
LONGEST_ANSWER = 2000  # tokens
INSTRUCTION = (
    "You are an expert in environmental science and in the Sustainable Development Goals. You rate how "
    "relevant cutting the emissions of a pollutant is for each goal, from 1 (not at all) to 10 (decisive), "
    "and explain the ratings of the three most relevant goals in a sentence each. Answer with JSON alone."
)


class _GoalRating(BaseModel):
    model_config = ConfigDict(extra="ignore")

    goal: Annotated[str, Field(coerce_numbers_to_str=True)]
    relevance: int = Field(ge=1, le=10)
    explanation: str | None = None


class _Ratings(BaseModel):
    """What a server is to answer."""

    model_config = ConfigDict(extra="ignore")

    ratings: list[_GoalRating] = Field(min_length=1)

    @model_validator(mode="after")
    def _explained(self) -> Self:
        ids = [rating.goal for rating in self.ratings]
        if len(set(ids)) < len(ids):
            raise ValueError("a goal is rated twice")
        explained = sum(bool((rating.explanation or "").strip()) for rating in self.ratings)
        if explained < min(TOP, len(ids)):
            raise ValueError(f"{explained} ratings are explained; expected those of the top {TOP}")
        return self


@dataclass(frozen=True)
class Relevance:
    """How relevant each goal is for each pollutant.

    `score` (n_pollutants, n_goals) is 0 to 1, NaN where there is no answer; `why` has a text for the top
    three of each; `failed` says why a pollutant has none. `by` names what said so.
    """

    score: Floats
    why: dict[tuple[int, int], str]
    failed: dict[int, str]
    by: str

    def relevance(self) -> Floats:
        """1 to 10, whole numbers."""
        return np.maximum(1, np.round(10 * self.score))


def relevance_by_text(similar: Similar, by: str = TEXT) -> Relevance:
    """Relevance offline: how a pollutant's text goes with the goals' texts, against the other goals.

    `similar` compares pollutants (queries) with goals (items). The mean of the similarities in deviations
    about those of all goals, through the normal distribution; why: the goal's text that speaks most for it.
    """
    from scipy.special import ndtr

    n, m = len(similar.queries), len(similar.items)
    start = 2 * len(SIMILARITIES)
    score = np.empty((n, m))
    why = {}
    for row in range(n):
        alike = with_rivals(similar(row, np.arange(m)))
        score[row] = ndtr(alike[:, start : start + len(SIMILARITIES)].mean(axis=1))
        for goal in np.argsort(-score[row], kind="stable")[:TOP].tolist():
            why[row, goal] = _speaks_most(similar, row, goal)
    return Relevance(score, why, {}, by)


def _speaks_most(similar: Similar, query: int, item: int) -> str:
    """The part of a goal that goes best with any of a pollutant; its name where it has no more."""
    mine, theirs = similar.queries.parts_at(query), similar.items.parts_at(item)
    name, *about = similar.items.parts[theirs]
    if not about:
        return name
    alike = similar.queries.part_vectors[mine] @ similar.items.part_vectors[theirs].T
    return about[int(alike[:, 1:].max(axis=0).argmax())]


def relevance_by_server(
    server: Server,
    pollutants: list[Pollutant],
    goals: Goals,
    *,
    advance: Callable[[int], None] = lambda done: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Relevance:
    """Relevance as a server's model gives it, in JSON of a schema: tried twice, else recorded as failed.

    Raises what ends a run: a budget that is spent, a server that cannot be reached.
    """
    found = map_questions(
        lambda pollutant: _asked(server, pollutant, goals),
        pollutants,
        advance=advance,
        cancelled=cancelled,
    )
    if found.stopped is not None:
        raise found.stopped
    n, m = len(pollutants), len(goals.ids)
    score = np.full((n, m), np.nan)
    why: dict[tuple[int, int], str] = {}
    failed = {row: str(error) for row, error in found.errors.items()}
    place = {name: k for k, name in enumerate(goals.ids)}
    for row, answer in enumerate(found.answers):
        if isinstance(answer, str):
            failed[row] = answer
        elif answer is not None:
            for rating in answer.ratings:
                score[row, place[rating.goal]] = rating.relevance / 10
            for goal in np.argsort(-score[row], kind="stable").tolist():
                text = next(r.explanation for r in answer.ratings if place[r.goal] == goal)
                explained = sum(1 for of, _ in why if of == row)
                if text and text.strip() and explained < TOP:
                    why[row, goal] = text.strip()
    return Relevance(score, why, failed, f"server: {server.model}")


def _asked(server: Server, pollutant: Pollutant, goals: Goals) -> _Ratings | str:
    """A server's ratings, or why there are none after two attempts."""
    schema = _Ratings.model_json_schema()
    listed = "\n".join(
        f"{name}: {title}" for name, title in zip(goals.ids, goals.names, strict=True)
    )
    question = (
        f"Pollutant: {pollutant.id}\n\nGoals:\n{listed}\n\nRate every goal. The schema of the answer:\n"
        f"{json.dumps(schema)}"
    )
    turns = [
        {"role": "system", "content": INSTRUCTION},
        {"role": "user", "content": question},
    ]
    asked = replace(
        server,
        options={
            **server.options,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "ratings", "schema": schema},
            },
        },
    )
    trouble = ""
    for attempt in (
        asked,
        server,
    ):  # not every server takes a schema: the second time it is only told
        try:
            text = attempt.complete(turns, max_tokens=LONGEST_ANSWER)[0].text
        except InputError as error:
            trouble = str(error)
            continue
        try:
            return _read(text, goals)
        except InputError as error:
            trouble = str(error)
            turns = [
                *turns[:2],
                {"role": "assistant", "content": text},
                {"role": "user", "content": f"This cannot be used: {trouble} Answer again."},
            ]
    return trouble


def _read(text: str, goals: Goals) -> _Ratings:
    """Ratings of an answer, every goal once; raises `InputError` where it has none."""
    text = text.rpartition("</think>")[2]
    begin, end = text.find("{"), text.rfind("}")
    try:
        found = _Ratings.model_validate(json.loads(text[begin : end + 1]))
    except ValidationError as error:
        raise InputError(explain(error)) from error
    except (ValueError, RecursionError) as error:
        raise InputError("it is not JSON.") from error
    ids = {rating.goal for rating in found.ratings}
    if ids != set(goals.ids):
        other = sorted(ids ^ set(goals.ids))
        raise InputError(f"the goals rated are not those asked; {', '.join(other[:5])} differ.")
    return found
