"""The engines that the studies' tables run on: embedded DuckDB, Polars, or a Spark cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import duckdb
import narwhals as nw
from pydantic import BaseModel, ConfigDict, Field

from linkwise.errors import InputError, ResourceError, optional

if TYPE_CHECKING:
    import polars as pl

Frame = nw.LazyFrame[Any]


class EngineConfig(BaseModel):
    """Where the tables are computed, and how much of the machine they may take."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    engine: Literal["duckdb", "polars", "spark"] = "duckdb"
    """Engine of the tables. The same expressions run on each; `spark` needs the extra of that name."""
    memory: str = Field("1GB", pattern=r"^\d+(\.\d+)?\s?(MB|GB|TB|MiB|GiB|TiB)$")
    """Memory DuckDB may use before it spills to disk, such as 800MB or 4GB."""
    threads: int | None = Field(None, ge=1)
    """Threads of the tables and of the models; all cores by default."""
    spark_master: str = "local[*]"
    """Address of the Spark cluster; `local[*]` runs it inside this process."""


def n_threads(config: EngineConfig) -> int:
    """The number of threads to use: the option, else every core."""
    return config.threads or os.cpu_count() or 1


def open_duckdb(config: EngineConfig, scratch: Path) -> duckdb.DuckDBPyConnection:
    """Open an in-memory database that spills to `scratch` and never reaches for the network."""
    connection = duckdb.connect(
        config={
            "memory_limit": config.memory,
            "threads": n_threads(config),
            "temp_directory": str(scratch),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
    )
    connection.execute("SET enable_progress_bar = false")
    # Stamps without a zone among stamps with one: the same on every machine.
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def open_spark(config: EngineConfig) -> Any:
    """Start, or join, the Spark session of this process.

    Raises `ResourceError` where pyspark is not installed or Spark does not start.
    """
    pyspark = optional("pyspark.sql", "spark", "--engine spark")
    builder = (
        pyspark.SparkSession.builder.master(config.spark_master)
        .appName("linkwise")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", str(max(2 * n_threads(config), 4)))
        .config("spark.ui.showConsoleProgress", "false")
        # The staging SQL is shared with DuckDB: names in double quotes, no silent nulls.
        .config("spark.sql.ansi.enabled", "true")
        .config("spark.sql.ansi.doubleQuotedIdentifiers", "true")
        .config("spark.executor.extraJavaOptions", "-Xss8m")  # ALS's plans are deep
        .config("spark.sql.legacy.parquet.nanosAsLong", "true")  # pandas writes nanoseconds
    )
    try:
        session = builder.getOrCreate()
    except (
        Exception
    ) as error:  # py4j raises bare exceptions where Java is missing or a port is closed
        raise ResourceError(
            f'Spark did not start at "{config.spark_master}": {_first_line(error)} '
            "Is Java installed, and the master reachable? Without a cluster use --engine duckdb."
        ) from error
    session.sparkContext.setLogLevel("ERROR")
    return session


def count_where(condition: Any) -> Any:
    """How many rows of a group meet a condition: an int64 aggregate."""
    # count() of a value that is null elsewhere stays a 64-bit integer on every engine; sum() would
    # become DuckDB's 128-bit integer.
    return nw.when(condition).then(nw.lit(1)).count()


def total(expression: Any) -> Any:
    """The int64 sum of an integer expression; null values count as nothing, a sum of nothing is 0."""
    return expression.sum().cast(nw.Int64)


def ratio(numerator: Any, denominator: Any) -> Any:
    """`numerator / denominator` as float64, null where the denominator is 0 or null.

    Guarded with when/then: Spark raises on a division by zero where DuckDB gives null.
    """
    return nw.when(denominator > 0).then(numerator.cast(nw.Float64) / denominator.cast(nw.Float64))


def collect(frame: Frame) -> pl.DataFrame:
    """Run a lazy frame of any engine and return its rows as a Polars frame."""
    with engine_errors():
        native = nw.to_native(frame)
        if isinstance(native, duckdb.DuckDBPyRelation):
            return _polars(native.to_arrow_table())
        if frame.implementation.is_polars():
            collected: pl.DataFrame = frame.collect("polars", engine="streaming").to_native()
            return collected
        return _polars(native.toArrow())


def batches(frame: Frame, rows: int = 1_000_000) -> Iterator[pl.DataFrame]:
    """Run a lazy frame and yield its rows in order, so many at a time where the engine can stream them."""
    import polars as pl

    native = nw.to_native(frame)
    if not isinstance(native, duckdb.DuckDBPyRelation):
        yield collect(frame)
        return
    with engine_errors():
        for batch in native.to_arrow_reader(rows):
            found = pl.from_arrow(batch)
            assert isinstance(found, pl.DataFrame)
            yield found


def _polars(table: Any) -> pl.DataFrame:
    import polars as pl

    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def write_parquet(frame: Frame, path: Path) -> None:
    """Write a lazy frame to one Parquet file, in bounded memory, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    with engine_errors():
        try:
            native = nw.to_native(frame)
            if isinstance(native, duckdb.DuckDBPyRelation):
                native.write_parquet(str(partial), compression="zstd")
            elif frame.implementation.is_polars():
                native.sink_parquet(partial)
            else:
                _polars(native.toArrow()).write_parquet(partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def materialise(frame: Frame, path: Path, connection: duckdb.DuckDBPyConnection | None) -> Frame:
    """Compute a lazy frame once; what follows reads the result, from `path` or the cluster's cache."""
    native = nw.to_native(frame)
    if connection is None:
        cached: Frame = nw.from_native(native.persist())
        return cached
    if not path.exists():
        write_parquet(frame, path)
    if frame.implementation.is_polars():
        import polars as pl

        return nw.from_native(pl.scan_parquet(path))
    escaped = str(path).replace("'", "''")
    return nw.from_native(connection.sql(f"SELECT * FROM read_parquet('{escaped}')"))


@contextmanager
def engine_errors() -> Iterator[None]:
    """Turn an engine's own errors about space and broken files into ours."""
    try:
        yield
    except RuntimeError as error:
        # DuckDB turns Ctrl-C in the middle of a query into this.
        if "interrupted" in str(error).lower():
            raise KeyboardInterrupt from error
        raise
    except duckdb.OutOfMemoryException as error:
        raise ResourceError(
            f"DuckDB ran out of memory: {_first_line(error)} Give it more with --memory, "
            "or free disk space for spilling."
        ) from error
    except duckdb.IOException as error:
        raise disk_or_input(error) from error
    except duckdb.Error as error:
        raise InputError(f"the log cannot be read: {_first_line(error)}") from error
    except OSError as error:
        raise disk_or_input(error) from error
    except Exception as error:  # Spark's, told by their module: pyspark need not be installed
        if type(error).__module__.split(".")[0] not in ("pyspark", "py4j"):
            raise
        raise disk_or_input(error) from error


def disk_or_input(error: Exception) -> ResourceError | InputError:
    """The Linkwise error for a failed read or write: a full disk, else a broken file."""
    text = str(error)
    if any(
        sign in text
        for sign in ("No space left", "File too large", "Disk quota", "Could not write")
    ):
        return ResourceError(
            f"the disk is full or the file size limit is reached: {_first_line(error)} "
            "Free some space, or write elsewhere with --out."
        )
    return InputError(f"the log cannot be read: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
