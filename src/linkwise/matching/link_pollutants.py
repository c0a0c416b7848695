"""Pollutants and texts: looked for in two stages, and judged by what people or others said of the pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from linkwise.matching.judge import WeighedJudge, fit_judge
from linkwise.matching.lexicon import Hit
from linkwise.matching.pollutants import Pollutant, lexicon_of
from linkwise.matching.search import top_k
from linkwise.matching.similar import COMPARED, SIMILARITIES, Collection, Similar, with_rivals
from linkwise.metrics.bootstrap import evaluate_binary

Floats = np.ndarray[Any, np.dtype[np.float64]]
Longs = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]

WORDS, TEXT, NAMES = "words (TF-IDF)", "text vectors", "lexicon"
BOTH, JUDGE = "lexicon + text vectors", "weighed"
LARGEST = f"{JUDGE}, yes from the largest F1"  # beside the links' own threshold
NAMED = (
    "names, log",
    "named",
    "names of its groups, log",
    "words of the text, log",
    "names of any pollutant, log",
    "text with all pollutants, mean",
    "pollutant with all texts, mean",
    "texts that name it, log",
)
LEARNED = 20_000  # pairs that a judge learns from at most
FOLDS = 5
FEWEST = 20  # pairs of each kind, below which nothing is learned
SHOWN = 5  # disagreements of each kind
SHOWN_BY = ("auc", "f1")  # of each pollutant by itself


@dataclass(frozen=True)
class Screened:
    """The pairs of texts and pollutants that are looked at closely, by text and then by pollutant.

    `text` and `pollutant` (m,) are rows; `features` (m, n_features) those of `COLUMNS`; `hits` are the names
    and group names in each text (n_texts), whose owner is a pollutant's row, or above them a group's.
    """

    text: Longs
    pollutant: Longs
    features: Floats
    hits: list[list[Hit]]
    n_pollutants: int
    groups: list[str]

    def __len__(self) -> int:
        return len(self.text)


COLUMNS = (*COMPARED, *NAMED)


def screen(
    texts: Collection,
    pollutants: list[Pollutant],
    items: Collection,
    similar: Similar,
    near: int,
    advance: Callable[[int], None] = lambda done: None,
) -> Screened:
    """The first stage: pollutants that a text names, by themselves or a group, and the `near` by vectors.

    `items` are the pollutants' vectors, `similar` compares `texts` with them. An empty text has no pairs.
    """
    lexicon, groups = lexicon_of(pollutants)
    n, m = len(texts), len(pollutants)
    members = [
        np.array([k for k, p in enumerate(pollutants) if group in p.groups]) for group in groups
    ]
    # Beside what all pollutants have in common: else the same few are near to every text.
    closest = top_k(similar.queries_beside, similar.items_beside, near)[0]
    whole = texts.whole @ items.whole.mean(axis=0)  # (n,) the mean of the cosines with all
    spread_of = items.whole @ texts.whole.mean(axis=0)  # (m,)
    found: list[Floats] = []
    rows: list[Longs] = []
    names: list[Longs] = []
    hits: list[list[Hit]] = []
    for row, text in enumerate(texts.texts):
        here = lexicon.find(text)
        hits.append(here)
        own, by_group = np.zeros(m), np.zeros(m)
        for hit in here:
            if hit.owner < m:
                own[hit.owner] += 1
            else:
                by_group[members[hit.owner - m]] += 1
        wanted = (own > 0) | (by_group > 0)
        if text.strip():
            wanted[closest[row]] = True
        candidates = np.flatnonzero(wanted)
        if len(candidates):
            alike = with_rivals(similar(row, candidates))
            counts = own[candidates], by_group[candidates]
            of_text = np.log1p(len(text.split())), np.log1p(own.sum()), whole[row]
            found.append(
                np.column_stack(
                    [
                        alike,
                        np.log1p(counts[0]),
                        counts[0] > 0,
                        np.log1p(counts[1]),
                        np.tile(of_text, (len(candidates), 1)),
                        spread_of[candidates],
                    ]
                )
            )
        rows.append(np.full(len(candidates), row))
        names.append(candidates)
        advance(row + 1)
    pollutant = np.concatenate(names).astype(np.int64) if n else np.zeros(0, dtype=np.int64)
    features = np.concatenate(found) if found else np.zeros((0, len(COLUMNS) - 1))
    named = features[:, COLUMNS.index("named")] > 0
    spread = np.bincount(pollutant[named], minlength=m)  # texts that name each
    features = np.column_stack([features, np.log1p(spread[pollutant])])
    return Screened(np.concatenate(rows).astype(np.int64), pollutant, features, hits, m, groups)


def names_and_vectors(screened: Screened) -> Floats:
    """A score without any label (m,), 0 to 1: half from names, half from how text and pollutant go together.

    Names: 1 - 2^-(names + half the names of its groups). Vectors: the mean of the similarities in deviations
    about those of the text's other candidates, through the normal distribution. So above .5 is what a text
    names and what goes with it.
    """
    from scipy.special import ndtr

    own = np.expm1(screened.features[:, COLUMNS.index("names, log")])
    by_group = np.expm1(screened.features[:, COLUMNS.index("names of its groups, log")])
    names = 1 - 0.5 ** (own + by_group / 2)
    start = 2 * len(SIMILARITIES)
    alike = ndtr(screened.features[:, start : start + len(SIMILARITIES)].mean(axis=1))
    return np.asarray((names + alike) / 2)


@dataclass(frozen=True)
class Judged:
    """What was learned of pairs that people or others judged, and how each model agrees with them.

    `metrics` are rows of metrics.json, `evaluation` every judged pair by every model; `judge` learned from
    all of them; a yes from `best_f1` on would have the largest F1 on those of pollutants left out. `kept` is
    the share of yes pairs that the first stage kept, `looked` the share of all pairs; `used` is the model
    that the links are by: a server's, or the judge. `wrong` are the rows of screened pairs where it is
    furthest from what was given, with its probability, five of each kind.
    """

    judge: WeighedJudge
    best_f1: float
    metrics: list[dict[str, Any]]
    evaluation: pl.DataFrame
    kept: float
    looked: float
    origin: str
    used: str
    wrong: list[tuple[int, bool, float]]


def judge_pairs(
    screened: Screened,
    label: Floats,
    known: Bools,
    full: Mapping[str, Floats],
    nearness: Floats,
    text_ids: list[str],
    pollutant_ids: list[str],
    *,
    slice: str,
    origin: str,
    served: tuple[str, Floats] | None,
    link_from: float,
    samples: int,
    seed: int,
) -> Judged:
    """Learn from judged pairs, and compare all models on them, no pollutant judged by what was said of it.

    `label` (n_texts, n_pollutants) is 1 for yes and 0 for no where `known` (the same); `full` has a score for
    every pair by the trivial models, `nearness` the cosines of the first stage (-1 to 1); `served` is a
    server's name and its probabilities (m,), NaN where there is no answer. A pair that the first stage let
    fall counts as a no of the judged models, and stands below all others, by its nearness. Scores and
    probabilities are a yes from `link_from` on, as the links are; the trivial models, which give neither,
    from the largest F1 on the other pollutants on, and so is the judge once more, as `LARGEST`.
    """
    where = screened.text, screened.pollutant
    inside = known[where]
    some = screened.features[inside]
    said, of = label[where][inside], screened.pollutant[inside]
    rng = np.random.default_rng(seed)
    shares = np.array_split(rng.permutation(len(pollutant_ids)), min(FOLDS, len(pollutant_ids)))
    every_text, every_pollutant = np.nonzero(known)
    truth = label[every_text, every_pollutant]
    place = np.full(known.shape, -1)
    place[where] = np.arange(len(screened))
    at = place[every_text, every_pollutant]  # of each judged pair among the screened, or -1

    def spread(values: Floats) -> Floats:
        """Values of screened pairs for all judged ones; 0 for those that were let fall."""
        return np.where(at >= 0, values[np.maximum(at, 0)], 0.0)

    def ordered(values: Floats) -> Floats:
        """The same to rank by: those that were let fall below 0, the nearest first."""
        return np.where(at >= 0, spread(values), nearness[every_text, every_pollutant] - 2)

    weighed = np.zeros(len(screened))
    yes: dict[str, Floats] = {name: np.zeros(len(truth)) for name in (*full, LARGEST)}
    for share in shares:
        out = np.isin(of, share)
        judge, left_out = _learned(some[~out], said[~out], of[~out], rng)
        there = np.isin(screened.pollutant, share)
        weighed[there] = judge.probability(screened.features[there])
        cut = np.isin(every_pollutant, share)
        yes[LARGEST][cut] = spread(weighed)[cut] >= best_f1_threshold(*left_out)
        for name, values in full.items():
            own = values[every_text, every_pollutant]
            yes[name][cut] = own[cut] >= best_f1_threshold(truth[~cut], own[~cut])
    names = np.expm1(screened.features[:, COLUMNS.index("names, log")])
    both = names_and_vectors(screened)
    scores = {name: values[every_text, every_pollutant] for name, values in full.items()}
    scores |= {NAMES: spread(names), BOTH: ordered(both), JUDGE: ordered(weighed)}
    yes[NAMES] = (spread(names) > 0).astype(np.float64)
    yes[BOTH] = (spread(both) >= link_from).astype(np.float64)
    yes[JUDGE] = (spread(weighed) >= link_from).astype(np.float64)
    probabilities = {JUDGE: spread(weighed)}
    if served is not None:
        name, values = served
        probabilities[name] = spread(np.nan_to_num(values))
        scores[name] = ordered(np.nan_to_num(values))
        yes[name] = (probabilities[name] >= link_from).astype(np.float64)
    used = JUDGE if served is None else served[0]
    metrics = agreement(
        truth, scores, probabilities, yes, every_pollutant, slice=slice, samples=samples, seed=seed
    )
    for row, pollutant in enumerate(pollutant_ids):
        mine = every_pollutant == row
        if not 0 < truth[mine].sum() < mine.sum():
            continue
        alone = agreement(
            truth[mine],
            {name: scores[name][mine] for name in (WORDS, used)},
            {},
            {name: yes[name][mine] for name in (WORDS, used)},
            None,
            slice=f"{slice}: {pollutant}",
            samples=samples,
            seed=seed,
        )
        metrics += [one for one in alone if one["metric"] in SHOWN_BY]
    judge, left_out = _learned(some, said, of, rng)
    p = weighed if served is None else np.nan_to_num(served[1])
    off = np.where(inside, np.abs(p - label[where]), -1)
    wrong = []
    for yes_or_no in (False, True):
        mine = np.where(label[where] == yes_or_no, off, -1)
        worst = np.argsort(-mine, kind="stable")[:SHOWN]
        wrong += [(int(k), yes_or_no, float(p[k])) for k in worst if mine[k] > 0.5]
    parts = []
    for name, values in scores.items():
        frame = pl.DataFrame(
            {
                "model": name,
                "slice": slice,
                "query": pl.Series(text_ids)[every_text],
                "item": pl.Series(pollutant_ids)[every_pollutant],
                "score": values,
                "label": truth.astype(np.int8),
            }
        )
        rank = (-pl.col("score")).rank("max").over("item").cast(pl.Int64).alias("rank")
        parts.append(frame.with_columns(rank))
    n_yes = truth.sum()
    return Judged(
        judge,
        best_f1_threshold(*left_out),
        metrics,
        pl.concat(parts),
        float(((at >= 0) & (truth > 0)).sum() / n_yes),
        float((at >= 0).mean()),
        origin,
        used,
        wrong,
    )


def _learned(
    features: Floats, label: Floats, groups: Longs, rng: np.random.Generator
) -> tuple[WeighedJudge, tuple[Floats, Floats]]:
    """A judge of some of the pairs, and labels and probabilities of pollutants that it had not seen."""
    some = np.arange(len(label))
    if len(some) > LEARNED:
        some = np.sort(rng.choice(len(some), LEARNED, replace=False))
    judge, left_out = fit_judge(features[some], label[some], groups[some], COLUMNS)
    return judge, (label[some], left_out)


def best_f1_threshold(label: Floats, score: Floats) -> float:
    """The score from which on yes has the largest F1 over these pairs; of equals the highest."""
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(label[order])
    f1 = 2 * hits / (np.arange(1, len(label) + 1) + label.sum())
    # Only where the next score is another can be cut.
    last = np.append(score[order][1:] != score[order][:-1], True)
    best = int(np.argmax(np.where(last, f1, -1)))
    return float(score[order][best])


def agreement(
    label: Floats,
    scores: Mapping[str, Floats],
    probabilities: Mapping[str, Floats],
    yes: Mapping[str, Floats],
    units: Longs | None,
    *,
    slice: str,
    samples: int,
    seed: int,
) -> list[dict[str, Any]]:
    """AUC and average precision by scores, Brier by probabilities, F1 and its kin by `yes` (0 or 1)."""
    number = None if units is None else np.unique(units, return_inverse=True)[1]
    same: dict[str, Any] = {
        "baseline": WORDS, "split": "agreement", "slice": slice, "shares": (), "samples": samples,
        "units": number, "seed": seed,
    }  # fmt: skip
    ranked = evaluate_binary(label, scores, probabilities, **same)
    cut = evaluate_binary(label, yes, yes, **same)
    rows = [row for row in ranked if row.metric in ("auc", "average_precision", "brier")]
    rows += [row for row in cut if row.metric in ("f1", "precision", "recall", "accuracy")]
    return [asdict(row) for row in rows]


def evidence(
    screened: Screened, row: int, texts: Collection, similar: Similar
) -> tuple[str, str, str]:
    """Why a text goes with a pollutant: a reason, the text's sentence, the matched words or a sentence."""
    text, pollutant = int(screened.text[row]), int(screened.pollutant[row])
    m = screened.n_pollutants
    own = [hit for hit in screened.hits[text] if hit.owner == pollutant]
    if own:
        said = texts.texts[text]
        words: dict[str, str] = {}  # in the spelling that comes first
        for hit in own:
            word = " ".join(said[hit.start : hit.end].split())
            words.setdefault(word.casefold(), word)
        times = f"{len(own)} times" if len(own) > 1 else "once"
        return (
            f"names it {times}",
            _sentence(texts, text, said, own[0]),
            ", ".join([*words.values()][:5]),
        )
    mine, theirs = similar.best_parts(text, pollutant)
    if screened.features[row, COLUMNS.index("names of its groups, log")] > 0:
        hits = [hit for hit in screened.hits[text] if hit.owner >= m]
        names = dict.fromkeys(screened.groups[hit.owner - m] for hit in hits)
        return f"names a group: {', '.join(list(names)[:3])}", mine, theirs
    return "goes with it by the texts' vectors", mine, theirs


def _sentence(texts: Collection, row: int, said: str, hit: Hit) -> str:
    """The part of a text in which a name stands; the words around it where no part has it whole."""
    words = said[hit.start : hit.end]
    before = said[: hit.start].count(words)
    for part in texts.parts[texts.parts_at(row)]:
        if words in part:
            if before < part.count(words):
                return part
            before -= part.count(words)
    return said[max(0, hit.start - 150) : hit.end + 150]
