"""Free questions: the passages of a run's texts that have what is asked for, or none.

A passage is a sentence with the name of what it is of. Its cover of a question is the share of the question's
words, weighed by how rare they are in the records (inverse document frequency), that it has; and where
vectors of texts can be had, it is as near to the question as its cosine. Below `WEAK`, or below `FAR`,
nothing is shown.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from linkwise.errors import LinkwiseError
from linkwise.matching.answer_draft import Draft
from linkwise.matching.answer_names import STOP, normal, word_set
from linkwise.matching.answer_records import Record, Records
from linkwise.matching.similar import parts_of

log = logging.getLogger("linkwise")

# Chosen on simulated questions (benchmarks/answering.py --calibrate, docs/results/match.md): of 60 about
# anything else none stays, by the cover alone 2; of 75 made of a few words of a sentence on record 54 stay.
WEAK = 0.9  # cover below which a passage does not answer
FAR = 0.35  # cosine below which it does not either, unless the question names what it is of
CANDIDATES = 30  # records of which passages are looked at
COMPARED = 16  # passages of the best cover whose vectors are made
CLOSE = 8  # words that say something, among which a quantity and what it is of stand
SHOWN = 3  # passages of an answer
GIVEN = 8  # and of a model's prompt
# Words about asking, not about what is asked for.
ASKING = STOP | word_set(
    "say says said about describe describes described mention mentions mentioned according report tell "
    "explain how why when who where can there any some most more patent patents technique techniques "
    "section sections pollutant pollutants goal goals text texts deals deal cover covers contain contains"
)
# What is answered by a number: "the boiling point of mercury" is named in texts that do not give it.
QUANTITY = re.compile(
    r"\b(?:how\s+(?:many|much|long|old|hot|cold|high|big|large|heavy|fast|often|far)|when|year|date|number\s+of|"
    r"amount|percentage|share|rate|temperature|point|price|cost|value|speed|weight|size|age|score)\b",
    re.I,
)
# What nobody but a person can answer, and orders to whoever answers.
PERSONAL = re.compile(
    r"\b(?:you|your|yourself|should|shall|opinion|think|believe|feel|prefer|favou?rite|ignore|"
    r"disregard|pretend|forget|instructions?)\b",
    re.I,
)

# What a run measures of its models: what a text says of such a figure is not the run's.
MEASURE = re.compile(
    r"\b(?:r?auc|roc|pr[- ]?auc|auroc|f1|f[- ]score|n?dcg|mrr|mean reciprocal rank|rmse|log[- ]?loss|brier|"
    r"kappa|average precision|hit rate|perplexity|area under)\b",
    re.I,
)
# The same, and settings, by names that other things have as well: where nothing else is asked of.
PERHAPS = re.compile(
    r"\b(?:accuracy|precision|recall|sensitivity|specificity|lift|loss|error|coverage|calibration|score|"
    r"metrics?|seed|thresholds?|epochs?|learning rate|batch size|folds?|bootstrap|resamples|threads|dropout|"
    r"optimi[sz]er|encoder|random state|hyper-?parameters?|settings?|options?|parameters?|interval|"
    r"config(?:uration)?|confidence)\b",
    re.I,
)
RUN = word_set(
    "run runs study model models judge judges classifier recommender detector baseline train training test "
    "validation split slice all overall used use set value values average mean best our high good well "
    "weighed words tf idf vectors random k at by for cut it its"
)
SAYS = re.compile(
    r"\b(?:says?|said|tells?|mentions?|describes?|reports?|claims?|according|"
    r"(?:which|what)\s+(?:patents?|texts?|techniques?|sections?|documents?))\b",
    re.I,
)

Floats = np.ndarray[Any, np.dtype[np.float64]]
Embed = Callable[[list[str]], Any]


@dataclass(frozen=True)
class Passage:
    """A passage with its record, how much of the question it covers (0 to 1), and how near it is (cosine)."""

    text: str
    record: Record
    cover: float
    near: float
    measures: bool
    """Whether it has a number beside those of its heading, and what is asked for stands close together."""


@lru_cache(maxsize=200_000)
def stem(word: str) -> str:
    """A word without the endings of number and tense, so that washing finds washed."""
    for ending in ("ings", "ing", "ies", "ied", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            kept = word[: -len(ending)]
            if ending in ("ies", "ied"):
                return f"{kept}y"
            return kept.removesuffix("e") if kept[-1] != kept[-2] or kept[-1] in "sl" else kept[:-1]
    return word.removesuffix("e") if len(word) > 4 else word


def stems(text: str) -> list[str]:
    """The stems of a text's words that say something."""
    return [stem(word) for word in normal(text).split() if word not in STOP]


def asked(question: str) -> list[str]:
    """The stems of a question's words, each once, without those about asking."""
    words = [word for word in normal(question).split() if word not in ASKING]
    return list(dict.fromkeys(stem(word) for word in words))


class Texts:
    """All texts of a run, made ready for questions once.

    `encoder` gives what makes vectors of texts, or None: it is called once there are passages to be told
    apart; without vectors they are told apart by their words.
    """

    def __init__(
        self, records: Iterable[Record], encoder: Callable[[], Embed | None] = lambda: None
    ) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.records = list(records)
        self._encoder = encoder
        self._counted = TfidfVectorizer(analyzer=stems, sublinear_tf=True)
        try:
            self._matrix = self._counted.fit_transform([record.text for record in self.records])
        except ValueError:  # not one word in all of them
            self.records = []

    def weights(self, words: list[str]) -> Floats:
        """How rare each word is in the records; a word that none has is the rarest."""
        known = self._counted.vocabulary_
        most = float(np.log(1 + len(self.records)) + 1)
        idf = self._counted.idf_
        return np.array([idf[known[word]] if word in known else most for word in words])

    def find(
        self, question: str, named: bool = False, weak: float = WEAK, far: float = FAR
    ) -> list[Passage]:
        """The passages that answer a question, the best cover first, of equal cover the nearer.

        None where even the best is weak. Where a thing is `named` its passages have the name, and may be far.
        """
        words = asked(question)
        if not self.records or not words:
            return []
        weights = self.weights(words)
        known = self._counted.vocabulary_
        columns = [known[word] for word in words if word in known]
        own = weights[[place for place, word in enumerate(words) if word in known]]
        if not columns:
            return []
        there = self._matrix[:, columns] > 0
        covers = np.asarray(there @ own).ravel() / weights.sum()
        near = (self._matrix @ self._counted.transform([question]).T).toarray().ravel()
        order = np.lexsort((-near, -covers))[:CANDIDATES]
        found = []
        for row in order[covers[order] >= weak]:
            found += self._passages(self.records[row], words, weights, weak)
        if QUANTITY.search(question):
            found = [passage for passage in found if passage.measures]
        found = sorted(found, key=lambda p: -p.cover)[:COMPARED]
        if not found:
            return []
        vectors = self._near(question, [passage.text for passage in found])
        found = [replace(p, near=float(at)) for p, at in zip(found, vectors, strict=True)]
        if self.embed is not None and not named:
            found = [passage for passage in found if passage.near >= far]
        return sorted(found, key=lambda p: (-p.cover, -p.near))[:GIVEN]

    @cached_property
    def embed(self) -> Embed | None:
        """What makes vectors, or None."""
        return self._encoder()

    def _passages(
        self, record: Record, words: list[str], weights: Floats, weak: float
    ) -> list[Passage]:
        """A record's sentences, each with what the record is of, that cover enough of the question.

        One sentence has to: in two in a row "the capital of France" was found where a sentence on capital
        cost stood before a list of plants in France.
        """
        name, colon, text = record.text.partition(": ")
        if not colon:
            name, text = "", record.text
        heading = set(stems(name))
        found = []
        for place, sentence in enumerate(parts_of(text)):
            said = set(stems(sentence))
            cover = self._cover(heading | said, words, weights)
            # Where the heading says it all, the first sentence stands for the text.
            if cover >= weak and (place == 0 or said.intersection(words)):
                whole = f"{name}{colon}{sentence}"
                measures = any(character.isdigit() for character in sentence)
                measures &= _width(stems(sentence), set(words)) <= CLOSE
                found.append(Passage(whole, Record(record.where, whole), cover, 0.0, measures))
        return found

    @staticmethod
    def _cover(there: set[str], words: list[str], weights: Floats) -> float:
        has = np.array([word in there for word in words])
        return float(weights[has].sum() / weights.sum())

    def _near(self, question: str, passages: list[str]) -> Floats:
        """Cosines of the passages with the question: of vectors of texts, or of words."""
        if self.embed is None:
            of = self._counted.transform(passages) @ self._counted.transform([question]).T
            found: Floats = of.toarray().ravel()
            return found
        vectors = self.embed([question, *passages])
        return np.asarray(vectors[1:] @ vectors[0], dtype=np.float64)


def _width(there: list[str], wanted: set[str]) -> int:
    """The fewest words in a row that hold all of the wanted ones that are there; 0 where none is."""
    missing = wanted.intersection(there)
    if not missing:
        return 0
    last: dict[str, int] = {}
    fewest = len(there)
    for place, word in enumerate(there):
        if word in missing:
            last[word] = place
            if len(last) == len(missing):
                fewest = min(fewest, place - min(last.values()) + 1)
    return fewest


def encoder() -> Embed | None:
    """The packaged MiniLM's vectors; None where PyTorch or its weights are not there."""
    try:
        from linkwise.lm.encode import TextEncoder

        model = TextEncoder("minilm")
    except LinkwiseError as error:
        log.info("passages are told apart by words alone: %s", error)
        return None
    return lambda texts: model.embed(texts)


def is_personal(question: str) -> bool:
    """Whether a question is for a person, or an order."""
    return PERSONAL.search(question) is not None


def is_measured(question: str) -> bool:
    """Whether a question is for a metric or a setting of the run, which texts do not know.

    Not where it asks what a text says, nor where an ambiguous name is that of something else: the accuracy of
    a temperature sensor.
    """
    if SAYS.search(question):
        return False
    if MEASURE.search(question):
        return True
    if not PERHAPS.search(question):
        return False
    rest = normal(PERHAPS.sub(" ", question)).split()
    return not [word for word in rest if word not in ASKING | RUN and not word.isdigit()]


def quote(passages: list[Passage], most: int = SHOWN) -> Draft:
    """The best passages word for word, and those that are next to as good."""
    draft = Draft()
    for passage in passages[:most]:
        if passage.cover >= passages[0].cover - 0.05:
            draft.say(passage.text, passage.record)
    return draft


def all_texts(records: Records) -> list[Record]:
    """The records with text, each once."""
    return list(dict.fromkeys(records.texts()))
