"""`Documents`: patents and other texts with their year and codes, validated where they are read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import polars as pl
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from linkwise.data.bad_rows import printable
from linkwise.data.codes import LEVELS, Level, is_indexing, roll_up, spelled
from linkwise.data.document_tables import (
    MEND,
    TEXTS,
    choose_columns,
    find_tables,
    read_rows,
    typed,
)
from linkwise.data.schema import parted
from linkwise.data.texts import read_table
from linkwise.errors import InputError

Text = Literal["abstract", "claims", "both"]

# A year, or a date whose year it is: 2013, 20131217, 2013/12/17, 2013-12, 2013-12-17 also with a time.
YEAR = (
    r"^(\d{4})(?:[-/]?(?:0[1-9]|1[0-2])[-/]?(?:0[1-9]|[12]\d|3[01])(?:[T ].*)?|-(?:0[1-9]|1[0-2]))?"
    r"(?:\.0+)?$"
)
FIRST_YEAR, LAST_YEAR = 1600, 2100
NO_FAMILY = ("", "0", "-1")  # what patent offices' tables write where no family is known

# The rules of the ledger, in the order in which they are kept.
UNREADABLE = "rows that cannot be read"
NO_ID = "rows without an id"
NO_YEAR = "rows without a year"
DUPLICATE = "rows of an id that was there"
JOINED = "rows joined to an earlier one of their id"
FAMILY = "later members of a family"
SAME = "documents that equal an earlier one in all but their id"
INDEXING = "indexing codes, each time one stood"
SHALLOW = "codes less deep than the level"
NO_CODE = "documents without a code, which stay"
LEDGER = (UNREADABLE, NO_ID, NO_YEAR, DUPLICATE, JOINED, FAMILY, SAME, INDEXING, SHALLOW, NO_CODE)


class DocumentsConfig(BaseModel):
    """How documents are read from tables: what the columns are called, and what is taken of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    id: str | None = None
    """Column with the document's id; by default found by its usual names, as all columns are. Without one
    the rows are numbered."""
    title: str | None = None
    """Column with the title."""
    abstract: str | None = None
    """Column with the abstract, or with title and abstract in one."""
    claims: str | None = None
    """Column with the claims."""
    year: str | None = None
    """Column with the year, or with a date, which is reduced to its year."""
    codes: str | None = None
    """Column with the classification codes: lists, or texts separated by commas, semicolons or bars."""
    family: str | None = None
    """Column with the family's id; the earliest document of each family is kept."""
    level: Level | None = None
    """How far codes are rolled up; none: they stay as deep as they stand, in one spelling."""
    leave_out_indexing: bool = False
    """Leave out the CPC's indexing codes, the 2000 series (B60L 2200/12), Y10S and Y10T."""
    drop_same: bool = False
    """Leave out documents that equal an earlier one in all but their id: texts, year and codes."""
    text: Annotated[tuple[Text, ...], BeforeValidator(parted)] = Field(("abstract",), min_length=1)
    """What is read of a document, behind its title. Several, separated by commas, are compared."""
    on_bad_row: Literal["error", "skip"] = "error"
    """What a row that is malformed, or has no id, no year or another document's id does: stop, naming file
    and row, or be dropped and counted."""

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        if self.claims is not None and self.text == ("abstract",):
            raise ValueError(
                "--claims has no effect where no claims are read; add --text claims or --text both"
            )
        return self


@dataclass(frozen=True)
class Documents:
    """Validated documents, in memory.

    `table` has one row per document, in the order of the files, with the columns

    - `id`: text, unique
    - `title`, `abstract`, `claims`: text, empty where there is none; claims only where they were asked for
    - `year`: int32; null in all rows where the files have no column of years
    - `codes`: a list of texts, each once, in order; empty where there is none

    `opaque` are the codes that are no IPC or CPC symbols and stayed as they are although a level was asked,
    sorted. `respelled` are, without a level, those that were brought to one spelling: as each stood, and as
    it is. `ledger` counts what was left out, by rule; every rule of `LEDGER` is in it.
    """

    table: pl.DataFrame
    opaque: tuple[str, ...]
    ledger: Mapping[str, int]
    files: tuple[Path, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    """Which column of the files became which of the table, and the family: `codes` from cpc_code."""
    at_hand: tuple[str, ...] = ()
    """All columns of the files."""
    respelled: Mapping[str, str] = field(default_factory=dict)
    same: int = 0
    """Documents that equal an earlier one in all but their id, and stayed."""

    def texts(self, which: Text) -> list[str]:
        """Title and abstract, claims or both of each document as one text; empty where there is nothing.

        Raises `InputError` where claims are asked for and no document has any.
        """
        if which != "abstract" and not (self.table["claims"] != "").any():
            raise InputError(
                f"{self._name()}: no document has claims. Read them with --text claims or --text both, from "
                f"a table that has them{self._columns()}."
            )
        parts = {"abstract": ("title", "abstract"), "claims": ("title", "claims"), "both": TEXTS}
        joined = pl.lit("")
        for part in parts[which]:
            mark = (
                pl.when(joined.str.contains(r"[.!?:;]$")).then(pl.lit(" ")).otherwise(pl.lit(". "))
            )
            alone = (joined == "") | (pl.col(part) == "")
            between = pl.when(alone).then(pl.lit("")).otherwise(mark)
            joined = pl.concat_str(joined, between, pl.col(part))
        return self.table.select(joined.alias("text"))["text"].to_list()

    def check_codes(self) -> None:
        """Raise `InputError`, saying why, where no document has a code."""
        if (self.table["codes"].list.len() > 0).any():
            return
        if "codes" not in self.columns:
            raise InputError(
                f"{self._name()}: no column of codes was found. Name it with --codes{self._columns()}."
            )
        column, shallow = self.columns["codes"], self.ledger[SHALLOW]
        if shallow:
            raise InputError(
                f"{self._name()}: no document has a code as deep as the level asked; the {shallow:,} of "
                f'column "{column}" are all less deep. Ask for a higher one with --level: one of '
                f"{', '.join(LEVELS)}."
            )
        raise InputError(
            f'{self._name()}: no document has a code: column "{column}" is empty throughout. Name another '
            f"with --codes{self._columns()}."
        )

    def spelling(self) -> str | None:
        """What was done to the spelling of codes, in words; None where nothing was."""
        if not self.respelled:
            return None
        was, became = next(iter(self.respelled.items()))
        n = len(self.respelled)
        return (
            f"Codes: {n:,} stood in another spelling and {'were' if n > 1 else 'was'} brought to one, "
            f'such as "{printable(was)}" to {became}.'
        )

    def left_out(self) -> str | None:
        """Which rows of the files are no documents of their own, in words; None where all are."""
        rules = (UNREADABLE, NO_ID, NO_YEAR, DUPLICATE, JOINED, FAMILY, SAME)
        told = [f"{self.ledger[rule]:,} {rule}" for rule in rules if self.ledger.get(rule)]
        if not told:
            return None
        by = f' (column "{self.columns["family"]}")' if self.ledger.get(FAMILY) else ""
        return f"{len(self.table):,} documents were read; left out: {', '.join(told)}{by}."

    def doubled(self) -> str | None:
        """A warning of documents that equal an earlier one, in words; None without any."""
        if not self.same:
            return None
        verbs = ("equals", "counts") if self.same == 1 else ("equal", "count")
        return (
            f"{self.same:,} of {len(self.table):,} documents {verbs[0]} an earlier one in texts, year and "
            f"codes, and {verbs[1]} as if independent of it. --drop-same leaves such documents out."
        )

    def check_years(self) -> None:
        """Raise `InputError` where the documents have no years."""
        if self.table["year"].null_count():
            raise InputError(
                f"{self._name()}: no column of years was found. Name it, or one of dates, with "
                f"--year{self._columns()}."
            )

    def _name(self) -> str:
        if not self.files:
            return "the documents"
        more = f" and {len(self.files) - 1} more" if len(self.files) > 1 else ""
        return f"{self.files[0]}{more}"

    def _columns(self) -> str:
        return f"; the columns are {', '.join(self.at_hand)}" if self.at_hand else ""


def read_documents(
    paths: str | Path | Sequence[str | Path],
    config: DocumentsConfig | None = None,
    *,
    codes: bool = True,
) -> Documents:
    """Read documents from tables: Parquet, CSV, TSV or JSON lines, all but Parquet also as .gz and .zst.

    One file, several, or folders of them, all with the same columns. Rows of one id that differ in nothing
    but their codes (one row per document and code) are joined. Of a family the earliest year stays, of that
    the first row, with its own codes. Codes are rolled up to `config.level`. Without `codes` they are read
    only where the config asks for them: whoever does not use them is not stopped by their columns.

    Raises `InputError` for files that are missing, empty, damaged or of different columns; for columns that
    are not there, or of which two may be meant; for malformed rows, and those without an id, without a year
    or with another document's id, unless `config.on_bad_row` is skip; where codes were asked for (by column
    or level) and no document has any; and where no document is left.
    """
    config = config or DocumentsConfig()
    codes = codes or config.level is not None or config.leave_out_indexing
    files = find_tables(paths)
    ledger = dict.fromkeys(LEDGER, 0)
    frames: list[pl.DataFrame] = []
    columns: dict[str, str] = {}
    at_hand: list[str] = []
    for number, path in enumerate(files):
        table, names, unreadable = read_rows(path, config.on_bad_row == "skip", config)
        chosen = choose_columns(path, names, config, codes)
        if number == 0:
            columns, at_hand = chosen, names
        elif chosen != columns:
            raise InputError(
                f"{path}: the documents' columns are {', '.join(chosen.values())}; expected those of "
                f"{files[0]}: {', '.join(columns.values())}. Read files of different columns apart."
            )
        frames.append(typed(path, table, chosen).with_columns(file=pl.lit(number, pl.UInt32)))
        ledger[UNREADABLE] += unreadable
    frame = pl.concat(frames)
    del frames, table
    if "id" not in columns:
        frame = frame.with_columns(id=pl.format("row {}", pl.int_range(1, pl.len() + 1)))
    source = _Source(tuple(files), columns, config.on_bad_row == "skip")
    frame = _valid(frame, source, ledger)
    frame = _one_row_each(frame, source, ledger)
    frame = _earliest_of_each_family(frame, ledger)
    again = _same(frame)
    if config.drop_same:
        frame, ledger[SAME] = frame.filter(~again), int(again.sum())
    if config.leave_out_indexing:
        frame = _without_indexing(frame, ledger)
    opaque: tuple[str, ...] = ()
    respelled: dict[str, str] = {}
    if config.level is not None:
        frame, opaque = _rolled_up(frame, config.level, ledger)
    else:
        frame, respelled = _in_one_spelling(frame)
    table = frame.select("id", *TEXTS, "year", pl.col("codes").list.unique(maintain_order=True))
    ledger[NO_CODE] = int((table["codes"].list.len() == 0).sum())
    documents = Documents(
        table, opaque, ledger, tuple(files), columns, tuple(at_hand), respelled,
        0 if config.drop_same else int(again.sum()),
    )  # fmt: skip
    if config.codes is not None or config.level is not None:
        documents.check_codes()
    return documents


@dataclass(frozen=True)
class _Source:
    """Where rows come from, for messages about them, and whether bad ones are skipped."""

    files: tuple[Path, ...]
    columns: Mapping[str, str]
    skip: bool

    def where(self, row: Mapping[str, Any]) -> str:
        return f"{self.files[row['file']]} row {row['row']}"


def _valid(frame: pl.DataFrame, source: _Source, ledger: dict[str, int]) -> pl.DataFrame:
    """The rows that have an id and, where the files have years, one from 1600 to 2100, then an int32."""
    year = pl.col("year").str.extract(YEAR, 1).cast(pl.Int32)
    year = pl.when(year.is_between(FIRST_YEAR, LAST_YEAR)).then(year)
    no_id = pl.col("id").fill_null("") == ""
    no_year = year.is_null() if "year" in source.columns else pl.lit(False)
    bad = pl.when(no_id).then(pl.lit("id")).when(no_year).then(pl.lit("year"))
    frame = frame.with_columns(bad=bad)
    dropped = frame.filter(pl.col("bad").is_not_null())
    if len(dropped) and not source.skip:
        row = dropped.row(0, named=True)
        role, value = row["bad"], row[row["bad"]]
        expected = (
            "an id"
            if role == "id"
            else "a year, 1600 to 2100, or a date like 2013-12-17 or 20131217"
        )
        got = f'is "{printable(value)}"' if value else "is empty"
        count = f"{len(dropped):,} of {len(frame):,} rows are bad. " if len(dropped) > 1 else ""
        raise InputError(
            f"{source.where(row)}: {source.columns[role]} {got}; expected {expected}. {count}{MEND}"
        )
    ledger[NO_ID] = int((dropped["bad"] == "id").sum())
    ledger[NO_YEAR] = int((dropped["bad"] == "year").sum())
    if len(dropped) == len(frame):
        lost = len(frame) + ledger[UNREADABLE]
        why = f"all {lost:,} rows are bad" if lost else "there are no rows below the header"
        raise InputError(f"{', '.join(map(str, source.files))}: no documents: {why}.")
    return frame.filter(pl.col("bad").is_null()).drop("bad").with_columns(year=year)


def _one_row_each(frame: pl.DataFrame, source: _Source, ledger: dict[str, int]) -> pl.DataFrame:
    """Join rows of one id that differ in nothing but their codes, and drop those that say nothing new."""
    n_ids = frame["id"].n_unique()
    if n_ids == len(frame):
        return frame
    content = (*TEXTS, "year", "family")
    differs = [pl.col(name).ne_missing(pl.col(name).first().over("id")) for name in content]
    frame = frame.with_columns(differs=pl.any_horizontal(differs))
    other = frame.filter("differs")
    if len(other) and not source.skip:
        later = other.row(0, named=True)
        first = frame.filter(pl.col("id") == later["id"]).row(0, named=True)
        name = next(name for name in content if later[name] != first[name])
        got, had = (printable(str(row[name] or ""), 60) for row in (later, first))
        raise InputError(
            f'{source.where(later)}: {source.columns["id"]} is "{printable(later["id"])}", as in '
            f'{source.where(first)}, but {source.columns[name]} is "{got}" and there "{had}"; expected one '
            "document of an id, whose rows differ in their codes at most. Name another column with --id. "
            + MEND
        )
    kept = frame.filter(~pl.col("differs"))
    kept = kept.filter(pl.struct("id", pl.col("codes").list.join("\n")).is_first_distinct())
    ledger[DUPLICATE] = len(frame) - len(kept)
    ledger[JOINED] = len(kept) - n_ids
    codes = pl.col("codes").list.explode(keep_nulls=False, empty_as_null=False)
    return kept.group_by("id", maintain_order=True).agg(pl.col(*content).first(), codes)


def _earliest_of_each_family(frame: pl.DataFrame, ledger: dict[str, int]) -> pl.DataFrame:
    """The earliest document of each family, of one year the first; all that are of no known family."""
    frame = frame.with_row_index("place")
    family = pl.col("family").fill_null("")
    first = pl.col("place").sort_by("year", "place").first().over(family)
    kept = frame.filter(family.is_in(NO_FAMILY) | (pl.col("place") == first)).drop("place")
    ledger[FAMILY] = len(frame) - len(kept)
    return kept


def _same(frame: pl.DataFrame) -> pl.Series:
    """Which documents that have a text equal an earlier one in all but id and family."""
    texts = pl.any_horizontal(pl.col(part).fill_null("") != "" for part in TEXTS)
    codes = pl.col("codes").list.unique().list.sort().list.join("\n")
    said = pl.struct(*TEXTS, "year", codes.alias("codes"))
    return frame.select(same=texts & ~said.is_first_distinct())["same"]


def _rolled_up(
    frame: pl.DataFrame, level: Level, ledger: dict[str, int]
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The frame with its codes at a level, and the codes that are no symbols, which stay as they are.

    Each distinct code is rolled up once: of a million documents there are some ten thousand of them.
    """
    distinct = _distinct(frame)
    rolled = {code: roll_up(code, level) for code in distinct}
    opaque = [c for c, up in rolled.items() if up is None and roll_up(c, "section") is None]
    rolled |= {code: code for code in opaque}
    frame, lost = _replaced(frame, rolled)
    ledger[SHALLOW] = lost
    return frame, tuple(opaque)


def _in_one_spelling(frame: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, str]]:
    """The frame with every symbol in one spelling, and which stood in another, as it stood and as it is."""
    found = {code: spelled(code) or code for code in _distinct(frame)}
    changed = {code: form for code, form in found.items() if form != code}
    return (_replaced(frame, found)[0] if changed else frame), changed


def _without_indexing(frame: pl.DataFrame, ledger: dict[str, int]) -> pl.DataFrame:
    """The frame without the codes that only add to others."""
    kept = {code: None if is_indexing(code) else code for code in _distinct(frame)}
    frame, ledger[INDEXING] = _replaced(frame, kept)
    return frame


def _distinct(frame: pl.DataFrame) -> list[str]:
    found: list[str] = frame["codes"].explode().drop_nulls().unique().sort().to_list()
    return found


def _replaced(frame: pl.DataFrame, by: Mapping[str, str | None]) -> tuple[pl.DataFrame, int]:
    """The frame with each code replaced, or left out where by None; and how many times one was."""
    new = pl.element().replace_strict(
        list(by), list(by.values()), default=None, return_dtype=pl.String
    )
    codes = frame["codes"].list.eval(new)
    kept = codes.list.drop_nulls()
    lost = int((codes.list.len() - kept.list.len()).sum())
    return frame.with_columns(kept.alias("codes")), lost


# The version behind an IPC title, [1,2006.01], and what follows it: notes, and the foot of a page.
VERSION = re.compile(r"\s*\[(?:\d+,)*(?:19|20)\d\d\.\d\d(?:,[\d.]+)*\].*", re.DOTALL)
# What is left of a reference or a range of groups that was cut before its title.
FRAGMENT = re.compile(r"(?:takes? precedence|or|and)\b")


def read_code_titles(path: str | Path) -> dict[str, str]:
    """The titles of codes, from a Parquet, CSV, TSV or JSON lines table with the columns code and title.

    Codes of any spelling become what `roll_up` makes of them at their own depth: `A01B001`, `A01B 1` and
    `A01B1` are all A01B1; the title of `A01B 1/00` is that of A01B1 too. What is no symbol stays as it is.
    Of two titles of a code the first counts. From a title go the version and what stands behind it, and a
    reference in brackets that never closes; what then begins like the rest of a reference is no title.

    Raises `InputError` where the table cannot be read, lacks a column, or has no titles.
    """
    path = Path(path)
    table = read_table(path)
    names = {name.lower(): name for name in table.columns}
    for name in ("code", "title"):
        if name not in names:
            raise InputError(
                f'{path}: no column "{name}"; expected code and title. The columns are '
                f"{', '.join(table.columns)}."
            )
    pairs = table.select(pl.col(names["code"], names["title"]).cast(pl.String)).drop_nulls()
    titles: dict[str, str] = {}
    for code, raw in pairs.iter_rows():
        title = _bare_title(raw)
        if title and not FRAGMENT.match(title):
            titles.setdefault(spelled(code) or code.strip(), title)
    if not titles:
        raise InputError(f"{path}: no titles: of {len(table):,} rows none has a code and a title.")
    for code, title in list(titles.items()):
        if code.endswith("/00"):
            titles.setdefault(code.removesuffix("/00"), title)
    return titles


def _bare_title(text: str) -> str:
    """A title without its version and what follows, and without a bracket that never closes."""
    title = VERSION.sub("", text)
    opened: list[int] = []
    for place, character in enumerate(title):
        if character == "(":
            opened.append(place)
        elif character == ")" and opened:
            opened.pop()
    if opened:
        title = title[: opened[0]]
    return " ".join(title.split())
