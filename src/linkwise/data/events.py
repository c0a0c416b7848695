"""`Events`: a log of who did what to which item and when, validated where it is read."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import narwhals as nw

from linkwise.data.engine import EngineConfig, Frame, collect, engine_errors, open_duckdb
from linkwise.data.files import find_files
from linkwise.data.groups import group_files
from linkwise.data.schema import InputConfig
from linkwise.data.staging_duckdb import BadRows, stage
from linkwise.errors import InputError

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
    - `day`: days since 1970-01-01 in the log's time zone (int32)
    - `time`: local timestamp, only on logs whose every row has a clock time
    - `duration`, `length`: time spent and the item's own length, milliseconds (int64)
    - `value`: an amount in hundredths (int64)
    - `device`, `text`: text; `paid`: boolean

    of which those that the log does not know are absent. Rows keep the order of the files, which is their
    order within a day where the log has dates only.
    """

    frame: Frame
    columns: frozenset[str]
    first_day: int
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
    def has_clock(self) -> bool:
        """Whether every row has a clock time, not only a date."""
        return "time" in self.columns

    @property
    def end_day(self) -> int:
        """The first day after the log, as days since 1970-01-01."""
        return self.last_day + 1

    def with_frame(self, frame: Frame) -> Events:
        """The same log with other rows; the counts are those of the log as it was read."""
        from dataclasses import replace

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
    config = InputConfig(**options) if config is None else config.model_copy(update=options)
    engine = engine or EngineConfig()
    scratch = None
    if folder is None:
        scratch = tempfile.TemporaryDirectory(prefix="linkwise-")
        folder = Path(scratch.name)
    if not _is_path(paths):
        paths = _frame_to_parquet(paths, folder)
    files = find_files([paths] if isinstance(paths, str | Path) else list(paths))
    sources = tuple(file.path for file in files)
    groups = group_files(files, config)
    if engine.engine == "spark":
        from linkwise.data.staging_spark import stage_spark

        return stage_spark(groups, config, engine, sources)
    connection = open_duckdb(engine, folder / "spill")
    staged = stage(groups, config, connection, folder / "events")
    return _open(staged.files, staged.bad, sources, engine, connection, scratch)


def _open(
    files: Sequence[Path],
    bad: tuple[BadRows, ...],
    sources: tuple[Path, ...],
    engine: EngineConfig,
    connection: duckdb.DuckDBPyConnection,
    scratch: Any,
) -> Events:
    listed = ", ".join("'" + str(path).replace("'", "''") + "'" for path in files)
    with engine_errors():
        relation = connection.sql(
            f"SELECT * EXCLUDE (bad, bad_value, bad_file) "
            f"FROM read_parquet([{listed}], union_by_name=true) WHERE bad IS NULL"
        )
        frame: Frame
        if engine.engine == "polars":
            import polars as pl

            scans = [
                pl.scan_parquet(path)
                .filter(pl.col("bad").is_null())
                .drop("bad", "bad_value", "bad_file")
                for path in files
            ]
            frame = nw.from_native(pl.concat(scans, how="diagonal"))
            return summarise(frame, bad, sources, connection, scratch)
        return summarise(nw.from_native(relation), bad, sources, connection, scratch)


def summarise(
    frame: Frame,
    bad: tuple[BadRows, ...],
    sources: tuple[Path, ...],
    connection: duckdb.DuckDBPyConnection | None,
    scratch: Any,
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
            *(clock if "time" in names else []),
        )
    ).row(0, named=True)
    if not counts["rows"]:
        raise InputError(
            "the log has no usable rows: every row was malformed, or the files have only a header."
        )
    kinds = collect(
        frame.group_by("event")
        .agg(nw.len().alias("n"))
        .sort("n", "event", descending=[True, False])
    )
    keep = [name for name in names if name != "time" or (counts["clock"] and not counts["no_time"])]
    return Events(
        frame=frame.select(keep),
        columns=frozenset(keep),
        first_day=counts["first"],
        last_day=counts["last"],
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


def _frame_to_parquet(frame: Any, folder: Path) -> Path:
    """Write a frame given from Python to Parquet, so that it is read, and fingerprinted, like a file."""
    native = nw.from_native(frame)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "frame.parquet"
    if isinstance(native, nw.LazyFrame):
        native = native.collect()
    native.write_parquet(path)
    return path
