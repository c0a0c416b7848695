"""Times: every way of writing them, converted to the zone that was asked for and cut into its days."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from tests.data.reading import column, read, rows, write

from linkwise.data.events import epoch_day

# Zones with daylight saving, with halves and quarters of an hour, and one that left out a whole day.
ZONES = ["UTC", "Europe/Paris", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"]
ZONES += ["Pacific/Apia"]


def instants() -> list[datetime]:
    """Moments about the midnights and the changes of clocks of those zones, to the millisecond."""
    rng = random.Random(4)
    around = [
        datetime(2017, 3, 25, 23, tzinfo=UTC),
        datetime(2017, 10, 29, 1, tzinfo=UTC),
        datetime(2017, 3, 12, 7, tzinfo=UTC),
        datetime(2011, 12, 30, 10, tzinfo=UTC),
        datetime(2017, 12, 31, 23, 59, 59, tzinfo=UTC),
    ]
    hours = 48 * 3600 * 1000
    return [at + timedelta(milliseconds=rng.randrange(-hours, hours)) for at in around * 20]


@pytest.mark.parametrize("zone", ZONES)
def test_moments_are_converted_to_the_zone(zone: str, tmp_path: Path) -> None:
    moments = instants()
    expected = [at.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for at in moments]
    offset = ZoneInfo("Asia/Kolkata")
    written = {
        "ms": [str(round(at.timestamp() * 1000)) for at in moments],
        "s": [f"{at.timestamp():.3f}" for at in moments],
        "z": [at.isoformat(timespec="milliseconds").replace("+00:00", "Z") for at in moments],
        "offset": [at.astimezone(offset).isoformat(" ", "milliseconds") for at in moments],
        "utc": [f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d} UTC" for at in moments],
    }
    lines = [",".join(values) for values in zip(*written.values(), strict=True)]
    path = write(tmp_path / "a.csv", "\n".join([",".join(written), *lines]))
    for name in written:
        events = read(path, user="ms", time=name, timezone=zone)
        assert column(events, "time") == expected, name
        assert column(events, "day") == [epoch_day(at.date()) for at in expected], name
    typed = pl.DataFrame({"user": range(len(moments)), "time": moments})
    assert column(read(typed, timezone=zone), "time") == expected


def test_stamps_without_a_zone_are_read_in_it(tmp_path: Path) -> None:
    stamps = [
        "2017-03-26 02:30:00",
        "2017/03/26 23:59",
        "2017-3-5T1:02:03.5",
        "2017-10-29 02:30:00",
    ]
    path = write(tmp_path / "a.csv", "\n".join(["user,time", *(f"a,{s}" for s in stamps)]))
    expected = [
        datetime(2017, 3, 26, 2, 30),  # skipped by the clocks of Paris, and yet what was written
        datetime(2017, 3, 26, 23, 59),
        datetime(2017, 3, 5, 1, 2, 3, 500_000),
        datetime(2017, 10, 29, 2, 30),
    ]
    for zone in ("UTC", "Europe/Paris"):
        assert column(read(path, timezone=zone), "time") == expected


def test_stamps_with_and_without_an_offset_may_be_mixed(tmp_path: Path) -> None:
    log = "user,time\na,2017-03-30 23:30:00\na,2017-03-30T23:30:00Z\na,2017-03-31\n"
    log += "a,2017-03-30 23:30:00-0500\n"
    found = column(read(write(tmp_path / "a.csv", log), timezone="Europe/Paris"), "time")
    assert found == [
        datetime(2017, 3, 30, 23, 30),
        datetime(2017, 3, 31, 1, 30),
        datetime(2017, 3, 31),
        datetime(2017, 3, 31, 6, 30),
    ]


def test_the_zone_of_the_machine_is_of_no_consequence(tmp_path: Path) -> None:
    log = "user,time\na,2017-03-30 23:30:00\na,2017-03-30T23:30:00Z\n"
    path = write(tmp_path / "a.csv", log)
    code = (
        "from linkwise.data import read_events; from linkwise.data.engine import collect; "
        f"print(collect(read_events({str(path)!r}, user='user', time='time').frame)['time'].to_list())"
    )
    expected = f"{[datetime(2017, 3, 30, 23, 30)] * 2}\n"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"TZ": "Asia/Tokyo"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout == expected, ran.stderr


@pytest.mark.parametrize(
    ("form", "values"),
    [
        (None, ["2017-03-30", "2017/3/5"]),
        (None, ["20170330", "20170305"]),
        ("%d/%m/%Y", ["30/03/2017", "5/3/2017"]),
        ("%d.%m.%y", ["30.03.17", "05.03.17"]),
    ],
)
def test_dates_alone_are_no_clock(form: str | None, values: list[str], tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "\n".join(["user,time", *(f"a,{v}" for v in values)]))
    events = read(path, time_format=form, timezone="Asia/Tokyo")
    assert not events.has_clock
    assert rows(events) == [
        {"user": "a", "event": "event", "day": epoch_day(date(2017, 3, day))} for day in (30, 5)
    ]


@pytest.mark.parametrize(
    ("form", "value", "expected"),
    [
        ("%d/%m/%Y %H:%M", "30/03/2017 23:45", datetime(2017, 3, 30, 23, 45)),
        ("%b %d, %Y at %I:%M %p", "Mar 30, 2017 at 11:05 PM", datetime(2017, 3, 30, 23, 5)),
        ("%d/%b/%Y:%H:%M:%S %z", "30/Mar/2017:23:45:00 +0000", datetime(2017, 3, 31, 1, 45)),
        ("it's %Y-%m-%d %H", "it's 2017-03-30 07", datetime(2017, 3, 30, 7)),
        (None, "20170330074500", datetime(2017, 3, 30, 7, 45)),
    ],
)
def test_a_format_may_be_given(
    form: str | None, value: str, expected: datetime, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.tsv", f"user\ttime\na\t{value}\n")
    assert column(read(path, time_format=form, timezone="Europe/Paris"), "time") == [expected]
