"""Churn features of N events: Linkwise on DuckDB against hand-written SQL, Polars and local Spark.

    python benchmarks/churn_features.py --events 5000000

Writes N simulated events once (in bounded memory), then computes the same features with each engine in turn,
each in a fresh process: CPU seconds of the process and its children, wall seconds, peak memory of the process
tree. Every engine's table is compared with the first one's, value by value.

Claims at 100 M events on 2 cores: Linkwise takes at most 1.15 times the CPU of the hand-written SQL, at most
1.5 GiB of memory, and at most a fifth of the CPU of local Spark.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

FIRST_DAY, DAYS = 17_226, 60  # 2017-03-01, and the days that hold the events
SESSION = 12  # events of a user on an active day, on average
ITEMS = 200_000
FILE_ROWS = 10_000_000  # about; a file holds whole days
ENGINES = ("duckdb", "sql", "polars", "spark")
KINDS, DEVICES = ("play", "search", "download"), ("ip", "ar")
SCHEMA = pa.schema(
    [
        ("user", pa.int64()),
        ("item", pa.int64()),
        ("event", pa.dictionary(pa.int32(), pa.string())),
        ("day", pa.int32()),
        ("duration", pa.int64()),
        ("length", pa.int64()),
        ("device", pa.dictionary(pa.int32(), pa.string())),
        ("paid", pa.bool_()),
    ]
)


def write_events(folder: Path, n: int, seed: int = 0) -> None:
    """Write n events of n / 100 users to Parquet files, sorted by day, a day at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    per_file = max(1, round(FILE_ROWS / max(n / DAYS, 1)))
    writer: pq.ParquetWriter | None = None
    for d in range(DAYS):
        if d % per_file == 0:
            if writer is not None:
                writer.close()
            path = folder / f"events-{d // per_file:03d}.parquet"
            writer = pq.ParquetWriter(path, SCHEMA, compression="zstd")
        assert writer is not None
        writer.write_table(_day(rng, d, n * (d + 1) // DAYS - n * d // DAYS, max(n // 100, 1)))
    if writer is not None:
        writer.close()


def _day(rng: np.random.Generator, d: int, n: int, n_users: int) -> pa.Table:
    """The events of one day, in no order: few users come often, most come seldom."""
    sizes = rng.geometric(1 / SESSION, n // SESSION * 2 + 10)
    sizes = sizes[: np.searchsorted(np.cumsum(sizes), n) + 1]
    rank = (n_users * rng.random(len(sizes)) ** 2.5).astype(np.int64)
    user = rng.permutation(np.repeat(rank, sizes)[:n])
    play = rng.random(n)
    event = np.where(play < 0.8, 0, np.where(play < 0.97, 1, 2)).astype(np.int32)
    item = (ITEMS * rng.random(n) ** 3).astype(np.int64)
    length = 1000 * rng.integers(90, 400, n)
    length[rng.random(n) < 0.01] = 0
    duration = np.where(rng.random(n) < 0.5, length, length * rng.random(n)).astype(np.int64)
    unplayed = event != 0
    columns = [
        pa.array(user * 2_654_435_761 % 2**31),  # an odd factor: ids differ, and are in no order
        pa.array(item, mask=(event == 1) | (rng.random(n) < 0.005)),
        pa.DictionaryArray.from_arrays(event, list(KINDS)),
        pa.array(np.full(n, FIRST_DAY + d, dtype=np.int32)),
        pa.array(duration, mask=unplayed | (rng.random(n) < 0.01)),
        pa.array(length, mask=unplayed | (rng.random(n) < 0.01)),
        pa.DictionaryArray.from_arrays(
            (rng.random(n) > (user % 10) / 9).astype(np.int32), list(DEVICES)
        ),
        pa.array(user % 17 == 0),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def hand_written(files: str) -> str:
    """The same features as SQL for DuckDB, as one would write it for speed: two levels, sums of integers."""
    cutoff, windows = FIRST_DAY + DAYS, (1, 3, 7, 14, 30, 60)
    short = {"play": "P", "search": "S", "download": "D"}
    in_window = f"day >= {FIRST_DAY} AND day < {cutoff}"
    daily = [
        f"count(CASE WHEN event = '{kind}' THEN 1 END) AS {code}" for kind, code in short.items()
    ]
    daily += [f"count(CASE WHEN fifths >= length * {i} THEN 1 END) AS r{i}" for i in range(1, 5)]
    daily += [f"count(CASE WHEN device = '{device}' THEN 1 END) AS {device}" for device in DEVICES]

    sums, out = [], ["user"]

    def last(column: str, k: int) -> str:
        return f"sum({column})" if k == DAYS else f"sum({column}) FILTER (day >= {cutoff - k})"

    for i in range(5):
        sums.append(f"sum(r{i})::BIGINT AS r{i}")
    sums += [f"coalesce({last('r4', k)}, 0)::BIGINT AS r4_{k}" for k in (7, 30)]
    sums += [f"coalesce({last('played', k)}, 0)::BIGINT AS played_{k}" for k in (7, 30)]
    for code in (*short.values(), "n"):
        sums += [f"coalesce({last(code, k)}, 0)::BIGINT AS {code}_{k}" for k in windows]
    sums += [f"max(day) FILTER ({code} > 0) AS last_{code}" for code in short.values()]

    bins = ("0_to_20", "20_to_40", "40_to_60", "60_to_80", "larger_than_80")
    between = ["r0 - r1", "r1 - r2", "r2 - r3", "r3 - r4", "r4"]
    out += [
        f"({plays}) / nullif(r0, 0) AS time_percentage_{name}"
        for plays, name in zip(between, bins, strict=True)
    ]
    out += [
        "r4_7 / nullif(r4_30, 0) AS time_percentage_larger_than_80_7d_over_30d",
        "CASE WHEN timed > 0 THEN played / 1000 END AS total_play_time",
        "played_7 / nullif(played_30, 0) AS total_play_time_7d_over_30d",
        "played / 1000 / nullif(timed, 0) AS average_play_time",
        f"(P_{DAYS} - timed) / nullif(P_{DAYS}, 0) AS missing_play_time_share",
        f"(P_{DAYS} - lengths) / nullif(P_{DAYS}, 0) AS missing_song_length_share",
    ]
    out += [f"{code}_{k} AS freq_{code}_last_{k}" for code in short.values() for k in windows]
    out += [
        f"{code}_7 / nullif({code}_30, 0) AS {code}_7d_over_{code}_30d" for code in short.values()
    ]
    out += [
        f"{cutoff - 1} - last_{code} AS last_{code}_time_from_cutoff" for code in short.values()
    ]
    out += ["(ip > 0 AND ip >= ar)::INTEGER AS device_ip", "(ar > ip)::INTEGER AS device_ar"]
    out.append(f"{cutoff - 1} - last_day AS last_event_time_from_cutoff")
    out += [f"n_{k} AS freq_all_last_{k}" for k in windows]
    n, sum_t, sum_t2 = DAYS, DAYS * (DAYS - 1) // 2, (DAYS - 1) * DAYS * (2 * DAYS - 1) // 6
    out += [
        f"{cutoff} - first_day AS tenure_days",
        "active_days",
        "coalesce(distinct_items, 0) AS distinct_items",
        "(item_events - distinct_items) / nullif(item_events, 0) AS repeat_share",
        f"(sum_tn * {n} - n_{DAYS} * {sum_t}) / {n * sum_t2 - sum_t**2} AS trend_slope",
        "(last_day - first_day) / nullif(active_days - 1, 0) AS mean_gap_days",
        "sqrt(((active_days - 1) * sum_gap2 - (last_day - first_day) ** 2) "
        "/ nullif((active_days - 1) * (active_days - 2), 0)) AS sd_gap_days",
        f"paid / n_{DAYS} AS paid_share",
    ]
    return f"""
WITH days AS (
  SELECT user, day, count(*) AS n, {", ".join(daily)},
    sum(play_ms)::BIGINT AS played, count(play_ms) AS timed, count(play_length) AS lengths,
    count(fifths) AS r0, count(CASE WHEN paid THEN 1 END) AS paid, count(item) AS items
  FROM (
    SELECT *, CASE WHEN event = 'play' THEN duration END AS play_ms,
      CASE WHEN event = 'play' THEN length END AS play_length,
      CASE WHEN event = 'play' AND length > 0 THEN duration * 5 END AS fifths
    FROM read_parquet({files}) WHERE {in_window}
  ) GROUP BY user, day
),
gaps AS (SELECT *, day - lag(day) OVER (PARTITION BY user ORDER BY day) AS gap FROM days),
users AS (
  SELECT user, count(*) AS active_days, min(day) AS first_day, max(day) AS last_day,
    sum((day - {FIRST_DAY}) * n)::BIGINT AS sum_tn, sum(gap * gap)::BIGINT AS sum_gap2,
    {", ".join(sums)},
    {", ".join(f"sum({c})::BIGINT AS {c}" for c in ("played", "timed", "lengths"))},
    {", ".join(f"sum({c})::BIGINT AS {c}" for c in ("ip", "ar", "paid"))},
    sum(items)::BIGINT AS item_events
  FROM gaps GROUP BY user
),
items AS (
  SELECT user, count(*) AS distinct_items FROM (
    SELECT DISTINCT user, item FROM read_parquet({files}) WHERE {in_window} AND item IS NOT NULL
  ) GROUP BY user
)
SELECT {", ".join(out)} FROM users LEFT JOIN items USING (user) ORDER BY user
"""


def run_engine(name: str, folder: Path, out: Path, memory: str, threads: int) -> dict[str, float]:
    """Compute the features with one engine; returns CPU seconds so far of this process and its children."""
    import narwhals as nw

    from linkwise.churn.features import FeatureSpec, user_features
    from linkwise.churn.windows import Window
    from linkwise.data.engine import EngineConfig, open_duckdb, open_spark, write_parquet

    spec = FeatureSpec(
        feature_days=DAYS,
        kinds=KINDS,
        devices=DEVICES,
        duration=True,
        length=True,
        item=True,
        value=False,
        paid=True,
        clock=False,
    )
    window = Window(FIRST_DAY + DAYS, DAYS, 0, 14)
    paths = sorted(folder.glob("*.parquet"))
    files = f"[{', '.join(repr(str(path)) for path in paths)}]"
    engine = EngineConfig(memory=memory, threads=threads, spark_master=f"local[{threads}]")
    frame: Any
    if name in ("duckdb", "sql"):
        connection = open_duckdb(engine, out.parent / "spill")
        if name == "sql":
            query = connection.sql(hand_written(files))
            query.write_parquet(str(out), compression="zstd")
        else:
            frame = nw.from_native(connection.sql(f"SELECT * FROM read_parquet({files})"))
            write_parquet(user_features(frame, spec, window), out)
    elif name == "polars":
        import polars as pl

        categories = [pl.col("event").cast(pl.String), pl.col("device").cast(pl.String)]
        frame = nw.from_native(pl.scan_parquet(paths).with_columns(categories))
        write_parquet(user_features(frame, spec, window), out)
    else:
        session = open_spark(engine)
        frame = nw.from_native(session.read.parquet(*map(str, paths)))
        # Straight to files: through the driver, a million users would not fit beside the rest.
        nw.to_native(user_features(frame, spec, window)).write.parquet(str(out))
    me = psutil.Process()
    tree = [me, *me.children(recursive=True)]
    return {"cpu_s": sum(sum(process.cpu_times()[:2]) for process in tree)}


def measure(name: str, folder: Path, out: Path, memory: str, threads: int) -> dict[str, Any]:
    """Run one engine in a fresh process, watching the memory of it and its children."""
    command = [sys.executable, __file__, "--run", name, "--keep", str(folder), "--out", str(out)]
    command += ["--memory", memory, "--threads", str(threads)]
    environment = os.environ | {
        "POLARS_MAX_THREADS": str(threads),
        "PYSPARK_SUBMIT_ARGS": "--driver-memory 4g pyspark-shell",
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }
    started = time.perf_counter()
    peak = 0
    log = out.with_suffix(".log")
    with log.open("w") as errors:
        child = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        process = psutil.Process(child.pid)
        while child.poll() is None:
            peak = max(peak, _memory(process))
            time.sleep(0.05)
    wall = time.perf_counter() - started
    assert child.stdout is not None
    if child.returncode:
        raise SystemExit(f"{name} failed:\n{log.read_text()[-3000:]}")
    cpu = json.loads(child.stdout.read().splitlines()[-1])
    return {"engine": name, **cpu, "wall_s": wall, "peak_mib": peak / 2**20}


def _memory(process: psutil.Process) -> int:
    total = 0
    try:
        for one in (process, *process.children(recursive=True)):
            total += one.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total


def difference(left: Path, right: Path) -> float:
    """The greatest relative difference of two feature tables; raises where users, columns or nulls differ."""
    import polars as pl

    one, two = (pl.scan_parquet(p / "*.parquet" if p.is_dir() else p) for p in (left, right))
    names = one.collect_schema().names()
    if set(names) != set(two.collect_schema().names()):
        raise SystemExit(f"{left} and {right} have different columns")
    greatest = 0.0
    for name in names:
        a, b = (
            t.select(id=pl.col("user"), value=name).sort("id").collect()["value"]
            for t in (one, two)
        )
        if len(a) != len(b) or not (a.is_null() == b.is_null()).all():
            raise SystemExit(f"{left} and {right} differ in the rows or nulls of {name}")
        x, y = (s.drop_nulls().cast(pl.Float64).to_numpy() for s in (a, b))
        if len(x):
            greatest = max(greatest, float(np.max(np.abs(x - y) / np.maximum(np.abs(y), 1.0))))
    return greatest


def table(rows: list[dict[str, Any]], n: int) -> str:
    """The results as text, with every engine's cost as a multiple of the hand-written SQL's."""
    base = next((row for row in rows if row["engine"] == "sql"), rows[0])
    lines = [
        f"{n:,} events, {rows[0]['users']:,} users; 1.00x is {base['engine']}, and the difference is "
        f"the greatest relative one from {rows[0]['engine']}",
        f"{'engine':8} {'CPU s':>9} {'':>7} {'wall s':>9} {'':>7} {'peak MiB':>9} {'difference':>11}",
    ]
    for row in rows:
        lines.append(
            f"{row['engine']:8} {row['cpu_s']:9.1f} {row['cpu_s'] / base['cpu_s']:6.2f}x "
            f"{row['wall_s']:9.1f} {row['wall_s'] / base['wall_s']:6.2f}x {row['peak_mib']:9.0f} "
            f"{row['difference']:11.1e}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=100_000_000)
    parser.add_argument(
        "--keep", type=Path, help="folder of the events; kept, and used if it exists"
    )
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--out", type=Path, help="write the results as JSON to this file")
    parser.add_argument("--memory", default="1GB", help="memory limit of DuckDB")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--repeat", type=int, default=1, help="runs of each engine; the fastest counts"
    )
    parser.add_argument("--run", choices=ENGINES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        done = run_engine(options.run, options.keep, options.out, options.memory, options.threads)
        print(json.dumps(done))
        return
    with tempfile.TemporaryDirectory(prefix="linkwise-benchmark-") as scratch:
        folder = options.keep or Path(scratch) / "events"
        if not list(folder.glob("*.parquet")):
            write_events(folder, options.events)
        n = sum(pq.read_metadata(path).num_rows for path in folder.glob("*.parquet"))
        rows = []
        first: Path | None = None
        for name in options.engines.split(","):
            out = Path(scratch) / f"{name}.parquet"
            runs = []
            for _ in range(options.repeat):
                shutil.rmtree(out, ignore_errors=True)
                runs.append(measure(name, folder, out, options.memory, options.threads))
            row = min(runs, key=lambda run: run["cpu_s"])
            first = first or out
            row["difference"] = difference(out, first)
            row["users"] = len(_users(first))
            rows.append(row)
            print(f"{name}: {row['cpu_s']:.1f} CPU s", file=sys.stderr)
    print(table(rows, n))
    if options.out:
        options.out.write_text(json.dumps({"events": n, "results": rows}, indent=1))


def _users(path: Path) -> list[Any]:
    return pq.read_table(path, columns=["user"])["user"].to_pylist()


if __name__ == "__main__":
    main()
