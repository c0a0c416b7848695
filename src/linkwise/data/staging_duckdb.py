"""Reading raw logs with DuckDB: one pass over the files, into typed Parquet, in bounded memory."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import duckdb

from linkwise.data.bad_rows import BadRows, locate, misread
from linkwise.data.duckdb_sql import DuckDB, absolute, pattern, quoted
from linkwise.data.engine import engine_errors
from linkwise.data.files import LogFile, damaged, read_through, shown
from linkwise.data.groups import FileGroup
from linkwise.data.lines import (
    ENCODING,
    FIELDS,
    LENGTH,
    Sifted,
    copy_without_bom,
    first_values,
    has_bom,
    sift,
)
from linkwise.data.schema import FILE_DATE, InputConfig
from linkwise.data.staging import Column, TimeForm, events_query, identifier, time_form
from linkwise.errors import InputError, UsageError

log = logging.getLogger("linkwise")

FILE = "@linkwise_file"  # the column with a row's file, beside those of the log
FILES_AT_ONCE = 256  # in one query: DuckDB takes seconds to plan thousands of calls
PROBED = 1000  # values from which the way the time is written is told
KINDS = {
    "DATE": "date",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP_S": "timestamp",
    "TIMESTAMP_MS": "timestamp",
    "TIMESTAMP_NS": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "zoned",
    "BOOLEAN": "boolean",
    "DOUBLE": "number",
    "FLOAT": "number",
    "VARCHAR": "text",
}
INTEGERS = (
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
)


@dataclass(frozen=True)
class Staged:
    """What staging left behind: Parquet files, and the rows it dropped."""

    files: tuple[Path, ...]
    bad: tuple[BadRows, ...]


def stage(
    groups: Sequence[FileGroup],
    config: InputConfig,
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
) -> Staged:
    """Read every group of files once and write it, typed, to Parquet files in `folder`.

    What an interrupted run staged there from the same files and options is used as it is. Raises
    `InputError` at a malformed row (naming its file and line) unless bad rows are skipped.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "staged.json"
    key = _key(groups, config)
    if (staged := _staged(folder, done, key)) is not None:
        return staged
    done.unlink(missing_ok=True)
    written: list[Path] = []
    dropped: list[BadRows] = []
    with engine_errors():
        _check_options(config, connection)
        for number, group in enumerate(groups):
            files, bad_rows = _stage_group(
                group, config, connection, folder / f"{number:03d}-{group.name}"
            )
            written += files
            dropped += bad_rows
    found = {
        "key": key,
        "files": [path.name for path in written],
        "bad": [asdict(rows) for rows in dropped],
    }
    partial = folder / ".staged.json.partial"
    partial.write_text(json.dumps(found))
    partial.replace(done)
    return Staged(tuple(written), tuple(dropped))


def _staged(folder: Path, done: Path, key: str) -> Staged | None:
    """What was staged there for the same files and options; None where that is not whole."""
    try:
        found = json.loads(done.read_text())
        if found["key"] != key:
            return None
        staged = Staged(
            tuple(folder / name for name in found["files"]),
            tuple(BadRows(**rows) for rows in found["bad"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return staged if all(path.is_file() for path in staged.files) else None


def _key(groups: Sequence[FileGroup], config: InputConfig) -> str:
    """Changes with the files and with how they are read."""
    stats = [(absolute(file.path), file.path.stat()) for g in groups for file in g.files]
    files = [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]
    return hashlib.sha256(repr((files, config.model_dump_json())).encode()).hexdigest()


def _check_options(config: InputConfig, connection: duckdb.DuckDBPyConnection) -> None:
    """Let DuckDB judge the options that become its own; raises `UsageError`."""
    connection.execute("SET TimeZone = 'UTC'")  # not the machine's own: it would enter into casts
    try:
        connection.execute(f"SELECT timezone({quoted(config.timezone)}, now())")
    except duckdb.Error as error:
        raise UsageError(
            f'--timezone "{config.timezone}" is not known here; expected a name such as Europe/Paris.'
        ) from error
    if config.time_format is not None:
        try:
            connection.execute("SELECT " + DuckDB(config.timezone).parse("''", config.time_format))
        except duckdb.Error as error:
            reason = str(error).splitlines()[0].rpartition(": ")[2]
            raise UsageError(
                f'--time-format "{config.time_format}" cannot be used: {reason}. '
                "Expected strptime codes such as %d/%m/%Y %H:%M:%S."
            ) from error


class Reading(NamedTuple):
    """What is read, and how: the same for all files of a group."""

    group: FileGroup
    config: InputConfig
    connection: duckdb.DuckDBPyConnection
    form: TimeForm | None


def _stage_group(
    group: FileGroup, config: InputConfig, connection: duckdb.DuckDBPyConnection, target: Path
) -> tuple[list[Path], list[BadRows]]:
    """Write a group to Parquet files called `target`, one for many files, or for each that has flaws."""
    read = Reading(group, config, connection, _time_form(group, config, connection))
    dropped: Counter[str] = Counter()
    written: list[Path] = []
    at_once = FILES_AT_ONCE if group.format == "csv" else len(group.files)
    for start in range(0, len(group.files), at_once):
        files = group.files[start : start + at_once]
        path = target.with_name(f"{target.name}-{start:06d}.parquet")
        if (found := _copy_whole(read, files, path)) is not None:
            dropped += found
            written.append(path)
            continue
        for number, file in enumerate(files, start=start):
            path = target.with_name(f"{target.name}-{number:06d}.parquet")
            found = _copy_whole(read, [file], path) if len(files) > 1 else None
            dropped += _copy_flawed(read, file, path) if found is None else found
            written.append(path)
    bad = [
        BadRows(f"{group.name}: {why}", dropped[why], None)
        for why in (FIELDS, ENCODING, LENGTH)
        if dropped[why]
    ]
    return written, bad + _unreadable(group, config, connection, written)


@contextmanager
def _data_errors() -> Iterator[None]:
    """Pass over what DuckDB says about the data themselves, for another way to be tried."""
    try:
        yield
    except (duckdb.OutOfMemoryException, duckdb.IOException):
        raise
    except duckdb.Error as error:
        log.debug("DuckDB refused a file: %s", error)


def _copy_whole(read: Reading, files: Sequence[LogFile], path: Path) -> Counter[str] | None:
    """Write files in one go; returns how many rows were left out, None where DuckDB cannot read them so."""
    group = read.group
    if group.format == "json" and any(map(has_bom, files)):
        return None
    with _data_errors():
        _copy(read, _source(group, files), files, path)
        return Counter()
    misfits = _copy_lines(read, files, path)
    return None if misfits is None else Counter({FIELDS: misfits})


def _copy_flawed(read: Reading, file: LogFile, path: Path) -> Counter[str]:
    """Write one file without what DuckDB cannot read of it; returns how many rows that was, by the reason."""
    group = read.group
    clean = path.with_suffix(f".{group.format}")
    sifted = Sifted()
    try:
        if group.format == "json" and has_bom(file):
            copy_without_bom(file, clean)
        elif group.format == "csv":
            stop = read.config.on_bad_row == "error"
            sifted = sift(file, group.cut, clean, stop)
            if stop and sifted.first is not None:
                raise InputError(misread(group, file.path, sifted.first.line, sifted.first.words))
        if clean.exists():
            _copy(read, _source(group, [replace(file, path=clean)]), [file], path, is_copy=True)
        else:
            _copy(read, _source(group, [file]), [file], path)
    except (duckdb.OutOfMemoryException, duckdb.IOException):
        raise
    except duckdb.Error as error:
        raise InputError(
            f"{shown(file.path)}: the file cannot be read; it may be damaged. "
            f"DuckDB says: {str(error).splitlines()[0]}"
        ) from error
    finally:
        clean.unlink(missing_ok=True)
    return sifted.counts


def _copy_lines(read: Reading, files: Sequence[LogFile], path: Path) -> int | None:
    """Write CSV files without their rows of too few or too many fields; returns how many those were.

    DuckDB reads whole lines, and SQL cuts them: as `sift` does, many times as fast. None, and nothing
    written, where that is not enough: where a row is to stop the reading, a quote is to be understood, or
    DuckDB cannot read the lines (bytes that are not UTF-8, mixed ends of lines).
    """
    group = read.group
    if group.format != "csv" or read.config.on_bad_row == "error":
        return None
    with _data_errors():
        misfits, quotes = read.connection.execute(
            f"SELECT count(*) FILTER (NOT fits), count(*) FILTER (contains(line, '\"')) "
            f"FROM ({_lines(group, files)})"
        ).fetchall()[0]
        if group.layout.quoted and quotes:
            return None
        # An empty field is null, as it is where DuckDB cuts the rows.
        fields = ", ".join(
            f"nullif(fields[{place}], '') AS {identifier(name)}"
            for place, name in enumerate(group.source_names, start=1)
        )
        source = f'SELECT {fields}, "{FILE}" FROM ({_lines(group, files)}) WHERE fits'
        _copy(read, source, files, path)
        return int(misfits)
    return None


def _lines(group: FileGroup, files: Sequence[LogFile]) -> str:
    """Query for the lines of CSV files, their fields, and whether those are as many as there should be."""
    listed = ", ".join(quoted(pattern(file.path)) for file in files)
    n, header = len(group.source_names), str(group.has_header).lower()
    # One column: cut at four control characters in a row, which no log holds.
    lines = (
        f'SELECT line, "{FILE}", str_split(line, {quoted(group.delimiter)}) AS fields FROM read_csv('
        f"[{listed}], auto_detect=false, columns={{line: 'VARCHAR'}}, delim='\x01\x02\x03\x04', "
        f"header={header}, quote='', escape='', strict_mode=true, filename='{FILE}', "
        "hive_partitioning=false) WHERE line <> ''"
    )
    # Empty fields too many are delimiters at the line's end, which DuckDB passes over too.
    fits = f"len(fields) = {n} OR len(fields) > {n} AND array_to_string(fields[{n + 1}:], '') = ''"
    return f"SELECT *, {fits} AS fits FROM ({lines})"


def _copy(
    read: Reading, source: str, files: Sequence[LogFile], path: Path, is_copy: bool = False
) -> None:
    """Write the events of `files`, which the query `source` reads, to `path`: whole or not at all.

    `is_copy`: it reads a clean copy of the one file.
    """
    group, config, connection, form = read
    connection.execute(f"CREATE OR REPLACE TEMP VIEW raw AS {source}")
    columns = group.columns(_columns(connection, group))
    day = _file_date(group, files) if group.file_dates is not None else None
    row = "file_row_number + 1" if _has_row_numbers(group) else "NULL"
    also = {
        "@file": quoted(absolute(files[0].path)) if is_copy else f'"{FILE}"',
        "@row": f"CAST({row} AS BIGINT)",
    }
    dialect = DuckDB(config.timezone)
    query = events_query(group.layout, columns, config, dialect, form, day, "raw", also)
    partial = path.with_name(f".{path.name}.partial")
    try:
        connection.execute(
            f"""
            COPY (
              SELECT * EXCLUDE ("@file", "@row"),
                CASE WHEN bad IS NOT NULL THEN "@file" END AS bad_file,
                CASE WHEN bad IS NOT NULL THEN "@row" END AS bad_row
              FROM ({query})
            ) TO {quoted(partial)} (FORMAT parquet, COMPRESSION zstd)
            """
        )
        partial.replace(path)
    except duckdb.IOException as error:
        for file in files:
            if file.compressed and absolute(file.path) in str(error) and "stream" in str(error):
                raise InputError(damaged(file)) from error
        if "corruption" in str(error):  # in a file that DuckDB does not name
            for file in filter(lambda file: file.compressed, files):
                read_through(file)
        raise
    finally:
        partial.unlink(missing_ok=True)


def _source(group: FileGroup, files: Sequence[LogFile]) -> str:
    """Query for the raw rows of files, each with its file."""
    listed = ", ".join(quoted(pattern(file.path)) for file in files)
    named = f"filename='{FILE}', hive_partitioning=false"
    if group.format == "parquet":
        number = ", file_row_number" if _has_row_numbers(group) else ""
        return (
            f"SELECT *{number} FROM read_parquet([{listed}], union_by_name=true, "
            f"binary_as_string=true, {named})"
        )
    # Every field is read as text: what does not fit its type is then counted with its row, not guessed.
    fields = ", ".join(f"{quoted(name)}: 'VARCHAR'" for name in group.source_names)
    if group.format == "json":
        return (
            f"SELECT * FROM read_json([{listed}], format='newline_delimited', "
            f"columns={{{fields}}}, ignore_errors=true, {named})"
        )
    quote = "'\"'" if group.layout.quoted else "''"
    # DuckDB leaves columns that nobody asks for unread, and bytes in them that are not UTF-8 unseen.
    seen = " + ".join(f"coalesce(length({identifier(name)}), 0)" for name in group.source_names)
    keep = f"{seen} >= 0"
    if len(group.source_names) == 1:  # a blank line is no row
        keep = f"{identifier(group.source_names[0])} IS NOT NULL"
    # Quoted files one by one: of more than two for each thread in one call, DuckDB passes over what follows
    # a quote that is never closed, without a word.
    calls = [f"[{listed}]"]
    if group.layout.quoted:
        calls = [quoted(pattern(file.path)) for file in files]
    # Strict, and stopping at the first malformed row: the lax modes cut values off without a word.
    return " UNION ALL ".join(
        f"SELECT * FROM read_csv({call}, auto_detect=false, columns={{{fields}}}, "
        f"delim={quoted(group.delimiter)}, header={str(group.has_header).lower()}, "
        f"quote={quote}, escape={quote}, strict_mode=true, {named}) WHERE {keep}"
        for call in calls
    )


def _has_row_numbers(group: FileGroup) -> bool:
    names = [name.lower() for name in group.source_names]
    return group.format == "parquet" and "file_row_number" not in names


def _columns(connection: duckdb.DuckDBPyConnection, group: FileGroup) -> dict[str, Column]:
    if group.format != "parquet":
        return {name: Column(name, "text") for name in group.source_names}
    described = connection.execute("DESCRIBE raw").fetchall()
    kinds = {name: str(kind) for name, kind, *_ in described}
    return {name: _column(name, kinds[name]) for name in group.source_names}


def _column(name: str, kind: str) -> Column:
    if kind in INTEGERS or kind.startswith("HUGEINT"):
        return Column(name, "integer")
    if kind.startswith("DECIMAL"):
        return Column(name, "number")
    return Column(name, KINDS.get(kind, "text"))  # type: ignore[arg-type]


def _time_form(
    group: FileGroup, config: InputConfig, connection: duckdb.DuckDBPyConnection
) -> TimeForm | None:
    """How the time column is written, from its first thousand values; None where its type says it."""
    source = group.layout.columns.get("time")
    if source is None or source == FILE_DATE:
        return None
    values: list[str] = []
    if group.format == "csv":
        # Not asked of DuckDB, which would stop at a malformed row among them.
        column = group.columns(_columns(connection, group))["time"]
        place = group.source_names.index(column.name)
        for file in group.files:
            values += first_values(file, place, group.cut, PROBED - len(values))
    else:
        connection.execute(f"CREATE OR REPLACE TEMP VIEW raw AS {_source(group, group.files)}")
        column = group.columns(_columns(connection, group))["time"]
        if column.kind in ("date", "timestamp", "zoned"):
            return None
        name = identifier(column.name)
        found = connection.execute(
            f"SELECT CAST({name} AS VARCHAR) FROM raw WHERE {name} IS NOT NULL LIMIT {PROBED}"
        ).fetchall()
        values = [value for (value,) in found]
    if config.time_format is not None:
        return "format"
    return time_form(values, f"{shown(group.files[0].path)}: {source}")


def _file_date(group: FileGroup, files: Sequence[LogFile]) -> str:
    assert group.file_dates is not None
    days = dict(zip(group.files, group.file_dates, strict=True))
    if len({days[file] for file in files}) == 1:
        return f"TIMESTAMP '{days[files[0]]} 00:00:00'"
    cases = " ".join(
        f"WHEN {quoted(absolute(file.path))} THEN TIMESTAMP '{days[file]} 00:00:00'"
        for file in files
    )
    return f'CASE "{FILE}" {cases} END'


def _unreadable(
    group: FileGroup,
    config: InputConfig,
    connection: duckdb.DuckDBPyConnection,
    paths: Sequence[Path],
) -> list[BadRows]:
    """Rows of which a needed value is missing or cannot be read."""
    listed = ", ".join(quoted(pattern(path)) for path in paths)
    staged = f"read_parquet([{listed}])"
    counts = connection.execute(
        f"SELECT bad, count(*), count(DISTINCT user) FROM {staged} WHERE bad IS NOT NULL "
        "GROUP BY bad ORDER BY bad"
    ).fetchall()
    if not counts:
        return []
    if config.on_bad_row == "error":
        column, value, name, row = connection.execute(
            f"SELECT bad, bad_value, bad_file, bad_row FROM {staged} WHERE bad IS NOT NULL LIMIT 1"
        ).fetchall()[0]
        file = next(file for file in group.files if absolute(file.path) == name)
        raise InputError(locate(group, column, value or "", str(file.path), row))
    return [
        BadRows(f"{group.name}: {group.layout.columns.get(column, column)} unreadable", rows, users)
        for column, rows, users in counts
    ]
