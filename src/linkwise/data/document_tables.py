"""From files of documents to typed rows: which files, which column is what, which values are text."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from linkwise.data.files import COMPRESSIONS, LogFile, open_text, reading
from linkwise.data.lines import Cut, header, sift
from linkwise.data.texts import ENDINGS, read_table
from linkwise.errors import InputError

if TYPE_CHECKING:
    from linkwise.data.documents import DocumentsConfig

TABLES = tuple(ending for ending in ENDINGS if ending != ".txt")  # which are notes, beside tables
PARQUET = (".parquet", ".pq")
TEXTS = ("title", "abstract", "claims")
# What the columns are usually called, in lower case. Names of a later group count where the earlier has none:
# a table with a year and a date beside it is not ambiguous.
IDS = "id document_id publication_number pub_number patent_id patent_number appln_id"
CODES = "codes code ipc_codes ipc_code ipc ipc_class_symbol cpc_codes cpc_code cpc cpc_class_symbol"
YEARS = "year appln_yr appln_filing_year filing_year application_year publication_year grant_year"
DATES = (
    "date appln_filing_date filing_date application_date publication_date patent_date grant_date"
)
USUAL = {
    "id": (IDS,),
    "title": ("title title_text patent_title appln_title invention_title",),
    "abstract": ("abstract abstract_text patent_abstract appln_abstract text",),
    "claims": ("claims claims_text claim_text",),
    "year": (YEARS, DATES),
    "codes": (CODES,),
    "family": ("family_id docdb_family_id family",),
}
BESIDE = ("codes.tsv", "truth.json", "truth.parquet")  # what a simulation lays beside its patents
MEND = "Use --on-bad-row=skip to drop such rows (counted in the ledger)."


def find_tables(paths: str | Path | Sequence[str | Path]) -> list[Path]:
    """The files that are named, and the tables under the folders that are, sorted; each once.

    In the folder of a simulation its patents alone.

    Raises `InputError` where a folder has none, or none is given.
    """
    found: list[Path] = []
    for path in map(Path, [paths] if isinstance(paths, str | Path) else paths):
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(
            p
            for p in path.rglob("*")
            if p.is_file() and _is_table(p.relative_to(path)) and not _is_beside(p)
        )
        if not inside:
            raise InputError(
                f"{path}: the folder has no tables; expected files ending in {', '.join(TABLES)}, all but "
                "Parquet also with .gz or .zst."
            )
        found += inside
    if not found:
        raise InputError("no files of documents were given.")
    return list(dict.fromkeys(found))


def _is_table(path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.parts)
    return not hidden and _ending(path) in TABLES


def _is_beside(path: Path) -> bool:
    return path.name in BESIDE and (path.parent / "truth.json").is_file()


def _ending(path: Path) -> str:
    bare = Path(path.stem) if path.suffix.lower() in COMPRESSIONS else path
    return bare.suffix.lower()


def choose_columns(
    path: Path, names: list[str], config: DocumentsConfig, codes: bool = True
) -> dict[str, str]:
    """Which column holds what, of those that the file has; without `codes` none of these unless it is named.

    Raises `InputError` where a named column is not there, two may be meant, or there is no text and no code.
    """
    at_hand = f"the columns are {', '.join(names)}"
    by_lower = {name.lower(): name for name in names}
    chosen = {}
    for role, groups in USUAL.items():
        if role == "claims" and config.text == ("abstract",):
            continue  # they are ten times as long as all the rest
        asked: str | None = getattr(config, role)
        if role == "codes" and asked is None and not codes:
            continue
        if asked is not None:
            if asked not in names and asked.lower() not in by_lower:
                raise InputError(f'{path}: no column "{asked}" (--{role}); {at_hand}.')
            chosen[role] = asked if asked in names else by_lower[asked.lower()]
            continue
        for group in groups:
            found = [by_lower[name] for name in group.split() if name in by_lower]
            if len(found) > 1:
                listed = ", ".join(f'"{name}"' for name in found[:-1]) + f' and "{found[-1]}"'
                raise InputError(
                    f"{path}: the columns {listed} may each be meant as {role}. Name the one to take with "
                    f"--{role}; {at_hand}."
                )
            if found:
                chosen[role] = found[0]
                break
    if not chosen.keys() & {*TEXTS, "codes"}:
        raise InputError(
            f"{path}: no column of titles, abstracts, claims or codes was found. Name them with --title, "
            f"--abstract, --claims or --codes; {at_hand}."
        )
    if config.text != ("abstract",) and "claims" not in chosen:
        raise InputError(
            f"{path}: no column of claims was found, and --text is {', '.join(config.text)}. Name "
            "it with --claims, or "
            f"use --text abstract; {at_hand}."
        )
    return chosen


def read_rows(
    path: Path, skip: bool, config: DocumentsConfig
) -> tuple[pl.DataFrame, list[str], int]:
    """A file's table, of Parquet only the needed columns; the names of all; rows that could not be read.

    Raises `InputError` where the file cannot be read, or, unless `skip`, a row of it.
    """
    if path.suffix.lower() in PARQUET:
        try:
            names = list(pl.read_parquet_schema(path))
            needed = list(dict.fromkeys(choose_columns(path, names, config).values()))
            return pl.read_parquet(path, columns=needed, hive_partitioning=False), names, 0
        except (pl.exceptions.PolarsError, OSError):
            pass  # `read_table` says what is wrong with it
    try:
        table = read_table(path)
        return table, table.columns, 0
    except InputError as error:
        if _ending(path) in PARQUET or not isinstance(error.__cause__, pl.exceptions.PolarsError):
            raise
        file = LogFile(path, "csv", path.suffix.lower() in COMPRESSIONS)
        with reading(file):
            read = _readable_rows if _ending(path) in (".csv", ".tsv") else _readable_objects
            table, bad, first = read(file, not skip)
        if bad and not skip:
            raise InputError(f"{path} {first}. {MEND}") from error
        return table, table.columns, bad


def _readable_rows(file: LogFile, stop: bool) -> tuple[pl.DataFrame, int, str]:
    """The rows of a delimited text that can be read, how many cannot, and where and why the first of them.

    With `stop` nothing is read behind that one.
    """
    names, delimiter = header(file)
    with tempfile.TemporaryDirectory(prefix="linkwise-") as folder:
        clean = Path(folder) / "clean.csv"
        sifted = sift(file, Cut(len(names), delimiter, True, True), clean, stop)
        table = pl.read_csv(
            clean,
            separator=delimiter,
            has_header=False,
            skip_rows=1,
            schema=dict.fromkeys(names, pl.String),
            truncate_ragged_lines=True,
        )
    if sifted.first is None:
        return table, 0, ""
    expected = f"; expected {len(names)}" if sifted.first.words.startswith("the row has") else ""
    first = f"line {sifted.first.line}: {sifted.first.words}{expected}"
    return table, sifted.counts.total(), first


def _readable_objects(file: LogFile, stop: bool) -> tuple[pl.DataFrame, int, str]:
    """The same of JSON lines, all values as text: a list in place of a number is one bad value only."""
    rows: list[dict[str, str | None]] = []
    bad, first = 0, ""
    for number, record in _objects(file):
        if isinstance(record, dict):
            rows.append(record)
            continue
        bad, first = bad + 1, first or f"line {number}: {record}"
        if stop:
            break
    names = dict.fromkeys(name for row in rows for name in row)
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String)), bad, first


def _objects(file: LogFile) -> Iterator[tuple[int, dict[str, str | None] | str]]:
    """The number of each line and its object, the values as text; or what is wrong with it."""
    with open_text(file) as stream:
        for number, line in enumerate(stream, start=1):
            text = line.removeprefix("\ufeff").strip()
            if not text:
                continue
            try:
                record = json.loads(text)
            except (json.JSONDecodeError, RecursionError) as error:
                yield number, f"this is not JSON ({error}); expected one object on each line"
                continue
            if not isinstance(record, dict):
                yield number, "this is no JSON object; expected one on each line"
                continue
            yield number, {key: _as_text(value) for key, value in record.items()}


def _as_text(value: Any) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode(
        errors="replace"
    ).decode()  # JSON may hold halves of a character, a table may not


def typed(path: Path, table: pl.DataFrame, columns: dict[str, str]) -> pl.DataFrame:
    """A file's rows: `row` (the first is 1); `id, title, abstract, claims, year, family` as text; `codes`.

    Texts that are not there are empty, other values null. `codes` are lists of text, without empty ones.
    Raises `InputError` where a column is of a kind that cannot be taken so.
    """
    made = [pl.int_range(1, pl.len() + 1, dtype=pl.UInt32).alias("row")]
    for role in ("id", *TEXTS, "year", "family"):
        text = pl.lit(None, pl.String)
        if role in columns:
            text = _text(path, table, columns[role], role).str.strip_chars()
        made.append((text.fill_null("") if role in TEXTS else text).alias(role))
    codes = pl.lit([], pl.List(pl.String))
    if "codes" in columns:
        codes = _codes(path, table, columns["codes"])
    try:
        return table.select(*made, codes.alias("codes"))
    except pl.exceptions.PolarsError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: the columns cannot be taken as text ({reason}).") from error


def _text(path: Path, table: pl.DataFrame, name: str, role: str) -> pl.Expr:
    """A column as text, whole numbers without a point: beside a missing one they may have become floats."""
    kind = table.schema[name]
    if kind.is_nested() or kind in (pl.Binary, pl.Object):
        raise _wrong_kind(path, table, name, role, "text or numbers")
    column = pl.col(name)
    if not kind.is_float():
        return column.cast(pl.String)
    column = column.fill_nan(None)
    whole = column.cast(pl.Int64, strict=False)
    return pl.when(column == whole).then(whole.cast(pl.String)).otherwise(column.cast(pl.String))


def _codes(path: Path, table: pl.DataFrame, name: str) -> pl.Expr:
    """A column of codes as lists: of a list its elements, of a text its parts."""
    kind = table.schema[name]
    if isinstance(kind, pl.List | pl.Array):
        inner = pl.DataFrame(schema={name: kind}).select(pl.col(name).explode()).schema[name]
        if inner.is_nested() or inner in (pl.Binary, pl.Object):
            raise _wrong_kind(path, table, name, "codes", "lists of text, or one text")
        codes = pl.col(name).cast(pl.List(pl.String))
    else:
        text = _text(path, table, name, "codes")
        # What pandas and JSON write of a list: ['A01B1', "C08F4"].
        is_list = text.str.contains(r"""^\s*\[\s*['"]""")
        bare = text.str.replace_all(r"""^\s*\[|\]\s*$|['"]""", "")
        text = pl.when(is_list).then(bare).otherwise(text)
        codes = text.str.replace_all("[;|]", ",").str.split(",")
    code = pl.element().str.strip_chars()
    whole = codes.list.eval(pl.when(code != "").then(code)).list.drop_nulls()
    return whole.fill_null(pl.lit([], pl.List(pl.String)))


def _wrong_kind(path: Path, table: pl.DataFrame, name: str, role: str, expected: str) -> InputError:
    return InputError(
        f'{path}: column "{name}" is of the kind {table.schema[name]}; expected {expected}. Name another '
        f"with --{role}; the columns are {', '.join(table.columns)}."
    )
