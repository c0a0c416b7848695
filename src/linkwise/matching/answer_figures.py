"""Questions about the metrics of a run: values, the best model, who beats whom."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from linkwise.matching.answer_draft import NOTHING, Draft
from linkwise.matching.answer_names import STOP, normal, word_set
from linkwise.matching.answer_question import Question
from linkwise.matching.answer_records import Record, Records, clean, figure

LISTED = 40  # rows of metrics in one answer
METRICS = {  # as people say them, beside the name in metrics.json with spaces
    "auc": ("roc auc", "area under the curve", "area under the roc curve"),
    "ndcg": ("normalised discounted cumulative gain", "normalized discounted cumulative gain"),
    "mrr": ("mean reciprocal rank",),
    "log_loss": ("logloss", "cross entropy"),
    "brier": ("brier score",),
    "f1": ("f1 score", "f score"),
    "precision_at": ("precision",),
    "lift_at": ("lift",),
    "partial_auc": ("partial area under the curve",),
    "hit_rate": ("hit ratio",),
}
LESS_IS_BETTER = word_set(
    "log_loss brier rmse mae mse cost ece calibration_error perplexity error loss"
)
NO_MODEL = frozenset(
    ("best possible", "random")
)  # what bounds the models is not chosen as the best
MODEL = word_set("model models recommender recommenders method methods one")
BEST = word_set("best highest top largest greatest most who won wins winner leads first")
WORST = word_set("worst lowest smallest least last")
VALUE = word_set(
    "value values score high low much how interval confidence ci figure get gets reach reaches "
    "reached achieve achieves achieved metric measured result number list lists length test train "
    "validation split slice slice_ users k compared"
)
BEAT = word_set(
    "beat beats better than above baseline difference over against outperform outperforms exceed exceeds "
    "between compare compared significantly significant apart much how worse"
)


def answer_figures(question: Question, records: Records) -> Draft | None:
    """The answer of metrics.json; None where no template understands every word."""
    for template in (_metric, _beaten, _judged):
        found = template(question, records)
        if found is not None:
            return found
    return None


class Read:
    """The question's words, from which names of models, metrics and slices are taken one by one."""

    def __init__(self, question: Question) -> None:
        # Names of models and slices may be words that stand for kinds or things elsewhere.
        self.said = f" {' '.join(question.every)} "
        self.parts = 0  # rows by parts of a slice that are left for metrics.json

    def take(self, names: Iterable[tuple[str, str]]) -> list[str]:
        """What the question names, by (spelling, name): the longest spellings first, in their order there."""
        found: list[tuple[int, str]] = []
        for spelling, name in sorted(names, key=lambda pair: -len(pair[0])):
            place = self.said.find(f" {spelling} ")
            if spelling and place >= 0:
                self.said = self.said.replace(f" {spelling} ", f" {'·' * len(spelling)} ")
                found.append((place, name))
        return list(dict.fromkeys(name for _, name in sorted(found)))

    def left(self, allowed: Iterable[str]) -> list[str]:
        """The words that nothing accounts for; numbers stay."""
        known = set(allowed) | STOP
        return [word for word in self.said.split() if word not in known and "·" not in word]


def spellings(names: Iterable[str]) -> list[tuple[str, str]]:
    """Names of models and slices as they may be said: whole, and without what stands in brackets."""
    found = []
    for name in names:
        found.append((normal(name), name))
        for part in (re.sub(r"\([^)]*\)", " ", name), *re.findall(r"\(([^)]*)\)", name)):
            found.append((normal(part), name))
    return found


def _asked(question: Question, records: Records) -> tuple[Read, list[str], list[str], list[str]]:
    """The reading, the models, the metrics and the slices that a question names."""
    rows = records.metrics
    read = Read(question)
    models = read.take(spellings(dict.fromkeys(str(row["model"]) for row in rows)))
    named = dict.fromkeys(str(row["metric"]) for row in rows)
    spelt = [(normal(name), name) for name in named]
    spelt += [(said, name) for name in named for said in METRICS.get(name, ()) if said not in named]
    metrics = read.take(spelt)
    slices = read.take(
        (normal(name), name)
        for name in dict.fromkeys(str(row["slice"]) for row in rows)
        if name != "all"
    )
    return read, models, metrics, slices


def _rows(
    records: Records, metrics: list[str], slices: list[str], read: Read
) -> list[dict[str, Any]] | None:
    """The rows of metrics.json that are meant; None where none has such a length of the list."""
    rows = [row for row in records.metrics if row["metric"] in metrics]
    given = [float(word) for word in read.said.split() if word.isdigit()]
    read.said = " ".join(word for word in read.said.split() if not word.isdigit())
    read.said = f" {read.said} "
    if len(given) > 1:
        return None
    if given:
        exact = [row for row in rows if row["k"] is not None and float(row["k"]) == given[0]]
        if (
            not exact and "precision" in metrics
        ):  # "precision at 5" of the list's first five per cent
            exact = [
                row
                for row in records.metrics
                if row["metric"] == "precision_at" and row["k"] == given[0]
            ]
        rows = exact
    elif any(row["k"] is None for row in rows):
        rows = [row for row in rows if row["k"] is None]
    if slices:
        rows = [row for row in rows if row["slice"] in slices]
    else:
        whole = [row for row in rows if row["slice"] == "all"]
        if not whole:
            whole = _of_wholes(rows)
            read.parts = len(rows) - len(whole)
        rows = whole
    splits = dict.fromkeys(row["split"] for row in rows)
    wanted = [name for name in splits if f" {normal(str(name))} " in read.said]
    if wanted:
        for name in wanted:
            read.said = read.said.replace(f" {normal(str(name))} ", " ")
    elif "test" in splits:
        wanted = ["test"]
    return [row for row in rows if not wanted or row["split"] in wanted]


def _of_wholes(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of slices that are no part of another: "patent-pollutant: Zinc" is one of patent-pollutant."""
    wholes = {row["slice"] for row in rows}
    return [
        row for row in rows if str(row["slice"]).partition(": ")[0] not in wholes - {row["slice"]}
    ]


def _say_parts(draft: Draft, read: Read) -> None:
    """Add how many rows by parts of a slice there are beside those that are told."""
    if draft.lines and read.parts:
        words = f"{figure(read.parts)} more rows, by parts of these"
        draft.say(
            f"{words}: see metrics.json, or name one.", Record("metrics.json, counted", words)
        )


def metric_name(row: dict[str, Any]) -> str:
    """NDCG@10, AUC, log loss."""
    name = str(row["metric"]).removesuffix("_at").replace("_", " ")
    name = name.upper() if name in ("auc", "ndcg", "mrr", "map", "rmse", "mae", "f1") else name
    return name + ("" if row["k"] is None else f"@{figure(row['k'])}")


def _metric_record(row: dict[str, Any], records: Records) -> Record:
    at = records.metrics.index(row) + 1
    told = f"model {row['model']}, split {row['split']}, slice {row['slice']}: "
    told += f"{metric_name(row)} {figure(row['value'])}"
    if row["low"] is not None:
        told += f" [{figure(row['low'])}, {figure(row['high'])}]"
    if row["n"] is not None:
        told += f", n {figure(row['n'])}"
    if row["difference"] is not None:
        told += f"; baseline {figure(row['baseline'])}, difference {_signed(row['difference'])}"
        if row.get("difference_low") is not None:
            told += f" [{_signed(row['difference_low'])}, {_signed(row['difference_high'])}]"
    return Record(f"metrics.json row {at}", clean(told))


def _signed(value: float) -> str:
    return ("+" if value >= 0 else "-") + figure(abs(value))


def _value(row: dict[str, Any]) -> str:
    if row["value"] is None:
        return "undefined"
    ends = "" if row["low"] is None else f" [{figure(row['low'])}, {figure(row['high'])}]"
    return f"{figure(row['value'])}{ends}"


def _where(row: dict[str, Any]) -> str:
    part = "" if row["slice"] == "all" else f", {row['slice']}"
    return f"{row['split']}{part}"


def _metric(question: Question, records: Records) -> Draft | None:
    """What is the AUC of boosting? Which model is best by NDCG@10?"""
    read, models, metrics, slices = _asked(question, records)
    if not metrics or any(
        question.has(word)
        for word in (
            "beat",
            "beats",
            "better",
            "baseline",
            "outperform",
            "outperforms",
            "than",
            "worse",
            "difference",
        )
    ):
        return None
    rows = _rows(records, metrics, slices, read)
    left = read.left(MODEL | BEST | WORST | VALUE)
    if left:
        return None
    rows = [row for row in rows or [] if not models or row["model"] in models]
    rows = [row for row in rows if row["value"] is not None]
    if not rows:
        return NOTHING
    best, worst = question.has(*BEST), question.has(*WORST)
    if (best or worst) and not models:
        found = _extreme(rows, records, worst)
        _say_parts(found, read)
        return found
    draft = Draft()
    for row in rows[:LISTED]:
        n = "" if row["n"] is None else f", n {figure(row['n'])}"
        draft.say(
            f"{metric_name(row)} of {clean(row['model'])}: {_value(row)} ({clean(_where(row))}{n}).",
            _metric_record(row, records),
        )
    if len(rows) > LISTED:
        words = f"{figure(len(rows))} rows of metrics.json are of these"
        draft.say(
            f"{words}; name the model, the slice or the length of the list.",
            Record("metrics.json, counted", words),
        )
    _say_parts(draft, read)
    return draft


def _extreme(rows: list[dict[str, Any]], records: Records, worst: bool) -> Draft:
    """The best or worst model of each metric, length and slice."""
    draft = Draft()
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["metric"], row["k"], row["split"], row["slice"]), []).append(row)
    for (metric, *_), some in list(groups.items())[:LISTED]:
        able = [row for row in some if row["model"] not in NO_MODEL] or some
        sign = -1 if (metric in LESS_IS_BETTER) != worst else 1
        values = sorted({sign * row["value"] for row in able}, reverse=True)
        chosen = [row for row in able if sign * row["value"] == values[0]]
        names = " and ".join(clean(row["model"]) for row in chosen)
        rest = sorted(able, key=lambda row: -sign * row["value"])[len(chosen) :][:1]
        after = "".join(f"; then {clean(row['model'])} {_value(row)}" for row in rest)
        less = ", where less is better" if metric in LESS_IS_BETTER else ""
        draft.say(
            f"{'Worst' if worst else 'Best'} by {metric_name(chosen[0])} ({clean(_where(chosen[0]))}{less}): "
            f"{names} {_value(chosen[0])}{after}.",
            *(_metric_record(row, records) for row in (*chosen, *rest)),
        )
    return draft


def _beaten(question: Question, records: Records) -> Draft | None:
    """Does boosting beat recency by AUC?"""
    read, models, metrics, slices = _asked(question, records)
    if not metrics or not models or len(models) > 2 or not BEAT & set(question.every):
        return None
    rows = _rows(records, metrics, slices, read)
    if read.left(BEAT | VALUE | MODEL):
        return None
    draft = Draft()
    for row in rows or []:
        if row["model"] != models[0] or row["value"] is None:
            continue
        alike = [
            other for other in rows or []
            if all(other[name] == row[name] for name in ("metric", "k", "split", "slice"))
            and other["value"] is not None
        ]  # fmt: skip
        base = [
            other
            for other in alike
            if other["difference"] is None and other["baseline"] == other["value"]
        ]
        against = (
            [other for other in alike if other["model"] == models[-1]]
            if len(models) == 2
            else base[:1]
        )
        if not against or row["model"] == against[0]["model"]:
            continue
        _say_beaten(draft, row, against[0], against[0] in base, records)
    _say_parts(draft, read)
    return draft if draft.lines else NOTHING


def _say_beaten(
    draft: Draft, row: dict[str, Any], other: dict[str, Any], is_base: bool, records: Records
) -> None:
    sign = -1 if row["metric"] in LESS_IS_BETTER else 1
    gap = sign * (row["value"] - other["value"])
    words = (
        f"{metric_name(row)} ({clean(_where(row))}) {_value(row)} of {clean(row['model'])} against "
        f"{_value(other)} of {clean(other['model'])}"
    )
    # The difference from the baseline stands in the row of the model that is none.
    turned = row["difference"] is None and row["baseline"] == row["value"]
    mine = row if is_base else other if turned else {}
    given = mine.get("difference") is not None and mine.get("difference_low") is not None
    if given:
        turn = 1 if mine is row else -1
        low, high = sorted(
            (sign * turn * mine["difference_low"], sign * turn * mine["difference_high"])
        )
        verdict = "Yes" if low > 0 else "No" if high < 0 or gap <= 0 else "Not shown"
        apart = "apart" if low > 0 or high < 0 else "not apart"
        ends = sorted((turn * mine["difference_low"], turn * mine["difference_high"]))
        words += f"; difference {_signed(turn * mine['difference'])} "
        words += f"[{_signed(ends[0])}, {_signed(ends[1])}], intervals {apart}"
    else:
        # A model beats another where the interval of their difference says so.
        verdict = "Not shown" if gap > 0 else "No"
        words += "; no interval of their difference is on record"
    draft.say(f"{verdict}: {words}.", _metric_record(row, records), _metric_record(other, records))


def _judged(question: Question, records: Records) -> Draft | None:
    """Which models were compared? Which metrics are there?"""
    for name, nouns in (
        ("model", {"models", "recommenders"}),
        ("metric", {"metrics"}),
        ("slice", {"slices"}),
    ):
        if nouns & set(question.words) and records.metrics:
            allowed = nouns | {
                "compared",
                "judged",
                "measured",
                "there",
                "used",
                "how",
                "many",
                "different",
                "tried",
            }
            if question.left(allowed) or question.things or question.numbers:
                return None
            found = list(dict.fromkeys(str(row[name]) for row in records.metrics))
            words = f"{figure(len(found))} {name}s: {clean(', '.join(found))}"
            return Draft().say(f"{words}.", Record("metrics.json", words))
    return None
