"""Questions about a study's own figures: metrics, lists, settings, what the report says."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import polars as pl

from linkwise.matching.answer_draft import NOTHING, Draft
from linkwise.matching.answer_question import STOP, Question, Thing, normal, word_set
from linkwise.matching.answer_records import Record, Records, clean, figure

SHOWN = 10  # of a list, where the question gives no number
MOST = 100
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
BEST = word_set("best highest top largest greatest most wins winner leads first")
WORST = word_set("worst lowest smallest least last")
VALUE = word_set(
    "value values score high low much how interval confidence ci figure get gets reach reaches "
    "reached achieve achieves achieved metric measured result number list lists length test train "
    "validation split slice slice_ users k compared"
)
BEAT = word_set(
    "beat beats better than above baseline difference over against outperform outperforms exceed exceeds "
    "compare compared significantly apart much how worse"
)
PLACES = word_set("rank ranks ranked ranking place position where high")
NOUNS = word_set(
    "user users member members customer customers song songs title titles film films movie movies code "
    "codes pair pairs text texts candidate candidates recommendation recommendations company companies job "
    "jobs technique techniques section sections patent patents goal goals sdg sdgs query queries item items "
    "entry entries thing things"
)
LISTING = word_set(
    "top best first highest most likely next ranks rank ranked ranking who choose chooses recommended "
    "recommend risk riskiest leave listed list match matches go goes help helps fit fits probable "
    "about belongs touch touches link linked strongest combined"
)
PAIR = word_set(
    "rank ranks ranked ranking place position score scores probability probable likely how high why reason "
    "reasons because risk listed recommended recommend action speaks list likelihood good link linked match "
    "matches strong strongly synergy between go goes together"
)
WHY = word_set("why reason reasons because speaks")


def answer_figures(question: Question, records: Records) -> Draft | None:
    """The answer of the run's own figures; None where no template understands every word."""
    for template in (_metric, _beaten, _judged, _made, _setting, _fact, _listed, _verdict, _report):
        found = template(question, records)
        if found is not None:
            return found
    return None


# -------------------------------------------------------------------------------------------- the metrics


class _Read:
    """The question's words, from which names of models, metrics and slices are taken one by one."""

    def __init__(self, question: Question) -> None:
        # Names of models and slices may be words that stand for kinds or things elsewhere.
        self.said = f" {' '.join(question.every)} "

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


def _spellings(names: Iterable[str]) -> list[tuple[str, str]]:
    """Names of models and slices as they may be said: whole, and without what stands in brackets."""
    found = []
    for name in names:
        found.append((normal(name), name))
        for part in (re.sub(r"\([^)]*\)", " ", name), *re.findall(r"\(([^)]*)\)", name)):
            found.append((normal(part), name))
    return found


def _asked(question: Question, records: Records) -> tuple[_Read, list[str], list[str], list[str]]:
    """The reading, the models, the metrics and the slices that a question names."""
    rows = records.metrics
    read = _Read(question)
    models = read.take(_spellings(dict.fromkeys(str(row["model"]) for row in rows)))
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
    records: Records, metrics: list[str], slices: list[str], read: _Read
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
    splits = dict.fromkeys(row["split"] for row in rows)
    wanted = [name for name in splits if f" {normal(str(name))} " in read.said]
    if wanted:
        for name in wanted:
            read.said = read.said.replace(f" {normal(str(name))} ", " ")
    elif "test" in splits:
        wanted = ["test"]
    rows = [row for row in rows if not wanted or row["split"] in wanted]
    if slices:
        return [row for row in rows if row["slice"] in slices]
    whole = [row for row in rows if row["slice"] == "all"]
    return whole or rows


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
        return _extreme(rows, records, worst)
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
    given = is_base and row["difference"] is not None and row.get("difference_low") is not None
    if given:
        low, high = sorted((sign * row["difference_low"], sign * row["difference_high"]))
        verdict = "Yes" if low > 0 else "No" if high < 0 or gap <= 0 else "Not shown"
        apart = "apart" if low > 0 or high < 0 else "not apart"
        ends = f"[{_signed(row['difference_low'])}, {_signed(row['difference_high'])}]"
        words += f"; difference {_signed(row['difference'])} {ends}, intervals {apart}"
    else:
        verdict = "Yes" if gap > 0 else "No"
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


# ------------------------------------------------------------------------------------- how it was made


def _made(question: Question, records: Records) -> Draft | None:
    """What seed was used? Which files were read? How long did it take?"""
    if question.things or question.numbers or question.years or question.kinds or not records.info:
        return None
    info, words = records.info, set(question.words)

    def fits(needed: set[str], *allowed: str) -> bool:
        return bool(needed & words) and not question.left(needed | set(allowed))

    record = "run.json"
    used = ("used", "use", "uses", "random", "how", "much", "need", "needed", "study")
    if fits({"seed"}, *used) and "seed" in info:
        return Draft().say(f"The seed was {info['seed']}.", Record(record, f"seed {info['seed']}"))
    if fits({"files", "file", "input", "inputs"}, "read", "which", "how", "many", *used):
        inputs = [entry for entry in info.get("inputs") or [] if isinstance(entry, dict)]
        if not inputs:
            return NOTHING
        draft = Draft().say(
            f"{figure(len(inputs))} file{'s' * (len(inputs) > 1)}:",
            Record(record, f"{figure(len(inputs))} inputs"),
        )
        for entry in inputs[:MOST]:
            told = clean(f"{entry.get('file')}, {figure(entry.get('bytes'))} bytes")
            draft.say(f"- {told}", Record(record, told))
        return draft
    if fits(
        {"long", "seconds", "duration", "time", "slow", "fast"},
        "how",
        "take",
        "took",
        "last",
        *used,
    ):
        if "seconds" not in info:
            return NOTHING
        told = f"{figure(info['seconds'])} seconds"
        return Draft().say(f"It took {told}.", Record(record, told))
    if fits({"memory", "ram"}, "peak", *used) and "peak_memory_mib" in info:
        told = f"peak memory {figure(info['peak_memory_mib'])} MiB"
        return Draft().say(f"{told[0].upper()}{told[1:]}.", Record(record, told))
    if (
        fits({"finished", "when", "date", "made"}, "when", "made", "done", "study")
        and "finished" in info
    ):
        told = f"finished {clean(info['finished'])}"
        return Draft().say(f"It was {told}.", Record(record, told))
    if fits({"study", "verb", "kind"}, "kind", "sort", "study") and "verb" in records.settings:
        told = f"verb {clean(records.settings['verb'])}"
        return Draft().say(
            f"It is a run of linkwise {clean(records.settings['verb'])}.",
            Record("config.toml", told),
        )
    if fits(
        {"version", "versions"},
        *used,
        "installed",
        *(w for n in _versions(info) for w in normal(n).split()),
    ):
        every = _versions(info)
        named = {n: v for n, v in every.items() if question.has(normal(n))} or every
        told = clean(", ".join(f"{name} {number}" for name, number in named.items()))
        return Draft().say(f"{told}.", Record(record, told))
    return None


def _versions(info: dict[str, Any]) -> dict[str, str]:
    own: dict[str, str] = {name: str(info[name]) for name in ("linkwise", "python") if name in info}
    packages = info.get("packages")
    return own | (packages if isinstance(packages, dict) else {})


def _setting(question: Question, records: Records) -> Draft | None:
    """What was label_days?"""
    read = _Read(question)
    names = {}
    for name in records.settings:
        names[normal(name)] = name
        names.setdefault(normal(name.rpartition(".")[2]), name)
    found = read.take(names.items())
    if not found or read.left(
        {"setting", "option", "value", "used", "set", "configured", "config"}
    ):
        return None
    if question.text.lower().startswith(
        ("how many", "who", "which", "when", "top")
    ) and not question.has("setting", "option"):
        return None
    draft = Draft()
    for name in found:
        told = clean(f"{name} = {records.settings[name]}")
        draft.say(f"The setting {told}.", Record("config.toml", told))
    return draft


def _fact(question: Question, records: Records) -> Draft | None:
    """How many users were there? By the report's key numbers."""
    if not question.has("how many", "number of", "what is the", "how much"):
        return None
    words = {
        _stem(word) for word in _Read(question).left({"how", "many", "number", "total", "much"})
    }
    if not words or any(word.isdigit() for word in words):
        return None
    draft = Draft()
    for label, value, note in records.facts:
        about = {_stem(word) for word in normal(f"{label} {note}").split()}
        if words <= about and words & {_stem(word) for word in normal(label).split()}:
            told = clean(f"{label}: {value}{f' ({note})' if note else ''}")
            draft.say(f"{told}.", Record("report.json, key numbers", told))
    return draft if draft.lines else None


def _stem(word: str) -> str:
    return word.removesuffix("s")


# ----------------------------------------------------------------------------------------------- the lists


def _listed(question: Question, records: Records) -> Draft | None:
    """Who ranks first? Top 5 for Q. The rank, score and reason of an item."""
    ranking = records.ranking
    things = [thing for thing in question.things if thing.kind in ("query", "item")]
    if ranking.is_empty() or len(things) < len(question.things) or question.years:
        return None
    read = _Read(question)
    models = read.take(_spellings(dict.fromkeys(ranking["model"].drop_nulls().to_list())))
    said = {word for name in models for word in normal(name).split()}
    left = question.left(LISTING | PAIR | NOUNS | PLACES | said | {"are", "there", "shown"})
    if left or len(question.numbers) > 1:
        return None
    ranking, own = _of_model(ranking, models, records)
    queries = [thing for thing in things if not ranking.filter(query=thing.id).is_empty()]
    if len(things) == 2:
        return _of_two(question, things, ranking, own)
    if len(things) == 1 and not queries:
        return _of_item(question, things[0], ranking, own)
    if len(things) > 2 or not (LISTING & set(question.words)):
        return None
    if not things and ranking["query"].n_unique() > 1 and not _one_list(ranking):
        return NOTHING  # whose list?
    n = _length(question)
    if n is None:
        return None
    if things:
        table = ranking.filter(
            (pl.col("query") == things[0].id)
            | (pl.col("item") == things[0].id) & _one_list(ranking)
        )
        whose = f"for {clean(things[0].id)}"
    else:
        table, whose = ranking, "of the list"
    table = table.sort(["rank", "row"])
    words = f"{figure(len(table))} entries {whose}{own}"
    if len(table) > n:
        words += f", the first {figure(n)} listed" if n > 1 else ", the first listed"
    draft = Draft().say(f"{words}:", Record(f"{table['file'][0]}, counted", clean(words)))
    for row in table.head(n).iter_rows(named=True):
        shown = f"{row['query']} – {_item(row)}" if _one_list(ranking) else _item(row)
        draft.say(f"- {clean(shown)} ({_figures(row)})", _list_record(row))
    return draft


def _one_list(ranking: pl.DataFrame) -> bool:
    """Whether the queries share one list, as pairs of codes do: each rank stands once."""
    return ranking["rank"].n_unique() == len(ranking) and ranking["query"].n_unique() > 1


def _length(question: Question) -> int | None:
    if question.numbers:
        (n,) = question.numbers
        return min(MOST, int(n)) if n.is_integer() and n >= 1 else None
    single = {"first", "best", "highest", "riskiest", "next"} & set(question.every)
    several = {
        "users",
        "items",
        "songs",
        "titles",
        "techniques",
        "goals",
        "codes",
        "pairs",
        "texts",
        "patents",
    }
    return 1 if single and not several & set(question.every) else SHOWN


def _of_model(
    ranking: pl.DataFrame, models: list[str], records: Records
) -> tuple[pl.DataFrame, str]:
    """The list of the model named, or of the best by the first metric; and whose it is, in words."""
    every = ranking["model"].drop_nulls().unique(maintain_order=True).to_list()
    if len(every) < 2 and not models:
        return ranking, ""
    if not models:
        models = ["learned"] if "learned" in every else []
    if not models and records.metrics:
        first = records.metrics[0]
        rows = [
            row
            for row in records.metrics
            if all(row[n] == first[n] for n in ("metric", "k", "split", "slice"))
        ]
        able = [
            row
            for row in rows
            if row["model"] in every and row["model"] not in NO_MODEL and row["value"] is not None
        ]
        sign = -1 if first["metric"] in LESS_IS_BETTER else 1
        models = [max(able, key=lambda row: sign * row["value"])["model"]] if able else []
    model = models[0] if models else every[0]
    return ranking.filter(model=model), f" by {model}"


def _item(row: dict[str, Any]) -> str:
    return (
        row["item"] if row["title"] in (None, "", row["item"]) else f"{row['item']} {row['title']}"
    )


def _figures(row: dict[str, Any]) -> str:
    told = [f"score {figure(row['score'])}"] if row["score"] is not None else []
    if row["probability"] is not None and row["probability"] == row["probability"]:
        told.append(f"probability {figure(row['probability'])}")
    return ", ".join([f"rank {figure(row['rank'])}", *told])


def _list_record(row: dict[str, Any]) -> Record:
    told = [f"{row['query']} – {_item(row)}: {_figures(row)}"]
    told += [f"model {row['model']}"] if row["model"] else []
    told += [f"{name}: {row[name]}" for name in ("reason", "action") if row[name]]
    if row["query_part"] and row["item_part"]:
        told.append(f'"{row["query_part"]}" – "{row["item_part"]}"')
    if row["yes"] is not None:
        told.append("yes" if row["yes"] else "no")
    return Record(f"{row['file']} row {row['row']}", clean("; ".join(told)))


def _of_two(
    question: Question, things: list[Thing], ranking: pl.DataFrame, own: str
) -> Draft | None:
    """The place of an item on a query's list."""
    if question.numbers or question.left(PAIR | PLACES | NOUNS | {"is", "are"} | _words(own)):
        return None
    a, b = (thing.id for thing in things)
    found = ranking.filter(
        ((pl.col("query") == a) & (pl.col("item") == b))
        | ((pl.col("query") == b) & (pl.col("item") == a))
    )
    return _say_places(question, found, own)


def _words(own: str) -> set[str]:
    return set(normal(own).split())


def _of_item(question: Question, thing: Thing, ranking: pl.DataFrame, own: str) -> Draft | None:
    """The place of an item: on the only list, or on all that have it."""
    found = ranking.filter(item=thing.id).sort(["rank", "row"])
    if found.is_empty():
        return NOTHING
    if ranking["query"].n_unique() == 1:
        return None if question.numbers else _say_places(question, found, own)
    n = _length(question)
    if n is None:
        return None
    words = f"{figure(len(found))} lists{own} have {clean(_item(found.row(0, named=True)))}"
    words += f", the first {figure(n)} by its rank" if len(found) > n else ""
    draft = Draft().say(f"{words}:", Record(f"{found['file'][0]}, counted", clean(words)))
    for row in found.head(n).iter_rows(named=True):
        draft.say(f"- {clean(row['query'])} ({_figures(row)})", _list_record(row))
    return draft


def _say_places(question: Question, found: pl.DataFrame, own: str) -> Draft:
    draft = Draft()
    why = bool(WHY & set(question.words))
    for row in found.sort("rank").head(SHOWN).iter_rows(named=True):
        parts = bool(row["query_part"] and row["item_part"])
        if why and not (row["reason"] or parts):
            return NOTHING
        if question.has("probability", "likely", "likelihood") and row["probability"] is None:
            return NOTHING
        record = _list_record(row)
        draft.say(clean(f"{_item(row)} for {row['query']}{own}: {_figures(row)}."), record)
        if row["reason"]:
            draft.say(f"Reason: {clean(row['reason'])}.", record)
        if row["action"] and question.has("action"):
            draft.say(f"Action: {clean(row['action'])}.", record)
        if parts:
            draft.say(
                f'What goes best with each other: "{clean(row["query_part"])}" and '
                f'"{clean(row["item_part"])}".',
                record,
            )
    return draft if draft.lines else NOTHING


# ---------------------------------------------------------------------------------------------- the report


def _verdict(question: Question, records: Records) -> Draft | None:
    """What came out? Does it beat the baseline?"""
    nouns = {"verdict", "result", "results", "summary", "conclusion", "findings", "finding", "summarise",
             "summarize", "outcome", "came", "baseline"}  # fmt: skip
    allowed = nouns | {
        "main",
        "key",
        "out",
        "study",
        "report",
        "overall",
        "beat",
        "beats",
        "say",
        "says",
        "better",
        "than",
        "model",
    }
    if not nouns & set(question.words) or question.left(allowed) or question.things:
        return None
    lead = [record for record in records.said if record.where.endswith("its first lines")]
    draft = Draft()
    if "baseline" in question.words:
        beats = records.report.get("beats_baseline")
        if beats is None:
            return NOTHING
        told = (
            f"the report says that the study {'beats' if beats else 'does not beat'} its baseline"
        )
        draft.say(f"{'Yes' if beats else 'No'}: {told}.", Record("report.json", told))
    for record in lead:
        draft.say(record.text, record)
    return draft if draft.lines else NOTHING


REPORT = re.compile(
    r"^(?:what|where)\s+(?:does|do|did|is)\s+(?:the\s+)?report\s+(?:say|says|tell|write|state)s?\s+(?:about|of|on)\s+(.*)$"
    r"|^(?:according\s+to|in)\s+the\s+report,?\s+(?:what\s+(?:is\s+said\s+)?(?:about|of|on)\s+)(.*)$",
    re.I,
)


def _report(question: Question, records: Records) -> Draft | None:
    """What does the report say about ties? The sentences that have all the words, at most three."""
    match = REPORT.match(question.text.strip(" ?.!"))
    if match is None:
        return None
    words = [_stem(word) for word in normal(match[1] or match[2]).split() if word not in STOP]
    if not words:
        return None
    draft = Draft()
    for record in records.said:
        there = {_stem(word) for word in normal(record.text).split()}
        if set(words) <= there and len(draft.lines) < 3:
            draft.say(record.text, record)
    return draft if draft.lines else NOTHING
