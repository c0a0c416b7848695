"""Questions about the lists of a run: who stands first, where something stands, and why."""

from __future__ import annotations

from typing import Any

import polars as pl

from linkwise.matching.answer_draft import NOTHING, Draft
from linkwise.matching.answer_figures import LESS_IS_BETTER, NO_MODEL, Read, spellings
from linkwise.matching.answer_names import Thing, normal, word_set
from linkwise.matching.answer_question import Question
from linkwise.matching.answer_records import Record, Records, clean, figure

SHOWN = 10  # of a list, where the question gives no number
MOST = 100
PLACES = word_set("rank ranks ranked ranking place position where high")
NOUNS = word_set(
    "user users member members customer customers song songs title titles film films movie movies code "
    "codes pair pairs text texts candidate candidates recommendation recommendations company companies job "
    "jobs technique techniques section sections patent patents goal goals sdg sdgs query queries item items "
    "entry entries thing things"
)
LISTING = word_set(
    "top best first highest most likely next ranks rank ranked ranking who will choose chooses recommended "
    "recommend risk riskiest leave listed list match matches go goes help helps fit fits probable "
    "about belongs touch touches link linked strongest combined"
)
PAIR = word_set(
    "rank ranks ranked ranking place position score scores probability probable likely how high why reason "
    "reasons because risk listed recommended recommend action speaks list likelihood good link linked match "
    "matches strong strongly synergy between go goes together"
)
WHY = word_set("why reason reasons because speaks")
TOP = word_set(
    "top best first highest likely riskiest strongest rank ranks ranked ranking list lists listed"
)
SIMILARITY = "text vectors"  # the model of lists that no judge has made
COUNT = word_set("how many number count total different yes")


def answer_lists(question: Question, records: Records) -> Draft | None:
    """Who ranks first? Top 5 for Q. The rank, score and reason of an item. Which have a yes, and how many."""
    ranking = records.ranking
    things = [thing for thing in question.things if thing.kind in ("query", "item")]
    if ranking.is_empty() or len(things) < len(question.things) or question.years:
        return None
    read = Read(question)
    models = read.take(spellings(dict.fromkeys(ranking["model"].drop_nulls().to_list())))
    said = {word for name in models for word in normal(name).split()}
    counted = question.has("how many", "number of", "count of")
    allowed = LISTING | PAIR | NOUNS | PLACES | said | {"are", "there", "shown"}
    if question.left(allowed | (COUNT if counted else set())) or len(question.numbers) > 1:
        return None
    ranking, own = _of_model(ranking, models, records)
    if counted:
        return _count(question, things, ranking, own)
    queries = [thing for thing in things if thing.kind == "query"]
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
    named = f"{figure(len(table))} {'entries' if len(table) != 1 else 'entry'} {whose}{own}"
    table, words = _with_yes(question, table, named, "have a yes")
    if len(table) > n:
        words += f", the first {figure(n)} listed" if n > 1 else ", the first listed"
    draft = Draft().say(f"{words}:", Record(f"{table['file'][0]}, counted", clean(words)))
    for row in table.head(n).iter_rows(named=True):
        shown = f"{row['query']} – {_item(row)}" if _one_list(ranking) else _item(row)
        draft.say(f"- {clean(shown)} ({_figures(row)})", _list_record(row))
    return draft


def _judged(table: pl.DataFrame) -> bool:
    """Whether a judge has said yes or no to the entries."""
    return table["yes"].null_count() < len(table)


def _with_yes(
    question: Question, table: pl.DataFrame, named: str, have: str
) -> tuple[pl.DataFrame, str]:
    """The entries with a yes where a judge gave any, else all, and the first words of a list of them.

    Where the first few are asked for (top, best, five) they are those of all, with a yes or not.
    """
    if not _judged(table):
        alone = not table.is_empty() and table["model"][0] == SIMILARITY
        return table, f"{named}, by similarity alone" if alone else named
    yes = table.filter(pl.col("yes"))
    if yes.is_empty():
        return table, f"None of {named} {have}"
    told = f"{figure(len(yes))} of {named} {have}"
    return (table, told) if question.numbers or TOP & set(question.every) else (yes, told)


def _count(
    question: Question, things: list[Thing], ranking: pl.DataFrame, own: str
) -> Draft | None:
    """How many texts are about a goal? Those to which a judge said yes; without a judge nobody knows."""
    if len(things) != 1 or question.numbers:
        return None
    (thing,) = things
    found = ranking.filter(pl.col(thing.kind) == thing.id)
    if found.is_empty() or not _judged(found):
        return NOTHING
    named = f"entries for {thing.id}{own} have a yes"
    if thing.kind == "item":
        named = f"lists{own} with {_item(found.row(0, named=True))} give it a yes"
    words = f"{figure(int(found['yes'].sum()))} of {figure(len(found))} {named}"
    record = Record(f"{found['file'][0]}, counted over yes", clean(words))
    return Draft().say(f"{clean(words)}.", record)


def _one_list(ranking: pl.DataFrame) -> bool:
    """Whether the queries share one list, as pairs of codes do: each rank stands once."""
    return ranking["rank"].n_unique() == len(ranking) and ranking["query"].n_unique() > 1


def _length(question: Question) -> int | None:
    if question.numbers:
        (n,) = question.numbers
        return min(MOST, int(n)) if n.is_integer() and n >= 1 else None
    single = {"first", "best", "highest", "riskiest", "next"} & set(question.every)
    several = {noun for noun in NOUNS if noun.endswith("s")}
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
    # Of "text vectors" it is a cosine, or deviations; of judges the probability says more.
    what = "similarity" if row["model"] == SIMILARITY else "score"
    told = [f"{what} {figure(row['score'])}"] if row["score"] is not None else []
    if row["probability"] is not None and row["probability"] == row["probability"]:
        told.append(f"probability {figure(row['probability'])}")
    if row["yes"] is not None:
        told.append("yes" if row["yes"] else "no")
    return ", ".join([f"rank {figure(row['rank'])}", *told])


def _list_record(row: dict[str, Any]) -> Record:
    told = [f"{row['query']} – {_item(row)}: {_figures(row)}"]
    told += [f"model {row['model']}"] if row["model"] else []
    told += [f"{name}: {row[name]}" for name in ("reason", "action") if row[name]]
    if row["query_part"] and row["item_part"]:
        told.append(f'"{row["query_part"]}" – "{row["item_part"]}"')
    return Record(f"{row['file']} row {row['row']}", clean("; ".join(told)))


def _of_two(
    question: Question, things: list[Thing], ranking: pl.DataFrame, own: str
) -> Draft | None:
    """The place of an item on a query's list."""
    if question.numbers or question.left(PAIR | LISTING | PLACES | NOUNS | _words(own)):
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
    """The place of an item: on the only list, or on all that have it, the likeliest first."""
    found = ranking.filter(item=thing.id).sort(
        ["probability", "rank", "row"], descending=[True, False, False], nulls_last=True
    )
    if found.is_empty():
        return NOTHING
    if ranking["query"].n_unique() == 1:
        return None if question.numbers else _say_places(question, found, own)
    n = _length(question)
    if n is None:
        return None
    likely = found["probability"].null_count() == 0
    item = clean(_item(found.row(0, named=True)))
    named = f"{figure(len(found))} {'lists' if len(found) != 1 else 'list'}{own} with {item}"
    found, words = _with_yes(question, found, named, "give it a yes")
    if len(found) > n:
        how = "is likeliest" if likely else "stands highest"
        words += f", the {figure(n)} where it {how}" if n > 1 else f", that where it {how}"
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
