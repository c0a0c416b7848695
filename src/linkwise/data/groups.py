"""Files of one layout, read together: which file is a play log, which columns the headers have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from linkwise.data.files import Format, LogFile, check_not_empty, header
from linkwise.data.schema import (
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

    def columns(self, raw: dict[str, Column]) -> dict[str, Column]:
        """Canonical name -> raw column, for the columns that the layout wants and the files have.

        Raises `InputError` listing the columns at hand where one named by the user is missing.
        """
        found: dict[str, Column] = {}
        for canonical, source in self.layout.columns.items():
            if source == "@file":
                continue
            if source not in raw:
                raise InputError(
                    f'{self.files[0].path}: there is no column "{source}" (for --{canonical}); '
                    f"the columns are {', '.join(raw)}."
                )
            found[canonical] = raw[source]
        return found


def group_files(files: Sequence[LogFile], config: InputConfig) -> list[FileGroup]:
    """Sort log files into groups that are read together, checking that they fit each other.

    Raises `InputError` on empty files, unknown kinds, missing dates, or files with different columns.
    """
    if config.on_bad_row == "skip":
        files = [file for file in files if file.path.stat().st_size > 0]
        if not files:
            raise InputError("every file of the log is empty.")
    else:
        check_not_empty(files)
    if config.log_schema == "music-box":
        return _music_box(files, config)
    formats = {file.format: file for file in files}
    if len(formats) > 1:
        names = " and ".join(str(file.path) for file in formats.values())
        raise InputError(
            f"the files are of different formats: {names}. Read one format at a time, "
            "or name the files to read."
        )
    form = files[0].format
    if form == "parquet":
        return [_parquet(files, config)]
    if form == "json":
        layout = (
            sparkify_layout(config) if config.log_schema == "sparkify" else generic_layout(config)
        )
        names = tuple(dict.fromkeys(layout.columns.values()))
        _check_json(files, names)
        return [FileGroup("events", tuple(files), "json", layout, names)]
    return [_text(files, config)]


def _music_box(files: Sequence[LogFile], config: InputConfig) -> list[FileGroup]:
    by_kind: dict[str, list[LogFile]] = {}
    for file in files:
        kind = next((k for word, k in MUSIC_BOX_NAMES.items() if word in file.stem), None)
        if file.format != "csv" or kind is None:
            continue  # truth.parquet and notes may lie beside the logs
        by_kind.setdefault(kind, []).append(file)
    if not by_kind:
        raise InputError(
            f"{files[0].path}: no Music Box log is here; expected tab-separated files with "
            '"play", "down" or "search" in their names.'
        )
    groups = []
    for kind in MUSIC_BOX_NAMES.values():
        members = by_kind.get(kind, [])
        if not members:
            continue
        layout = MUSIC_BOX[kind]
        assert layout.fields is not None
        dates: list[date] | None = None
        if layout.columns["time"] == "@file":
            dates = []
            for file in members:
                day = file.date or config.date
                if day is None:
                    raise InputError(
                        f"{file.path}: the file name has no date, and {kind} rows have none either; "
                        "name the file like 20170330_play.log, or give --date YYYY-MM-DD."
                    )
                dates.append(day)
        groups.append(
            FileGroup(
                kind,
                tuple(members),
                "csv",
                layout,
                layout.fields,
                delimiter="\t",
                has_header=False,
                file_dates=tuple(dates) if dates is not None else None,
            )
        )
    return groups


def _parquet(files: Sequence[LogFile], config: InputConfig) -> FileGroup:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schemas = []
    for file in files:
        try:
            schemas.append(pq.read_schema(file.path))
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(
                f"{file.path}: this is not a whole Parquet file ({str(error).splitlines()[0]}). "
                "Was it cut short while it was written or copied?"
            ) from error
    _same_columns(files, [tuple(schema.names) for schema in schemas])
    names = tuple(schemas[0].names)
    if config.log_schema == "movielens":
        layout = movielens_layout(names, None)
    elif config.log_schema == "sparkify":
        layout = sparkify_layout(config)
    else:
        layout = generic_layout(config)
    return FileGroup("events", tuple(files), "parquet", layout, names)


def _text(files: Sequence[LogFile], config: InputConfig) -> FileGroup:
    if config.log_schema == "movielens":
        first, delimiter = header(files[0])
        if first and first[0] == "userId":
            layout = movielens_layout(tuple(first), delimiter)
            return FileGroup("ratings", tuple(files), "csv", layout, tuple(first), delimiter)
        delimiter = "::" if any("::" in field for field in first) else delimiter
        layout = movielens_layout(None, delimiter)
        assert layout.fields is not None
        return FileGroup(
            "ratings", tuple(files), "csv", layout, layout.fields, delimiter, has_header=False
        )
    headers = [header(file) for file in files]
    _same_columns(files, [tuple(names) for names, _ in headers])
    names, delimiter = headers[0]
    if len(set(names)) != len(names):
        raise InputError(f"{files[0].path} line 1: column names repeat: {', '.join(names)}.")
    layout = sparkify_layout(config) if config.log_schema == "sparkify" else generic_layout(config)
    return FileGroup("events", tuple(files), "csv", layout, tuple(names), delimiter)


def _same_columns(files: Sequence[LogFile], columns: Sequence[tuple[str, ...]]) -> None:
    for file, names in zip(files, columns, strict=True):
        if names != columns[0]:
            raise InputError(
                f"the files have different columns: {files[0].path} has {', '.join(columns[0])}; "
                f"{file.path} has {', '.join(names)}. Read files of one layout at a time."
            )


def _check_json(files: Sequence[LogFile], names: tuple[str, ...]) -> None:
    """Look at the first hundred records, so that a missing field is named before the long read."""
    import json

    from linkwise.data.files import open_text

    for file in files:
        keys: dict[str, None] = {}
        with open_text(file) as stream:
            for number, line in zip(range(1, 101), stream, strict=False):
                try:
                    record = json.loads(line)
                except json.JSONDecodeError as error:
                    if number > 1:
                        break  # a malformed row further down is counted, or named, by the reading itself
                    raise InputError(
                        f"{file.path} line 1: this is not JSON ({error.msg})."
                    ) from error
                if not isinstance(record, dict):
                    raise InputError(f"{file.path} line {number}: expected one JSON object a line.")
                keys |= dict.fromkeys(record)
        missing = [name for name in names if name not in keys]
        if missing:
            raise InputError(
                f'{file.path}: no field "{missing[0]}" in the first {min(number, 100)} records; '
                f"they have {', '.join(keys)}."
            )
