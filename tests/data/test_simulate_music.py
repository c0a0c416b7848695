"""The simulated music app: same bytes, planted faults, truth against logs, and the published figures."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote_plus

import duckdb
import numpy as np
import polars as pl
import pytest

from linkwise.data import music_population
from linkwise.data import simulate_music as module
from linkwise.data.music_catalogue import ALBUM, TASTES, build_catalogue, chains
from linkwise.data.music_population import AT_ONCE, BOT, KINDS, draw_population
from linkwise.data.simulate_music import MusicSimulation, simulate_music
from linkwise.errors import UsageError

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "music_box_sample"
FIELDS = {
    "play": (
        *("uid", "device", "song_id", "song_type", "song_name"),
        *("singer", "play_time", "song_length", "paid_flag"),
    ),
    "down": ("uid", "device", "song_id", "song_name", "singer", "paid_flag"),
    "search": ("uid", "device", "time_stamp", "search_query"),
}
SMALL = MusicSimulation(users=800, days=28, seed=3, songs=600)
TINY = MusicSimulation(users=150, days=5, songs=120)
LEAST = MusicSimulation(users=12, days=5, songs=12)


@dataclass(frozen=True)
class Simulated:
    """A simulated folder, read line by line with nothing of the package."""

    folder: Path
    rows: dict[str, pl.DataFrame]
    bad: dict[str, list[list[str]]]
    truth: pl.DataFrame
    songs: pl.DataFrame

    def user_days(self) -> pl.DataFrame:
        return pl.concat(
            rows.select("uid", "day", "device") for rows in self.rows.values()
        ).unique()


def read(folder: Path) -> Simulated:
    rows, bad = {}, {}
    for kind, names in FIELDS.items():
        good, wrong = [], []
        for path in sorted(folder.glob(f"*_{kind}.log")):
            day = datetime.strptime(path.name[:8], "%Y%m%d").date()
            for line in path.read_text(encoding="utf-8").removesuffix("\n").split("\n"):
                fields = line.split("\t")
                number = dict(zip(names, fields, strict=False)).get("play_time", "")
                stamp = dict(zip(names, fields, strict=False)).get("time_stamp", f"{day} ")
                fits = len(fields) == len(names) and re.fullmatch(r"-?\d*", number)
                if fits and stamp.startswith(f"{day} "):
                    good.append([*fields, day])
                else:
                    wrong.append(fields)
        rows[kind] = pl.DataFrame(good, schema=[*names, "day"], orient="row").with_columns(
            pl.col("uid").cast(pl.Int64)
        )
        bad[kind] = wrong
    truth = pl.read_parquet(folder / "truth.parquet").rename({"user_id": "uid"})
    return Simulated(folder, rows, bad, truth, pl.read_parquet(folder / "truth_songs.parquet"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    return read(simulate_music(SMALL, tmp_path_factory.mktemp("music") / "log"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_music(TINY, tmp_path_factory.mktemp("music") / "tiny")


@pytest.fixture(scope="module")
def plays(small: Simulated) -> pl.DataFrame:
    numbers = ("song_id", "song_type", "play_time", "song_length", "paid_flag")
    return small.rows["play"].with_columns(
        pl.col(name).replace("", None).cast(pl.Int64) for name in numbers
    )


def digest(folder: Path, pattern: str = "*") -> str:
    total = hashlib.sha256()
    for path in sorted(folder.glob(pattern)):
        total.update(path.name.encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


# --- the files ---------------------------------------------------------------------------------------


def test_same_config_gives_same_bytes_in_any_chunks(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 97)
    again = simulate_music(TINY, tmp_path / "again")
    other = simulate_music(TINY.model_copy(update={"seed": 1}), tmp_path / "other")
    assert digest(tiny) == digest(again)
    for kind in FIELDS:
        assert digest(tiny, f"*_{kind}.log") != digest(other, f"*_{kind}.log")


def test_the_last_bits_of_a_logarithm_do_not_show(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OtherMachine:
        """numpy with another last bit in what is not exact by the standard."""

        def __getattr__(self, name: str) -> object:
            value = getattr(np, name)
            if name not in ("exp", "log1p", "expm1", "interp"):
                return value
            return lambda *x: np.nextafter(value(*x), np.inf)

    monkeypatch.setattr(music_population, "np", OtherMachine())
    assert digest(simulate_music(TINY, tmp_path / "other")) == digest(tiny)


def test_the_log_is_the_one_that_was_always_made(tiny: Path) -> None:
    """The digest changes with any constant, and must not with the machine or a package's version."""
    known = "e480f4ce27baef75dd23bc6a98f4916a59d55e93334c3a475332ae95645f0715"
    assert digest(tiny, "*.log") == known


def test_files_of_each_day_and_kind(small: Simulated) -> None:
    names = {path.name for path in small.folder.iterdir()}
    days = [SMALL.start + timedelta(days=n) for n in range(SMALL.days)]
    logs = {f"{day:%Y%m%d}_{kind}.log" for day in days for kind in FIELDS}
    assert names == logs | {"truth.parquet", "truth_songs.parquet", "README"}
    assert all((small.folder / name).stat().st_size for name in names)
    readme = (small.folder / "README").read_text(encoding="utf-8")
    assert readme.startswith("THIS LOG IS SIMULATED")
    assert "users = 800" in readme


def test_fields(small: Simulated, plays: pl.DataFrame) -> None:
    for rows in small.rows.values():
        assert set(rows["device"].unique()) == {"ar", "ip"}
    assert set(plays["song_type"].unique()) == {0, 1, 2}
    assert set(plays["paid_flag"].unique()) == {0, 1}
    listed = plays.filter(pl.col("song_id") > 0).join(
        small.songs, on=["song_id", "song_name", "singer"], how="anti"
    )
    assert listed.is_empty()
    assert small.songs["song_id"].is_unique().all()
    assert any(not name.isascii() for name in small.songs["song_name"])


def test_searches_are_in_order_of_the_clock_and_ask_for_songs(small: Simulated) -> None:
    searches = small.rows["search"]
    for _, day in searches.group_by("day"):
        assert day["time_stamp"].is_sorted()
    clock = searches["time_stamp"].str.to_datetime("%Y-%m-%d %H:%M:%S", strict=True)
    assert (clock.dt.date() == searches["day"]).all()
    known = set(small.songs["song_name"]) | set(small.songs["singer"])
    known |= {name.split()[0].rstrip(",")[:12] for name in small.songs["song_name"]}
    assert {unquote_plus(query) for query in searches["search_query"].unique()} <= known
    assert searches["search_query"].str.contains("%[0-9A-F]*[A-F]").any()
    assert searches["search_query"].str.contains("%[0-9a-f]*[a-f]").any()


# --- planted faults ----------------------------------------------------------------------------------


def test_malformed_rows(small: Simulated) -> None:
    faults = {
        kind: Counter("fields" if len(fields) != len(FIELDS[kind]) else "text" for fields in rows)
        for kind, rows in small.bad.items()
    }
    assert faults["play"]["text"]
    assert faults["play"]["fields"]
    assert faults["down"]["fields"]
    assert faults["search"]["fields"]
    for kind, rows in small.rows.items():
        # a line break makes two bad lines of one row
        assert len(small.bad[kind]) <= 2 * (1 + len(rows) / module.BAD_ROW_EVERY)


def test_each_kind_of_malformed_row_is_a_broken_copy() -> None:
    line = "7\tar\t5\t0\tTide and Salt\tOrla Merrow\t190\t200\t0\n"
    broken = [module._malformed("play", n, line).decode() for n in range(3)]
    assert broken[0] == line.replace("190", "3m20s")
    assert broken[1] == "\t" + line
    assert broken[2] == line.replace("Tide", "Tid\ne")
    search = "7\tar\t2017-03-30 00:00:01\tTide\n"
    assert "yesterday" in module._malformed("search", 1, search).decode()


def test_impossible_values_have_the_shares_that_the_readme_tells(plays: pl.DataFrame) -> None:
    time, length = plays["play_time"], plays["song_length"]
    found = [
        time.is_null(),
        time < 0,
        time >= module.HUGE,
        length == 0,
        length.is_null(),
        length < 0,
        length >= module.HUGE,
    ]
    planted = np.diff([0.0, *module.FAULTS])
    for fault, share in zip(found, planted, strict=True):
        expected = share * len(plays)
        assert abs(fault.sum() - expected) < 5 * np.sqrt(expected)
        assert fault.sum() > 0
    assert (time >= module.HUGE).mean() < 0.001
    # nothing in between: a threshold of a day finds them all
    assert time.filter(time < module.HUGE).max() < 3_000  # type: ignore[operator]
    for sentinel, share in zip((0, -1), np.diff([0.0, *module.SENTINEL_SHARES]), strict=True):
        expected = share * len(plays)
        assert abs((plays["song_id"] == sentinel).sum() - expected) < 5 * np.sqrt(expected)


def test_a_rule_on_the_most_active_thousandth_finds_the_bots(
    small: Simulated, plays: pl.DataFrame
) -> None:
    bots = set(small.truth.filter(pl.col("kind") == "bot")["uid"])
    counts = plays.group_by("uid").len().sort("len", descending=True)
    assert len(bots) == 1
    assert set(counts["uid"][: len(bots)]) == bots
    assert counts["len"][len(bots) - 1] > 2 * counts["len"][len(bots)]
    good = plays.filter(pl.col("play_time").is_between(0, module.HUGE - 1))
    longest = good.group_by("uid", "day").agg(pl.col("play_time").sum())
    assert set(longest.filter(pl.col("play_time") > 86_400)["uid"]) <= bots
    population = draw_population(20_000, 86, build_catalogue(120, rng()), rng())
    assert (population.kind == BOT).sum() == 16
    assert set(population.skip[population.kind == BOT]) == {0.0, 0.98}


def test_some_bots_play_more_than_a_day_a_day(tmp_path: Path) -> None:
    config = MusicSimulation(users=1900, days=1, seed=1, songs=120)
    log = read(simulate_music(config, tmp_path / "log"))
    bots = log.truth.filter(pl.col("kind") == "bot")["uid"].implode()
    played = (
        log.rows["play"]
        .filter(pl.col("uid").is_in(bots))
        .with_columns(pl.col("play_time").replace("", None).cast(pl.Int64))
        .filter(pl.col("play_time").is_between(0, module.HUGE - 1))
        .group_by("uid", "day")
        .agg(pl.col("play_time").sum() / 3600)
    )
    assert played["play_time"].max() > 24  # type: ignore[operator]
    assert played["play_time"].min() < 24  # type: ignore[operator]


# --- truth and logs ----------------------------------------------------------------------------------


def test_everybody_acts_within_the_life_that_the_truth_tells(small: Simulated) -> None:
    acted = (
        small.user_days()
        .group_by("uid")
        .agg(
            pl.col("day").min().alias("from"),
            pl.col("day").max().alias("to"),
            pl.col("day").unique(),
        )
    )
    both = small.truth.join(acted, on="uid", how="full", coalesce=True, validate="1:1")
    assert len(both) == SMALL.users
    assert both.null_count().select("kind", "from").row(0) == (0, 0)
    assert (both["from"] >= both["first_day"]).all()
    assert (both["to"] <= both["last_day"]).all()
    end = SMALL.start + timedelta(days=SMALL.days - 1)
    ended = both.filter(pl.col("last_day") <= end)
    assert (ended["to"] == ended["last_day"]).all()
    arrived = both.filter(pl.col("first_day") >= SMALL.start)
    assert 0.03 < len(arrived) / len(both) < 0.12
    assert (arrived["from"] == arrived["first_day"]).all()
    at_once = both.filter(pl.col("kind") == "leaves-at-once")
    assert len(at_once) > 10
    assert (at_once["from"] == at_once["to"]).all()
    returning = both.filter(pl.col("kind") == "returning")
    assert len(returning) > 10
    for row in returning.iter_rows(named=True):
        assert 8 <= (row["silent_until"] - row["silent_from"]).days + 1 <= 18
        assert not any(row["silent_from"] <= day <= row["silent_until"] for day in row["day"])
        assert row["to"] > row["silent_until"]
    assert both.filter(pl.col("kind") != "returning")["silent_from"].is_null().all()
    assert set(both["kind"]) == set(KINDS)


def test_devices_and_paying_are_as_the_truth_tells(small: Simulated, plays: pl.DataFrame) -> None:
    used = small.user_days().join(small.truth.select("uid", "devices"), on="uid")
    assert used.select(pl.col("devices").str.contains(pl.col("device"), literal=True).all()).item()
    assert (used.group_by("uid").agg(pl.col("device").n_unique())["device"] == 2).sum() > 20
    paid = plays.group_by("uid").agg(
        pl.col("paid_flag").min(), pl.col("paid_flag").max().alias("m")
    )
    paid = paid.join(small.truth.select("uid", "paid"), on="uid")
    assert (paid["paid_flag"] == paid["m"]).all()
    assert (paid["paid"] == (paid["m"] == 1)).all()
    assert 0.03 < paid["paid"].mean() < 0.07  # type: ignore[operator]


@pytest.mark.parametrize(("users", "days"), [(1, 1), (7, 3), (65, 1)])
def test_the_smallest_logs_hold_every_user(tmp_path: Path, users: int, days: int) -> None:
    config = MusicSimulation(users=users, days=days, songs=len(TASTES))
    log = read(simulate_music(config, tmp_path / "log"))
    assert log.user_days()["uid"].n_unique() == users == len(log.truth)


# --- behaviour ---------------------------------------------------------------------------------------


def test_fading_users_play_less_and_skip_more_before_they_leave(
    small: Simulated, plays: pl.DataFrame
) -> None:
    valid = plays.filter(
        pl.col("play_time").is_between(0, module.HUGE - 1),
        pl.col("song_length").is_between(1, module.HUGE - 1),
    ).join(small.truth, on="uid")
    valid = valid.with_columns(
        (pl.col("play_time") / pl.col("song_length") < 0.2).alias("skipped"),
        (pl.col("last_day") - pl.col("day")).dt.total_days().alias("to_go"),
    )

    def early_and_late(kind: str, what: pl.Expr) -> tuple[float, float]:
        of_kind = valid.filter(pl.col("kind") == kind)
        return (
            of_kind.filter(pl.col("to_go") >= 20).select(what).item(),
            of_kind.filter(pl.col("to_go") <= 5).select(what).item(),
        )

    early, late = early_and_late("fading", pl.col("skipped").mean())
    assert late > early + 0.05
    per_day = pl.len() / pl.struct("uid", "day").n_unique()
    early, late = early_and_late("fading", per_day)
    assert late < 0.8 * early


def test_paying_and_satisfied_users_stay_longer() -> None:
    users = draw_population(20_000, 86, build_catalogue(120, rng()), rng())
    here = users.first < 0
    assert users.last[here & users.paid].mean() > 1.15 * users.last[here & ~users.paid].mean()
    staying = users.last[here] > np.median(users.last[here])
    assert users.skip[here][~staying].mean() > users.skip[here][staying].mean() + 0.005
    assert (users.last[users.kind == AT_ONCE] == users.first[users.kind == AT_ONCE]).all()


def test_weekends_are_busier(small: Simulated) -> None:
    for kind, least in (("play", 1.1), ("search", 1.3)):
        days = small.rows[kind].filter(~pl.col("uid").is_in(bots_of(small).implode()))
        n = dict(days.group_by("day").len().iter_rows())
        ratios = [
            (n[d] + n[d + timedelta(1)])
            / (
                (
                    n[d - timedelta(2)]
                    + n[d - timedelta(1)]
                    + n[d + timedelta(2)]
                    + n[d + timedelta(3)]
                )
                / 2
            )
            for d in sorted(n)
            if d.weekday() == 5 and d - timedelta(2) in n and d + timedelta(3) in n
        ]
        assert len(ratios) >= 3
        assert np.mean(ratios) > least


def test_users_play_their_taste_and_songs_of_one_taste_share_users(
    small: Simulated, plays: pl.DataFrame
) -> None:
    rows = plays.join(small.songs, on="song_id").join(small.truth, on="uid", suffix="_user")
    rows = rows.filter(pl.col("kind") != "bot")
    own = (rows["taste_group"] == rows["taste_group_user"]).mean()
    assert 0.75 < own < 0.95  # type: ignore[operator]
    listeners = defaultdict(set)
    for song, user in rows.select("song_id", "uid").unique().iter_rows():
        listeners[song].add(user)
    taste = dict(small.songs.select("song_id", "taste_group").iter_rows())
    top = sorted(listeners, key=lambda song: (-len(listeners[song]), song))[:80]
    shared: dict[bool, list[float]] = {True: [], False: []}
    for i, a in enumerate(top):
        for b in top[:i]:
            union = len(listeners[a] | listeners[b])
            shared[taste[a] == taste[b]].append(len(listeners[a] & listeners[b]) / union)
    assert np.mean(shared[True]) > 2.5 * np.mean(shared[False])


def test_songs_have_a_long_tail_repeats_and_sequels(small: Simulated, plays: pl.DataFrame) -> None:
    rows = plays.filter(pl.col("song_id") > 0)
    counts = rows["song_id"].value_counts(sort=True)["count"]
    assert counts[: len(counts) // 10].sum() > 0.25 * counts.sum()
    assert len(counts) > 0.95 * SMALL.songs
    repeats = 1 - rows.select(pl.struct("uid", "song_id").n_unique()).item() / len(rows)
    assert repeats > 0.2
    # sequels: the same pair of neighbours comes up again and again
    pairs = rows.filter(~pl.col("uid").is_in(bots_of(small).implode())).select(
        "song_id",
        pl.col("song_id").shift(-1).over("uid", "day").alias("next"),
    )
    pairs = pairs.drop_nulls().group_by("song_id", "next").len()
    best = pairs.sort("len", descending=True).group_by("song_id").first()["len"].sum()
    assert 0.12 < best / pairs["len"].sum() < 0.5


def test_title_words_tell_the_taste(small: Simulated) -> None:
    by_taste: dict[str, Counter[str]] = defaultdict(Counter)
    tastes = small.songs.filter(~pl.col("taste_group").is_in(["landscape", "platform"]))
    for name, taste in tastes.select("song_name", "taste_group").iter_rows():
        by_taste[taste].update(name.replace(",", "").split())
    words = {word for counter in by_taste.values() for word in counter}
    owned = [word for word in words if sum(word in counter for counter in by_taste.values()) == 1]
    assert len(owned) > 0.9 * len(words)
    assert min(len(set(owned) & set(counter)) for counter in by_taste.values()) >= 15
    own_words = [set(words.split()) for _, words, _ in TASTES.values()]
    assert all(not a & b for i, a in enumerate(own_words) for b in own_words[:i])


# --- parts -------------------------------------------------------------------------------------------


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def bots_of(log: Simulated) -> pl.Series:
    return log.truth.filter(pl.col("kind") == "bot")["uid"]


def test_chains_by_hand() -> None:
    base, steps = chains(np.array([False, True, True, False, False, True]))
    assert base.tolist() == [0, 0, 0, 3, 4, 4]
    assert steps.tolist() == [0, 1, 2, 0, 0, 1]


def test_sequels_are_the_next_tracks_of_the_same_album() -> None:
    catalogue = build_catalogue(12 * (2 * ALBUM + 3), rng())  # two albums and one of three tracks
    songs = np.array([0, 8, 9, 19, 20, 22, 23 + 20])
    later = catalogue._later_track(songs, np.array([1, 3, 1, 12, 2, 1, 4]))
    assert later.tolist() == [1, 1, 0, 11, 22, 20, 23 + 21]


def test_popularity_of_ranks() -> None:
    catalogue = build_catalogue(12 * 100, rng())
    group = np.full(200_000, 4)
    songs = catalogue.rank(group, rng(1).random(len(group)))
    assert set(catalogue.taste[songs]) == {4}
    counts = np.bincount(songs, minlength=1200)[catalogue.by_popularity[400:500]]
    # floor(100 u**2.5) is below r for a share (r / 100)**0.4
    for r in (1, 10, 50):
        assert counts[:r].sum() / len(group) == pytest.approx((r / 100) ** 0.4, abs=0.005)


@pytest.mark.parametrize("values", [{"users": 0}, {"days": 0}, {"songs": 3}, {"user": 5}])
def test_settings_are_checked(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        MusicSimulation(**values)  # type: ignore[arg-type]


# --- the folder --------------------------------------------------------------------------------------


def test_a_folder_with_this_very_log_is_left_as_it_is(tmp_path: Path) -> None:
    config = MusicSimulation(users=30, days=3, seed=1)
    folder = simulate_music(config, tmp_path / "log")
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert simulate_music(config, folder) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    for other in (config.model_copy(update={"users": 3}), config.model_copy(update={"seed": 11})):
        with pytest.raises(UsageError, match="log exists already"):
            simulate_music(other, folder)


def test_an_existing_folder_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "mine.txt").write_text("kept")
    with pytest.raises(UsageError, match="log exists already"):
        simulate_music(LEAST, tmp_path / "log")
    with pytest.raises(UsageError, match="is not an empty folder"):
        simulate_music(LEAST, tmp_path / "log" / "mine.txt")
    assert [path.name for path in tmp_path.rglob("*")] == ["log", "mine.txt"]


def test_an_empty_folder_and_missing_parents_will_do(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert simulate_music(LEAST, tmp_path / "a") == tmp_path / "a"
    assert simulate_music(LEAST, tmp_path / "b" / "c").is_dir()


def test_what_a_killed_run_left_is_no_hindrance(tmp_path: Path) -> None:
    left = tmp_path / f".log.partial-{os.getpid()}"
    left.mkdir()
    (left / "half.log").touch()
    assert not (simulate_music(LEAST, tmp_path / "log") / "half.log").exists()
    assert not left.exists()


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int, days: int) -> None:
        if done == 2:
            assert len(list(tmp_path.glob(".log.partial-*/*"))) >= 4
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate_music(LEAST, tmp_path / "log", progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_the_days(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    simulate_music(LEAST, tmp_path / "log", progress=lambda *state: told.append(state))
    assert told == [(day, 5) for day in range(1, 6)]


# --- the published figures ---------------------------------------------------------------------------

READ = """
CREATE TABLE {kind} AS
SELECT uid, strptime(regexp_extract(filename, '([0-9]{{8}})_', 1), '%Y%m%d')::DATE - DATE '{start}' AS day
  {values}
FROM read_csv('{folder}/*_{kind}.log', delim = '\t', quote = '', escape = '', header = false,
  ignore_errors = true, filename = true, columns = {{{columns}}})
WHERE uid IS NOT NULL
"""
VALID = """
  , CASE WHEN TRY_CAST(play_time AS BIGINT) BETWEEN 0 AND 86400 THEN play_time::BIGINT END AS seconds
  , CASE WHEN TRY_CAST(song_length AS BIGINT) BETWEEN 1 AND 86400 THEN song_length::BIGINT END AS length
"""
FEATURES = """
WITH human AS (
  SELECT uid FROM everything GROUP BY uid
  QUALIFY count(*) <= quantile_cont(count(*), 0.999) OVER ()
),
window_events AS (
  SELECT *, {c} - 1 - day AS ago,
    CASE WHEN seconds <= length THEN seconds / length WHEN seconds > length THEN 1 END AS share
  FROM everything SEMI JOIN human USING (uid) WHERE day >= {c} - 30 AND day < {c}
),
stayed AS (SELECT DISTINCT uid FROM everything WHERE day >= {c} AND day < {c} + 14),
users AS (
  SELECT uid,
    {columns}
  FROM window_events GROUP BY uid
)
SELECT count(*) AS n, avg((stayed.uid IS NULL)::INT) AS label, {means}
FROM users LEFT JOIN stayed USING (uid)
"""


def feature_columns() -> dict[str, str]:
    """The features of the published table, as aggregates over a user's window."""
    n = "count(*) FILTER (WHERE {})".format
    out = {}
    for low in (0, 20, 40, 60):
        inside = n(f"share >= {low / 100} AND share < {(low + 20) / 100}")
        out[f"time_percentage_{low}_to_{low + 20}"] = f"{inside} / nullif(count(share), 0)"
    out["time_percentage_larger_than_80"] = f"{n('share >= 0.8')} / nullif(count(share), 0)"
    out["time_percentage_larger_than_80_7d_over_30d"] = (
        f"{n('share >= 0.8 AND ago < 7')} / nullif({n('share >= 0.8')}, 0)"
    )
    out["total_play_time"] = "sum(seconds)"
    out["total_play_time_7d_over_30d"] = (
        "sum(seconds) FILTER (WHERE ago < 7) / nullif(sum(seconds), 0)"
    )
    for days in (3, 7, 14, 30):
        out[f"freq_S_last_{days}"] = n(f"event = 'S' AND ago < {days}")
    for kind in "PDS":
        recent, done = n(f"event = '{kind}' AND ago < 7"), n(f"event = '{kind}'")
        out[f"{kind}_7d_over_{kind}_30d"] = f"{recent} / nullif({done}, 0)"
        out[f"last_{kind}_time_from_2017-04-28"] = f"min(ago) FILTER (WHERE event = '{kind}')"
    return out


def published_means() -> dict[str, float]:
    """The means of the published `describe()` tables, by feature."""
    text = (DATA / "published_feature_stats.txt").read_text(encoding="utf-8")
    means: dict[str, float] = {}
    names: list[str] = []
    for line in text.split("df.describe()")[1].split("###")[0].splitlines():
        words = line.replace("\\", "").replace("...", "").split()
        if words and words[0] == "mean":
            means.update(zip(names, map(float, words[1:]), strict=True))
        elif words and not re.match(r"(count|std|min|max|\d+%|\[)", words[0]):
            names = words
    del means["uid"]
    return means


def events_in_sql(folder: Path, start: date) -> duckdb.DuckDBPyConnection:
    """A database with the table `everything`: event, uid, day (from 0), and valid seconds and length."""
    database = duckdb.connect()
    for kind, names in FIELDS.items():
        columns = ", ".join(f"'{name}': 'VARCHAR'" for name in names)
        values = VALID if kind == "play" else ", NULL::BIGINT AS seconds, NULL::BIGINT AS length"
        database.execute(
            READ.format(kind=kind, folder=folder, start=start, columns=columns, values=values)
        )
    database.execute(
        "CREATE TABLE everything AS SELECT 'P' AS event, * FROM play"
        " UNION ALL SELECT 'D', * FROM down UNION ALL SELECT 'S', * FROM search"
    )
    return database


def simulated_means(database: duckdb.DuckDBPyConnection, cutoff: int) -> dict[str, float]:
    """Users, churn rate and feature means at a cutoff, days from the start."""
    features = feature_columns()
    query = FEATURES.format(
        c=cutoff,
        columns=",\n    ".join(f'{sql} AS "{name}"' for name, sql in features.items()),
        # the published table has 0 where a user never did a thing
        means=", ".join(f'avg(coalesce("{name}", 0)) AS "{name}"' for name in features),
    )
    result = database.execute(query)
    names = [column[0] for column in result.description]
    (row,) = result.fetchall()
    return dict(zip(names, row, strict=True))


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"the published feature means are not at {DATA}")
def test_means_are_within_a_fifth_of_the_published_ones(tmp_path: Path) -> None:
    config = MusicSimulation()
    assert (config.users, config.days) == (20_000, 86)
    folder = simulate_music(config, tmp_path / "log")
    published = published_means()
    assert len(published) == 19
    database = events_in_sql(folder, config.start)
    for cutoff in (30, 72):
        means = simulated_means(database, cutoff)
        assert means.pop("n") > 3_000
        assert set(means) == set(published)
        off = {name: means[name] / published[name] for name in means}
        assert {name: round(x, 3) for name, x in off.items() if abs(x - 1) > 0.2} == {}
