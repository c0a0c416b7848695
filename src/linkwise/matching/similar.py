"""How alike two texts are, in several ways: whole against whole, part against part, words against words."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from linkwise.errors import InputError

Singles = np.ndarray[Any, np.dtype[np.float32]]
Floats = np.ndarray[Any, np.dtype[np.float64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]
Longs = np.ndarray[Any, np.dtype[np.int64]]
Embed = Callable[[Sequence[str]], Singles]

ENDS = (".", "!", "?", ":", ";", "\u3002", "\uff01", "\uff1f")
SENTENCE_END = re.compile(r"(?<=[.!?\u3002\uff01\uff1f])\s+")
# After these no sentence ends; after the others only where what follows is in lower case, or a number.
NEVER_LAST = re.compile(r"(?:^|[\s(\[])(?:e\.\s?g|i\.\s?e|cf|vs|viz|figs?|pg|et al)\.$", re.I)
SELDOM_LAST = re.compile(
    r"(?:^|[\s(\[])(?:nos?|pp?|vol|eqs?|refs?|tab|sec|sect|ch|chap|art|approx|ca|etc|resp|incl|excl|max|min|"
    r"temp|al|co|ed|eds|dr|mr|mrs|prof|st|inc|ltd|corp)\.$",
    re.I,
)
LONGEST_ABBREVIATION = 10  # characters, with what stands before it
HEADING = 8  # words of a line without an end of a sentence that may be a heading
SHORTEST = 20  # characters: what is shorter stands with what comes before it
LONGEST = 600  # and what is longer is cut, at a space: no encoder reads all of it
SIMILARITIES = (
    "whole",  # cosine of the two texts
    "about the mean",  # the same, of what is beside the mean of all items
    "parts of the item, mean",  # the query with the mean of the item's parts
    "part of the item, best",
    "part of the query, best",  # any part of the query with the whole item
    "parts, best",  # any part of the query with any of the item
    "parts, best three",  # the mean of the three parts of the query that go best with any of the item
    "words",  # cosine of TF-IDF
)
SMALLEST_POOL = 10  # queries below which a pool tells nothing
RELATIVE = ("", ", less the best other's", ", in deviations", ", how many are above")


def sentences_of(text: str) -> list[str]:
    """A text's lines and their sentences, which end at no abbreviation: e.g. this one, or Fig. 3."""
    found: list[str] = []
    for line in re.split(r"\n+", text):
        begin = 0
        for end in SENTENCE_END.finditer(line):
            last = line[max(begin, end.start() - LONGEST_ABBREVIATION) : end.start()]
            follows = line[end.end() : end.end() + 1]
            goes_on = follows.islower() or follows.isdigit()
            if NEVER_LAST.search(last) or (goes_on and SELDOM_LAST.search(last)):
                continue
            found.append(line[begin : end.start()])
            begin = end.end()
        found.append(line[begin:])
    return found


def is_heading(part: str) -> bool:
    """Whether a part is a heading rather than a sentence: a few words without a sentence's end."""
    return len(part.split()) <= HEADING and not part.rstrip().endswith(ENDS)


def parts_of(text: str) -> list[str]:
    """A text's sentences: short ones with the one before, long ones cut; the text where it has none."""
    found: list[str] = []
    for sentence in sentences_of(text):
        sentence = sentence.strip()
        while len(sentence) > LONGEST:
            cut = sentence.rfind(" ", SHORTEST, LONGEST)
            cut = LONGEST if cut < 0 else cut
            found.append(sentence[:cut])
            sentence = sentence[cut:].strip()
        if found and len(sentence) < SHORTEST:
            found[-1] = f"{found[-1]} {sentence}".strip()
        elif sentence:
            found.append(sentence)
    return found or [text]


@dataclass(frozen=True)
class Collection:
    """Texts with vectors of each and of its parts.

    `ids` and `texts` (n,); `parts` are all parts, those of text i being `start[i]:start[i + 1]`; `whole` (n,
    size) and `part_vectors` (n_parts, size) are of length one, zeros where there is no text.
    """

    ids: list[str]
    texts: list[str]
    said: list[str]
    """All words of each: the text, and parts that are not taken from it."""
    parts: list[str]
    start: Longs
    whole: Singles
    part_vectors: Singles

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def speaks(self) -> Bools:
        """Which parts may speak for a pair (n_parts,): no headings, unless a text has nothing else."""
        found = np.array([not is_heading(part) for part in self.parts], dtype=np.bool_)
        for row in range(len(self)):
            own = self.parts_at(row)
            if not found[own].any():
                found[own] = True
        return found

    def parts_at(self, row: int) -> slice:
        """Which parts are those of a text."""
        return slice(int(self.start[row]), int(self.start[row + 1]))


def collect(
    ids: Sequence[str],
    texts: Sequence[str],
    embed: Embed,
    parts: Sequence[Sequence[str]] | None = None,
    whole: Singles | None = None,
) -> Collection:
    """Texts and their vectors; parts are sentences, or those given, of which the whole is then the mean.

    `whole` (n, size), where they are known already, are the vectors of the texts.

    Raises `InputError` for an id that stands twice, or a text without any part.
    """
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if list(ids).count(name) > 1)
        raise InputError(f'the id "{twice}" stands twice; give each text an id of its own.')
    own = [parts_of(text) for text in texts] if parts is None else [list(some) for some in parts]
    for name, some in zip(ids, own, strict=True):
        if not some:
            raise InputError(f'"{name}" has no parts; expected a text or more.')
    flat = [part for some in own for part in some]
    start = np.concatenate([[0], np.cumsum([len(some) for some in own])]).astype(np.int64)
    vectors = embed(flat)
    if whole is not None:
        pass
    elif parts is None:
        # What is its own only part needs no other vector.
        several = [row for row, some in enumerate(own) if len(some) > 1]
        whole = vectors[start[:-1]].copy()
        if several:
            whole[several] = embed([texts[row] for row in several])
    else:
        whole = unit(np.add.reduceat(vectors, start[:-1], axis=0))
    said = list(texts)
    if parts is not None:
        said = [
            " ".join([text, *(part for part in some if part != text)])
            for text, some in zip(texts, own, strict=True)
        ]
    return Collection(list(ids), list(texts), said, flat, start, whole, vectors)


def unit(vectors: Any) -> Any:
    """Vectors of length one; zeros stay."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)


class Similar:
    """How alike queries and items are, in the ways of `SIMILARITIES`.

    `counter` is what counts their words: by default fitted to these texts.
    """

    def __init__(self, queries: Collection, items: Collection, counter: Any = None) -> None:
        self.queries, self.items = queries, items
        self._centre = items.whole.mean(axis=0)
        # Both about the mean of the items: what all of these have in common tells none apart.
        self.items_beside = unit(items.whole - self._centre)
        self.queries_beside = unit(queries.whole - self._centre)
        self._means = unit(np.add.reduceat(items.part_vectors, items.start[:-1], axis=0))
        counter = counter or word_counter([*queries.said, *items.said])
        self._counter = counter
        self._said = tuple(counter.transform(some.said) for some in (queries, items))

    def of_others(self, queries: Collection) -> Similar:
        """The same of other queries; nothing of the items is counted anew."""
        found = copy(self)
        found.queries = queries
        found.queries_beside = unit(queries.whole - self._centre)
        found._said = (self._counter.transform(queries.said), self._said[1])
        return found

    def __call__(self, query: int, candidates: Longs) -> Floats:
        """The similarities of one query and some items (k, n_similarities)."""
        items = self.items
        wanted, near = self.queries.whole[query], items.whole[candidates]
        pieces = self.queries.part_vectors[self.queries.parts_at(query)]  # (s, size)
        spans = [items.parts_at(int(item)) for item in candidates]
        beginnings = np.cumsum([0, *(span.stop - span.start for span in spans[:-1])])
        inside = np.concatenate([items.part_vectors[span] for span in spans])  # (p, size)
        best = np.maximum.reduceat(pieces @ inside.T, beginnings, axis=1)  # (s, k)
        return np.column_stack(
            [
                near @ wanted,
                self.items_beside[candidates] @ self.queries_beside[query],
                self._means[candidates] @ wanted,
                np.maximum.reduceat(inside @ wanted, beginnings),
                (near @ pieces.T).max(axis=1),
                best.max(axis=0),
                np.sort(best, axis=0)[-3:].mean(axis=0),
                self.words(query, candidates),
            ]
        )

    def words(self, query: int, candidates: Longs) -> Floats:
        """The cosines of the words of a query and some items, by TF-IDF (k,)."""
        found: Floats = (self._said[1][candidates] @ self._said[0][query].T).toarray()[:, 0]
        return found

    def best_parts(self, query: int, item: int) -> tuple[str, str]:
        """The parts of a query and an item that go best with each other: what speaks for the pair.

        Headings speak for none, unless a text has nothing else.
        """
        mine, theirs = self.queries.parts_at(query), self.items.parts_at(item)
        alike = self.queries.part_vectors[mine] @ self.items.part_vectors[theirs].T
        both = np.outer(self.queries.speaks[mine], self.items.speaks[theirs])
        alike = np.where(both, alike, -np.inf)
        a, b = divmod(int(alike.argmax()), alike.shape[1])
        return self.queries.parts[mine.start + a], self.items.parts[theirs.start + b]


def word_counter(texts: Sequence[str]) -> Any:
    """TF-IDF of words and pairs of words, fitted to some texts (scikit-learn's)."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    counted = TfidfVectorizer(sublinear_tf=True, stop_words="english", ngram_range=(1, 2))
    try:
        return counted.fit(texts)
    except ValueError:  # not one word in all of them: a word that no text has
        return counted.fit(["wordless"])


def with_rivals(found: Floats, n_rivals: int | None = None) -> Floats:
    """Each similarity of a query beside those of its other candidates (k, 4 n_similarities), from (k, n).

    As it is; less that of the best other; in deviations about the mean of all; and the share of candidates
    that are above it. What goes well with everything goes well with nothing in particular. Only the first
    `n_rivals` are candidates; by default all.
    """
    rivals = found[:n_rivals]
    k = len(rivals)
    order = np.sort(rivals, axis=0)
    top, second = order[-1], order[-2] if k > 1 else order[-1]
    inside = (np.arange(len(found)) < k)[:, None]
    other = np.where(inside & (found == top), second, top)
    spread = rivals.std(axis=0)
    centred = found - rivals.mean(axis=0)
    deviations = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0)
    above = np.column_stack(
        [
            k - np.searchsorted(ordered, values, side="right")
            for ordered, values in zip(order.T, found.T, strict=True)
        ]
    )
    return np.concatenate([found, found - other, deviations, above / max(1, k - 1)], axis=1)


class Pools:
    """How a query stands among all that are weighed for the same item: its pool, such as a search's hits.

    What all of a pool has in common tells nothing: cosines are taken about the pool's mean. And what goes
    best with an item tells more of what is meant: its vector is moved towards those of the best, and away
    from those of the worst third (Rocchio 1971). No label is used.

    `whole` (n, size) are the queries' vectors, `pool[i]` the rows of those that are weighed for item i.
    """

    def __init__(self, whole: Singles, items: Singles, pool: Sequence[Longs]) -> None:
        self.whole = whole
        self._centre = np.zeros_like(items)
        self._wanted = np.zeros_like(items)
        self._moved = np.zeros_like(items)
        self._best: list[dict[int, int]] = []
        self._scale = np.ones((len(items), 2, 2))  # of both cosines in the pool: mean and deviation
        self._scale[:, 0] = 0.0
        for item, rows in enumerate(pool):
            self._best.append({})
            if len(rows) < SMALLEST_POOL:
                continue
            centre = whole[rows].mean(axis=0)
            about = unit(whole[rows] - centre)
            wanted = unit(items[item] - centre)
            order = np.argsort(-(about @ wanted), kind="stable")
            best = order[: max(3, len(rows) // 20)]
            self._centre[item], self._wanted[item] = centre, wanted
            self._best[item] = dict.fromkeys(rows[best].tolist(), len(best))
            moved = (
                wanted + about[best].mean(axis=0) - about[order[-(len(rows) // 3) :]].mean(axis=0)
            )
            self._moved[item] = moved
            only = np.array([item])
            found = np.array([self._cosines(whole[row], only, int(row))[0] for row in rows])
            self._scale[item] = found.mean(axis=0), np.maximum(found.std(axis=0), 1e-6)

    def __call__(self, query: int, items: Longs) -> Floats:
        """Both cosines of a query with some items, and both in deviations of the item's pool (k, 4)."""
        return self._scaled(self._cosines(self.whole[query], items, query), items)

    def of_stranger(self, vector: Singles, items: Longs) -> Floats:
        """The same of a query (size,) that no pool has in it."""
        return self._scaled(self._cosines(vector, items, None), items)

    def _scaled(self, found: Floats, items: Longs) -> Floats:
        scale = self._scale[items]
        return np.concatenate([found, (found - scale[:, 0]) / scale[:, 1]], axis=1)

    def _cosines(self, vector: Singles, items: Longs, query: int | None) -> Floats:
        about = unit(vector - self._centre[items])  # (k, size)
        moved = self._moved[items]
        for k, item in enumerate(items.tolist()):
            n = None if query is None else self._best[item].get(query)
            if n is not None:  # a text does not speak for itself
                rest = (self._best_mean(item) * n - about[k]) / max(1, n - 1)
                moved[k] += rest - self._best_mean(item)
        both = [(about * self._wanted[items]).sum(axis=1), (about * unit(moved)).sum(axis=1)]
        return np.column_stack(both).astype(np.float64)

    def _best_mean(self, item: int) -> Singles:
        rows = list(self._best[item])
        found: Singles = unit(self.whole[rows] - self._centre[item]).mean(axis=0)
        return found


POOLED = (
    "about the pool's mean",
    "with the pool's best",
    "about the pool's mean, in the pool's deviations",
    "with the pool's best, in the pool's deviations",
)
COMPARED = tuple(f"{name}{how}" for how in RELATIVE for name in SIMILARITIES)  # by `with_rivals`
FEATURES = (*COMPARED, *POOLED)
