"""Texts from a table or a plain file."""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl

from linkwise.data.files import COMPRESSIONS, LogFile, open_bytes, reading
from linkwise.data.lines import header
from linkwise.errors import InputError

ENDINGS = (".parquet", ".pq", ".csv", ".tsv", ".jsonl", ".ndjson", ".txt")


def read_texts(
    path: str | Path, column: str | None = None, *, option: str = "--column"
) -> pl.DataFrame:
    """All columns of a table, and `text`: the asked one as String, in place of any that is called so.

    Parquet, CSV, TSV (whose values stay strings), JSON lines; a .txt file is one column, of one text per
    line. All but Parquet may end in .gz or .zst. Without `column` the text is the column called text, or the
    only one there is. Missing texts stay null. `option` is what the caller's user names the column with.

    Raises `InputError` where the file cannot be read, the column is not there, or there is no text in it.
    """
    path = Path(path)
    frame = read_table(path)
    at_hand = ", ".join(frame.columns)
    if column is None:
        names = ["text"] if "text" in frame.columns else frame.columns
        if len(names) != 1:
            raise InputError(
                f'{path}: no column "text". Name the one that holds it with --column; the columns are '
                f"{at_hand}."
            )
        column = names[0]
    if column not in frame.columns:
        raise InputError(f'{path}: no column "{column}" ({option}); the columns are {at_hand}.')
    kind = frame.schema[column]
    try:
        frame = frame.with_columns(pl.col(column).cast(pl.String).alias("text"))
    except pl.exceptions.PolarsError as error:
        raise InputError(
            f'{path}: column "{column}" is of the kind {kind}; expected text. The columns are {at_hand}.'
        ) from error
    if not (frame["text"].str.strip_chars() != "").any():
        raise InputError(f'{path}: no texts: column "{column}" has {len(frame):,} rows, all empty.')
    return frame


def read_table(path: Path) -> pl.DataFrame:
    """A table of one of the formats of `read_texts`; values of CSV and TSV stay text.

    Raises `InputError` where it cannot be read or is empty.
    """
    compressed = path.suffix.lower() in COMPRESSIONS
    ending = Path(path.stem if compressed else path.name).suffix.lower()
    if ending not in ENDINGS:
        raise InputError(
            f'{path}: texts are not read from files ending in "{ending}"; expected one of '
            f"{', '.join(ENDINGS)}."
        )
    file = LogFile(path, "csv", compressed)
    try:
        with reading(file), open_bytes(file) as stream:
            data = stream.read()
        if not data.strip():
            raise InputError(f"{path}: the file is empty.")
        if ending in (".parquet", ".pq"):
            return pl.read_parquet(io.BytesIO(data))
        if ending in (".jsonl", ".ndjson"):
            return pl.read_ndjson(io.BytesIO(data), infer_schema_length=None)
        if ending == ".txt":
            # Not splitlines, which also cuts at characters that stand within a text.
            text = data.decode("utf-8-sig").replace("\r\n", "\n").removesuffix("\n")
            return pl.DataFrame({"text": text.split("\n")})
        names, delimiter = header(file)
        frame = pl.read_csv(io.BytesIO(data), separator=delimiter, infer_schema=False)
        return frame.rename(dict(zip(frame.columns, names, strict=True)))
    except (pl.exceptions.PolarsError, UnicodeDecodeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: this cannot be read as {ending[1:]} ({reason}).") from error
