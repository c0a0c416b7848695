"""Rows of tables: conditions against DuckDB, pages, cursors, searches against loops, points."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest

from linkwise.errors import InputError, UsageError
from linkwise.serve.tables import (
    Elsewhere,
    Names,
    Wanted,
    counts,
    page,
    plain,
    points,
    quantiles,
    rows_at,
)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    n = 500
    words = ["Zinc", "copper", "Über-Filter", "gas 50%", "<b>bold</b>", "it's", "x"]
    frame = pl.DataFrame(
        {
            "name": [" ".join(rng.choice(words, 2)) if k % 9 else None for k in range(n)],
            "n": rng.integers(-5, 5, n),
            "value": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
            "yes": rng.random(n) < 0.5,
            "day": pl.date_range(pl.date(2020, 1, 1), pl.date(2021, 5, 14), eager=True)[:n],
            "x": rng.normal(2, 3, n),
            "y": rng.normal(0, 1, n),
            "tags": [["a", "b"][: k % 3] for k in range(n)],
        }
    )
    path = tmp_path_factory.mktemp("tables") / "t.parquet"
    frame.write_parquet(path)
    return path


@pytest.mark.parametrize(
    ("where", "sql"),
    [
        ("n:eq:3", "n = 3"),
        ("n:ne:3", "n <> 3"),
        ("value:ge:0.25", "value >= 0.25"),  # NaN is the largest in both
        ("value:lt:0", "value < 0"),
        ("n:le:-2", "n <= -2"),
        ("n:gt:2", "n > 2"),
        ("yes:eq:true", "yes"),
        ("name:has:FILTER", "contains(lower(name), 'filter')"),
        ("name:has:50%", "contains(name, '50%')"),
        ("name:has:.", "contains(name, '.')"),
        ("name:starts:zinc", "starts_with(lower(name), 'zinc')"),
        ("name:eq:it's x", "name = 'it''s x'"),
        ("name:eq:", "name is null"),
        ("name:ne:", "name is not null"),
        ("day:ge:2021-01-01", "day >= date '2021-01-01'"),
        ("name:eq:' or 1=1 --", "false"),
    ],
)
def test_conditions_are_those_of_sql(table: Path, where: str, sql: str) -> None:
    found = Wanted((where,)).of(table).collect()
    ((expected,),) = duckdb.sql(f"select count(*) from '{table}' where {sql}").fetchall()
    assert len(found) == expected


def test_conditions_hold_together_and_columns_are_chosen(table: Path) -> None:
    wanted = Wanted(("n:ge:0", "yes:eq:false"), "-n", ("n", "yes"))
    found = wanted.of(table).collect()
    assert found.columns == ["n", "yes"]
    assert found["n"].is_sorted(descending=True)
    assert not found["yes"].any()


def test_pages_cover_each_row_once(table: Path) -> None:
    for sort in (None, "n", "-value"):
        wanted = Wanted(("n:ne:0",), sort)
        rows = []
        after = None
        while True:
            found = page(table, wanted, limit=37, after=after, stamp=(1,))
            rows += found.rows
            after = found.next
            if after is None:
                break
        assert len(rows) == found.total
        assert rows == plain(wanted.of(table).collect())


def test_cursors_hold_for_one_list_alone(table: Path) -> None:
    cursor = page(table, Wanted(), limit=5, stamp=(1,)).next
    assert cursor is not None
    for wanted, stamp, after in (
        (Wanted(("n:eq:1",)), (1,), cursor),
        (Wanted(sort="n"), (1,), cursor),
        (Wanted(), (2,), cursor),
        (Wanted(), (1,), "nonsense"),
        (Wanted(), (1,), "ü"),
        (Wanted(), (1,), ""),
        (Wanted(), (1,), "a" * 10_000),
    ):
        with pytest.raises(UsageError, match="after is"):
            page(table, wanted, limit=5, after=after, stamp=stamp)


@pytest.mark.parametrize(
    "where",
    [
        "",
        "n",
        "n:eq",
        "n:is:3",
        "other:eq:3",
        "n:eq:x",
        "n:eq:1.5",
        "yes:eq:1",
        "day:eq:soon",
        "tags:eq:a",
    ],
)
def test_what_is_no_condition_is_refused(table: Path, where: str) -> None:
    with pytest.raises(UsageError):
        Wanted((where,)).of(table).collect()


def test_numbers_that_are_none_become_null(table: Path) -> None:
    rows = page(table, Wanted(), limit=500).rows
    frame = pl.read_parquet(table)
    assert sum(row["value"] is None for row in rows) == int(frame["value"].is_nan().sum())
    assert rows[0]["day"] == "2020-01-01"
    json.dumps(rows, allow_nan=False)


def test_words_are_found_by_their_beginnings(table: Path) -> None:
    names = Names(table, ["name"])
    frame = pl.read_parquet(table)
    for text in ("zi", "FILTER", "über", "b x", "50", "s", "bold zinc", "nothing", " ", "-"):
        wanted = "".join(c if c.isalnum() else " " for c in text.lower()).split()
        expected = []
        for row, name in enumerate(frame["name"]):
            own = "".join(c if c.isalnum() else " " for c in (name or "").lower()).split()
            if wanted and all(any(o.startswith(w) for o in own) for w in wanted):
                expected.append(row)
        assert names.find(text, 1000) == expected
        assert names.find(text, 3) == expected[:3]


def test_rows_are_found_by_their_places(table: Path) -> None:
    rows = rows_at(table, [7, 3, 7, 10_000])
    assert [row["row"] for row in rows] == [7, 3, 7]
    assert rows[1]["n"] == pl.read_parquet(table)["n"][3]


def read(block: bytes) -> tuple[dict[str, object], list[np.ndarray]]:
    (size,) = struct.unpack("<I", block[:4])
    header = json.loads(block[4 : 4 + size])
    n = header["n"]
    rest = np.frombuffer(block[4 + size :], dtype="<f4").reshape(3 + ("colour" in header), n)
    return header, [rest[0], rest[1], rest[2].view("<u4"), *rest[3:]]


def test_points_are_the_tables(table: Path) -> None:
    frame = pl.read_parquet(table).with_row_index("row")
    header, (x, y, row, colour) = read(
        points(table, Wanted(("yes:eq:true",)), x="x", y="y", colour="n")
    )
    mine = frame.filter("yes")
    np.testing.assert_array_equal(row, mine["row"])
    for axis, values in (("x", x), ("y", y)):
        low, high = header[axis]  # type: ignore[misc]
        np.testing.assert_allclose(low + (values + 1) / 2 * (high - low), mine[axis], atol=1e-5)
    assert max(abs(x).max(), abs(y).max()) == pytest.approx(1)
    categories = header["colour"]["categories"]  # type: ignore[index]
    assert [int(categories[int(c)]) for c in colour] == mine["n"].to_list()
    header, (_, _, row, colour) = read(points(table, Wanted(), colour="value"))
    low, high = header["colour"]["range"]  # type: ignore[index]
    values = frame["value"].to_numpy()[row]
    np.testing.assert_allclose(low + colour * (high - low), values, rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match="expected numbers"):
        points(table, Wanted(), x="name")
    with pytest.raises(UsageError, match="cannot be coloured"):
        points(table, Wanted(), colour="tags")


def test_points_are_coloured_by_what_they_meet_or_by_another_table(
    table: Path, tmp_path: Path
) -> None:
    frame = pl.read_parquet(table).with_row_index("row")
    header, (*_, colour) = read(points(table, Wanted(), colour="tags:has:b"))
    assert header["colour"] == {"column": "tags:has:b", "categories": ["b"]}
    np.testing.assert_array_equal(~np.isnan(colour), ["b" in tags for tags in frame["tags"]])
    header, (*_, colour) = read(points(table, Wanted(), colour="n:ge:2"))
    np.testing.assert_array_equal(~np.isnan(colour), frame["n"] >= 2)

    place, other = tmp_path / "map.parquet", tmp_path / "ranking.parquet"
    ids = [f"P{k}" for k in range(6)]
    pl.DataFrame({"id": ids, "x": range(6), "y": range(6)}).write_parquet(place)
    pl.DataFrame(
        {
            "query": ["P3", "P1", "P1", "P5", "P4"],
            "item": ["zinc", "zinc", "zinc", "lead", "zinc"],
            "score": [0.5, 0.1, 0.9, 0.7, None],
        }
    ).write_parquet(other)
    by = Elsewhere(other, "score", "query", Wanted(("item:eq:zinc",)))
    header, (_, _, row, colour) = read(points(place, Wanted(), elsewhere=by))
    assert row.tolist() == [0, 1, 2, 3, 4, 5]
    assert header["colour"] == {"column": "score", "range": [0.5, 0.9]}
    np.testing.assert_allclose(colour, [np.nan, 1, np.nan, 0, np.nan, np.nan])
    with pytest.raises(UsageError, match="coloured by numbers"):
        points(place, Wanted(), elsewhere=Elsewhere(other, "item", "query", Wanted()))
    none = Elsewhere(other, "score", "query", Wanted(("item:eq:gold",)))
    header, (*_, colour) = read(points(place, Wanted(), elsewhere=none))
    assert np.isnan(colour).all()


def test_no_points_are_no_fault(table: Path) -> None:
    header, (x, *_) = read(points(table, Wanted(("n:gt:100",)), colour="value"))
    assert header["n"] == 0
    assert len(x) == 0


def test_counts_and_quantiles_are_those_of_sql(table: Path) -> None:
    sql = f"select n as value, count(*) as n from '{table}' where yes group by 1 order by 2 desc, 1 limit 4"
    expected = [{"value": v, "n": n} for v, n in duckdb.sql(sql).fetchall()]
    assert counts(table, Wanted(("yes:eq:true",)), "n", None, 4) == expected
    sql = f"select name, count(distinct n) from '{table}' group by 1 order by 2 desc, 1 limit 3"
    found = counts(table, Wanted(("name:ne:",)), "name", "n", 3)
    assert [(row["value"], row["n"]) for row in found] == [
        *duckdb.sql(sql.replace("group", "where name is not null group")).fetchall()
    ]
    values = sorted(v for v in pl.read_parquet(table)["value"].to_list() if v == v)
    assert quantiles(table, Wanted(), "value", len(values) - 1) == (len(values), values)
    n, few = quantiles(table, Wanted(), "value", 4)
    assert (n, few[0], few[-1]) == (len(values), values[0], values[-1])
    assert quantiles(table, Wanted(("n:gt:100",)), "value", 4) == (0, [])
    for column in ("name", "tags", "none"):
        with pytest.raises(UsageError):
            quantiles(table, Wanted(), column, 4)
    with pytest.raises(UsageError, match="cannot be counted"):
        counts(table, Wanted(), "tags", None, 4)
