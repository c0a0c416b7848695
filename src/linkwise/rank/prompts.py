"""Studies of the prompt, one ranker asked of the same events: how long a history, and each part's worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from linkwise.rank.conditions import Found, Trained, paired, scores_of
from linkwise.rank.study import Asked
from linkwise.rank.surface import Surface

BUDGETS = (64, 128, 256, 512, 1024, 2048, 4096, 8192)  # tokens of history
BEYOND = "beyond training"


def history(trained: Trained) -> Found:
    """AUC by the tokens that the history may take, up to those that all of it fits in."""
    sizes: list[tuple[int, int]] = []  # of each prompt: tokens of the history, and of the rest
    for asked in trained.asked():
        verbaliser = trained.ranker.verbaliser(
            _with_history(asked.surface, budget_tokens=BUDGETS[-1])
        )
        pairs = {(int(m), int(t)) for m, t in zip(asked.member, asked.time, strict=True)}
        for m, t in pairs:
            prompt = verbaliser.prompt(m, t)
            history = len(prompt.parts["history"])
            sizes.append((history, len(prompt.tokens) - history))
    longest = max(history for history, _ in sizes)
    fits = [budget for budget in BUDGETS if budget < longest]
    budgets = BUDGETS[: len(fits) + 1]
    names = [f"{budget} tokens" for budget in budgets]
    # Of a sequence of training the history is a part, as it is of a prompt.
    most = trained.ranker.config.max_tokens
    marks = {
        name: BEYOND
        for name, budget in zip(names, budgets, strict=True)
        if max(min(history, budget) + rest for history, rest in sizes) > most
    }
    beyond = (
        f"{', '.join(marks)}: beyond training, whose sequences had {most:,} tokens at most (--max-tokens), "
        "prompts included; the longest prompts here have more."
    )

    def surface_of(condition: str, surface: Surface) -> Surface:
        return _with_history(surface, budget_tokens=budgets[names.index(condition)])

    return paired(
        trained,
        "What a longer history is worth",
        "tokens of history",
        names,
        [float(budget) for budget in budgets],
        _asked_as(trained, surface_of),
        names[-1],
        (
            "The same model, the same events; the history takes so many tokens at most. The longest history "
            f"of those judged has {longest:,} tokens. The slope is of AUC per doubling.",
            *([beyond] if marks else []),
            *_unheard(
                trained,
                "a larger budget changes no more than which past items these are, and they may stand in any "
                "order",
            ),
        ),
        relative=True,
        marks=marks,
    )


def parts(trained: Trained) -> Found:
    """What the member's text, the notes and the history, and its order, add."""
    conditions = ["all", "no member text", "no history", "newest first"]
    if any(surface.task.notes for surface in trained.surfaces):
        conditions.insert(2, "no notes")

    def surface_of(condition: str, surface: Surface) -> Surface:
        if condition == "no member text":
            member = surface.task.member.model_copy(update={"template": ""})
            return replace(surface, task=surface.task.model_copy(update={"member": member}))
        if condition == "no notes":
            return replace(surface, task=surface.task.model_copy(update={"notes": ()}))
        if condition == "no history":
            return _with_history(surface, budget_tokens=0)
        if condition == "newest first":
            return _with_history(surface, order="newest-first")
        return surface

    return paired(
        trained,
        "What each part of the prompt adds",
        "prompt",
        conditions,
        None,
        _asked_as(trained, surface_of),
        "all",
        (
            "The same model, not trained anew, asked by prompts that lack a part, or have it otherwise.",
            *_unheard(
                trained,
                "without the notes, or with the newest first, nothing can differ: no difference there says "
                "nothing of what they are worth",
            ),
        ),
    )


def _asked_as(
    trained: Trained, surface_of: Callable[[str, Surface], Surface]
) -> Callable[[str, Sequence[Asked]], list[Any]]:
    """What scores all tasks' events by the same ranker, their surfaces said as a condition says them."""

    def scores(condition: str, every: Sequence[Asked]) -> list[Any]:
        said = [surface_of(condition, asked.surface) for asked in every]
        return scores_of(trained.ranker, every, condition, trained.context, said)

    return scores


def _with_history(surface: Surface, **changes: Any) -> Surface:
    history = surface.task.history.model_copy(update=changes)
    return replace(surface, task=surface.task.model_copy(update={"history": history}))


def _unheard(trained: Trained, words: str) -> tuple[str, ...]:
    """A note for where the ranker's answers weigh nothing, so that much of a prompt cannot count."""
    evidence = trained.ranker.evidence_
    names = [s.task.name for s in trained.surfaces if s.task.output == "yes-no"]
    if evidence is None or evidence.hears or not names:
        return ()
    return (
        f"In {', '.join(names)} the ranker's answers weigh nothing: its vectors of the member's text and of "
        f"the past items alone tell, and {words}.",
    )
