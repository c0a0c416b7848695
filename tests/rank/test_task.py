"""Task files and their tables: what is read, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.rank.network import EVENTS, TASK, write_surface

from linkwise.errors import InputError
from linkwise.rank.surface import moment, read_surface
from linkwise.rank.task import read_task


def test_events_stand_by_member_and_time(tmp_path: Path) -> None:
    surface = read_surface(read_task(write_surface(tmp_path, EVENTS[::-1])))
    names = [surface.items["id"][int(i)] for i in surface.item]
    assert names == ["toy", "alien", "heat", "ran", "heat", "toy"]
    assert surface.clock
    assert surface.events(0).tolist() == [0, 1, 2, 3]
    assert surface.events(0, int(surface.time[2])).tolist() == [0, 1]
    assert surface.events(2).tolist() == []
    assert surface.labels().tolist() == [0, 1, 1, 0, 0, 1]  # yes comes first in the answers
    assert surface.row_of("u2") == 1
    with pytest.raises(InputError, match='there is no member "u9"; ids look like u1'):
        surface.row_of("u9")


RATED = {"column": "action", "at_least": 4, "then": "play", "otherwise": "ignore"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"instruktion": "x"}, "there is no field instruktion; expected name, instruction"),
        ({"history": {"budget": 5}}, "there is no field history.budget; expected select"),
        ({"question": None}, "question is missing"),
        ({"question": "will the user {action}"}, "question is to have {item}, the place"),
        ({"question": "{item} {what}"}, "question has {what}; expected {action}, {item}, {noun}"),
        ({"answer": {"yes": "a"}}, "answer has yes; expected yes and no"),
        ({"target": "buy"}, 'target is "buy"; expected one of play, watch, ignore'),
        ({"answer": {"yes": "{item}", "no": "b"}}, "answer.yes has {item}"),
        ({"item": {"noun": "movie", "template": "{title"}}, "item.template"),
        ({"history": {"budget_tokens": -1}}, 'history.budget_tokens is "-1"'),
        (
            {"output": "rating", "answer": {"1": "a", "2": "b"}},
            "data.rated, the number that the events have, is missing",
        ),
        (
            {
                "output": "rating",
                "answer": {"good": "a", "2": "b"},
                "data": {**TASK["data"], "rated": RATED},
            },
            "expected two or more numbers",
        ),
        (
            {
                "output": "rating",
                "answer": {"inf": "a", "2": "b"},
                "data": {**TASK["data"], "rated": RATED},
            },
            "expected two or more numbers",
        ),
        ({"name": "a, b"}, 'name is "a, b"; expected a name without commas'),
        (
            {"question": "{item} or {item}"},
            "question is to have {item}, the place of the candidate, once",
        ),
        ({"question": "will the user"}, "question is to have {item}"),
        ({"item": {"noun": "movie", "template": "{title!s}"}}, "item.template has {title!s}"),
        ({"item": {"noun": "movie", "template": "{title:>9}"}}, "item.template has {title:>9}"),
        ({"member": {"template": "{says.upper}"}}, "member.template has {says.upper}"),
        ({"output": "action"}, "answer has yes, no; expected two or more of the actions"),
        ({"data": {**TASK["data"], "columns": {"user": "u"}}}, "data.columns has user; expected"),
    ],
)
def test_a_wrong_task_is_told_by_its_field(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as error:
        read_task(write_surface(tmp_path, **change))
    assert message in str(error.value)
    assert str(error.value).startswith(f"{tmp_path / 'play.toml'}: ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"item": {"noun": "movie", "template": "{titel}"}},
            r"item\.template has \{titel\}, .* the columns are id, title, plot",
        ),
        ({"member": {"template": "{age}"}}, r"member\.template has \{age\}"),
        ({"data": {**TASK["data"], "items": "none.csv"}}, r"none\.csv: there is no such file"),
        (
            {"data": {**TASK["data"], "columns": {"time": "when"}}},
            r'events\.csv: no column "when" for the time',
        ),
        ({"actions": {"play": {"base": "a", "past": "b"}}}, 'row 2: the action is "ignore"'),
        (
            {
                "data": {
                    **TASK["data"],
                    "rated": {
                        "column": "item",
                        "at_least": 4,
                        "then": "play",
                        "otherwise": "ignore",
                    },
                }
            },
            "column item is not of numbers",
        ),
        (
            {"data": {"items": "items.csv", "events": "events.csv"}},
            "member.template names columns, and data.members is missing",
        ),
    ],
)
def test_tables_that_do_not_fit(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read_surface(read_task(write_surface(tmp_path, **change)))


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (("u9", "toy", "play", "2026-01-01"), 'row 1: there is no member "u9" in members.csv'),
        (("u1", "x", "play", "2026-01-01"), 'row 1: there is no item "x" in items.csv'),
        (("u1", "toy", "play", "yesterday"), 'row 1: time is "yesterday"; expected a time such as'),
    ],
)
def test_events_that_do_not_fit(event: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read_surface(read_task(write_surface(tmp_path, [event])))


@pytest.mark.parametrize("unit", [1, 10**3, 10**6, 10**9])
def test_numbers_since_1970_in_any_unit(unit: int, tmp_path: Path) -> None:
    seconds = 1_700_000_000
    events = [("u1", "toy", "play", (seconds + 86_400 * day) * unit) for day in range(3)]
    surface = read_surface(read_task(write_surface(tmp_path, events)))
    assert surface.clock
    assert surface.time.tolist() == [(seconds + 86_400 * day) * 10**6 for day in range(3)]


def test_positions_and_missing_ratings(tmp_path: Path) -> None:
    events = [("u1", item, "play", at) for item, at in (("toy", 20), ("ran", 5), ("heat", 30))]
    surface = read_surface(read_task(write_surface(tmp_path, events)))
    assert not surface.clock
    assert [surface.items["id"][int(i)] for i in surface.item] == ["ran", "toy", "heat"]
    assert surface.time.tolist() == [5, 20, 30]
    assert len(surface.events(0, moment("20", surface.clock, "--at"))) == 1
    with pytest.raises(InputError, match=r"row 1: time is 0\.5; expected .* a whole number"):
        read_surface(read_task(write_surface(tmp_path / "c", [("u1", "toy", "play", 0.5)])))
    rated = {"column": "action", "at_least": 4, "then": "play", "otherwise": "ignore"}
    events = [("u1", "toy", "5", "1"), ("u1", "ran", None, "2")]
    path = write_surface(tmp_path / "b", events, data={**TASK["data"], "rated": rated})
    with pytest.raises(InputError, match="row 2: column action has no number"):
        read_surface(read_task(path))


def test_ratings_become_actions_and_answers(tmp_path: Path) -> None:
    events = [("u1", "toy", "5", "3"), ("u1", "heat", "2", "1"), ("u2", "ran", "4", "2")]
    data = {
        **TASK["data"],
        "rated": {"column": "action", "at_least": 4, "then": "play", "otherwise": "ignore"},
    }
    path = write_surface(
        tmp_path, events, data=data, output="rating", answer={"1": "one", "2": "two", "5": "song"}
    )
    surface = read_surface(read_task(path))
    assert not surface.clock
    assert [list(surface.task.actions)[a] for a in surface.action] == ["ignore", "play", "play"]
    assert surface.labels().tolist() == [1, 2, 2]  # 2, then 5, and 4, which is nearest to 5
    np.testing.assert_array_equal(surface.value, [2, 5, 4])
