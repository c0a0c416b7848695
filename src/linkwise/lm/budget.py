"""What may go to a server, and what went."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from linkwise.errors import ResourceError, UsageError


class OverBudget(ResourceError):
    """The next request could exceed the budget; it was not sent."""


@dataclass(frozen=True)
class Spent:
    """What went to a server: requests (every attempt counts) and tokens (prompt and completion)."""

    requests: int
    tokens: int


class Budget:
    """Limits on requests and tokens, for one server or several, and what was spent; thread-safe.

    A request is let through where its prompt, estimated at 4 characters a token, and all the tokens that it
    allows would still fit; afterwards it counts as what the server reports. An answer that was lost on the
    way counts in full, since it may be charged. Only an estimate that was too low can exceed the limit.

    Raises `UsageError` for a negative limit.
    """

    def __init__(self, *, requests: int | None = None, tokens: int | None = None) -> None:
        for name, limit in (("requests", requests), ("tokens", tokens)):
            if limit is not None and limit < 0:
                raise UsageError(f"the budget of {name} is {limit}; expected 0 or more, or None.")
        self.requests, self.tokens = requests, tokens
        self._requests = self._tokens = self._held = 0
        self._changed = threading.Condition()

    @property
    def spent(self) -> Spent:
        """What was spent so far."""
        with self._changed:
            return Spent(self._requests, self._tokens)

    def take(self, tokens: int) -> None:
        """Reserve one request of at most so many tokens; `settle` must follow.

        Waits where only the reservations of requests under way stand against it.
        Raises `OverBudget` where it does not fit.
        """
        with self._changed:
            while True:
                if self.requests is not None and self._requests >= self.requests:
                    raise OverBudget(self._refusal("a further request"))
                if self.tokens is None or self._tokens + self._held + tokens <= self.tokens:
                    break
                if self._tokens + tokens > self.tokens:
                    raise OverBudget(self._refusal(f"a request of up to {tokens:,} tokens"))
                self._changed.wait()
            self._requests += 1
            self._held += tokens

    def settle(self, taken: int, used: int) -> None:
        """Replace a reservation by the tokens that were used."""
        with self._changed:
            self._held -= taken
            self._tokens += used
            self._changed.notify_all()

    def _refusal(self, wanted: str) -> str:
        return f"{wanted} does not fit the budget: {self._words()}. Raise the limit to go on."

    def _words(self) -> str:
        parts = []
        for name, spent, limit in (
            ("requests", self._requests, self.requests),
            ("tokens", self._tokens, self.tokens),
        ):
            parts.append(f"{spent:,} {name}" + (f" of {limit:,}" if limit is not None else ""))
        return " and ".join(parts) + " spent"

    def __repr__(self) -> str:
        with self._changed:
            return f"Budget({self._words()})"
