"""The options of the reading: which values they take, and how they are turned down."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from linkwise.data.schema import (
    CANONICAL,
    MUSIC_BOX,
    InputConfig,
    generic_layout,
    movielens_layout,
    sparkify_layout,
)
from linkwise.errors import UsageError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample": 0}, "greater than 0"),
        ({"sample": 1.01}, "less than or equal to 1"),
        ({"sample": float("nan")}, "than"),
        ({"timezone": "Mars/Olympus"}, "not a time zone name such as Europe/Paris"),
        ({"timezone": "../../etc/passwd"}, "not a time zone name"),
        ({"timezone": ""}, "not a time zone name"),
        ({"timezone": "UTC'; DROP TABLE x; --"}, "not a time zone name"),
        ({"rename_event": ("play",)}, "not of the form OLD=NEW"),
        ({"rename_event": ("=play",)}, "not of the form OLD=NEW"),
        ({"rename_event": ("a=b=c",)}, "not of the form OLD=NEW"),
        ({"time_format": "abc"}, "a format needs the year"),
        ({"time_format": "%d/%m"}, "a format needs the year"),
        ({"date": "2017-13-45"}, "valid date"),
        ({"on_bad_row": "ignore"}, "'error' or 'skip'"),
        ({"schema": "nope"}, "'generic', 'music-box', 'movielens' or 'sparkify'"),
        ({"usr": "a"}, "Extra inputs"),
        ({"schema": "movielens", "user": "u"}, "--user has no effect on the schema movielens"),
        ({"schema": "music-box", "rename_event": ("a=b",)}, "--rename-event has no effect"),
        ({"schema": "sparkify", "text": "t"}, "--text has no effect on the schema sparkify"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        InputConfig(**options)


def test_rows_of_logs_known_to_be_flawed_are_skipped_unless_told_otherwise() -> None:
    assert InputConfig().on_bad_row == "error"
    assert InputConfig(schema="movielens").on_bad_row == "skip"
    assert InputConfig(schema="music-box").on_bad_row == "skip"
    assert InputConfig(log_schema="music-box").on_bad_row == "skip"
    assert InputConfig(schema="music-box", on_bad_row="error").on_bad_row == "error"


def test_the_generic_layout_asks_for_user_and_time() -> None:
    with pytest.raises(UsageError) as error:
        generic_layout(InputConfig())
    assert "which columns hold the user and the time? " in str(error.value)
    assert "--user COLUMN --time COLUMN" in str(error.value)
    with pytest.raises(UsageError, match=r"the time\? Name them with --time COLUMN,"):
        generic_layout(InputConfig(user="u"))
    layout = generic_layout(InputConfig(user="u", time="t", value="v", rename_event=("a=b",)))
    assert layout.columns == {"user": "u", "time": "t", "value": "v"}
    assert layout.constant_event == "event"
    assert layout.rename == {"a": "b"}
    assert generic_layout(InputConfig(user="u", time="t", event="e")).constant_event is None


def test_every_layout_maps_canonical_columns_to_fields_that_it_has() -> None:
    layouts = [*MUSIC_BOX.values(), movielens_layout(None, "::"), sparkify_layout(InputConfig())]
    for layout in layouts:
        assert set(layout.columns) <= set(CANONICAL)
        if layout.fields is not None:
            assert set(layout.columns.values()) <= {*layout.fields, "@file"}
    assert sparkify_layout(InputConfig(rename_event=("Home=start",))).rename == {
        "NextSong": "play",
        "Home": "start",
    }
