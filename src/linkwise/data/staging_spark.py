"""Reading raw logs with Spark: the same rows, rules and messages as on DuckDB, spread over the cluster.

Text is read as lines and cut here, not by Spark's CSV reader: that one replaces bytes that are not UTF-8 and
cannot say whether a row had too many fields or too few. Only logs with line breaks inside quotes take its
multi-line mode, in which each file is one task.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

import narwhals as nw

from linkwise.data.bad_rows import BadRows, locate, misread
from linkwise.data.engine import EngineConfig, engine_errors, open_spark
from linkwise.data.events import Events, summarise
from linkwise.data.files import LogFile, open_bytes, reading, shown
from linkwise.data.groups import FileGroup
from linkwise.data.lines import (
    ENCODING,
    FIELDS,
    LENGTH,
    LONGEST_LINE,
    Malformed,
    first_line,
    first_values,
)
from linkwise.data.lines import rows as cut_rows
from linkwise.data.schema import InputConfig
from linkwise.data.spark_sql import Spark, literal
from linkwise.data.staging import Column, TimeForm, events_query, identifier, time_form
from linkwise.errors import InputError

MALFORMED = (FIELDS, ENCODING, LENGTH)  # why a row could not be cut into its fields
PROBED = 1000  # values from which the way the time is written is told
INTEGERS = ("tinyint", "smallint", "int", "bigint", "decimal(20,0)")  # the last is Parquet's UINT64
Kind = Literal["text", "integer", "number", "date", "timestamp", "zoned", "boolean"]
KINDS: dict[str, Kind] = {
    "date": "date",
    "timestamp_ntz": "timestamp",
    "timestamp": "zoned",
    "boolean": "boolean",
    "double": "number",
    "float": "number",
    "nanoseconds": "timestamp",
    "nanoseconds zoned": "zoned",
}


def stage_spark(
    groups: Sequence[FileGroup],
    config: InputConfig,
    engine: EngineConfig,
    sources: tuple[Path, ...],
) -> Events:
    """Read every group of files once into a frame that the cluster keeps in memory or on its disks.

    The workers must see the files under the same paths as this process. Raises `InputError` at a malformed
    row (naming its file and line) unless bad rows are skipped, as on DuckDB.
    """
    session = open_spark(engine)
    staged: Any = None
    dropped: list[BadRows] = []
    with engine_errors():
        for group in groups:
            rows, bad = _stage_group(group, config, session)
            dropped += bad
            staged = rows if staged is None else staged.unionByName(rows, allowMissingColumns=True)
        return summarise(nw.from_native(staged), tuple(dropped), sources, None)


def _stage_group(group: FileGroup, config: InputConfig, session: Any) -> tuple[Any, list[BadRows]]:
    from pyspark import StorageLevel

    if group.format == "parquet":
        raw, columns, files = _parquet(group, session)
    else:
        raw, files = _text(group, session)
        columns = {name: Column(name, "text") for name in group.source_names}
    columns = group.columns(columns)
    form = _time_form(group, columns, config, raw)
    day = None
    if group.file_dates is not None:
        day = '"@day"'
        raw = _with_dates(raw, group, files, session)
    # The name also stands in the query: Spark would answer an equal one from its cache, though the files
    # may have changed since.
    view = f"linkwise_{uuid.uuid4().hex}"
    raw.createOrReplaceTempView(view)
    place = """named_struct('file', "@file", 'block', "@block", 'order', monotonically_increasing_id(),
      'row', "@row")"""
    also = {"@problem": '"@problem"', "@place": place}
    query = events_query(
        group.layout, columns, config, Spark(config.timezone), form, day, view, also
    )
    staged = session.sql(
        f"""
        SELECT * EXCEPT ("@problem", "@place"), coalesce("@problem", bad) AS "@bad",
          CASE WHEN "@problem" IS NOT NULL OR bad IS NOT NULL THEN "@place" END AS "@place"
        FROM ({query}) WHERE '{view}' <> ''
        """
    ).persist(StorageLevel.MEMORY_AND_DISK)
    session.catalog.dropTempView(view)
    bad = _bad_rows(group, config, files, staged)
    good = staged.where('"@bad" IS NULL').drop("bad", "bad_value", "@bad", "@place")
    return good.withColumn("time", good["time"].cast("timestamp_ntz")), bad


def _bad_rows(
    group: FileGroup, config: InputConfig, files: dict[str, LogFile], staged: Any
) -> list[BadRows]:
    """What was dropped, and why. Raises `InputError` at the first such row unless they are skipped."""
    import pyspark.sql.functions as sf

    broken = staged.where('"@bad" IS NOT NULL')
    rows = broken.groupBy("@bad").agg(sf.count("*"), sf.count_distinct("user")).collect()
    counts = {why: (n, users) for why, n, users in rows}
    malformed = [why for why in MALFORMED if why in counts]
    if config.on_bad_row == "error" and counts:
        if malformed:
            broken = broken.where(sf.col("@bad").isin(malformed))
        raise InputError(_message(group, files, broken))
    return [BadRows(f"{group.name}: {why}", counts.pop(why)[0], None) for why in malformed] + [
        BadRows(f"{group.name}: {group.layout.columns.get(why, why)} unreadable", n, users)
        for why, (n, users) in sorted(counts.items())
    ]


def _message(group: FileGroup, files: dict[str, LogFile], broken: Any) -> str:
    """One sentence on the first of these rows."""
    places = {uri for (uri,) in broken.select("@place.file").distinct().collect()}
    uri = next(uri for uri in files if uri in places)
    first = (
        broken.where(broken["@place.file"] == uri).orderBy("@place.block", "@place.order").first()
    )
    file = files[uri]
    if first["@bad"] not in MALFORMED:
        return locate(
            group, first["@bad"], first["bad_value"] or "", str(file.path), first["@place"].row
        )
    with reading(file), open_bytes(file) as stream:
        found = (row for row in cut_rows(stream, group.cut) if isinstance(row, Malformed))
        row = next(found, Malformed(0, first["@bad"], first["@bad"]))
    return misread(group, file.path, row.line or None, row.words)


def _text(group: FileGroup, session: Any) -> tuple[Any, dict[str, LogFile]]:
    """The fields of a text log and, under names with @, where a row stands and what is wrong with it.

    Also the files by the names that Spark calls them.
    """
    paths = [_spark_path(file) for file in group.files]
    lines = session.read.option("lineSep", "\n").text(paths)
    files = _files(group, lines)
    records = _records(group, lines, paths, session)
    place = ['"@file"', '"@block"', 'CAST(NULL AS BIGINT) AS "@row"']
    if group.format == "json":
        # What is no JSON object becomes a row of nulls, which then lacks its user: as on DuckDB.
        parsed = records.selectExpr("*", f"{_json(group.source_names)} AS parsed")
        fields = [
            f'CASE WHEN parsed."@broken" IS NULL THEN parsed.{identifier(name)} END AS {identifier(name)}'
            for name in group.source_names
        ]
        return parsed.selectExpr(*fields, *place, 'CAST(NULL AS STRING) AS "@problem"'), files
    n = len(group.source_names)
    cut, whole = _cut(group)
    # Empty fields too many are delimiters at the line's end, which DuckDB passes over too.
    right = f"size(parsed) >= {n} AND forall(slice(parsed, {n + 1}, size(parsed)), f -> f = '')"
    problem = (
        f"CASE WHEN length(record) > {LONGEST_LINE} THEN '{LENGTH}' "
        f"WHEN NOT is_valid_utf8(record) THEN '{ENCODING}' "
        f"WHEN NOT ({whole} AND {right}) THEN '{FIELDS}' END"
    )
    parsed = records.selectExpr("*", f"{cut} AS parsed").selectExpr("*", f'{problem} AS "@problem"')
    fields = [
        f'CASE WHEN "@problem" IS NULL THEN get(parsed, {i}) END AS {identifier(name)}'
        for i, name in enumerate(group.source_names)
    ]
    return parsed.selectExpr(*fields, *place, '"@problem"'), files


def _files(group: FileGroup, frame: Any) -> dict[str, LogFile]:
    """The group's files, in their order, by the URI that Spark gives for a row's file."""
    named = {}
    for uri in frame.inputFiles():  # file:///a/b here, file:/a/b in a row's metadata
        path = "/" + uri.removeprefix("file:").lstrip("/")
        named[unquote(path)] = f"file:{path}"
    for file in group.files:
        if _absolute(file) not in named:
            raise InputError(
                f"{file.path}: Spark passes over this file. Rename it where its name begins "
                'with "_" or ".", or use --engine duckdb.'
            )
    return {named[_absolute(file)]: file for file in group.files}


def _records(group: FileGroup, lines: Any, paths: list[str], session: Any) -> Any:
    """One row per line, or per record where quotes hold line breaks; no headers, no empty lines."""
    record = "TRIM(LEADING '\ufeff' FROM TRIM(TRAILING '\r' FROM value))"
    place = ['_metadata.file_path AS "@file"', '_metadata.file_block_start AS "@block"']
    kept = "record <> ''"
    has_header = group.format == "csv" and group.has_header
    quoted = group.format == "csv" and group.layout.quoted
    if quoted and not lines.where("""regexp_count(value, '"') % 2 = 1""").isEmpty():
        # A schema that no record fits: each comes whole, as one that is "corrupt".
        records = session.read.csv(
            paths,
            schema="`@only` STRING, `@whole` STRING",
            sep=group.delimiter,
            header=has_header,
            multiLine=True,
            quote='"',
            escape='"',
            mode="PERMISSIVE",
            columnNameOfCorruptRecord="@whole",
        ).selectExpr("coalesce(`@whole`, `@only`) AS record", *place)
        # A quote that is never closed costs the line it stands on, not all that follow it.
        fitting = f"{_cut(group)[1]} OR NOT contains(record, '\n')"
        apart = f"CASE WHEN {fitting} THEN array(record) ELSE split(record, '\n') END"
        records = records.selectExpr(f"explode({apart}) AS record", '"@file"', '"@block"')
        # The reader writes U+FFFD for bytes that are not UTF-8; a row with one is taken for such a row.
        broken = (
            "CASE WHEN contains(record, '\ufffd') THEN CAST(unhex('FF') AS STRING) ELSE record END"
        )
        return records.selectExpr(f"{broken} AS record", '"@file"', '"@block"').where(kept)
    if has_header:
        firsts = ", ".join(literal(first) for first in sorted(map(first_line, group.files)))
        kept += f' AND NOT ("@block" = 0 AND record IN ({firsts}))'
    records = lines.selectExpr(f"{record} AS record", *place).where(kept)
    if group.format == "json":
        return records
    # A carriage return within a line is a space, except in quotes.
    spaced = "replace(record, '\r', ' ')"
    if quoted:
        spaced = f"CASE WHEN contains(record, '\"') THEN record ELSE {spaced} END"
    return records.selectExpr(f"{spaced} AS record", '"@file"', '"@block"')


def _cut(group: FileGroup) -> tuple[str, str]:
    """SQL for the fields of a record, and for whether its quotes are where they may be."""
    if not group.layout.quoted:
        return f"split(record, {literal(re.escape(group.delimiter))}, -1)", "true"
    end = f"[{group.delimiter}]"
    field = f' *"(?:[^"]++|"")*+" *|(?! *")[^{group.delimiter}]*'
    ended = f"concat(record, {literal(group.delimiter)})"
    unquoted = """CASE WHEN f RLIKE '^ *"'
      THEN replace(substring(trim(f), 2, length(trim(f)) - 2), '""', '"') ELSE f END"""
    cut = f"transform(regexp_extract_all({ended}, '({field}){end}', 1), f -> {unquoted})"
    return cut, f"{ended} RLIKE '^(?:(?:{field}){end})*+$'"


def _json(names: tuple[str, ...]) -> str:
    """SQL for a struct of texts; null where a line is no JSON object."""
    schema = ", ".join(f"{_backticks(name)} STRING" for name in (*names, "@broken"))
    options = (
        "'mode', 'PERMISSIVE', 'columnNameOfCorruptRecord', '@broken', 'allowSingleQuotes', 'false'"
    )
    # Looked at from outside first: Spark reads {"a": 1} and passes over what follows it on the line.
    whole = "is_valid_utf8(record) AND trim(record) LIKE '{%}'"
    return f"CASE WHEN {whole} THEN from_json(record, {literal(schema)}, map({options})) END"


def _parquet(group: FileGroup, session: Any) -> tuple[Any, dict[str, Column], dict[str, LogFile]]:
    """The columns that the layout wants, their kinds, and the files by the names that Spark calls them."""
    import pyarrow.parquet as pq

    alike: dict[Any, list[LogFile]] = {}  # Spark reads files of one schema together, and no others
    for file in group.files:
        schema = pq.read_schema(file.path).remove_metadata()
        alike.setdefault(schema.to_string(), []).append(file)
    wanted = [name for name in group.source_names if name in group.layout.columns.values()]
    parts: list[tuple[Any, dict[str, str]]] = []
    uris: dict[LogFile, str] = {}
    for members in alike.values():
        part = session.read.parquet(*map(_spark_path, members))
        stored = pq.read_schema(members[0].path)
        types = dict(part.dtypes)
        parts.append((part, {n: _nanoseconds(stored.field(n).type) or types[n] for n in wanted}))
        files = _files(replace(group, files=tuple(members)), part)
        uris |= {file: uri for uri, file in files.items()}
    columns = {name: _column(name, {types[name] for _, types in parts}) for name in wanted}
    place = [
        '_metadata.file_path AS "@file"',
        '_metadata.file_block_start AS "@block"',
        '_metadata.row_index + 1 AS "@row"',
        'CAST(NULL AS STRING) AS "@problem"',
    ]
    rows: Any = None
    for part, types in parts:
        fields = [f"{_value(columns[n], types[n])} AS {identifier(n)}" for n in wanted]
        part = part.selectExpr(*fields, *place)
        rows = part if rows is None else rows.unionByName(part)
    # All names, so that a missing one is told with those at hand.
    others = {name: Column(name, "text") for name in group.source_names}
    return rows, others | columns, {uris[file]: file for file in group.files}


def _nanoseconds(stored: Any) -> str | None:
    """Names Arrow's time stamps in nanoseconds, which Spark reads as integers; None for other types."""
    import pyarrow.types as t

    if t.is_timestamp(stored) and stored.unit == "ns":
        return "nanoseconds zoned" if stored.tz else "nanoseconds"
    return None


def _column(name: str, types: set[str]) -> Column:
    """The column, of one kind over all files: integers beside a missing value become numbers in pandas."""
    kinds = {_kind(type_name) for type_name in types if type_name != "void"}
    if len(kinds) == 1:
        return Column(name, kinds.pop())
    return Column(name, "number" if kinds == {"integer", "number"} else "text")


def _kind(type_name: str) -> Kind:
    if type_name in INTEGERS:
        return "integer"
    return "number" if type_name.startswith("decimal") else KINDS.get(type_name, "text")


def _value(column: Column, kind: str) -> str:
    """A Parquet column where Spark's type or text of it is not DuckDB's."""
    value = identifier(column.name)
    if kind.startswith("nanoseconds"):
        value = f"timestamp_micros({value} div 1000)"
    if column.kind == "timestamp":
        return f"CAST({value} AS TIMESTAMP_NTZ)"
    if column.kind == "zoned":  # read as text, as it is where the file has text
        return f"concat(CAST({value} AS STRING), '+00:00')"
    if column.kind == "integer":
        return f"CAST({value} AS BIGINT)"
    if kind in ("double", "float"):  # 12345678.0 would be written as 1.2345678E7
        whole = f"{value} = floor({value}) AND abs({value}) < 1e15"
        decimal = f"CAST(CAST({value} AS DECIMAL(38, 10)) AS STRING)"
        return (
            f"CASE WHEN {whole} THEN concat(CAST(CAST({value} AS BIGINT) AS STRING), '.0') "
            f"WHEN abs({value}) BETWEEN 1e7 AND 1e15 THEN trim(TRAILING '0' FROM {decimal}) "
            f"ELSE CAST({value} AS STRING) END"
        )
    return value if column.kind == "date" else f"CAST({value} AS STRING)"


def _time_form(
    group: FileGroup, columns: dict[str, Column], config: InputConfig, raw: Any
) -> TimeForm | None:
    """How the time column is written, from its first values; None where its type says it."""
    if group.file_dates is not None or "time" not in columns:
        return None
    if columns["time"].kind in ("date", "timestamp", "zoned"):
        return None
    if config.time_format is not None:
        return "format"
    source = columns["time"].name
    values: list[str] = []
    if group.format == "csv":
        place = group.source_names.index(source)
        for file in group.files:
            values += first_values(file, place, group.cut, PROBED - len(values))
    else:
        found = raw.selectExpr(f"CAST({identifier(source)} AS STRING) AS value").where(
            "value IS NOT NULL"
        )
        values = [value for (value,) in found.limit(PROBED).collect()]
    return time_form(values, f"{shown(group.files[0].path)}: {source}")


def _with_dates(raw: Any, group: FileGroup, files: dict[str, LogFile], session: Any) -> Any:
    """The raw rows with `@day`, the date of their file."""
    import pyspark.sql.functions as sf

    assert group.file_dates is not None
    days = dict(zip(group.files, group.file_dates, strict=True))
    values = ", ".join(
        f"({literal(uri)}, TIMESTAMP '{days[file]} 00:00:00')" for uri, file in files.items()
    )
    dates = session.sql(f'SELECT * FROM VALUES {values} AS dates("@file", "@day")')
    return raw.join(sf.broadcast(dates), "@file", "left")


def _backticks(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _absolute(file: LogFile) -> str:
    return os.path.abspath(file.path)  # noqa: PTH100 (Path.absolute keeps "..", Spark does not)


def _spark_path(file: LogFile) -> str:
    return "file://" + re.sub(r"([\\*?\[\]{}])", r"\\\1", _absolute(file))
