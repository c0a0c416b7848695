"""Questions about a graph of links, answered by templates over its nodes and links."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from linkwise.matching.answer_draft import NOTHING, Draft
from linkwise.matching.answer_graph import MOST, Graph, counted, measure, plural, scored
from linkwise.matching.answer_names import KINDS, Thing, word_set
from linkwise.matching.answer_question import LATEST, Question
from linkwise.matching.answer_records import Record, Records, clean, figure

EVEN = 0.5  # score of a model's link below which it is held unlikely
SHOWN = 10  # of a list, where the question gives no number
LINKED = word_set(
    "help helps helped link links linked connect connects connected relate relates related match matches "
    "matched fit fits address addresses addressed touch touches touched affect affects affected reduce "
    "reduces treat treats deal "
    "deals against belong belongs go goes pair apply applies applicable used relevant suit suits "
    "suitable concern concerns remove removes abate abates associated near"
)
BEST = word_set("best top highest strongest strongly most closest nearest first leading")
WHY = word_set("why reason reasons because speaks explain")
SCORE = word_set(
    "score scores relevance synergy strong strongly well how probability strength link relation "
    "between together"
)
ORIGIN = word_set(
    "who gave gives says origin source published person model given came come link links between or"
)
COUNT = word_set("how many number count total different distinct")
ABOUT = word_set(
    "about describe describes described description abstract content summary text explain say says tell"
)
YEAR = word_set("when year published dated publication date")
TITLE = word_set("title called titled named")
SHARE = word_set("share shares shared common both together")


Template = Callable[[Question, list[Thing], Graph], Draft | None]


def answer_links(question: Question, records: Records) -> Draft | None:
    """The answer of the graph's tables; None where no template understands every word of the question."""
    if records.nodes.is_empty() and records.links.is_empty():
        return None
    graph = Graph(records)
    things = [thing for thing in question.things if graph.knows(thing)]
    if len(things) < len(question.things):
        return None
    for thing in things:
        if thing.options and _any_template(question, things):
            return graph.which(thing)
    templates: tuple[Template, ...] = (_of_kind, _about)
    if not (records.links.is_empty() and things):  # what is linked by a list alone is for the lists
        templates = (_superlative, _count, _pair, _shared, _two_steps, _list, *templates)
    for template in templates:
        found = template(question, things, graph)
        if found is not None:
            return found
    return None


def _any_template(question: Question, things: list[Thing]) -> bool:
    known = LINKED | BEST | WHY | SCORE | ORIGIN | COUNT | ABOUT | YEAR | TITLE | SHARE
    return not question.left(known)


def _during(years: tuple[int, int] | None) -> str:
    if years is None:
        return ""
    first, last = years
    if first == last:
        return f" of {first}"
    if last == LATEST:
        return f" of {first} or later"
    return f" of {last} or earlier" if first == 0 else f" of {first} to {last}"


def _how_many(question: Question, kinds: list[str] | None = None) -> int | None:
    """How many to list: the number given, one where a single one is asked for; None where that is unclear."""
    whole = [n for n in question.numbers if n.is_integer() and n >= 1]
    if len(question.numbers) > 1 or len(whole) < len(question.numbers):
        return None
    if whole:
        return min(MOST, int(whole[0]))
    # "the best technique" is one, "the best techniques" are several
    single = any(KINDS.get(word) in (kinds or ()) and word[-1] != "s" for word in question.every)
    return 1 if single and BEST & set(question.words) else SHOWN


def _superlative(question: Question, things: list[Thing], graph: Graph) -> Draft | None:
    """Which technique is linked with the most pollutants?"""
    if things or len(question.kinds) != 2 or question.years or question.numbers:
        return None
    ascending = question.has("fewest")
    if not (ascending or question.has("most")) or question.left(LINKED | {"most", "fewest", "has"}):
        return None
    kind, other = question.kinds
    counts = (
        graph.records.links_of(kind, other)
        .group_by("id")
        .agg(pl.col("other").n_unique().alias("n"))
        .sort(["n", "id"], descending=[not ascending, False])
    )
    if counts.is_empty():
        return NOTHING
    name, n = counts.row(0)
    equal = int((counts["n"] == n).sum())
    shown = graph.shown(kind, name)
    tie = f"; {figure(equal)} {plural(kind)} have as many" if equal > 1 else ""
    words = f"{shown}: linked with {counted(n, other)}{tie}"
    how = "the fewest (of those with any)" if ascending else "the most"
    where = f"links.parquet, counted over {plural(kind)} and {plural(other)}"
    return Draft(named=name).say(f"{words}, {how}.", Record(where, words))


def _count(question: Question, things: list[Thing], graph: Graph) -> Draft | None:
    """How many patents are linked with mercury? How many patents are from 2020? How many links are there?"""
    if not question.has("how many", "number of", "count of") or question.numbers:
        return None
    if question.left(LINKED | COUNT | SHARE | YEAR):
        return None
    if not things and not question.kinds and question.has("links"):
        n = len(graph.records.links)
        return Draft().say(f"{figure(n)} links.", Record("links.parquet", f"{figure(n)} rows"))
    if len(question.kinds) != 1:
        return None
    kind = question.kinds[0]
    nodes = graph.nodes.filter(kind=kind)
    if nodes.is_empty():
        return None
    during = _during(question.years)
    if not things:
        if question.years is not None:
            nodes = nodes.filter(pl.col("year").is_between(*question.years))
        n = nodes["id"].n_unique()
        words = f"{counted(n, kind)}{during}"
        return Draft().say(
            f"{words}.", Record(f"nodes.parquet, counted over {plural(kind)}", words)
        )
    n = len(_common(things, kind, question, graph))
    named = " and ".join(clean(thing.shown) for thing in things)
    words = f"{counted(n, kind)}{during} linked with {named}"
    record = Record(f"links.parquet, counted over {plural(kind)}", words)
    return Draft().say(f"{words}.", record)


def _held(row: dict[str, Any]) -> str:
    """How the answer to whether two things are linked begins: a link of a low score is no yes."""
    if measure(row) == "similarity":
        return "A link is on record, by similarity alone: "
    unlikely = row["origin"] == "model" and row["score"] is not None and row["score"] < EVEN
    return "A link is on record that its model holds unlikely: " if unlikely else "Yes: "


def _common(things: list[Thing], kind: str, question: Question, graph: Graph) -> pl.DataFrame:
    """What all of the things are linked with, by its links with the first, the best first."""
    found = graph.near(things[0], kind, question.years)
    for thing in things[1:]:
        found = found.filter(pl.col("other").is_in(graph.near(thing, kind)["other"].to_list()))
    return found


def _pair(question: Question, things: list[Thing], graph: Graph) -> Draft | None:
    """The score of two things, what speaks for it, who says so; whether they are linked."""
    if len(things) != 2 or question.kinds or question.numbers or question.years:
        return None
    if question.left(LINKED | WHY | SCORE | ORIGIN | {"there", "any"}):
        return None
    one, other = things
    rows = graph.between(one, other)
    if rows.is_empty():
        if WHY & set(question.words) or not question.text.lower().startswith(
            ("is ", "are ", "does ", "do ")
        ):
            return NOTHING
        words = f"no link between {clean(one.shown)} and {clean(other.shown)}"
        return Draft().say(
            f"No: the records have {words}.", Record("links.parquet, looked up", words)
        )
    if "or" in question.words and not question.has("who", "origin", "published", "person"):
        return None
    row = rows.row(0, named=True)
    record = graph.of_links(row)
    asked = question.text.lower().startswith(("is ", "are ", "does ", "do "))
    draft = Draft().say(
        f"{_held(row) if asked else ''}{clean(one.shown)} and {clean(other.shown)}: {scored(row)}, "
        f"origin {clean(row['origin'])}, by {clean(row['by'])}.",
        record,
    )
    told = _say_why(draft, row, record)
    if WHY & set(question.words) and not told:
        return NOTHING
    for further in rows.slice(1, 3).iter_rows(named=True):
        draft.say(
            f"Also: {scored(further)}, origin {clean(further['origin'])}, by {clean(further['by'])}.",
            graph.of_links(further),
        )
    if {one.kind, other.kind} == {"patent", "technique"}:
        _say_shared(draft, one, other, graph)
    return draft


def _say_why(draft: Draft, row: dict[str, Any], record: Record) -> bool:
    """Add what speaks for a link; whether there is anything."""
    if row["reason"]:
        draft.say(f"Reason: {clean(row['reason'])}", record)
    if row["part"] and row["other_part"]:
        draft.say(
            f'What goes best with each other: "{clean(row["part"])}" and "{clean(row["other_part"])}".',
            record,
        )
    return bool(row["reason"] or (row["part"] and row["other_part"]))


def _say_shared(draft: Draft, one: Thing, other: Thing, graph: Graph) -> None:
    """Add the pollutants that two things share."""
    mine, theirs = graph.near(one, "pollutant"), graph.near(other, "pollutant")
    both = mine.filter(pl.col("other").is_in(theirs["other"].to_list()))
    if mine.is_empty() and theirs.is_empty():
        return
    if both.is_empty():
        draft.say(
            "They share no pollutant.",
            Record("links.parquet, looked up", "no pollutant is linked with both"),
        )
        return
    names = both["other"].to_list()
    rows = graph.rows("pollutant", names)
    used = theirs.filter(pl.col("other").is_in(names[:SHOWN]))
    words = "; ".join(graph.shown("pollutant", name, rows) for name in names[:MOST])
    total = Record(
        "links.parquet, counted over pollutants", f"{figure(len(names))} linked with both: {words}"
    )
    draft.say(
        f"Pollutants that they share, {figure(len(names))}: {words}.",
        total,
        *(graph.of_links(row) for row in both.head(SHOWN).iter_rows(named=True)),
        *(graph.of_links(row) for row in used.iter_rows(named=True)),
    )


def _shared(question: Question, things: list[Thing], graph: Graph) -> Draft | None:
    """Which pollutants do these two share?"""
    if len(things) < 2 or len(question.kinds) != 1 or question.numbers:
        return None
    if question.left(LINKED | SHARE):
        return None
    kind = question.kinds[0]
    found = _common(things, kind, question, graph)
    named = " and ".join(clean(thing.shown) for thing in things)
    if found.is_empty():
        words = f"no {kind}{_during(question.years)} is linked with {named}"
        return Draft().say(
            f"None: {words}, all of them.", Record("links.parquet, looked up", words)
        )
    words = f"{counted(len(found), kind)}{_during(question.years)} linked with {named}"
    total = Record(f"links.parquet, counted over {plural(kind)}", words)
    draft = Draft().say(f"{words}:", total)
    rows = graph.rows(kind, found["other"].to_list())
    for row in found.head(MOST).iter_rows(named=True):
        others = [graph.between(thing, _node(kind, row["other"])) for thing in things[1:]]
        draft.say(
            f"- {graph.shown(kind, row['other'], rows)}",
            graph.of_links(row),
            *(graph.of_links(other.row(0, named=True)) for other in others),
        )
    return draft


def _node(kind: str, name: str) -> Thing:
    return Thing(kind, name, "", 0, 0)


def _two_steps(question: Question, things: list[Thing], graph: Graph) -> Draft | None:
    """Which techniques does this patent help, and for which pollutants?"""
    if len(things) != 1 or len(question.kinds) != 2 or question.years:
        return None
    n = _how_many(question, question.kinds[:1])
    if n is None or question.left(LINKED | BEST):
        return None
    (thing,) = things
    first, second = question.kinds
    found = graph.near(thing, first)
    if found.is_empty():
        return _none(thing, first, None, graph)
    own = graph.near(thing, second)["other"].to_list()
    draft = _head(thing, first, found, n, None)
    rows = graph.rows(first, found["other"].to_list())
    names = graph.rows(second, graph.nodes.filter(kind=second)["id"].to_list())
    for row in found.head(n).iter_rows(named=True):
        theirs = graph.near(_node(first, row["other"]), second)
        if own:  # what the first thing is itself linked with counts alone
            theirs = theirs.filter(pl.col("other").is_in(own))
        words = "; ".join(graph.shown(second, name, names) for name in theirs["other"])
        draft.say(
            f"- {_scored(graph, first, row, rows, found)}: {words or f'no {second} shared'}",
            graph.of_links(row),
            *(graph.of_links(step) for step in theirs.iter_rows(named=True)),
        )
    return draft


def _head(
    thing: Thing, kind: str, found: pl.DataFrame, n: int, years: tuple[int, int] | None
) -> Draft:
    """The first line of a list, with the count that it rests on."""
    noun = plural(kind)
    words = f"{counted(len(found), kind)}{_during(years)} linked with "
    words += clean(thing.shown)
    if len(found) > n:
        words += f", the best {figure(n)} listed" if n > 1 else ", the best listed"
    return Draft().say(f"{words}:", Record(f"links.parquet, counted over {noun}", words))


def _scored(
    graph: Graph,
    kind: str,
    row: dict[str, Any],
    rows: dict[str, dict[str, Any]],
    found: pl.DataFrame,
) -> str:
    """A line of a list: the score, and who says so where not all of the list are by the same."""
    what = measure(row)
    told = [] if row["score"] is None else [figure(row["score"])]
    if told and what != "score":
        told = [f"{what} {told[0]}"]
    told += [clean(row["origin"])] if found["origin"].n_unique() > 1 else []
    return graph.shown(kind, row["other"], rows) + (f" ({', '.join(told)})" if told else "")


def _list(question: Question, things: list[Thing], graph: Graph) -> Draft | None:
    """Top techniques for a patent; patents of 2021 for a pollutant; which goals it touches, and why."""
    if len(things) != 1 or len(question.kinds) != 1:
        return None
    n = _how_many(question, question.kinds)
    if n is None or question.left(LINKED | BEST | WHY):
        return None
    (thing,), (kind,) = things, question.kinds
    found = graph.near(thing, kind, question.years)
    if found.is_empty():
        return _through(thing, kind, n, question, graph)
    draft = _head(thing, kind, found, n, question.years)
    draft.named = found["other"][0] if n == 1 else ""
    rows = graph.rows(kind, found["other"].to_list())
    why = bool(WHY & set(question.words))
    told = False
    for row in found.head(n).iter_rows(named=True):
        record = graph.of_links(row)
        draft.say(f"- {_scored(graph, kind, row, rows, found)}", record)
        if why:
            told |= _say_why(draft, row, record)
    if why and not told:
        words = "no reason stands beside these links"
        draft.say(
            "The records give no reasons for them.", Record("links.parquet, looked up", words)
        )
    return draft


def _none(thing: Thing, kind: str, years: tuple[int, int] | None, graph: Graph) -> Draft:
    """Nothing of a kind, where other things of the same sort are linked with such."""
    if graph.records.links_of(thing.kind, kind).is_empty():
        return NOTHING
    words = f"no {kind}{_during(years)} is linked with {clean(thing.shown)}"
    return Draft().say(f"None on record: {words}.", Record("links.parquet, looked up", words))


def _through(thing: Thing, kind: str, n: int, question: Question, graph: Graph) -> Draft:
    """What a thing is linked with by way of pollutants, where nothing links it with the kind directly."""
    direct = graph.records.links_of(thing.kind, kind)
    steps = graph.near(thing, "pollutant")
    if not direct.is_empty() or steps.is_empty() or question.years or thing.kind == "pollutant":
        return _none(thing, kind, question.years, graph)
    by: dict[str, list[tuple[float, dict[str, Any], dict[str, Any]]]] = {}
    for step in steps.iter_rows(named=True):
        for row in graph.near(_node("pollutant", step["other"]), kind).iter_rows(named=True):
            by.setdefault(row["other"], []).append((row["score"] or 0.0, step, row))
    if not by:
        return NOTHING
    rows, names = graph.rows(kind, list(by)), graph.rows("pollutant", steps["other"].to_list())
    order = sorted(by, key=lambda name: (-len(by[name]), name))
    words = f"{figure(len(by))} {plural(kind)} linked with {clean(thing.shown)} through pollutants alone"
    if len(by) > n:
        words += f", {figure(n)} listed, those with the most pollutants first"
    draft = Draft().say(f"{words}:", Record(f"links.parquet, counted over {plural(kind)}", words))
    for name in order[:n]:
        several = sorted(by[name], key=lambda found: (-found[0], found[1]["other"]))[:3]
        through = "; ".join(
            graph.shown("pollutant", step["other"], names) for _, step, _ in several
        )
        draft.say(
            f"- {graph.shown(kind, name, rows)}, through {through}",
            *(graph.of_links(row) for _, *pair in several for row in pair),
        )
    return draft


def _of_kind(question: Question, things: list[Thing], graph: Graph) -> Draft | None:
    """Which patents are from 2021? List the goals."""
    if things or len(question.kinds) != 1 or question.left(YEAR | {"there"}):
        return None
    n = _how_many(question)
    kind = question.kinds[0]
    if n is None or (
        question.years is None and "list" not in question.every and "are" not in question.every
    ):
        return None
    nodes = graph.nodes.filter(kind=kind).sort("id")
    if question.years is not None:
        nodes = nodes.filter(pl.col("year").is_between(*question.years))
    if nodes.is_empty():
        return NOTHING
    words = f"{counted(len(nodes), kind)}{_during(question.years)}"
    if len(nodes) > n:
        words += f", the first {figure(n)} by id listed"
    draft = Draft().say(f"{words}:", Record(f"nodes.parquet, counted over {plural(kind)}", words))
    for row in nodes.head(n).iter_rows(named=True):
        draft.say(f"- {graph.shown(kind, row['id'], {row['id']: row})}", graph.records.node(row))
    return draft


def _about(question: Question, things: list[Thing], graph: Graph) -> Draft | None:
    """The title, the year or the text of one thing."""
    if len(things) != 1 or question.kinds or question.numbers or question.years:
        return None
    if question.left(ABOUT | YEAR | TITLE):
        return None
    (thing,) = things
    row = graph.rows(thing.kind, [thing.id])[thing.id]
    record = graph.records.node(row)
    words = set(question.words)
    if words & YEAR:
        if row["year"] is None:
            return NOTHING
        return Draft().say(f"{clean(thing.shown)} is of {row['year']}.", record)
    if words & TITLE:
        if not row["title"]:
            return NOTHING
        return Draft().say(f"{clean(thing.id)} is called {clean(row['title'])}.", record)
    draft = Draft()
    if row["text"]:
        draft.say(f"{clean(thing.shown)}: {_beginning(clean(row['text']))}", record)
    elif not words & ABOUT:
        draft.say(f"{clean(thing.shown)} is on record without a text.", record)
    near = graph.records.links_of(thing.kind, id=thing.id)
    counts = near.group_by("other_kind").agg(pl.col("other").n_unique()).sort("other_kind")
    if draft.lines and not counts.is_empty():
        said = ", ".join(counted(n, kind) for kind, n in counts.iter_rows())
        draft.say(
            f"It is linked with {said}.",
            Record("links.parquet, counted", f"{clean(thing.shown)}: {said}"),
        )
    return draft


def _beginning(text: str, most: int = 500) -> str:
    if len(text) <= most:
        return text
    end = max(text.rfind(". ", 0, most) + 1, 0) or text.rfind(" ", 0, most)
    return text[: end if end > 0 else most].strip()
