"""Titles and genres of items, from a table beside the log."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from linkwise.errors import InputError

MOVIES = ("movies.csv", "movies.dat")


def read_titles(path: Path) -> pl.DataFrame:
    """`id, title` (text) from a Parquet or CSV file whose first columns they are, or from movies.dat.

    Raises `InputError` where there is no such table.
    """
    return read_catalogue(path).select("id", "title")


def read_catalogue(path: Path) -> pl.DataFrame:
    """`id, title`, and `genres` where the table has such a column (text), as `read_titles` reads them.

    Raises `InputError` where there is no such table.
    """
    try:
        if path.suffix == ".dat":
            # Latin-1, and separated by "::", which no reader of tables takes.
            lines = path.read_text(encoding="latin-1").splitlines()
            rows = [[*line.split("::"), None][:3] for line in lines if line.count("::") >= 1]
            names = ("id", "title", "genres")
            return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")
        if path.suffix in (".parquet", ".pq"):
            table = pl.read_parquet(path)
        else:
            table = pl.read_csv(path, infer_schema=False)
    except (OSError, UnicodeDecodeError, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: this is no table of titles ({reason}).") from error
    if table.width < 2:
        raise InputError(f"{path}: expected two columns, id and title; got {table.columns}.")
    named = [name for name in ("title", "name") if name in table.columns]
    title = named[0] if named else table.columns[1]
    return table.select(
        pl.col(table.columns[0]).cast(pl.String).alias("id"),
        pl.col(title).cast(pl.String).alias("title"),
        *(pl.col(name).cast(pl.String) for name in ("genres",) if name in table.columns),
    )


ARTICLES = "The|A|An|Le|La|Les|L'|Il|Lo|I|El|Los|Las|Der|Die|Das"


def spoken_title(title: str) -> str:
    """A title as it is said: without the year behind it, its article in front (`Matrix, The (1999)`)."""
    bare = re.sub(r"\s*\(\d{4}\)\s*$", "", title.strip())
    found = re.fullmatch(rf"(.+?), ({ARTICLES})( \(.+\))?", bare)
    if found is None:
        return bare
    name, article, rest = found.groups()
    return f"{article}{'' if article.endswith(chr(39)) else ' '}{name}{rest or ''}"


def find_titles(sources: Sequence[Path]) -> Path | None:
    """The table of films beside MovieLens ratings, if there is one."""
    for folder in dict.fromkeys(source.parent for source in sources):
        for name in MOVIES:
            if (folder / name).is_file():
                return folder / name
    return None
