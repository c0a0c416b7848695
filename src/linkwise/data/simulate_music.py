"""A simulated music app: raw play, download and search logs in the Music Box layout, and the truth.

Who the users are and what they do is drawn in `music_population`, what there is to play in
`music_catalogue`; here it becomes rows, some of them faulty, and files. No row, name or title of any real
log is in here.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, Field

from linkwise.data.music_catalogue import (
    REPEAT,
    SENTINELS,
    SEQUEL,
    TASTES,
    Bools,
    Catalogue,
    Floats,
    Ints,
    build_catalogue,
    chains,
)
from linkwise.data.music_population import (
    BETWEEN_SPLIT,
    BOT,
    KINDS,
    DayOfUsers,
    Population,
    draw_day,
    draw_population,
)
from linkwise.errors import UsageError

DEVICES = ("ar", "ip")
WHOLE = 0.75  # share of the plays over 80 % that go to the very end
SEARCH_FAVOURITES = 0.2  # share of searches for a favourite
SEARCH_AGAIN = 0.3  # share of searches that repeat the one before, a few seconds later
AGAIN_SECONDS = 7
SESSION_SECONDS, BOT_SESSION_SECONDS = 3600.0, 12.0  # a bot's searches come in one burst

# Planted faults. Shares of play rows, cumulative: play time missing, negative, huge; length zero, missing,
# negative, huge. Huge values are rarer than one row in a thousand, so that a 99.9th percentile finds them.
FAULTS = np.cumsum([0.002, 0.001, 0.0005, 0.002, 0.001, 0.001, 0.0003])
HUGE = 100_000  # seconds; every huge value is at least this, no other reaches it
SENTINEL_SHARES = np.cumsum([0.004, 0.002])  # of play and download rows: song id 0, song id -1
BAD_ROW_EVERY = 20_000  # rows of a kind of log to one malformed row more
FIRST_BAD_ROW = 200  # the first follows this row, so that small logs have some too
ROWS_AT_ONCE = 250_000  # play rows held in memory at a time; any value gives the same files


class MusicSimulation(BaseModel, frozen=True, extra="forbid", use_attribute_docstrings=True):
    """What to simulate."""

    users: int = Field(20_000, ge=1, le=20_000_000)
    """Distinct users in the log, bots included."""
    days: int = Field(86, ge=1, le=3650)
    """Length of the log, days. 86 hold four cutoffs with 30 feature and 14 label days each."""
    seed: int = Field(0, ge=0)
    """Seed of all randomness: the same seed gives the same log, another seed another one."""
    start: date = date(2017, 3, 30)
    """First day of the log, YYYY-MM-DD."""
    songs: int = Field(5_000, ge=len(TASTES), le=1_000_000)
    """Songs in the catalogue, over all taste groups."""


def simulate_music(
    config: MusicSimulation, out: Path, *, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Write the simulated logs, `truth.parquet`, `truth_songs.parquet` and `README` into the folder `out`.

    One tab-separated UTF-8 file without header per day and kind (`20170330_play.log`, `..._down.log`,
    `..._search.log`; where a kind has no rows on a day, it has no file). `progress` is told (days done, all
    days). The same config gives the same logs byte by byte; the Parquet files also name pyarrow's version.
    The folder appears only when it is whole.

    A folder that holds the log of this very config is left as it is. Raises `UsageError` where `out` is
    something else than that, or an empty folder.
    """
    if holds_simulation(config, out):
        return out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(
            f"{out} exists already and is not an empty folder. Name a new one, or remove it first."
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.parent / f".{out.name}.partial-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)  # a killed run's, where process ids come again
    partial.mkdir()
    try:
        _simulate_into(config, partial, progress)
        if out.exists():
            out.rmdir()
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return out


def holds_simulation(config: MusicSimulation, folder: Path) -> bool:
    """Whether the folder holds the log of this config, by its README."""
    note = folder / "README"
    return note.is_file() and f"\n{_settings(config)}\n" in note.read_text(encoding="utf-8")


def _settings(config: MusicSimulation) -> str:
    return "\n".join(f"  {name} = {value}" for name, value in config)


def _simulate_into(
    config: MusicSimulation, folder: Path, progress: Callable[[int, int], None] | None
) -> None:
    catalogue = build_catalogue(config.songs, _stream(config.seed, 0))
    users = draw_population(config.users, config.days, catalogue, _stream(config.seed, 1))
    logs = _Logs(config, catalogue, users, folder)
    for day in range(config.days):
        logs.write(day)
        if progress is not None:
            progress(day + 1, config.days)
    pq.write_table(_truth(config, users), folder / "truth.parquet")
    pq.write_table(_truth_songs(catalogue), folder / "truth_songs.parquet")
    (folder / "README").write_text(_readme(config, users), encoding="utf-8", newline="\n")


def _stream(seed: int, *key: int) -> np.random.Generator:
    """An independent stream of random numbers for each key.

    Numbers from a stream are compared and rounded down to whole seconds and counts, never printed: the last
    bits of a logarithm, in which machines may differ, do not show.
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


class _Logs:
    """The log files of a simulation, written day by day."""

    def __init__(
        self, config: MusicSimulation, catalogue: Catalogue, users: Population, folder: Path
    ) -> None:
        self.config, self.catalogue, self.users, self.folder = config, catalogue, users, folder
        ids = users.user_id.tolist()
        self.who = pa.array([f"{user}\t{device}" for user in ids for device in DEVICES])
        self.paid = pa.array(["0\n", "1\n"])
        self.played_songs = catalogue.texts(with_type=True)
        self.downloaded_songs = catalogue.texts(with_type=False)
        self.queries = catalogue.queries()
        stamps = np.datetime_as_string(np.arange(86_400).astype("datetime64[s]"))
        self.clock = pc.utf8_slice_codeunits(pa.array(stamps), len("1970-01-01T"))
        self.rows = dict.fromkeys(BAD_KINDS, 0)

    def write(self, day: int) -> None:
        """Write the files of one day."""
        today = self.config.start + timedelta(days=day)
        seed = self.config.seed
        active = draw_day(self.users, day, today.weekday(), _stream(seed, 2, day))
        self._write(today, "play", self._plays(active, _stream(seed, 3, day)))
        self._write(today, "down", [self._downloads(active, _stream(seed, 4, day))])
        self._write(today, "search", [self._searches(active, today, _stream(seed, 5, day))])

    def _plays(self, active: DayOfUsers, rng: np.random.Generator) -> Iterator[pa.Array]:
        # Rows take their random numbers from one stream in order, so the cuts do not change them.
        cuts = np.flatnonzero(np.diff(np.cumsum(active.plays) // ROWS_AT_ONCE)) + 1
        for part in np.split(np.arange(len(active.user)), cuts):
            at = np.repeat(part, active.plays[part])
            user = active.user[at]
            u = rng.random((len(at), 8))
            song = self._songs(at, user, u[:, :4])
            length = self.catalogue.length[song]
            time = _played(length, self.users.between[user], active.skip[at], u[:, 4], u[:, 5])
            time, length, no_time, no_length = _with_faults(time, length, u[:, 6])
            yield _lines(
                self.who.take(2 * user + active.device[at]),
                self.played_songs.take(self._text_of(song, u[:, 7])),
                pa.array(time, mask=no_time).cast(pa.string()),
                pa.array(length, mask=no_length).cast(pa.string()),
                self.paid.take(self.users.paid[user].astype(np.int64)),
            )

    def _downloads(self, active: DayOfUsers, rng: np.random.Generator) -> pa.Array:
        at = np.repeat(np.arange(len(active.user)), active.downloads)
        user = active.user[at]
        u = rng.random((len(at), 5))
        song = self._songs(at, user, u[:, :4], repeat=0.0)
        return _lines(
            self.who.take(2 * user + active.device[at]),
            self.downloaded_songs.take(self._text_of(song, u[:, 4])),
            self.paid.take(self.users.paid[user].astype(np.int64)),
        )

    def _searches(self, active: DayOfUsers, today: date, rng: np.random.Generator) -> pa.Array:
        at = np.repeat(np.arange(len(active.user)), active.searches)
        user = active.user[at]
        u = rng.random((len(at), 6))
        base, steps = chains(_continues(at, u[:, 3], SEARCH_AGAIN))
        no_sequels = np.ones((len(at), 1))
        song = self._songs(at, user, np.hstack([u[:, :3], no_sequels]), repeat=SEARCH_FAVOURITES)
        words = (u[:, 4] * 3).astype(np.int64) * len(self.catalogue.name) + song
        span = np.where(self.users.kind[user] == BOT, BOT_SESSION_SECONDS, SESSION_SECONDS)
        second = (active.session[at] + span * u[:, 5] * u[:, 5]).astype(np.int64)
        second = np.minimum(second[base] + AGAIN_SECONDS * steps, len(self.clock) - 1)
        query = words[base] + active.device[at] * (len(self.queries) // 2)
        order = np.argsort(second, kind="stable")
        clock = self.clock.take(second[order])
        return _lines(
            self.who.take((2 * user + active.device[at])[order]),
            pc.binary_join_element_wise(today.isoformat(), clock, " "),
            self.queries.take(query[order]),
        )

    def _songs(self, at: Ints, user: Ints, u: Floats, repeat: float = REPEAT) -> Ints:
        follows = _continues(at, u[:, 3], SEQUEL)
        taste, favourites = self.users.taste[user], self.users.favourites[user]
        return self.catalogue.draw(taste, favourites, follows, u[:, :3], repeat)

    def _text_of(self, song: Ints, u: Floats) -> Ints:
        """Where the song's fields stand in a table of texts: with its own id, or with a sentinel."""
        sentinel = np.searchsorted(SENTINEL_SHARES, u, side="right")
        table = np.where(sentinel < len(SENTINELS), sentinel + 1, 0)
        text: Ints = song + table * len(self.catalogue.name)
        return text

    def _write(self, today: date, kind: str, parts: Iterator[pa.Array] | list[pa.Array]) -> None:
        path = self.folder / f"{today:%Y%m%d}_{kind}.log"
        with path.open("wb") as stream:
            for lines in parts:
                self._append(stream, kind, lines)
            empty = stream.tell() == 0
        if empty:
            path.unlink()

    def _append(self, stream: BinaryIO, kind: str, lines: pa.Array) -> None:
        """Write lines, and a malformed one after each BAD_ROW_EVERY of this kind of log."""
        if len(lines) == 0:
            return
        ends = np.frombuffer(lines.buffers()[1], np.int32)[: len(lines) + 1]
        text = memoryview(lines.buffers()[2])
        before, written = self.rows[kind], 0
        self.rows[kind] = after = before + len(lines)
        first = before + (FIRST_BAD_ROW - before - 1) % BAD_ROW_EVERY + 1
        for row in range(first, after + 1, BAD_ROW_EVERY):
            end = int(ends[row - before])
            stream.write(text[written:end])
            stream.write(_malformed(kind, row // BAD_ROW_EVERY, lines[row - before - 1].as_py()))
            written = end
        stream.write(text[written : int(ends[-1])])


# What goes wrong in a malformed row of each kind of log, in turn.
BAD_KINDS = {
    "play": ("text", "stray tab", "line break"),
    "down": ("stray tab", "line break"),
    "search": ("line break", "text", "stray tab"),
}


def _malformed(kind: str, n: int, line: str) -> bytes:
    """A broken copy of a line, the way broken lines come about."""
    fault = BAD_KINDS[kind][n % len(BAD_KINDS[kind])]
    fields = line.rstrip("\n").split("\t")
    if fault == "stray tab":
        fields.insert(0, "")
    elif (
        fault == "line break"
    ):  # within the name or the time, so that two lines have too few fields
        broken = {"play": 4, "down": 3, "search": 2}[kind]
        fields[broken] = fields[broken][:3] + "\n" + fields[broken][3:]
    elif kind == "play":
        fields[6] = "3m20s"
    else:
        fields[2] = "yesterday"
    return ("\t".join(fields) + "\n").encode()


def _lines(*columns: pa.Array) -> pa.Array:
    """Tab-separated lines; a null becomes an empty field. The last column holds the line ends."""
    return pc.binary_join_element_wise(*columns, "\t", null_handling="replace", null_replacement="")


def _continues(at: Ints, u: Floats, share: float) -> Bools:
    """Which rows go on from the row before, of the same user; `at` says whose row each is."""
    same = np.zeros(len(at), dtype=np.bool_)
    same[1:] = at[1:] == at[:-1]
    return same & (u < share)


def _played(length: Ints, between: Floats, skip: Floats, u: Floats, within: Floats) -> Ints:
    """Seconds played of songs of these lengths, broken off between 20 % and 80 %, before, or after."""
    part = np.searchsorted(np.array(BETWEEN_SPLIT), u / np.maximum(between, 1e-9), side="right")
    late = np.where(within < WHOLE, 1.0, 0.8 + 0.2 * (within - WHOLE) / (1 - WHOLE))
    early = 0.2 * within * within  # most skips come in the first seconds
    share = np.where((u - between) / (1 - between) < skip, early, late)
    share = np.where(u < between, 0.2 * (1 + part + within), share)
    return np.rint(share * length).astype(np.int64)


def _with_faults(time: Ints, length: Ints, u: Floats) -> tuple[Ints, Ints, Bools, Bools]:
    """Play times and lengths with some faulty, and which of each are missing."""
    fault = np.searchsorted(FAULTS, u, side="right")
    # A length in milliseconds, say, makes a huge value.
    bad_time = np.where(fault == 1, -1 - time, np.where(fault == 2, HUGE + 1000 * time, time))
    bad_length = np.where(fault == 6, HUGE + 1000 * length, length)
    bad_length = np.where(fault == 3, 0, np.where(fault == 5, -1, bad_length))
    return bad_time, bad_length, fault == 0, fault == 4


def _truth(config: MusicSimulation, users: Population) -> pa.Table:
    """One row per user, by user id: what was hidden from the logs' readers."""
    start = np.datetime64(config.start, "D")
    order = np.argsort(users.user_id, kind="stable")
    tastes, one, both = list(TASTES), DEVICES, [",".join(DEVICES), ",".join(DEVICES[::-1])]
    silent = users.kind == KINDS.index("returning")
    columns = {
        "user_id": pa.array(users.user_id),
        "kind": pa.array([KINDS[kind] for kind in users.kind]),
        "taste_group": pa.array([tastes[taste] for taste in users.taste]),
        "paid": pa.array(users.paid),
        "first_day": pa.array(start + users.first),
        "last_day": pa.array(start + users.last),
        "silent_from": pa.array(start + users.silent_from, mask=~silent),
        "silent_until": pa.array(start + users.silent_to - 1, mask=~silent),
        "devices": pa.array(
            [
                (both if two else one)[first]
                for first, two in zip(users.device, users.two_devices, strict=True)
            ]
        ),
    }
    return pa.table(columns).take(order)


def _truth_songs(catalogue: Catalogue) -> pa.Table:
    """One row per song, by song id."""
    tastes = list(TASTES)
    columns = {
        "song_id": pa.array(catalogue.song_id),
        "song_name": pa.array(catalogue.name),
        "singer": pa.array(catalogue.singer),
        "taste_group": pa.array([tastes[taste] for taste in catalogue.taste]),
        "song_length": pa.array(catalogue.length),
    }
    return pa.table(columns).sort_by("song_id")


def _readme(config: MusicSimulation, users: Population) -> str:
    kinds = "\n".join(
        f"  {name}: {count}"
        for name, count in zip(KINDS, np.bincount(users.kind, minlength=len(KINDS)), strict=True)
    )
    shares = [0.0, *FAULTS.tolist()]
    fault = [f"{100 * (b - a):.2f} %" for a, b in pairwise(shares)]
    return README.format(
        settings=_settings(config),
        kinds=kinds,
        fault=fault,
        huge=HUGE,
        every=BAD_ROW_EVERY,
        sentinels=f"{100 * SENTINEL_SHARES[-1]:.1f} %",
        tastes=", ".join(TASTES),
    )


README = """\
THIS LOG IS SIMULATED. No line of it is about a real person, song or singer.

It was made by `linkwise.data.simulate_music` to imitate the raw logs of a shrinking music app. The means of
its churn features follow figures published for a real app; how they come about is invented. Numbers computed
from it say how a method works, and nothing about any real music app.

Settings (they make the same log again)
{settings}

Files: tab-separated, UTF-8, no header, one per day and kind, the date in the name; a kind without rows on a
day has no file
  YYYYMMDD_play.log    uid device song_id song_type song_name singer play_time song_length paid_flag
  YYYYMMDD_down.log    uid device song_id song_name singer paid_flag
  YYYYMMDD_search.log  uid device time_stamp search_query
  play_time and song_length in seconds; device `ar` or `ip`; song_type 0, 1 or 2; paid_flag 0 or 1;
  search_query URL-encoded; searches in order of the clock
  truth.parquet        one row per user: user_id, kind, taste_group, paid, first_day (may be before the log),
                       last_day (hidden; may be after the log), silent_from and silent_until (users who
                       return), devices
  truth_songs.parquet  one row per song: song_id, song_name, singer, taste_group, song_length

Users by kind
{kinds}
  steady: as active on the last day as before. fading: less and less over the last weeks. leaves-at-once: here
  on one day only. returning: silent for one to two and a half weeks, then back. bot: a machine.

Planted, to be learnt
  Activity, skipping, downloads, searches and paying all tell something about who leaves. Weekends differ.
  Taste groups: users mostly play songs of their own group, a group's titles share words, few songs are played
  much, favourites are played again and again, and the next track of an album often follows. The groups:
  {tastes}.

Planted, to be found and cleaned away
  Bots: over a thousand plays a day, searches in bursts; every other one plays more than 24 hours a day.
  About one malformed line in {every}: a stray tab in front, a line break within a name or a time, text
  where a number or a time belongs. Each is a broken copy of the good line before it.
  play_time missing {fault[0]}, negative {fault[1]}, {huge} or more {fault[2]} of the play rows.
  song_length zero {fault[3]}, missing {fault[4]}, negative {fault[5]}, {huge} or more {fault[6]}.
  song_id 0 or -1 for no song: {sentinels} of the play and download rows.
"""
