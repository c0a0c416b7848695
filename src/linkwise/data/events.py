"""`Events`: a log of who did what to which item and when, validated where it is read."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import narwhals as nw
from narwhals.exceptions import NarwhalsError
from pydantic import ValidationError

from linkwise.data.bad_rows import BadRows
from linkwise.data.engine import EngineConfig, Frame, collect, engine_errors, open_duckdb
from linkwise.data.files import find_files
from linkwise.data.groups import group_files
from linkwise.data.schema import InputConfig
from linkwise.data.staging_duckdb import stage
from linkwise.errors import InputError, UsageError

if TYPE_CHECKING:
    import duckdb

EPOCH = date(1970, 1, 1)


def epoch_day(day: date) -> int:
    """Days since 1970-01-01."""
    return (day - EPOCH).days


def from_epoch_day(day: int) -> date:
    """The date that lies `day` days after 1970-01-01."""
    return EPOCH + timedelta(days=int(day))


@dataclass(frozen=True)
class Events:
    """A validated log, lazy: nothing of it is in memory until a frame made from it is collected.

    `frame` has one row per event with the columns

    - `user`: the id as written (integer or text), never null
    - `item`: the item's id, null where the event has none (a search) or the id is a sentinel
    - `event`: the kind of event, such as play, download, search
    - `day`: days since 1970-01-01 in the log's time zone (int32); absent where some row has a position only
    - `time`: local timestamp, only on logs whose every row has a clock time
    - `position`: the place in the user's order (int64), on logs that say it
    - `duration`, `length`: time spent and the item's own length, milliseconds (int64)
    - `value`: an amount in hundredths (int64)
    - `device`, `text`: text; `paid`: boolean

    of which those that the log does not know are absent. Rows keep the order of the files, which is their
    order within a day where the log has dates only.
    """

    frame: Frame
    columns: frozenset[str]
    first_day: int
    """The first day, as days since 1970-01-01; 0, like `last_day`, on a log without days."""
    last_day: int
    n_rows: int
    n_users: int
    kinds: tuple[str, ...]
    """Kinds of event, most frequent first."""
    bad_rows: tuple[BadRows, ...] = ()
    files: tuple[Path, ...] = ()
    connection: duckdb.DuckDBPyConnection | None = field(default=None, repr=False, compare=False)
    scratch: Any = field(default=None, repr=False, compare=False)

    @property
    def has_days(self) -> bool:
        """Whether every row has a date; a log may say the order of a user's events only."""
        return "day" in self.columns

    @property
    def has_clock(self) -> bool:
        """Whether every row has a clock time, not only a date."""
        return "time" in self.columns

    @property
    def end_day(self) -> int:
        """The first day after the log, as days since 1970-01-01."""
        return self.last_day + 1

    def with_frame(self, frame: Frame) -> Events:
        """The same log with other rows; the counts are those of the log as it was read."""
        return replace(self, frame=frame, columns=frozenset(frame.collect_schema().names()))


def read_events(
    paths: str | Path | Sequence[str | Path] | Any,
    config: InputConfig | None = None,
    *,
    engine: EngineConfig | None = None,
    folder: Path | None = None,
    **options: Any,
) -> Events:
    """Read a log of events from files or from a pandas, Polars or Arrow frame.

    Takes Parquet, CSV and TSV, and JSON lines, plain or as .gz and .zst; single files, globs, and folders
    of daily files. The log may be larger than memory: it is read once, in a stream, into typed Parquet in
    `folder` (a temporary folder unless given; one that holds a whole staged log is used as it is).
    `options` are fields of `InputConfig`, such as ``schema="music-box"`` or ``user="customer"``.

    Raises `InputError` for files that are missing, empty, cut short, of different columns, or with
    malformed rows (naming file and line) unless ``on_bad_row="skip"``; `UsageError` for unnamed columns.
    """
    config = _configured(config, options)
    engine = engine or EngineConfig()
    if folder is not None:
        return _read(paths, config, engine, Path(folder))
    folder = Path(tempfile.mkdtemp(prefix="linkwise-"))
    try:
        events = _read(paths, config, engine, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    # Every frame on DuckDB holds the connection, and nothing else: so that a frame may outlive its Events.
    # On the other engines the files stay until this process ends.
    holder = events.connection if engine.engine == "duckdb" else read_events
    weakref.finalize(holder, shutil.rmtree, folder, ignore_errors=True)
    return events


def _configured(config: InputConfig | None, options: dict[str, Any]) -> InputConfig:
    """The options over those of `config`; raises `UsageError` where one is unknown or out of range."""
    given = {} if config is None else config.model_dump(exclude_unset=True)
    if "schema" in options:
        options = {"log_schema": options["schema"]} | options
        del options["schema"]
    try:
        return InputConfig(**(given | options))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"]).replace("log_schema", "schema")
        if first["type"] == "extra_forbidden":
            known = ", ".join(InputConfig.model_fields).replace("log_schema", "schema")
            raise UsageError(f'there is no option "{name}"; the options are {known}.') from error
        message = first["msg"].removeprefix("Value error, ")
        got = f'{name} is "{first["input"]}": ' if name else ""
        raise UsageError(f"{got}{message}.") from error


def _read(paths: Any, config: InputConfig, engine: EngineConfig, folder: Path) -> Events:
    if not _is_path(paths):
        paths = _frame_to_parquet(paths, config, folder / "linkwise-frame")
    files = find_files([paths] if isinstance(paths, str | Path) else list(paths))
    sources = tuple(file.path for file in files)
    groups = group_files(files, config)
    if engine.engine == "spark":
        from linkwise.data.staging_spark import stage_spark

        return stage_spark(groups, config, engine, sources)
    connection = open_duckdb(engine, folder / "spill")
    staged = stage(groups, config, connection, folder / "events")
    return _open(staged.files, staged.bad, sources, engine, connection)


def _open(
    files: Sequence[Path],
    bad: tuple[BadRows, ...],
    sources: tuple[Path, ...],
    engine: EngineConfig,
    connection: duckdb.DuckDBPyConnection,
) -> Events:
    listed = ", ".join("'" + str(path).replace("'", "''") + "'" for path in files)
    with engine_errors():
        relation = connection.sql(
            f"SELECT * EXCLUDE (bad, bad_value, bad_file, bad_row) "
            f"FROM read_parquet([{listed}], union_by_name=true) WHERE bad IS NULL"
        )
        frame: Frame
        if engine.engine == "polars":
            import polars as pl

            scans = [
                pl.scan_parquet(path)
                .filter(pl.col("bad").is_null())
                .drop("bad", "bad_value", "bad_file", "bad_row")
                for path in files
            ]
            frame = nw.from_native(pl.concat(scans, how="diagonal"))
            return summarise(frame, bad, sources, connection)
        return summarise(nw.from_native(relation), bad, sources, connection)


def summarise(
    frame: Frame,
    bad: tuple[BadRows, ...],
    sources: tuple[Path, ...],
    connection: duckdb.DuckDBPyConnection | None,
    scratch: Any = None,
) -> Events:
    """Count a staged log and drop what it does not really have; the last step of reading.

    Raises `InputError` where no row is left.
    """
    names = frame.collect_schema().names()
    clock = [
        (nw.col("time") != nw.col("time").dt.truncate("1d")).any().alias("clock"),
        nw.col("time").is_null().any().alias("no_time"),
    ]
    counts = collect(
        frame.select(
            nw.len().alias("rows"),
            nw.col("user").n_unique().alias("users"),
            nw.col("day").min().alias("first"),
            nw.col("day").max().alias("last"),
            nw.col("day").is_null().any().alias("no_day"),
            *(clock if "time" in names else []),
        )
    ).row(0, named=True)
    if not counts["rows"]:
        if bad:
            dropped = "; ".join(f"{rows.rows:,} for {rows.rule}" for rows in bad)
            raise InputError(
                f"the log has no usable rows; the malformed ones were dropped: {dropped}."
            )
        raise InputError(
            "the log has no rows: the files hold nothing below their header, or --sample kept no user."
        )
    kinds = collect(
        frame.group_by("event")
        .agg(nw.len().alias("n"))
        .sort("n", "event", descending=[True, False])
    )
    unknown = {"day"} if counts["no_day"] else set()
    if "time" in names and (not counts["clock"] or counts["no_time"]):
        unknown.add("time")
    keep = [name for name in names if name not in unknown]
    return Events(
        frame=frame.select(keep),
        columns=frozenset(keep),
        first_day=0 if counts["no_day"] else counts["first"],
        last_day=0 if counts["no_day"] else counts["last"],
        n_rows=counts["rows"],
        n_users=counts["users"],
        kinds=tuple(kinds["event"]),
        bad_rows=bad,
        files=sources,
        connection=connection,
        scratch=scratch,
    )


def _is_path(value: Any) -> bool:
    if isinstance(value, str | Path):
        return True
    return isinstance(value, list | tuple) and all(isinstance(v, str | Path) for v in value)


def _frame_to_parquet(frame: Any, config: InputConfig, folder: Path) -> Path:
    """Write a frame given from Python to Parquet, so that it is read, and fingerprinted, like a file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "frame.parquet"
    try:
        native = nw.from_native(frame)
        schema = native.collect_schema()
        if not schema:
            raise InputError("the frame has no columns.")
        # Where there is no null, NaN is what stands for a missing number.
        named = (config.user, config.item, config.duration, config.length, config.value)
        floats = [n for n in named if n is not None and n in schema and schema[n].is_float()]
        native = native.with_columns(nw.col(name).fill_nan(None) for name in floats)
        if isinstance(native, nw.LazyFrame):
            ids = [name for name in floats if name in (config.user, config.item)]
            _lazily_with_whole_ids(native, ids).sink_parquet(path)
        else:
            table = native.to_arrow()
            for name in (config.user, config.item):
                if name is not None and name in table.column_names:
                    table = _with_whole_ids(table, name)
            pq.write_table(table, path)
    except TypeError as error:
        raise UsageError(
            f"the log is of the type {type(frame).__name__}; expected a path, several paths, or a "
            "pandas, Polars or Arrow frame."
        ) from error
    except (pa.ArrowException, NarwhalsError, ValueError) as error:
        reason = " ".join(str(error.args[0] if error.args else error).split())
        raise InputError(
            f"the frame cannot be stored: {reason.rstrip('.')}. Expected columns with names of their "
            "own, each of one type: numbers, text, dates or time stamps."
        ) from error
    return path


def _with_whole_ids(table: Any, name: str) -> Any:
    """The table with 7.0 as 7 in a column of ids: pandas makes floats of integers beside a missing one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table[name]
    if (
        not pa.types.is_floating(column.type)
        or not pc.all(pc.equal(pc.round(column), column)).as_py()
    ):
        return table
    return table.set_column(table.column_names.index(name), name, column.cast(pa.int64()))


def _lazily_with_whole_ids(frame: Frame, names: Sequence[str]) -> Frame:
    """The same for a lazy frame, which is asked first whether the ids are whole."""
    if not names:
        return frame
    whole = collect(frame.select((nw.col(name) == nw.col(name).round()).all() for name in names))
    kept = [name for name in names if whole[name].item() is not False]
    return frame.with_columns(nw.col(name).cast(nw.Int64) for name in kept)
