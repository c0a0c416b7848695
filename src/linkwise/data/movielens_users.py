"""The users of MovieLens-1M, with what the codes of users.dat mean (its README)."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from linkwise.errors import InputError

COLUMNS = ("userId", "gender", "age", "occupation", "zip")
GENDERS = {"M": "male", "F": "female"}
AGES = {
    "1": "under 18",
    "18": "18-24",
    "25": "25-34",
    "35": "35-44",
    "45": "45-49",
    "50": "50-55",
    "56": "56 or older",
}
OCCUPATIONS = (
    "other or not specified",
    "academic or educator",
    "artist",
    "clerical or admin",
    "college or grad student",
    "customer service",
    "doctor or health care",
    "executive or managerial",
    "farmer",
    "homemaker",
    "K-12 student",
    "lawyer",
    "programmer",
    "retired",
    "sales or marketing",
    "scientist",
    "self-employed",
    "technician or engineer",
    "tradesman or craftsman",
    "unemployed",
    "writer",
)


def read_users(path: Path) -> pl.DataFrame:
    """`userId, gender, age, occupation, zip` (text) of users.dat, in words where it has codes.

    Raises `InputError` where the file cannot be read or has no such rows.
    """
    try:
        rows = [line.split("::") for line in path.read_text(encoding="latin-1").splitlines()]
    except OSError as error:
        raise InputError(f"{path}: this cannot be read ({error.strerror}).") from error
    for number, row in enumerate(rows, 1):
        if len(row) != len(COLUMNS):
            raise InputError(
                f"{path} line {number}: {len(row)} fields between ::; expected {len(COLUMNS)}, "
                f"{', '.join(COLUMNS)}, as in MovieLens-1M."
            )
    frame = pl.DataFrame(rows, schema=dict.fromkeys(COLUMNS, pl.String), orient="row")
    occupations = {str(code): name for code, name in enumerate(OCCUPATIONS)}
    return frame.with_columns(
        pl.col("gender").replace(GENDERS),
        pl.col("age").replace(AGES),
        pl.col("occupation").replace(occupations),
    )
