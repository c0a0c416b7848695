"""The things of a run that a question names: by id, title, what stands in brackets, or misspelt."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from linkwise.matching.answer_records import Records


def word_set(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


STOP = word_set(
    "a an the of for to in on at by with from is are was were be been do does did has have had what which "
    "whom whose that this these those there it its they them their he she and as me us give show list tell "
    "name please run runs record records data all each every also s"
)
KINDS = {
    "patent": "patent", "patents": "patent", "invention": "patent", "inventions": "patent",
    "technique": "technique", "techniques": "technique", "section": "technique", "sections": "technique",
    "bat": "technique", "bats": "technique", "pollutant": "pollutant", "pollutants": "pollutant",
    "substance": "pollutant", "substances": "pollutant", "chemical": "pollutant", "chemicals": "pollutant",
    "goal": "goal", "goals": "goal", "sdg": "goal", "sdgs": "goal", "query": "query", "queries": "query",
    "item": "item", "items": "item",
}  # fmt: skip
SIDES = {"goal": "item", "technique": "item", "patent": "query", "text": "query", "texts": "query"}
PREFERRED = ("pollutant", "goal", "technique", "patent", "query", "item")
# Of two substances whose names differ in such a piece, neither is the other one misspelt.
SUBSTANCE = (
    "meth", "(?<!m)eth", "prop", "but", "di", "tri", "tetra", "penta", "hexa", "hepta", "octa", "mono", "ane",
    "ene", "ine", "yne", "ide", "ite", "ate", "ol", "yl", "fluor", "brom", "iod",
)  # fmt: skip
WORD = re.compile(r"[^\W_]+")
# Words of questions: things that bear them as their whole name are found by their ids alone.
COMMON = word_set(
    "best worst top first last most least many much number count score scores rank ranks probability "
    "why reason reasons year title text about model models metric metrics report seed files users "
    "average total mean highest lowest between share common since after before until linked links link "
    "strong strongly well related relevance synergy because baseline better difference"
)


@dataclass(frozen=True)
class Thing:
    """What a question names: the kind and id of a node, query or item, its title, and where it stands."""

    kind: str
    id: str
    title: str
    start: int
    stop: int
    options: tuple[tuple[str, str], ...] = ()
    """All (id, title) where several things of the kind bear the name."""

    @property
    def shown(self) -> str:
        """The kind, the id, and the title where it says more."""
        said = self.id if self.title in ("", self.id) else f'{self.id} "{self.title}"'
        return f"{self.kind} {said}"


@dataclass(frozen=True)
class Piece:
    """A word of the question's text, in normal form, and where it stands."""

    word: str
    start: int
    stop: int


def normal(text: str) -> str:
    """Letters and digits in lower case, single spaces between."""
    return " ".join(WORD.findall(unicodedata.normalize("NFKC", text).lower()))


def pieces(text: str) -> list[Piece]:
    """The words of a text with their places."""
    return [
        Piece(unicodedata.normalize("NFKC", found[0]).lower(), *found.span())
        for found in WORD.finditer(text)
    ]


class Names:
    """The names of a run's things: ids, titles, titles without brackets, what stands in the brackets.

    ``Zinc and compounds (as Zn)`` is also ``zinc and compounds``, ``zinc`` and ``Zn``. Of names that overlap
    in a question the longest counts.
    """

    def __init__(self, records: Records) -> None:
        self.records = records
        self.table = pl.concat([_of_nodes(records.nodes), _of_ranking(records.ranking)]).unique(
            maintain_order=True
        )
        words = self.table.filter(pl.col("kind") != "patent")["key"].str.split(" ").explode()
        self.vocabulary = sorted(
            {w for w in words.drop_nulls().to_list() if w.isalpha() and len(w) >= 5}
        )

    def find(self, text: str, kinds: Sequence[str] = ()) -> tuple[list[Thing], list[str]]:
        """The things that a text names, in their order, and what was understood of misspelt ones.

        A name of several things is taken for one of another kind than those asked for.
        """
        words = pieces(text)
        found = self._spans(text, words, kinds)
        notes: list[str] = []
        taken = {at for thing in found for at in range(thing.start, thing.stop)}
        for place, piece in enumerate(words):
            if piece.start in taken or not self._may_be_misspelt(piece.word):
                continue
            meant = self._meant(piece.word)
            if meant is None:
                continue
            changed = [*words]
            changed[place] = Piece(meant, piece.start, piece.stop)
            again = self._spans(text, changed, kinds)
            new = [t for t in again if t.start <= piece.start < t.stop]
            if new:
                notes.append(
                    f'"{text[piece.start : piece.stop]}" was understood as {new[0].title or new[0].id}.'
                )
                words, found = changed, again
        return found, notes

    def _spans(self, text: str, words: list[Piece], kinds: Sequence[str]) -> list[Thing]:
        grams: dict[str, list[tuple[int, int]]] = {}
        for start in range(len(words)):
            for stop in range(start + 1, min(len(words), start + 40) + 1):
                gram = " ".join(piece.word for piece in words[start:stop])
                spellings = (
                    {gram, gram.removesuffix("s"), f"{gram}s"} if gram[-1].isalpha() else {gram}
                )
                for one in spellings:
                    if one:
                        grams.setdefault(one, []).append((start, stop))
        hits = self.table.filter(pl.col("key").is_in(list(grams)))
        spans: dict[tuple[int, int], list[dict[str, object]]] = {}
        for row in hits.iter_rows(named=True):
            for start, stop in grams[row["key"]]:
                if self._fits(text, words, start, stop, row):
                    spans.setdefault((start, stop), []).append(row)
        chosen: list[Thing] = []
        used: set[int] = set()
        for (start, stop), rows in sorted(spans.items(), key=lambda s: (s[0][0] - s[0][1], s[0])):
            if used & set(range(start, stop)):
                continue
            used |= set(range(start, stop))
            chosen.append(_choose(rows, words, start, stop, kinds))
        return sorted(chosen, key=lambda thing: thing.start)

    @staticmethod
    def _fits(text: str, words: list[Piece], start: int, stop: int, row: dict[str, object]) -> bool:
        key, end, begin = str(row["key"]), words[stop - 1].stop, words[start].start
        if re.match(r"[.:/-]*\w", text[end:]) and (key[-1].isdigit() or text[end].isdigit()):
            return False  # the beginning of a longer id
        if re.search(r"\w[.:/-]*$", text[:begin]) and key[0].isdigit():
            return False
        said = text[begin:end]
        if row["exact"] and said != row["exact"]:
            return False  # Hg and As are symbols in this spelling alone
        if key in STOP or key in KINDS or (key in COMMON and stop - start == 1):
            # a thing called "best" or "score" is found by its id alone
            return False
        if key.isdigit() and len(key) <= 4:  # a short number is a name only after what it numbers
            before = words[start - 1].word if start else ""
            return before in KINDS or before in ("user", "member", "query", "text", "number")
        return True

    def _may_be_misspelt(self, word: str) -> bool:
        return (
            word.isalpha()
            and len(word) >= 5
            and word not in STOP
            and word not in KINDS
            and word not in COMMON
        )

    def _meant(self, word: str) -> str | None:
        """The one word of the names that is a slip of the pen away; None where there are several, or none.

        Not where texts of the run have the word as it is, nor where another substance is so called.
        """
        limit = 1 if len(word) < 8 else 2
        near = [
            (distance, other)
            for other in self.vocabulary
            if other[0] == word[0] and abs(len(other) - len(word)) <= limit
            for distance in (edits(word, other),)
            if 0 < distance <= limit and not _another_substance(word, other)
        ]
        near = [pair for pair in near if pair[0] == min(near)[0]]
        if len(near) != 1:
            return None
        stands = pl.col("text").str.to_lowercase().str.contains(rf"\b{re.escape(word)}\b")
        return None if self.records.nodes.select(stands.any()).item() else near[0][1]


def edits(a: str, b: str) -> int:
    """Letters added, left out, changed, or two neighbours swapped, that make one word of another."""
    before: list[int] = []
    last = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, last = last, row
    return last[-1]


def _another_substance(word: str, other: str) -> bool:
    """Whether a word has a piece of a chemical name that the other has not, or not as often."""

    def counts(text: str) -> list[int]:
        return [len(re.findall(piece, text)) for piece in SUBSTANCE]

    return any(mine > theirs for mine, theirs in zip(counts(word), counts(other), strict=True))


def _choose(
    rows: list[dict[str, object]], words: list[Piece], start: int, stop: int, kinds: Sequence[str]
) -> Thing:
    """The thing that a name means: of the kind that stands beside it; by id before title; by preference."""
    beside = {
        KINDS.get(words[at].word) for at in (start - 1, stop) if 0 <= at < len(words)
    } - {None}  # fmt: skip
    # "goal 6" is no text of that number, and "text 6" no goal.
    sides = {SIDES.get(words[at].word) or SIDES.get(KINDS.get(words[at].word, ""))
             for at in (start - 1, stop) if 0 <= at < len(words)}  # fmt: skip
    for keep in (
        lambda row: row["kind"] in beside,
        lambda row: row["kind"] in sides,
        lambda row: row["how"] == "id",
        lambda row: row["how"] == "title",
        lambda row: row["kind"] not in kinds,
    ):
        rows = [row for row in rows if keep(row)] or rows
    order = {kind: place for place, kind in enumerate(PREFERRED)}
    kind = min((str(row["kind"]) for row in rows), key=lambda one: order.get(one, len(order)))
    same = {str(row["id"]): str(row["title"] or "") for row in rows if row["kind"] == kind}
    name, title = next(iter(same.items()))
    options = tuple(same.items()) if len(same) > 1 else ()
    return Thing(kind, name, title, words[start].start, words[stop - 1].stop, options)


def _of_nodes(nodes: pl.DataFrame) -> pl.DataFrame:
    title = pl.col("title")
    bare = title.str.replace_all(r"\([^()]*\)", " ")
    inside = title.str.extract_all(r"\([^()]*\)")
    parts = [
        _keys(nodes, pl.col("id"), "id"),
        _keys(nodes, title, "title"),
    ]
    few = nodes.filter((pl.col("kind") != "patent") & title.is_not_null())
    substances = few.filter(pl.col("kind") == "pollutant")
    parts += [
        _keys(few, bare, "alias"),
        # A substance's short name is as good as a section's title: "mercury" is first of all the pollutant.
        _keys(substances, bare, "title"),
        _keys(substances, bare.str.extract(r"^(.*?)\s+and\s+(?:\w+\s+)?compounds\b"), "title"),
        _keys(substances, bare.str.extract(r"^[\d,]+-(\p{L}.*)$"), "alias"),
        _symbols(substances.with_columns(alias=inside).explode("alias", empty_as_null=True)),
        _symbols(substances.with_columns(alias=bare)),
    ]
    goals = nodes.filter(kind="goal").with_columns(n=pl.col("id").str.extract(r"(\d+)$"))
    parts += [_keys(goals, pl.format("{} {}", pl.lit(word), "n"), "id") for word in ("goal", "sdg")]
    return pl.concat(parts)


def _symbols(table: pl.DataFrame) -> pl.DataFrame:
    """What stands in brackets: ``(as total Cl)`` is ``Cl``, ``(dioxins + furans)`` are both.

    Short ones count in their own spelling alone.
    """
    parts = pl.col("alias").str.split(" + ")
    table = table.with_columns(alias=parts).explode("alias", empty_as_null=True)
    said = (
        pl.col("alias")
        .str.strip_chars("() ")
        .str.replace(r"^as\s+", "")
        .str.replace(r"^total\s+", "")
    )
    exact = pl.when(pl.col("said").str.len_chars() <= 3).then(pl.col("said")).otherwise(pl.lit(""))
    table = table.with_columns(said=said).filter(pl.col("said").str.len_chars() >= 2)
    return _keys(table.with_columns(exact=exact), pl.col("said"), "alias")


def _keys(table: pl.DataFrame, words: pl.Expr, how: str) -> pl.DataFrame:
    exact = pl.col("exact") if "exact" in table.columns else pl.lit("")
    return (
        table.select(
            pl.col("kind"), pl.col("id"), pl.col("title"), _normal(words).alias("key"),
            exact.alias("exact"), pl.lit(how).alias("how"),
        )
        .filter(pl.col("key") != "")
    )  # fmt: skip


def _normal(words: pl.Expr) -> pl.Expr:
    """`normal` of a column."""
    lower = words.str.normalize("NFKC").str.to_lowercase()
    return lower.str.replace_all(r"[^\p{L}\p{N}]+", " ").str.strip_chars()


def _of_ranking(ranking: pl.DataFrame) -> pl.DataFrame:
    queries = ranking.select(kind=pl.lit("query"), id="query", title=pl.lit(None, pl.String))
    items = ranking.select(kind=pl.lit("item"), id="item", title="title")
    queries, items = queries.unique(maintain_order=True), items.unique("id", maintain_order=True)
    return pl.concat(
        [
            _keys(queries, pl.col("id"), "id"),
            _keys(items, pl.col("id"), "id"),
            _keys(items, pl.col("title"), "title"),
        ]
    )


# Words of questions: things that bear them as their whole name are found by their ids alone.
