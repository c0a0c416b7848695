"""A `Teacher`: a trained ranker whose probabilities another one learns from (Hinton et al. 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from linkwise.context import Context
from linkwise.rank.ranker import Ranker
from linkwise.rank.surface import Longs, Surface
from linkwise.rank.training import Answered, Example, answer_logits, joint_examples

Floats = np.ndarray[Any, np.dtype[np.float64]]
TOGETHER = 16  # sequences that are run at once


@dataclass(frozen=True)
class Teacher:
    """A trained ranker, and how much its probabilities count against the answers given, 0 to 1."""

    ranker: Ranker
    soft: float = 0.5

    def teach(
        self,
        examples: Sequence[Example],
        surfaces: Sequence[Surface],
        until: int,
        context: Context,
    ) -> list[Example]:
        """A student's examples with targets: `soft` times the teacher's probabilities, the rest one-hot.

        Probabilities are the calibrated ones, with the answers' own shares. Lists that are put in order have
        no event that could be asked about, and stay as they are.
        """
        found = list(examples)
        for number, surface in enumerate(surfaces):
            rows = [r for r, e in enumerate(examples) if e.task == number and e.event]
            if not rows:
                continue
            events = np.concatenate([examples[row].event for row in rows]).astype(np.int64)
            label = np.concatenate([examples[row].label for row in rows]).astype(np.int64)
            with context.step(f"ask the teacher about {surface.task.name}"):
                told = soft_labels(self.ranker, surface, events, until)
            target = (self.soft * told + (1 - self.soft) * np.eye(told.shape[1])[label]).tolist()
            start = 0
            for row in rows:
                end = start + len(examples[row].event)
                found[row] = replace(examples[row], target=tuple(map(tuple, target[start:end])))
                start = end
        return found


def soft_labels(teacher: Ranker, surface: Surface, events: Longs, until: int) -> Floats:
    """A teacher's probability of each answer to some events before `until` (n, n_answers).

    Each with its member's past before it, and of yes and no with what the vectors tell, as
    `Ranker.probabilities` has them. A member's events are asked about in one sequence, in the teacher's own
    tokens; one by one those that its sequences have no room for, and all where past items stand by action.
    """
    verbaliser = teacher.verbaliser(surface)
    task = surface.task
    found = np.full((len(surface.time), len(task.answer)), np.nan)
    if task.history.joint:
        tokens = np.array([verbaliser.answers.tokens], dtype=np.int64)
        equal = np.ones(tokens.shape)
        answered = Answered(tokens, equal / equal.size, equal)
        wanted = set(events.tolist())
        every, _ = joint_examples(verbaliser, 0, until, teacher.config)
        sequences = [example for example in every if not wanted.isdisjoint(example.event)]
        for start in range(0, len(sequences), TOGETHER):
            some = sequences[start : start + TOGETHER]
            with torch.inference_mode():
                logits, _, _ = answer_logits(teacher.model, some, answered)
            log_p = logits.double().log_softmax(dim=1).cpu().numpy()
            met = [event for example in some for event in example.event]

            def matches(met: list[int] = met) -> Floats:
                return teacher.event_matches(verbaliser, met)

            found[met] = teacher.combined(verbaliser, log_p, matches)
    for event in events[np.isnan(found[events, 0])]:
        member, item, time = (int(of[event]) for of in (surface.member, surface.item, surface.time))
        found[event] = teacher.probabilities(verbaliser, member, [item], time)[0]
    return np.asarray(found[events])
