"""Reading raw logs with DuckDB: one pass over the files, into typed Parquet, in bounded memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb

from linkwise.data.engine import engine_errors
from linkwise.data.files import LogFile, find_line, open_text
from linkwise.data.groups import FileGroup
from linkwise.data.schema import InputConfig
from linkwise.data.staging import Column, bad_row_message, sampled, select_events, time_form
from linkwise.errors import InputError

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


class DuckDB:
    """DuckDB's side of the staging SQL."""

    def try_cast(self, sql: str, type_name: str) -> str:  # noqa: D102 (the protocol says it)
        return f"TRY_CAST({sql} AS {type_name})"

    def url_decode(self, sql: str) -> str:  # noqa: D102
        return f"TRY(url_decode(replace({sql}, '+', ' ')))"

    def epoch_day(self, timestamp: str) -> str:  # noqa: D102
        return f"CAST(date_diff('day', DATE '1970-01-01', CAST({timestamp} AS DATE)) AS INTEGER)"

    def from_epoch(self, microseconds: str, zone: str) -> str:  # noqa: D102
        # Bounded first: make_timestamp raises beyond the year 290,000.
        inside = f"CASE WHEN {microseconds} BETWEEN 0 AND 7258118400000000 THEN {microseconds} END"
        if zone == "UTC":
            return f"make_timestamp({inside})"
        return f"timezone('{zone}', make_timestamptz({inside}))"

    def zoned(self, sql: str, zone: str) -> str:  # noqa: D102
        return f"timezone('{zone}', TRY_CAST({sql} AS TIMESTAMPTZ))"

    def parse(self, sql: str, form: str) -> str:  # noqa: D102
        escaped = form.replace("'", "''")
        return f"try_strptime({sql}, '{escaped}')"

    def md5(self, sql: str) -> str:  # noqa: D102
        return f"md5({sql})"

    def big_integer(self) -> str:  # noqa: D102
        return "BIGINT"

    def text(self) -> str:  # noqa: D102
        return "VARCHAR"


@dataclass(frozen=True)
class BadRows:
    """Rows that were dropped while reading: why, how many, and of how many users (None: unknown)."""

    rule: str
    rows: int
    users: int | None


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
    """Read every group of files once and write it, typed, to a Parquet file in `folder`.

    Raises `InputError` at the first malformed row (naming its file and line) unless bad rows are skipped.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "staged.json"
    if done.exists():
        return _load(done)
    written: list[Path] = []
    dropped: list[BadRows] = []
    for number, group in enumerate(groups):
        path = folder / f"{number:03d}-{group.name}.parquet"
        dropped += _stage_group(group, number, config, connection, path)
        written.append(path)
    staged = Staged(tuple(written), tuple(dropped))
    done.write_text(
        json.dumps([[path.name for path in written], [asdict(rows) for rows in dropped]])
    )
    return staged


def _load(done: Path) -> Staged:
    """What an earlier, interrupted run has staged."""
    names, dropped = json.loads(done.read_text())
    return Staged(
        tuple(done.parent / name for name in names), tuple(BadRows(**rows) for rows in dropped)
    )


def _stage_group(
    group: FileGroup,
    number: int,
    config: InputConfig,
    connection: duckdb.DuckDBPyConnection,
    path: Path,
) -> list[BadRows]:
    raw = f"raw_{number}"
    with engine_errors():
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {raw} AS {_source(group, number)}")
        described = {
            name: str(kind) for name, kind, *_ in connection.execute(f"DESCRIBE {raw}").fetchall()
        }
        columns = group.columns(
            {name: _column(name, kind) for name, kind in described.items() if name != "@file"}
        )
        form = None
        if group.file_dates is None and columns["time"].kind not in ("date", "timestamp", "zoned"):
            form = (
                "format" if config.time_format else _probe(connection, raw, columns["time"], group)
            )
        select = select_events(group.layout, columns, config, DuckDB(), form, _file_date(group))
        query = (
            f'SELECT {select}, CASE WHEN bad IS NOT NULL THEN "@file" END AS bad_file FROM {raw} '
        )
        query += f"WHERE {sampled(columns['user'], config, DuckDB())}"
        connection.execute(
            f"COPY ({query}) TO '{_escape(path)}' (FORMAT parquet, COMPRESSION zstd)"
        )
        bad = _malformed(group, number, config, connection)
        bad += _unreadable(group, config, connection, path)
    return bad


def _source(group: FileGroup, number: int) -> str:
    files = ", ".join(f"'{_escape(file.path)}'" for file in group.files)
    if group.format == "parquet":
        return f'SELECT *, filename AS "@file" FROM read_parquet([{files}], filename=true)'
    if group.format == "json":
        wanted = ", ".join(f"'{name}': 'VARCHAR'" for name in group.source_names)
        return (
            f"SELECT *, filename AS \"@file\" FROM read_json([{files}], format='newline_delimited', "
            f"columns={{{wanted}}}, ignore_errors=true, filename=true)"
        )
    # Every field is read as text: what does not fit its type is then counted with its row, not guessed.
    fields = ", ".join(f"'{_escape(name)}': 'VARCHAR'" for name in group.source_names)
    quote = "'\"'" if group.layout.quoted else "''"
    return (
        f'SELECT *, filename AS "@file" FROM read_csv([{files}], auto_detect=false, '
        f"columns={{{fields}}}, delim='{group.delimiter}', header={str(group.has_header).lower()}, "
        f"quote={quote}, escape={quote}, ignore_errors=true, store_rejects=true, "
        f"rejects_table='rejects_{number}', rejects_scan='scans_{number}', rejects_limit=0, "
        "filename=true)"
    )


def _column(name: str, kind: str) -> Column:
    if kind in INTEGERS or kind.startswith("HUGEINT"):
        return Column(name, "integer")
    if kind.startswith("DECIMAL"):
        return Column(name, "number")
    return Column(name, KINDS.get(kind, "text"))  # type: ignore[arg-type]


def _probe(
    connection: duckdb.DuckDBPyConnection, raw: str, column: Column, group: FileGroup
) -> str:
    """How the time column is written, from its first thousand values."""
    name = column.name.replace('"', '""')
    samples = connection.execute(
        f'SELECT CAST("{name}" AS VARCHAR) FROM {raw} WHERE "{name}" IS NOT NULL LIMIT 1000'
    ).fetchall()
    return time_form([value for (value,) in samples], f"{group.files[0].path}: {column.name}")


def _file_date(group: FileGroup) -> str | None:
    if group.file_dates is None:
        return None
    if len(set(group.file_dates)) == 1:
        return f"TIMESTAMP '{group.file_dates[0]} 00:00:00'"
    cases = " ".join(
        f"WHEN '{_escape(file.path)}' THEN TIMESTAMP '{day} 00:00:00'"
        for file, day in zip(group.files, group.file_dates, strict=True)
    )
    return f'CASE "@file" {cases} END'


def _malformed(
    group: FileGroup, number: int, config: InputConfig, connection: duckdb.DuckDBPyConnection
) -> list[BadRows]:
    """Rows that DuckDB could not cut into fields, or whose bytes are not UTF-8."""
    if group.format != "csv":
        return []
    query = (
        "SELECT file_path, line, min(error_type), min(error_message) "
        f"FROM rejects_{number} JOIN scans_{number} USING (scan_id, file_id) "
        "GROUP BY file_path, line ORDER BY file_path, line"
    )
    rejected = connection.execute(query).fetchall()
    if not rejected:
        return []
    if config.on_bad_row == "error":
        file, line, kind, message = rejected[0]
        what = "the bytes are not UTF-8" if kind == "INVALID ENCODING" else message.splitlines()[0]
        raise InputError(
            f"{file} line {line}: {what}; expected {len(group.source_names)} fields of UTF-8 text, "
            f"{_delimiter_name(group.delimiter)}. Use --on-bad-row=skip to drop such rows "
            "(counted in the cleaning ledger)."
        )
    encoding = sum(kind == "INVALID ENCODING" for _, _, kind, _ in rejected)
    fields = len(rejected) - encoding
    rules = (
        (f"{group.name}: wrong number of fields", fields),
        (f"{group.name}: bytes that are not UTF-8", encoding),
    )
    return [BadRows(rule, rows, None) for rule, rows in rules if rows]


def _unreadable(
    group: FileGroup, config: InputConfig, connection: duckdb.DuckDBPyConnection, path: Path
) -> list[BadRows]:
    """Rows of which a needed value is missing or cannot be read."""
    staged = f"read_parquet('{_escape(path)}')"
    counts = connection.execute(
        f"SELECT bad, count(*), count(DISTINCT user) FROM {staged} WHERE bad IS NOT NULL "
        "GROUP BY bad ORDER BY bad"
    ).fetchall()
    if not counts:
        return []
    if config.on_bad_row == "error":
        column, value, name = connection.execute(
            f"SELECT bad, bad_value, bad_file FROM {staged} WHERE bad IS NOT NULL LIMIT 1"
        ).fetchall()[0]
        raise InputError(_locate(group, column, value or "", name))
    return [
        BadRows(f"{group.name}: {group.layout.columns.get(column, column)} unreadable", rows, users)
        for column, rows, users in counts
    ]


def _locate(group: FileGroup, column: str, value: str, name: str) -> str:
    source = group.layout.columns.get(column, column)
    file = next((f for f in group.files if str(f.path) == name), group.files[0])
    if source == "@file":
        return bad_row_message(str(file.path), None, column, "the date of the file", value)
    line = None
    if group.format == "csv" and source in group.source_names:
        place = group.source_names.index(source)
        line = find_line(file, place, value, group.delimiter, group.layout.quoted)
    elif group.format == "json":
        line = _json_line(file, source, value)
    return bad_row_message(str(file.path), line, column, source, value)


def _json_line(file: LogFile, source: str, value: str) -> int | None:
    """The first line that is no JSON object, or whose field `source` reads `value`."""
    with open_text(file) as stream:
        for number, line in enumerate(stream, start=1):
            try:
                found = json.loads(line).get(source)
            except (json.JSONDecodeError, AttributeError):
                return number
            if str("" if found is None else found).strip() == value:
                return number
    return None


def _delimiter_name(delimiter: str) -> str:
    return {"\t": "tab-separated", ",": "comma-separated"}.get(
        delimiter, f'separated by "{delimiter}"'
    )


def _escape(value: str | Path) -> str:
    return str(value).replace("'", "''")
