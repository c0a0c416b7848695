"""What a finished run has on record: its tables, figures, settings and report, read and checked once."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from linkwise.errors import InputError

NODES = {
    "kind": pl.String, "id": pl.String, "title": pl.String, "text": pl.String, "year": pl.Int64,
}  # fmt: skip
LINKS = {
    "source_kind": pl.String, "source": pl.String, "target_kind": pl.String, "target": pl.String,
    "score": pl.Float64, "origin": pl.String, "by": pl.String, "reason": pl.String,
    "source_part": pl.String, "target_part": pl.String,
}  # fmt: skip
OPTIONAL = ("title", "text", "year", "origin", "by", "reason", "source_part", "target_part")
RANKING = {"query": pl.String, "item": pl.String, "score": pl.Float64, "rank": pl.Int64}
FURTHER = {
    "model": pl.String, "title": pl.String, "probability": pl.Float64, "yes": pl.Boolean,
    "reason": pl.String, "action": pl.String, "query_part": pl.String, "item_part": pl.String,
}  # fmt: skip
METRIC = (
    "model",
    "split",
    "slice",
    "metric",
    "k",
    "value",
    "low",
    "high",
    "n",
    "baseline",
    "difference",
)
LONGEST = 2000  # characters of a node's text in one record


@dataclass(frozen=True)
class Record:
    """One thing that the run's files say: the file and row, and the words."""

    where: str
    text: str


class Records:
    """The records of the run in `folder`; each file is read when first needed.

    Raises `InputError` where a file is damaged or lacks a column; a file that is not there holds nothing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def info(self) -> dict[str, Any]:
        """`run.json`."""
        found = self._json("run.json", {})
        return found if isinstance(found, dict) else {}

    @cached_property
    def settings(self) -> dict[str, Any]:
        """`config.toml`, one level: ``churn.label_days``. Also of a study that this version does not know."""
        path = self.folder / "config.toml"
        if not path.is_file():
            return {}
        try:
            found = tomllib.loads(path.read_text())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise _damaged(path, str(error)) from error
        return dict(_flat(found))

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """The rows of `metrics.json`."""
        path = self.folder / "metrics.json"
        rows = self._json("metrics.json", [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise _damaged(path, "it is no array of rows")
        for number, row in enumerate(rows, 1):
            missing = [name for name in METRIC if name not in row]
            if missing:
                raise _damaged(path, f"row {number} has no {missing[0]}")
        return rows

    @cached_property
    def nodes(self) -> pl.DataFrame:
        """`nodes.parquet`: `kind, id, title, text, year`, with the row's number."""
        return self._table("nodes.parquet", NODES)

    @cached_property
    def links(self) -> pl.DataFrame:
        """`links.parquet`, with the row's number."""
        return self._table("links.parquet", LINKS)

    def links_of(self, kind: str, other_kind: str = "", **of: str) -> pl.DataFrame:
        """The links of a kind with another one, or with any, whichever end stands first in the file.

        `of` may give the `id` and the `other` one. The columns: `kind, id, other_kind, other, score, origin,
        by, reason, part, other_part, row`.
        """
        found = []
        for mine, theirs in (("source", "target"), ("target", "source")):
            ends = {"kind": f"{mine}_kind", "id": mine, "other_kind": f"{theirs}_kind", "other": theirs,
                    "part": f"{mine}_part", "other_part": f"{theirs}_part"}  # fmt: skip
            wanted = {"kind": kind, **({"other_kind": other_kind} if other_kind else {}), **of}
            rows = self.links.filter(**{ends[name]: value for name, value in wanted.items()})
            shared = ["score", "origin", "by", "reason", "row"]
            found.append(rows.select(*shared, **{new: pl.col(old) for new, old in ends.items()}))
        return pl.concat(found)

    @cached_property
    def ranking(self) -> pl.DataFrame:
        """The lists: `recommendations.parquet` of a recommend run, else `ranking.parquet`."""
        for name in ("recommendations.parquet", "ranking.parquet"):
            path = self.folder / name
            if not path.is_file():
                continue
            table = self._read(path)
            if "user" in table.columns and "query" not in table.columns:
                table = table.rename({"user": "query"})
            if table.is_empty() and not set(RANKING) <= set(table.columns):
                continue  # a study that has no list
            found = self._typed(path, table, RANKING)
            extra = {
                key: pl.lit(None, dtype)
                for key, dtype in FURTHER.items()
                if key not in table.columns
            }
            known = {key: dtype for key, dtype in FURTHER.items() if key in table.columns}
            typed = self._typed(path, table, known)
            joined = pl.concat([found, typed], how="horizontal").with_columns(**extra)
            return joined.with_columns(row=pl.int_range(1, pl.len() + 1), file=pl.lit(name))
        empty = {**RANKING, **FURTHER, "row": pl.Int64, "file": pl.String}
        return pl.DataFrame(schema=empty)

    @cached_property
    def report(self) -> dict[str, Any]:
        """`report.json`."""
        found = self._json("report.json", {})
        if not isinstance(found, dict):
            raise _damaged(self.folder / "report.json", "it is no object")
        return found

    @cached_property
    def facts(self) -> list[tuple[str, str, str]]:
        """The report's key numbers: label, value, note."""
        found = []
        for fact in self.report.get("facts") or []:
            if isinstance(fact, dict) and "label" in fact and "value" in fact:
                found.append((str(fact["label"]), str(fact["value"]), str(fact.get("note") or "")))
        return found

    @cached_property
    def said(self) -> list[Record]:
        """The report's sentences: its lead, paragraphs, points, notes and rows of tables."""
        try:
            return list(_sentences(self.report))
        except (AttributeError, TypeError) as error:
            raise _damaged(self.folder / "report.json", "it is no report") from error

    def texts(self) -> Iterator[Record]:
        """All that can be read: the report, the texts of things, reasons of links and lists."""
        yield from self.said
        for row in self.nodes.filter(pl.col("text").is_not_null()).iter_rows(named=True):
            yield self.node(row, whole=True)
        for row in self._with("reason", self.links).iter_rows(named=True):
            yield Record(
                f"links.parquet row {row['row']}",
                clean(f"{row['source']} – {row['target']}: {row['reason']}"),
            )
        for row in self._with("reason", self.ranking).iter_rows(named=True):
            yield Record(
                f"{row['file']} row {row['row']}",
                clean(f"{row['item']} for {row['query']}: {row['reason']}"),
            )

    @staticmethod
    def node(row: dict[str, Any], whole: bool = False) -> Record:
        """A row of nodes.parquet as a record, its text cut at `LONGEST` unless the whole is wanted."""
        year = "" if row["year"] is None else f", {row['year']}"
        title = "" if row["title"] in (None, row["id"]) else f' "{row["title"]}"'
        text = "" if row["text"] is None else f": {row['text'][: None if whole else LONGEST]}"
        return Record(
            f"nodes.parquet row {row['row']}",
            clean(f"{row['kind']} {row['id']}{title}{year}{text}"),
        )

    def _with(self, column: str, table: pl.DataFrame) -> pl.DataFrame:
        return table.filter(pl.col(column).is_not_null() & (pl.col(column) != ""))

    def _table(self, name: str, schema: dict[str, Any]) -> pl.DataFrame:
        path = self.folder / name
        if not path.is_file():
            return pl.DataFrame(schema={**schema, "row": pl.Int64})
        table = self._read(path)
        absent = {name: pl.lit(None) for name in OPTIONAL if name not in table.columns}
        table = self._typed(path, table.with_columns(**absent), schema)
        keys = [
            key
            for key in ("kind", "id", "source_kind", "source", "target_kind", "target")
            if key in schema
        ]
        for key in keys:
            if table[key].null_count():
                row = int(table[key].is_null().arg_max() or 0) + 1
                raise _damaged(path, f"row {row} has no {key}")
        return table.with_columns(row=pl.int_range(1, pl.len() + 1))

    def _read(self, path: Path) -> pl.DataFrame:
        try:
            return pl.read_parquet(path)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise _damaged(path, str(error).split("\n")[0][:120]) from error

    def _typed(self, path: Path, table: pl.DataFrame, schema: dict[str, Any]) -> pl.DataFrame:
        missing = [name for name in schema if name not in table.columns]
        if missing:
            raise _damaged(path, f"it has no column {missing[0]}, but {', '.join(table.columns)}")
        try:
            return table.select(pl.col(name).cast(dtype) for name, dtype in schema.items())
        except pl.exceptions.PolarsError as error:
            raise _damaged(path, str(error).split("\n")[0][:120]) from error

    def _json(self, name: str, nothing: Any) -> Any:
        path = self.folder / name
        if not path.is_file():
            return nothing
        try:
            return json.loads(path.read_text())
        except (ValueError, RecursionError, OSError) as error:
            raise _damaged(path, "it is not JSON") from error


def _damaged(path: Path, why: str) -> InputError:
    return InputError(f"{path}: the file is damaged ({why}). Run the study again.")


def _flat(table: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _sentences(report: dict[str, Any]) -> Iterator[Record]:
    where = "report.json"
    for text in report.get("lead") or []:
        yield Record(f"{where}, its first lines", clean(text))
    for label, value, note in (
        (str(f.get("label")), str(f.get("value")), str(f.get("note") or ""))
        for f in report.get("facts") or []
        if isinstance(f, dict)
    ):
        yield Record(
            f"{where}, key numbers", clean(f"{label}: {value}{f' ({note})' if note else ''}")
        )
    for section in report.get("sections") or []:
        place = f'{where}, "{clean(section.get("title"))}"'
        for block in section.get("blocks") or []:
            texts: Sequence[Any] = [*(block.get("paragraphs") or []), *(block.get("items") or [])]
            texts = [*texts, block.get("note"), block.get("alt")]
            for text in texts:
                if text:
                    yield Record(place, clean(text))
            names = [str(column.get("name")) for column in block.get("columns") or []]
            for row in block.get("rows") or []:
                cells = [
                    f"{name} {figure(cell)}"
                    for name, cell in zip(names, row, strict=False)
                    if cell is not None
                ]
                yield Record(place, clean(f"{block.get('caption')}: {', '.join(cells)}"))


def clean(text: Any) -> str:
    """One line without control characters: a record must not drive a terminal."""
    line = " ".join(str(text).split())
    return "".join(character for character in line if character.isprintable())


def figure(value: Any) -> str:
    """A number as it is shown, in the answer and in its record alike: 1,234 and 0.6172."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 0.001:
        return f"{value:,.4f}".rstrip("0").rstrip(".")
    return f"{value:.3g}"
