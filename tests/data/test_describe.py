"""`linkwise data describe`: its numbers against plain Python, and its page for a terminal."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from pathlib import Path
from statistics import mean, median

import polars as pl
import pytest
from tests.data.reading import read, write

from linkwise.cli import main
from linkwise.cli.data import percent
from linkwise.data.describe import columns_of, describe_events
from linkwise.errors import InputError


def test_the_numbers_of_a_log(tmp_path: Path) -> None:
    rng = random.Random(6)
    records = []
    for _ in range(400):
        spent = rng.choice(["", "0.5", "200", "-3"])
        records.append(
            (
                rng.choice("aaaabbbccd"),
                rng.choice(["", "x", "y"]),
                f"2017-03-{rng.choice([1, 2, 2, 9]):02d}",
                rng.choice(["play", "play", "search"]),
                spent,
                rng.choice(["1", "0", ""]),
            )
        )
    lines = [",".join(record) for record in records]
    path = write(
        tmp_path / "a.csv", "\n".join(["user,item,time,kind,spent,plan", *lines, "broken"])
    )
    events = read(path, item="item", event="kind", duration="spent", paid="plan", on_bad_row="skip")
    found = describe_events(events)
    json.dumps(found)
    per_user = Counter(record[0] for record in records)
    spent = [float(record[4]) for record in records if record[4]]
    kinds = Counter(record[3] for record in records)
    users = defaultdict(set)
    for user, _, _, kind, *_ in records:
        users[kind].add(user)
    assert found == {
        "rows": 400,
        "users": len(per_user),
        "items": 2,
        "first day": "2017-03-01",
        "last day": "2017-03-09",
        "days": 9,
        "days with events": 3,
        "clock times": False,
        "events of a user": {
            "median": sorted(per_user.values())[(len(per_user) - 1) // 2],
            "mean": mean(per_user.values()),
            "most": max(per_user.values()),
        },
        "columns": [
            {"column": "item", "filled": sum(bool(record[1]) for record in records) / 400},
            {
                "column": "duration",
                "filled": len(spent) / 400,
                "unit": "seconds",
                "smallest": -3,
                "mean": pytest.approx(mean(spent)),
                "largest": 200,
            },
            {
                "column": "paid",
                "filled": 1,
                "yes": sum(record[5] == "1" for record in records) / 400,
            },
        ],
        "kinds": [
            {"event": kind, "events": n, "users": len(users[kind]), "share": n / 400}
            for kind, n in kinds.most_common()
        ],
        "malformed": [{"rule": "events: wrong number of fields", "rows": 1, "users": None}],
    }
    assert median(per_user.values()) >= found["events of a user"]["median"]  # the lower of two


def test_a_log_of_users_and_days_alone(tmp_path: Path) -> None:
    found = describe_events(read(write(tmp_path / "a.csv", "user,time\na,2017-03-30\n")))
    assert found["items"] is None
    assert found["columns"] == []


def test_columns_of_each_layout(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", 'user,"two\nlines"\n\nbroken\n1,"a, b"\n')
    write(tmp_path / "b.csv", 'user,"two\nlines"\n2,z\n')
    write(tmp_path / "c.csv.gz", __import__("gzip").compress(b"only;header\n"))
    write(tmp_path / "d.jsonl", '{"x": [1], "y": null}\n{"z": 2.5}\n')
    write(tmp_path / "empty.csv", "")
    pl.DataFrame({"u": [1], "v": [None], "w": ["é"]}).write_parquet(tmp_path / "e.parquet")
    found = columns_of([tmp_path])
    assert [(Path(entry["file"]).name, entry["files"], entry["columns"]) for entry in found] == [
        ("a.csv", 2, {"user": "1", "two\nlines": "a, b"}),
        ("c.csv.gz", 1, {"only": "", "header": ""}),
        ("d.jsonl", 1, {"x": "[1]", "y": "null", "z": "2.5"}),
        ("e.parquet", 1, {"u": "1", "v": "", "w": "é"}),
    ]
    with pytest.raises(InputError, match="not a whole Parquet file"):
        columns_of([write(tmp_path / "f.parquet", b"PAR1 and no more")])


def test_the_page_for_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    lines = ["user,time,kind,paid", "a,2017-03-30,[/bold] \x1b[31mred,3.5", "b,2017-03-30,x,", "b"]
    path = write(tmp_path / "[red] a.csv", "\n".join(lines))
    assert main(["data", "describe", str(path)]) == 0
    out = capsys.readouterr().out
    assert "[red] a.csv" in out
    assert r"[/bold] \x1b[31mred" in out  # neither markup nor an order to the terminal
    assert "--user COLUMN --time COLUMN" in out
    words = ["--user", "user", "--time", "time", "--event", "kind", "--value", "paid"]
    assert main(["data", "describe", str(path), *words, "--on-bad-row", "skip"]) == 0
    out = capsys.readouterr().out
    assert "2 events of 2 users\n2017-03-30 to 2017-03-30: 1 day, 1 with events; dates only" in out
    assert r"[/bold] \x1b[31mred" in out
    assert "\x1b[31m" not in out
    assert any(
        line.split() == ["value", "50.0", "%", "3.50", "3.50", "3.50"] for line in out.split("\n")
    )
    assert "events: wrong number of fields      1       -" in out
    assert main(["data", "describe", str(path), *words]) == 3
    assert "[red] a.csv line 4: the row has 1 field; expected 4" in capsys.readouterr().err


def test_shares_are_not_rounded_to_nothing_or_all() -> None:
    found = [percent(share) for share in (0, 1e-9, 0.0011, 0.5, 0.99999, 1)]
    assert found == ["0.0 %", "< 0.1 %", "0.1 %", "50.0 %", "> 99.9 %", "100.0 %"]


@pytest.mark.real_data
def test_the_real_samples(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--schema", "music-box", "--date", "2017-03-30"]
    assert main(["data", "describe", str(shared_data / "music_box_sample"), *words]) == 0
    out = capsys.readouterr().out
    assert "2,986 events of 1,030 users on" in out
    assert [line.split()[-2:] for line in out.strip().split("\n")[-3:]] == [
        ["3", "-"],
        ["3", "3"],
        ["8", "-"],
    ]
