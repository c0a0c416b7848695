"""What is loaded of the runs: models and indexes, when first asked for, shared, the unused leaving first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from linkwise.serve.batching import Batcher
from linkwise.serve.catalogue import Entry
from linkwise.serve.config import ServeConfig
from linkwise.serve.guard import Counts

Key = tuple[str, str]


class Models:
    """Loaded things by run and name; each is loaded once, however many requests wait for it.

    What belongs to a run that has changed since is loaded again; of more than `config.models` the one unused
    for longest leaves.
    """

    def __init__(self, config: ServeConfig, counts: Counts, threads: int = 2) -> None:
        self.config = config
        self.counts = counts
        # As many batches at a time as there are cores: more only make each other wait.
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="linkwise-model")
        # Those that wait for a chat server wait here, and keep no model from answering.
        self.talkers = ThreadPoolExecutor(8, thread_name_prefix="linkwise-chat")
        self._lock = threading.Lock()
        self._held: OrderedDict[Key, tuple[Any, Any]] = OrderedDict()
        self._loading: dict[Key, threading.Lock] = {}
        self._batchers: OrderedDict[Key, tuple[Any, Batcher[Any, Any]]] = OrderedDict()

    def kept(self, entry: Entry, name: str, load: Callable[[], Any]) -> Any:
        """What `load` makes, made once for the run as it is now. May be called from any thread."""
        key = (entry.id, name)
        with self._lock:
            turn = self._loading.setdefault(key, threading.Lock())
        with turn:
            with self._lock:
                stamp, value = self._held.get(key, (None, None))
                if stamp == entry.stamp:
                    self._held.move_to_end(key)
                    return value
            value = load()
            with self._lock:
                self._held[key] = (entry.stamp, value)
                self._held.move_to_end(key)
                while len(self._held) > self.config.models:
                    gone, _ = self._held.popitem(last=False)
                    self._loading.pop(gone, None)
                self.counts.models.set(len(self._held))
        return value

    def batcher(
        self,
        entry: Entry,
        verb: str,
        load: Callable[[], Any],
        *,
        most: int | None = None,
        pool: ThreadPoolExecutor | None = None,
    ) -> Batcher[Any, Any]:
        """The queue of one model of a run; its method `answer` answers a batch, in a thread of the `pool`.

        Called in the event loop alone. `most` requests at once, by default those of the config.
        """
        key = (entry.id, verb)
        stamp, found = self._batchers.get(key, (None, None))
        if found is not None and stamp == entry.stamp:
            self._batchers.move_to_end(key)
            return found

        def answer_all(requests: Sequence[Any]) -> Sequence[Any]:
            self.counts.batch.labels(verb.split(":")[0]).observe(len(requests))
            answered: Sequence[Any] = self.kept(entry, verb, load).answer(requests)
            return answered

        made: Batcher[Any, Any] = Batcher(
            answer_all, pool or self.pool, most=most or self.config.batch, waiting=self.config.queue
        )
        self._batchers[key] = (entry.stamp, made)
        while len(self._batchers) > 4 * self.config.models:
            self._batchers.popitem(last=False)
        return made

    def forget(self, runs: set[str]) -> None:
        """Let go what was loaded of runs that are gone. May be called from any thread."""
        with self._lock:
            for key in [key for key in self._held if key[0] in runs]:
                del self._held[key]
                self._loading.pop(key, None)
            self.counts.models.set(len(self._held))

    def close(self) -> None:
        """Wait for what is being answered, and take no more."""
        for pool in (self.pool, self.talkers):
            pool.shutdown(wait=True, cancel_futures=True)
