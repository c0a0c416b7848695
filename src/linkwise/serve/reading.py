"""The routes that read a run's records: cards, config and metrics, tables, searches, points, files."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, Response
from pydantic import BaseModel, Field
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool

from linkwise.errors import UsageError
from linkwise.serve.catalogue import Catalogue, Entry, NoRunError
from linkwise.serve.models import Models
from linkwise.serve.tables import (
    Elsewhere,
    Names,
    Page,
    Wanted,
    counts,
    page,
    points,
    quantiles,
    rows_at,
)

MOST_ROWS_AT = 1000
# The report is one page with its own styles in it; it runs nothing and loads nothing.
REPORT_SECURITY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'; sandbox allow-popups allow-top-navigation-by-user-activation"
)
router = APIRouter(prefix="/v1", tags=["runs"])

Where = Annotated[
    list[str],
    Query(
        description="Conditions, all of which hold: column:operator:value; operators are eq, ne, ge, "
        "le, gt, lt, has (contains) and starts."
    ),
]
Sort = Annotated[str | None, Query(description="A column; with - before it from the highest down.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="Rows of a page.")]
After = Annotated[
    str | None, Query(description="`next` of the page before; none for the first page.")
]
Columns = Annotated[list[str], Query(description="Columns to be had; by default all.")]


class Rows(BaseModel):
    """A page of rows."""

    rows: list[dict[str, Any]]
    total: int
    """How many there are on all pages."""
    next: str | None
    """Cursor of the next page; null on the last."""


class Cards(BaseModel):
    """The runs, the latest first."""

    runs: list[dict[str, Any]]


class RunDetails(BaseModel):
    """One run: its card, settings, what `run.json` holds, its metrics, and the columns of its tables."""

    card: dict[str, Any]
    config: dict[str, Any]
    info: dict[str, Any]
    metrics: list[dict[str, Any]]
    columns: dict[str, dict[str, str]]


def _entry(request: Request, run: str) -> Entry:
    catalogue: Catalogue = request.app.state.catalogue
    return catalogue.get(run)


def _table(entry: Entry, name: str) -> Path:
    if name not in entry.tables:
        raise NoRunError(
            f'the run {entry.id} has no table "{name[:80]}"; it has {", ".join(entry.tables)}.'
        )
    return entry.tables[name]


@router.get("/runs")
def runs(request: Request) -> Cards:
    """All runs, the latest first; damaged ones with what is wrong with them."""
    catalogue: Catalogue = request.app.state.catalogue
    return Cards(runs=[entry.card() for entry in catalogue.entries()])


@router.get("/runs/{run}")
def details(request: Request, run: str) -> RunDetails:
    """A run's settings, metrics, and what it was made of."""
    import polars as pl

    entry = _entry(request, run)
    columns = {
        name: {column: str(kind) for column, kind in pl.read_parquet_schema(path).items()}
        for name, path in entry.tables.items()
    }
    return RunDetails(
        card=entry.card(),
        config=entry.run.config.values(),
        info=entry.info,
        metrics=entry.metrics,
        columns=columns,
    )


@router.get("/runs/{run}/report")
def report(request: Request, run: str) -> dict[str, Any]:
    """The report as data: verdict, facts, and sections of texts, tables and charts."""
    return _entry(request, run).report


@router.get("/runs/{run}/report.html", response_class=HTMLResponse)
def report_page(request: Request, run: str) -> Response:
    """The report as the page that the run has."""
    entry = _entry(request, run)
    if not entry.run.report.is_file():
        raise NoRunError(
            f"the run {entry.id} has no report.html; linkwise report --rebuild makes it."
        )
    return FileResponse(
        entry.run.report,
        media_type="text/html",
        headers={"content-security-policy": REPORT_SECURITY, "x-frame-options": "SAMEORIGIN"},
    )


@router.get("/runs/{run}/ranking")
def ranking(
    request: Request,
    run: str,
    query: Annotated[str | None, Query(description="Rows of this query alone.")] = None,
    model: Annotated[str | None, Query(description="Rows of this model alone.")] = None,
    where: Where = [],  # noqa: B006 - FastAPI copies it
    sort: Sort = None,
    columns: Columns = [],  # noqa: B006
    limit: Limit = 100,
    after: After = None,
) -> Rows:
    """The run's ranking: model, query, item, score, rank, and where they exist probability and reason."""
    own = [f"{n}:eq:{v}" for n, v in (("query", query), ("model", model)) if v is not None]
    entry = _entry(request, run)
    return _page(entry, "ranking", Wanted((*own, *where), sort, tuple(columns)), limit, after)


@router.get("/runs/{run}/tables/{table}")
def rows(
    request: Request,
    run: str,
    table: str,
    where: Where = [],  # noqa: B006
    sort: Sort = None,
    columns: Columns = [],  # noqa: B006
    limit: Limit = 100,
    after: After = None,
) -> Rows:
    """Rows of one of the run's tables."""
    entry = _entry(request, run)
    return _page(entry, table, Wanted(tuple(where), sort, tuple(columns)), limit, after)


def _page(entry: Entry, table: str, wanted: Wanted, limit: int, after: str | None) -> Rows:
    found: Page = page(_table(entry, table), wanted, limit=limit, after=after, stamp=entry.stamp)
    return Rows(rows=found.rows, total=found.total, next=found.next)


@router.get("/runs/{run}/tables/{table}/at")
def at(
    request: Request,
    run: str,
    table: str,
    row: Annotated[
        list[Annotated[int, Field(ge=0, lt=2**32)]],
        Query(description="Places in the table, from 0."),
    ],
) -> Rows:
    """Rows of a table by their places, as searches and points name them."""
    if len(row) > MOST_ROWS_AT:
        raise UsageError(f"{len(row)} rows are asked for; at most {MOST_ROWS_AT} at once.")
    found = rows_at(_table(_entry(request, run), table), row)
    return Rows(rows=found, total=len(found), next=None)


@router.get("/runs/{run}/tables/{table}/search")
async def search(
    request: Request,
    run: str,
    table: str,
    q: Annotated[str, Query(max_length=200, description="Beginnings of words, all of them.")],
    column: Annotated[list[str], Query(min_length=1, description="Columns to search.")],
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
) -> Rows:
    """Rows in whose columns every word of `q` begins a word, in the table's order, each with its `row`."""
    entry = _entry(request, run)
    path = _table(entry, table)
    models: Models = request.app.state.models

    def found() -> list[dict[str, Any]]:
        names: Names = models.kept(entry, f"words of {table} {column}", lambda: Names(path, column))
        return rows_at(path, names.find(q, limit))

    listed = await run_in_threadpool(found)
    return Rows(rows=listed, total=len(listed), next=None)


class Counted(BaseModel):
    """How often values stand in a column."""

    rows: list[dict[str, Any]]
    """`value, n`, the most frequent first."""


@router.get("/runs/{run}/tables/{table}/counts")
def column_counts(
    request: Request,
    run: str,
    table: str,
    by: Annotated[str, Query(description="The column whose values are counted.")],
    distinct: Annotated[
        str | None, Query(description="Count different values of this column, not rows.")
    ] = None,
    where: Where = [],  # noqa: B006
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
) -> Counted:
    """How many rows each value of a column has."""
    path = _table(_entry(request, run), table)
    return Counted(rows=counts(path, Wanted(tuple(where)), by, distinct, limit))


class Spread(BaseModel):
    """The numbers of a column in order, thinned."""

    n: int
    """Rows that have a number."""
    values: list[float]
    """The numbers at equal steps from the lowest to the highest."""


@router.get("/runs/{run}/tables/{table}/quantiles")
def column_quantiles(
    request: Request,
    run: str,
    table: str,
    column: str,
    where: Where = [],  # noqa: B006
    n: Annotated[int, Query(ge=1, le=10_000, description="Number of steps.")] = 100,
) -> Spread:
    """Quantiles of a column."""
    path = _table(_entry(request, run), table)
    number, values = quantiles(path, Wanted(tuple(where)), column, n)
    return Spread(n=number, values=values)


@router.get(
    "/runs/{run}/tables/{table}/points",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
def point_block(
    request: Request,
    run: str,
    table: str,
    x: str = "x",
    y: str = "y",
    colour: Annotated[
        str | None,
        Query(description="A column, or a condition: which points meet it, as codes:has:H04L."),
    ] = None,
    colour_from: Annotated[
        str | None,
        Query(
            description="Another table that has the column: a point's colour is the largest of the rows "
            "whose `colour_key` is the point's id."
        ),
    ] = None,
    colour_key: str = "query",
    colour_where: Annotated[
        list[str], Query(description="Conditions on the rows of the other table.")
    ] = [],  # noqa: B006
    where: Where = [],  # noqa: B006
) -> Response:
    """Points of a map as one block of bytes.

    First the length of a JSON header (uint32, all little-endian) and the header; then float32 x and y of -1
    to 1, uint32 rows in the table, and with `colour` float32: a category's number, or a value of 0 to 1.
    """
    entry = _entry(request, run)
    elsewhere = None
    if colour_from is not None:
        if colour is None:
            raise UsageError("colour_from names a table; name its column too, with colour.")
        elsewhere = Elsewhere(
            _table(entry, colour_from), colour, colour_key, Wanted(tuple(colour_where))
        )
    block = points(
        _table(entry, table), Wanted(tuple(where)), x=x, y=y, colour=colour, elsewhere=elsewhere
    )
    return Response(block, media_type="application/octet-stream")


@router.get(
    "/runs/{run}/tables/{table}/file",
    response_class=FileResponse,
    responses={200: {"content": {"text/csv": {}, "application/vnd.apache.parquet": {}}}},
)
def table_file(
    request: Request,
    run: str,
    table: str,
    format: Annotated[str, Query(pattern="^(csv|parquet)$")] = "csv",
    where: Where = [],  # noqa: B006
    sort: Sort = None,
    columns: Columns = [],  # noqa: B006
) -> Response:
    """A table, or those of its rows that are wanted, as a file; CSV is safe in a spreadsheet."""
    from linkwise.data.spreadsheet import write_csv

    entry = _entry(request, run)
    frame = Wanted(tuple(where), sort, tuple(columns)).of(_table(entry, table))
    with tempfile.NamedTemporaryFile(suffix=f".{format}", delete=False) as file:
        made = Path(file.name)
    try:
        if format == "csv":
            write_csv(_flat(frame.collect()), made)
        else:
            frame.sink_parquet(made)
    except BaseException:
        made.unlink(missing_ok=True)
        raise
    kinds = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}
    return FileResponse(
        made,
        media_type=kinds[format],
        filename=f"{_file_name([entry.id, table])}.{format}",
        background=BackgroundTask(made.unlink, missing_ok=True),
    )


def _flat(frame: Any) -> Any:
    """Lists and structures as JSON texts: a CSV file has no other place for them."""
    import json

    import polars as pl

    nested = [n for n, kind in frame.schema.items() if isinstance(kind, pl.List | pl.Struct)]
    return frame.with_columns(
        pl.Series(
            name,
            [None if v is None else json.dumps(v, default=list) for v in frame[name].to_list()],
        )
        for name in nested
    )


def _file_name(parts: Sequence[str]) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in "-".join(parts))[:120]
