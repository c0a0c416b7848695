"""Files of one layout, read together: which file is a play log, which columns the headers have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from linkwise.data.files import Format, LogFile, shown
from linkwise.data.intact import check_intact
from linkwise.data.lines import Cut, check_names, first_line, header, json_fields
from linkwise.data.schema import (
    FILE_DATE,
    MOVIELENS_FIELDS,
    MUSIC_BOX,
    InputConfig,
    Layout,
    generic_layout,
    movielens_layout,
    sparkify_layout,
)
from linkwise.data.staging import Column
from linkwise.errors import InputError

# How the three kinds of Music Box log are named in file names.
MUSIC_BOX_NAMES = {"play": "play", "down": "download", "search": "search"}


@dataclass(frozen=True)
class FileGroup:
    """Files with one layout and format, in reading order."""

    name: str
    files: tuple[LogFile, ...]
    format: Format
    layout: Layout
    source_names: tuple[str, ...]
    delimiter: str = ","
    has_header: bool = True
    file_dates: tuple[date, ...] | None = None
    time_format: str | None = None

    @property
    def cut(self) -> Cut:
        """How rows of text are cut into fields."""
        return Cut(len(self.source_names), self.delimiter, self.layout.quoted, self.has_header)

    def columns(self, raw: dict[str, Column]) -> dict[str, Column]:
        """Canonical name -> raw column, for the columns that the layout wants and the files have.

        Raises `InputError` listing the columns at hand where one is missing.
        """
        found: dict[str, Column] = {}
        for canonical, source in self.layout.columns.items():
            if source == FILE_DATE:
                continue
            if source not in raw:
                raise InputError(
                    f'{shown(self.files[0].path)}: there is no column "{source}" (for the {canonical}); '
                    f"the columns are {', '.join(raw)}."
                )
            found[canonical] = raw[source]
        return found


def group_files(files: Sequence[LogFile], config: InputConfig) -> list[FileGroup]:
    """Sort log files into groups that are read together, checking that they fit each other.

    Raises `InputError` on empty or damaged files, unknown kinds, missing dates, or files with different
    columns.
    """
    if config.log_schema == "movielens":
        files = _ratings(files)
    if config.log_schema == "music-box":
        kinds = _kinds(files)
        kept = set(check_intact([file for file in files if file in kinds], _skips(config)))
        return [
            _music_box(
                kind, [file for file in kinds if file in kept and kinds[file] == kind], config
            )
            for kind in MUSIC_BOX_NAMES.values()
            if any(kinds[file] == kind for file in kept)
        ]
    formats = {file.format: file for file in reversed(files)}
    if len(formats) > 1:
        names = " and ".join(str(file.path) for file in formats.values())
        raise InputError(
            f"the files are of different formats: {names}. Read one format at a time, "
            "or name the files to read."
        )
    files = check_intact(files, _skips(config))
    read = {"parquet": _parquet, "json": _json, "csv": _text}[files[0].format]
    group = replace(read(files, config), time_format=config.time_format)
    if group.layout.columns.get("time") == FILE_DATE:
        group = replace(group, file_dates=_dates(files, config))
    return [group]


def _skips(config: InputConfig) -> bool:
    return config.on_bad_row == "skip"


def _dates(files: Sequence[LogFile], config: InputConfig) -> tuple[date, ...]:
    dates = []
    for file in files:
        day = file.date or config.date
        if day is None:
            raise InputError(
                f"{file.path}: the file name has no date, and the rows have none either; "
                "name the file like 20170330_play.log, or give --date YYYY-MM-DD."
            )
        dates.append(day)
    return tuple(dates)


def _kinds(files: Sequence[LogFile]) -> dict[LogFile, str]:
    """The kind of each Music Box log; in a folder, truth.parquet and notes may lie beside the logs."""
    kinds: dict[LogFile, str] = {}
    for file in files:
        kind = next((k for word, k in MUSIC_BOX_NAMES.items() if word in file.stem), None)
        if file.format == "csv" and kind is not None:
            kinds[file] = kind
        elif file.named:
            raise InputError(
                f'{file.path}: the name says no kind of Music Box log; expected "play", "down" or '
                '"search" in it, and tab-separated text.'
            )
    if not kinds:
        raise InputError(
            f"{files[0].path}: no Music Box log is here; expected tab-separated files with "
            '"play", "down" or "search" in their names.'
        )
    return kinds


def _music_box(kind: str, files: Sequence[LogFile], config: InputConfig) -> FileGroup:
    layout = MUSIC_BOX[kind]
    assert layout.fields is not None
    dated = layout.columns["time"] == FILE_DATE
    return FileGroup(
        kind,
        tuple(files),
        "csv",
        layout,
        layout.fields,
        delimiter="\t",
        has_header=False,
        file_dates=_dates(files, config) if dated else None,
    )


def _ratings(files: Sequence[LogFile]) -> Sequence[LogFile]:
    """The ratings among the files of a MovieLens folder, which holds movies and users as well."""
    ratings = [f for f in files if f.named or "ratings" in f.stem or f.stem.startswith("u.data")]
    return ratings or files


def _parquet(files: Sequence[LogFile], config: InputConfig) -> FileGroup:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schemas = []
    for file in files:
        try:
            schemas.append(pq.read_schema(file.path))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise InputError(
                f"{file.path}: this is not a whole Parquet file ({str(error).splitlines()[0]}). "
                "Was it cut short while it was written or copied?"
            ) from error
    _same_columns(files, [tuple(schema.names) for schema in schemas])
    names = tuple(schemas[0].names)
    check_names(list(names), shown(files[0].path))
    if config.log_schema == "movielens":
        layout = movielens_layout(names, None)
    elif config.log_schema == "sparkify":
        layout = sparkify_layout(config)
    else:
        layout = generic_layout(config)
    _same_types(files, schemas, layout)
    return FileGroup("events", tuple(files), "parquet", layout, names)


def _same_types(files: Sequence[LogFile], schemas: Sequence[Any], layout: Layout) -> None:
    for canonical, name in layout.columns.items():
        if name not in schemas[0].names:
            continue  # FileGroup.columns names what is missing
        first: tuple[LogFile, str] | None = None
        for file, schema in zip(files, schemas, strict=True):
            stored = schema.field(name).type
            kind = _kind(stored)
            if kind is None:
                raise InputError(
                    f'{shown(file.path)}: the column "{name}" (for the {canonical}) is of the type {stored}; '
                    "expected text, numbers, dates or time stamps. Spans of time are written as seconds."
                )
            if kind == "null":
                continue
            if canonical not in ("user", "item") and kind == "integer":
                kind = "number"  # pandas makes 5.0 of 5 on the first day that a value is missing
            first = first or (file, kind)
            if first[1] != kind:
                raise InputError(
                    f'the files have different types in the column "{name}": {first[0].path} has {first[1]}, '
                    f"{file.path} has {kind}. Write them with one type, or read them apart."
                )


def _kind(stored: Any) -> str | None:
    """What an Arrow type holds, in a word; None for lists, spans of time and other types no log may have."""
    import pyarrow.types as t

    if t.is_dictionary(stored):
        return _kind(stored.value_type)
    kinds = {
        "null": t.is_null,
        "text": lambda s: (
            t.is_string(s)
            or t.is_large_string(s)
            or t.is_string_view(s)
            # Writers of old leave out that their bytes are text.
            or t.is_binary(s)
            or t.is_large_binary(s)
            or t.is_binary_view(s)
        ),
        "integer": t.is_integer,
        "number": lambda s: t.is_floating(s) or t.is_decimal(s),
        "date": t.is_date,
        "time with a zone": lambda s: t.is_timestamp(s) and s.tz is not None,
        "time without a zone": t.is_timestamp,
        "yes or no": t.is_boolean,
    }
    return next((kind for kind, holds in kinds.items() if holds(stored)), None)


def _json(files: Sequence[LogFile], config: InputConfig) -> FileGroup:
    if config.log_schema == "movielens":
        raise InputError(f"{files[0].path}: MovieLens ratings are CSV, text or Parquet, not JSON.")
    sparkify = config.log_schema == "sparkify"
    layout = sparkify_layout(config) if sparkify else generic_layout(config)
    names = tuple(dict.fromkeys(name for name in layout.columns.values() if name != FILE_DATE))
    for file in files:
        # The first hundred records: so that a missing field is named before the long read.
        found = json_fields(file)
        missing = [name for name in names if name not in found]
        if missing:
            canonical = next(c for c, name in layout.columns.items() if name == missing[0])
            raise InputError(
                f'{file.path}: no field "{missing[0]}" (for the {canonical}) in the first records; '
                f"they have {', '.join(found)}."
            )
    return FileGroup("events", tuple(files), "json", layout, names)


def _text(files: Sequence[LogFile], config: InputConfig) -> FileGroup:
    if config.log_schema == "movielens":
        return _movielens_text(files)
    headers = [header(file) for file in files]
    _same_columns(files, [tuple(names) for names, _ in headers])
    names, delimiter = headers[0]
    for file, (_, other) in zip(files, headers, strict=True):
        if other != delimiter:
            raise InputError(
                f"the files are separated differently: {files[0].path} by {delimiter!r}, "
                f"{file.path} by {other!r}. Read files of one layout at a time."
            )
    layout = sparkify_layout(config) if config.log_schema == "sparkify" else generic_layout(config)
    return FileGroup("events", tuple(files), "csv", layout, tuple(names), delimiter)


def _movielens_text(files: Sequence[LogFile]) -> FileGroup:
    found: list[tuple[tuple[str, ...] | None, str]] = []
    for file in files:
        first = first_line(file)
        if first.split(",")[0].strip('"') == MOVIELENS_FIELDS[0]:
            names, delimiter = header(file)
            found.append((tuple(names), delimiter))
        else:
            found.append((None, max(("::", "\t", ",", ";", "|"), key=first.count)))
    for file, other in zip(files, found, strict=True):
        if other != found[0]:
            raise InputError(
                f"the files are written differently: {files[0].path} and {file.path}. "
                "Read files of one layout at a time."
            )
    columns, delimiter = found[0]
    layout = movielens_layout(columns, delimiter)
    return FileGroup(
        "ratings",
        tuple(files),
        "csv",
        layout,
        columns or MOVIELENS_FIELDS,
        delimiter,
        has_header=columns is not None,
    )


def _same_columns(files: Sequence[LogFile], columns: Sequence[tuple[str, ...]]) -> None:
    for file, names in zip(files, columns, strict=True):
        if names != columns[0]:
            raise InputError(
                f"the files have different columns: {files[0].path} has {', '.join(columns[0])}; "
                f"{file.path} has {', '.join(names)}. Read files of one layout at a time."
            )
