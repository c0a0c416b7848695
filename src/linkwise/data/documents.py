"""`Documents`: texts with a year and classification codes, such as patents, validated where they are read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from linkwise.data.codes import Level, roll_up
from linkwise.data.files import find_files
from linkwise.data.texts import read_table
from linkwise.errors import InputError

TextPart = Literal["abstract", "claims", "both"]

# What columns are usually called, in lower case: our own, KISTA's, EPO's sample, PatentsView's, EPO TIP's.
USUAL: dict[str, tuple[str, ...]] = {
    "id": ("id", "publication_number", "pub_number", "patent_id", "appln_id", "patent_number"),
    "title": ("title", "title_text", "patent_title", "appln_title"),
    "abstract": ("abstract", "abstract_text", "patent_abstract", "appln_abstract", "text"),
    "claims": ("claims", "claims_text", "claim_text"),
    "year": (
        "year", "appln_yr", "appln_filing_year", "filing_year", "publication_year",
        "patent_date", "filing_date", "publication_date",
    ),
    "codes": (
        "codes", "cpc_codes", "cpc_code", "ipc_codes", "ipc_code", "ipc_class_symbol",
        "cpc_class_symbol", "cpc_group",
    ),
    "family": ("family", "family_id", "docdb_family_id"),
}  # fmt: skip
YEARS = (1600, 2100)
# What stands behind a title of the IPC: its version and all after it, and references cut off in the middle.
BEHIND_TITLE = re.compile(r"\s*(?:\[[\d,.\s]*\].*|\([^)]*)\s*$")


class DocumentsConfig(BaseModel):
    """How documents are read."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    id: str | None = None
    """Column of the document's id; by default found by its name. Without one, rows are numbered."""
    title: str | None = None
    """Column of the title."""
    abstract: str | None = None
    """Column of the abstract, or of the whole text."""
    claims: str | None = None
    """Column of the claims."""
    year: str | None = None
    """Column of the year, or of a date."""
    codes: str | None = None
    """Column of the classification codes: a list, text with commas, semicolons or bars between them, or one
    code in each of several rows of a document."""
    family: str | None = None
    """Column of the family, of which the earliest document is kept."""
    level: Level | None = None
    """Level to which IPC and CPC codes are rolled up; by default codes are taken as they are."""
    on_bad_row: Literal["error", "skip"] = Field("error")
    """What becomes of documents without a year: an error, or dropped and counted."""


@dataclass(frozen=True)
class Documents:
    """Documents, one row each.

    `table` has `id` (text, each once), `title`, `abstract`, `claims` (text, empty where there is none),
    `year` (int) and `codes` (list of text, each once). `opaque` are codes that are no IPC or CPC symbols,
    kept as they are; `ledger` says what was left out, and how often.
    """

    table: pl.DataFrame
    opaque: tuple[str, ...]
    ledger: dict[str, int]

    def texts(self, part: TextPart) -> list[str]:
        """The text of each document: its title, and the abstract, the claims, or both."""
        parts = {"abstract": ["abstract"], "claims": ["claims"], "both": ["abstract", "claims"]}
        joined = pl.concat_str(
            [
                pl.when(pl.col(name) != "")
                .then(pl.col(name).str.strip_chars_end(". ") + ". ")
                .otherwise(pl.lit(""))
                for name in ["title", *parts[part]]
            ]
        )  # fmt: skip
        return self.table.select(joined.str.strip_chars_end(" ").alias("t"))["t"].to_list()


def read_documents(
    paths: str | Path | Sequence[str | Path], config: DocumentsConfig | None = None
) -> Documents:
    """Read documents from Parquet, CSV, TSV or JSON lines: one file, several, or a folder.

    A document in several rows that differ in their code only is joined into one. Of a family the earliest
    document is kept, the first of its year, with its own codes. Rolled-up codes stand once; codes less deep
    than the level are left out.

    Raises `InputError` where files or columns are missing, two columns may hold the codes, a document has no
    year, or two that differ have one id.
    """
    config = config or DocumentsConfig()
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    files = [Path(file.path) for file in find_files([str(path) for path in given])]
    tables = [_canonical(read_table(path), path, config) for path in files]
    kinds = {tuple(table.columns) for table in tables}
    if len(kinds) > 1:
        raise InputError(
            f"{files[0]} and other files have different columns; read them apart, or name the columns."
        )
    table = pl.concat(tables, how="vertical_relaxed")
    ledger: dict[str, int] = {}
    table = _with_year(table, config, ledger)
    table = _one_row_each(table, files[0])
    if "family" in table.columns:
        kept = (
            table.with_row_index("row")
            .with_columns(pl.col("family").fill_null(pl.concat_str(pl.lit("\0"), "id")))
            .sort("year", "row")
            .unique("family", keep="first", maintain_order=True)
            .sort("row")
        )
        ledger["later members of a family"] = len(table) - len(kept)
        table = kept.drop("row", "family")
    table, opaque = _rolled_up(table, config.level, ledger)
    return Documents(
        table.select("id", "title", "abstract", "claims", "year", "codes"), opaque, ledger
    )


def _canonical(frame: pl.DataFrame, path: Path, config: DocumentsConfig) -> pl.DataFrame:
    """A table's columns under our names; `row` says where a document stood."""
    at_hand = ", ".join(frame.columns)
    by_lower = {name.lower(): name for name in reversed(frame.columns)}
    found: dict[str, str] = {}
    for role, usual in USUAL.items():
        asked = getattr(config, role)
        if asked is not None:
            if asked not in frame.columns:
                raise InputError(
                    f'{path}: no column "{asked}" (--{role}); the columns are {at_hand}.'
                )
            found[role] = asked
            continue
        there = [by_lower[name] for name in usual if name in by_lower]
        there = [name for name in there if name not in found.values()]
        if role == "codes" and len(there) > 1:
            raise InputError(
                f"{path}: {there[0]} and {there[1]} may both hold the codes; name one with --codes."
            )
        if there:
            found[role] = there[0]
    if "year" not in found:
        raise InputError(
            f"{path}: no column with the year; name it with --year. The columns are {at_hand}."
        )
    if not {"title", "abstract", "claims", "codes"} & set(found):
        raise InputError(
            f"{path}: neither a text nor codes; name the columns with --title, --abstract or --codes. The "
            f"columns are {at_hand}."
        )
    n = len(frame)
    text = [
        pl.col(found[role]).cast(pl.String).fill_null("").str.strip_chars().alias(role)
        if role in found
        else pl.lit("").alias(role)
        for role in ("title", "abstract", "claims")
    ]
    number = pl.concat_str(pl.lit("row "), pl.int_range(1, n + 1)).alias("id")
    return frame.select(
        pl.col(found["id"]).cast(pl.String).alias("id") if "id" in found else number,
        *text,
        pl.col(found["year"]).alias("year") if _is_date(frame, found["year"]) is False
        else pl.col(found["year"]).dt.year().alias("year"),
        _codes(frame, found.get("codes"), path).alias("codes"),
        *([pl.col(found["family"]).cast(pl.String).alias("family")] if "family" in found else []),
        pl.concat_str(pl.lit(f"{path} row "), pl.int_range(1, n + 1)).alias("where"),
    )  # fmt: skip


def _is_date(frame: pl.DataFrame, name: str) -> bool:
    return frame.schema[name].is_temporal()


def _codes(frame: pl.DataFrame, name: str | None, path: Path) -> pl.Expr:
    if name is None:
        return pl.lit([], dtype=pl.List(pl.String))
    kind = frame.schema[name]
    if isinstance(kind, pl.List | pl.Array):
        return pl.col(name).cast(pl.List(pl.String)).fill_null([])
    if kind != pl.String:
        raise InputError(
            f'{path}: column "{name}" is of the kind {kind}; expected codes as text or as a list.'
        )
    return pl.col(name).fill_null("").str.replace_all(r"[;|]", ",").str.split(",")


def _with_year(
    table: pl.DataFrame, config: DocumentsConfig, ledger: dict[str, int]
) -> pl.DataFrame:
    """Years as numbers: 2013, 20131217, 2013-12-17; a row without one is an error, or dropped and counted."""
    text = pl.col("year").cast(pl.String).str.strip_chars()
    digits = text.str.extract(r"^(\d{4})(?:\.0+)?$|^(\d{4})[-/.]?\d{2}[-/.]?\d{2}", 0)
    year = digits.str.slice(0, 4).cast(pl.Int32, strict=False)
    read = table.with_columns(
        year=pl.when(year.is_between(*YEARS)).then(year), said=text.fill_null("")
    )
    bad = read.filter(pl.col("year").is_null())
    if len(bad) and config.on_bad_row == "error":
        said, where = bad["said"][0], bad["where"][0]
        more = f" ({len(bad):,} such rows)" if len(bad) > 1 else ""
        raise InputError(
            f'{where}: the year is "{said}"{more}; expected a year of {YEARS[0]} to {YEARS[1]} or a date '
            "such as 2013-12-17. Use --on-bad-row=skip to drop such rows (counted in the report)."
        )
    if len(bad):
        ledger["rows without a year"] = len(bad)
    if len(bad) == len(read):
        raise InputError(f"none of the {len(read):,} documents has a year.")
    return read.filter(pl.col("year").is_not_null()).drop("said")


def _one_row_each(table: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Rows of one id joined, if they differ in their codes only."""
    if table["id"].null_count():
        first = table.filter(pl.col("id").is_null())["where"][0]
        raise InputError(f"{first}: the document has no id.")
    if table["id"].n_unique() == len(table):
        return table.drop("where")
    others = [name for name in table.columns if name not in ("id", "codes", "where")]
    differing = (
        table.group_by("id", maintain_order=True)
        .agg(
            *(pl.col(name).n_unique().alias(name) for name in others),
            pl.col("where").alias("where"),
        )
        .filter(pl.any_horizontal(pl.col(name) > 1 for name in others))
    )
    if len(differing):
        row = differing.row(0, named=True)
        what = next(name for name in others if row[name] > 1)
        raise InputError(
            f'{row["where"][0]} and {row["where"][1].rpartition(" ")[2]}: both have the id "{row["id"]}", '
            f"and they differ in their {what}. Remove one, or name the column of the id with --id."
        )
    return table.group_by("id", maintain_order=True).agg(
        *(pl.col(name).first() for name in others),
        pl.col("codes").explode(empty_as_null=False),
    )


def _rolled_up(
    table: pl.DataFrame, level: Level | None, ledger: dict[str, int]
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Codes at a level, each once; every distinct code is read once, however many documents carry it."""
    links = (
        table.select(pl.int_range(len(table)).alias("row"), "codes")
        .explode("codes")
        .with_columns(pl.col("codes").str.strip_chars())
        .filter(pl.col("codes").fill_null("") != "")
    )
    distinct = links["codes"].unique(maintain_order=True).to_list()
    to: dict[str, str | None] = {}
    opaque = []
    for code in distinct:
        if roll_up(code, "section") is None:
            opaque.append(code)
            to[code] = code
        else:
            to[code] = code if level is None else roll_up(code, level)
    shallow = [code for code, at in to.items() if at is None]
    if shallow:
        ledger["codes less deep than the level"] = int(links["codes"].is_in(shallow).sum())
    found = pl.DataFrame(
        {"codes": list(to), "code": list(to.values())},
        schema={"codes": pl.String, "code": pl.String},
    )
    joined = (
        links.join(found, on="codes", maintain_order="left")
        .drop_nulls("code")
        .unique(["row", "code"], maintain_order=True)
        .group_by("row", maintain_order=True)
        .agg(pl.col("code").alias("codes"))
    )
    table = (
        table.drop("codes")
        .with_columns(row=pl.int_range(pl.len()))
        .join(joined, on="row", how="left", maintain_order="left")
        .with_columns(pl.col("codes").fill_null([]))
        .drop("row")
    )
    without = int((table["codes"].list.len() == 0).sum())
    if without and without < len(table):
        ledger["documents without a code (kept for their texts)"] = without
    return table, tuple(sorted(opaque))


def read_code_titles(path: str | Path) -> dict[str, str]:
    """Titles by code, from a table with the columns `code` and `title`.

    A main group stands under every spelling of it (`A01B001` is `A01B1`), the first that is there counting.
    Versions and references behind a title are cut off.

    Raises `InputError` where there is no such table.
    """
    table = read_table(Path(path))
    missing = [name for name in ("code", "title") if name not in table.columns]
    if missing:
        raise InputError(
            f'{path}: no column "{missing[0]}"; the columns are {", ".join(table.columns)}.'
        )
    found: dict[str, str] = {}
    for code, title in table.select(pl.col("code", "title").cast(pl.String)).iter_rows():
        if not code or not title:
            continue
        text = title
        while (cut := BEHIND_TITLE.sub("", text)) != text:
            text = cut
        for name in (code.strip(), *_spellings(code)):
            found.setdefault(name, text.strip() or title.strip())
    return found


def _spellings(code: str) -> list[str]:
    """The code as it is rolled up to each level that it is as deep as: the deepest is the code itself."""
    levels: tuple[Any, ...] = ("group", "main-group", "subclass", "class", "section")
    for level in levels:
        at = roll_up(code, level)
        if at is not None:
            return [at]
    return []
