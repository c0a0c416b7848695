"""How a raw log's columns become the columns of `Events`: the built-in schemas and the options."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cyclopts import Parameter
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from linkwise.errors import UsageError

# The columns an event may have, in the order in which they are stored. `user`, `event` and `day` are
# always there; the others only where the log knows them.
CANONICAL = (
    "user",
    "item",
    "event",
    "day",
    "time",
    "position",
    "duration",
    "length",
    "value",
    "device",
    "paid",
    "text",
)

SENTINEL_ITEMS = ("0", "-1")  # Music Box writes these where a song has no id
FILE_DATE = "@file"  # as the column of the time: the date in the file's name
# The options that name columns, which only the generic schema has.
NAMING = tuple(name for name in CANONICAL if name != "day")


def parted(value: Any) -> Any:
    """`a,b` and (`a,b`, `c`) as separate values; a number as itself."""
    if isinstance(value, int):
        value = (value,)
    if isinstance(value, str):
        value = (value,)
    if not isinstance(value, list | tuple):
        return value
    return tuple(part.strip() for item in value for part in str(item).split(",") if part.strip())


class InputConfig(BaseModel):
    """How the files of a log are read."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, populate_by_name=True
    )

    log_schema: Annotated[
        Literal["generic", "music-box", "movielens", "sparkify"], Parameter(name="--schema")
    ] = Field("generic", alias="schema")
    """Layout of the log. `generic` takes the column names from the options below."""
    user: str | None = None
    """Column with the user's id."""
    item: str | None = None
    """Column with the item's id."""
    time: str | None = None
    """Column with the time: a date, an ISO stamp, epoch seconds or epoch milliseconds. @file takes the date
    in each file's name."""
    position: str | None = None
    """Column with the place of the event in its user's order, a number; instead of the time or beside it."""
    event: str | None = None
    """Column with the kind of event; without it every row is of the kind `event`."""
    duration: str | None = None
    """Column with the time spent, seconds."""
    length: str | None = None
    """Column with the item's own length, seconds."""
    value: str | None = None
    """Column with an amount, in money or points; rounded to two decimals."""
    device: str | None = None
    """Column with the device."""
    paid: str | None = None
    """Column that says whether the user pays: 1, true, yes, paid, premium; anything else is no."""
    text: str | None = None
    """Column with the item's title or other words."""
    rename_event: tuple[str, ...] = ()
    """Kinds of event to rename, OLD=NEW, such as NextSong=play."""
    date: dt.date | None = None
    """Date of a log whose file name has none (Music Box), YYYY-MM-DD."""
    time_format: str | None = None
    """How the time is written where it is none of the known ways, in strptime codes: %d/%m/%Y."""
    timezone: str = "UTC"
    """Zone in which days are cut, and in which stamps without a zone are read, such as Europe/Paris."""
    sample: float = Field(1.0, gt=0, le=1)
    """Share of the users to read, chosen by a stable hash of their ids; 0.1 keeps a tenth."""
    on_bad_row: Literal["error", "skip"] = "error"
    """What a malformed row does: stop, naming file and line, or be dropped and counted. Logs of the built-in
    schemas, which are known to hold some, are read with `skip` unless told otherwise."""

    @model_validator(mode="before")
    @classmethod
    def _known_to_be_broken(cls, values: Any) -> Any:
        if isinstance(values, dict) and "on_bad_row" not in values:
            schema = values.get("schema", values.get("log_schema"))
            if schema != "generic" and schema is not None:
                return values | {"on_bad_row": "skip"}
        return values

    @field_validator("rename_event")
    @classmethod
    def _pairs(cls, pairs: tuple[str, ...]) -> tuple[str, ...]:
        for pair in pairs:
            if pair.count("=") != 1 or pair.startswith("=") or pair.endswith("="):
                raise ValueError(f'"{pair}" is not of the form OLD=NEW')
        return pairs

    @field_validator("time_format")
    @classmethod
    def _format(cls, form: str | None) -> str | None:
        if form is not None and not re.search(r"%-?[yYcxG]", form):
            raise ValueError(
                "a format needs the year, such as %Y in %d/%m/%Y; without it no day is known"
            )
        return form

    @field_validator("timezone")
    @classmethod
    def _zone(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f'"{zone}" is not a time zone name such as Europe/Paris') from error
        return zone

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        if self.log_schema == "generic":
            return self
        idle = [name for name in NAMING if getattr(self, name)]
        if self.log_schema != "sparkify" and self.rename_event:
            idle.append("rename_event")
        if idle:
            option = idle[0].replace("_", "-")
            raise ValueError(
                f"--{option} has no effect on the schema {self.log_schema}, which knows its columns; "
                "leave it out, or use --schema generic"
            )
        return self


@dataclass(frozen=True)
class Layout:
    """One kind of file: how it is cut into fields, and which field is what.

    `fields` are the column names of a file without a header (None: the file has a header, or is typed).
    `columns` maps canonical columns to source columns; `constant_event` is the kind where no column
    says it. The time's column may be `FILE_DATE`, the date in the file's name.
    """

    columns: dict[str, str]
    fields: tuple[str, ...] | None = None
    delimiter: str | None = None
    quoted: bool = True
    constant_event: str | None = None
    url_encoded_text: bool = False
    text_with: str | None = None
    sentinels: tuple[str, ...] = ()
    rename: dict[str, str] = field(default_factory=dict)
    # Every row of Music Box has its three first fields filled; elsewhere only user and time are needed.
    required: tuple[str, ...] = ("user", "time")


MUSIC_BOX = {
    "play": Layout(
        columns={
            "user": "uid",
            "device": "device",
            "item": "song_id",
            "text": "song_name",
            "duration": "play_time",
            "length": "song_length",
            "paid": "paid_flag",
            "time": FILE_DATE,
        },
        fields=(
            "uid",
            "device",
            "song_id",
            "song_type",
            "song_name",
            "singer",
            "play_time",
            "song_length",
            "paid_flag",
        ),
        delimiter="\t",
        quoted=False,
        constant_event="play",
        text_with="singer",
        sentinels=SENTINEL_ITEMS,
    ),
    "download": Layout(
        columns={
            "user": "uid",
            "device": "device",
            "item": "song_id",
            "text": "song_name",
            "paid": "paid_flag",
            "time": FILE_DATE,
        },
        fields=("uid", "device", "song_id", "song_name", "singer", "paid_flag"),
        delimiter="\t",
        quoted=False,
        constant_event="download",
        text_with="singer",
        sentinels=SENTINEL_ITEMS,
    ),
    "search": Layout(
        columns={"user": "uid", "device": "device", "time": "time_stamp", "text": "search_query"},
        fields=("uid", "device", "time_stamp", "search_query"),
        delimiter="\t",
        quoted=False,
        constant_event="search",
        url_encoded_text=True,
    ),
}

SPARKIFY = {
    "user": "userId",
    "item": "song",
    "time": "ts",
    "event": "page",
    "length": "length",
    "paid": "level",
    "text": "artist",
}

MOVIELENS_FIELDS = ("userId", "movieId", "rating", "timestamp")


def generic_layout(config: InputConfig) -> Layout:
    """The layout of a log whose columns are named by the options.

    Raises `UsageError` where `--user`, or both `--time` and `--position`, are missing.
    """
    names = {name: getattr(config, name) for name in NAMING if getattr(config, name)}
    order = "position" if "position" in names else "time"
    missing = [name for name in ("user", order) if name not in names]
    if missing:
        raise UsageError(
            f"which columns hold the {' and the '.join(missing)}? "
            f"Name them with {' '.join(f'--{name} COLUMN' for name in missing)}, "
            "or choose --schema music-box, movielens or sparkify."
        )
    return Layout(
        columns=names,
        constant_event=None if config.event else "event",
        rename=dict(pair.split("=") for pair in config.rename_event),
        required=("user", order),
    )


def sparkify_layout(config: InputConfig) -> Layout:
    """The layout of Sparkify's page log: the page `NextSong` is a play."""
    rename = {"NextSong": "play"} | dict(pair.split("=") for pair in config.rename_event)
    return Layout(columns=dict(SPARKIFY), rename=rename)


def movielens_layout(columns: tuple[str, ...] | None, delimiter: str | None) -> Layout:
    """The layout of MovieLens ratings; `columns` are those of the header, None without one."""
    names = dict(zip(("user", "item", "value", "time"), MOVIELENS_FIELDS, strict=True))
    if columns is not None and "movie" in columns:  # the Parquet form names them plainly
        names = {"user": "user", "item": "movie", "value": "rating", "time": "timestamp"}
    order = "time"
    if (
        columns is not None and "sas_pos" in columns
    ):  # the order where the time is not known of all rows
        names["position"] = "sas_pos"
        order = "position"
    return Layout(
        columns=names,
        required=("user", order),
        fields=None if columns is not None else MOVIELENS_FIELDS,
        delimiter=delimiter,
        quoted=columns is not None,
        constant_event="rating",
    )
