"""`Space`: the vectors of a surface's members and items, each made once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from linkwise.rank.surface import Bools, Longs
from linkwise.rank.verbalise import Verbaliser

Floats = np.ndarray[Any, np.dtype[np.float64]]
CENTRED = 512  # members, and items, drawn at random, about whose mean vectors all others are taken
SHRUNK = 3  # items of no direction that a mean of past items begins with


class Space:
    """The vectors of a surface's members and items, each made once and of length one, and their means.

    `means` are the mean vectors of "items" and of "members" (size,), zeros of members without descriptions.
    Where they are not given, they are taken over the items and members of the events `met` (n_events,), or
    over all there are.
    """

    def __init__(
        self,
        model: Any,
        verbaliser: Verbaliser,
        means: dict[str, list[float]] | None = None,
        met: Bools | None = None,
    ) -> None:
        self.model, self.verbaliser = model, verbaliser
        self.described = bool(verbaliser.task.member.template)
        self._known: dict[bool, dict[int, Floats]] = {False: {}, True: {}}  # members, items
        if means is None:
            surface, rng = verbaliser.surface, np.random.default_rng(0)
            items, members = np.arange(len(surface.items)), np.arange(len(surface.members))
            if met is not None:
                items, members = np.unique(surface.item[met]), np.unique(surface.member[met])
            means = {"items": self._mean(items, rng, items=True)}
            means["members"] = self._mean(
                members[: None if self.described else 0], rng, items=False
            )
        self.means = means
        self.items_mean, self.members_mean = np.array(means["items"]), np.array(means["members"])

    def _mean(self, rows: Longs, rng: np.random.Generator, *, items: bool) -> list[float]:
        some = np.sort(rng.choice(rows, min(len(rows), CENTRED), replace=False)).tolist()
        found: list[float] = (self._of(some, items=items).sum(axis=0) / max(1, len(some))).tolist()
        return found

    def of_items(self, items: Sequence[int]) -> Floats:
        """Items' vectors (n, size)."""
        return self._of([int(item) for item in items], items=True)

    def of_member(self, member: int, before: int | None) -> Floats:
        """The description, items acted on and items passed by before a time, as vectors (3, size).

        The description with the other sign where items are turned down: what goes with a member is not what
        the member dismisses. What a member dismissed before is like what will be dismissed, as it stands.
        """
        found = np.zeros((3, len(self.items_mean)))
        if self.described:
            found[0] = self._of([member], items=False)[0] - self.members_mean
            if self.verbaliser.task.turns_down:
                found[0] = -found[0]
        for row, past in enumerate(self.verbaliser.past(member, before), 1):
            if len(past):
                gone = self.of_items(past.tolist()) - self.items_mean
                found[row] = gone.sum(axis=0) / (len(past) + SHRUNK)
        return found

    def _of(self, rows: Sequence[int], *, items: bool) -> Floats:
        import torch

        from linkwise.rank.matching import leading, text_vectors

        known = self._known[items]
        say, start = (
            self.verbaliser.item if items else self.verbaliser.member,
            self.model.text_start(),
        )
        new = [row for row in dict.fromkeys(rows) if row not in known]
        with torch.inference_mode():
            for at in range(0, len(new), 64):
                some = new[at : at + 64]
                vectors = text_vectors(self.model, [[*start, *say(row)] for row in some])
                made = leading(vectors, vectors.shape[1]).double().cpu().numpy()
                known.update(zip(some, made, strict=True))
        width = int(self.model.network.config.hidden_size)
        return np.array([known[row] for row in rows]).reshape(len(rows), width)
