"""A simulated professional network: members, what they are shown on six surfaces, what they do, and why.

Whether a member acts depends on what the profile says (area of work, seniority, place) and on what it does
not: a curiosity for another area, which changes from time to time, and a taste for where and with whom to
work, which drifts. Texts say the same in many words, so that an item's number teaches little and its words
much. The probability of every action is kept, and with it the best that any model could do.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import BaseModel, Field
from scipy.stats import rankdata

from linkwise.data.network_words import (
    AREAS,
    CITIES,
    COMPANY_SIZES,
    FIRST_SYLLABLES,
    LAST_SYLLABLES,
    LEVELS,
    MODES,
    TONES,
)
from linkwise.errors import UsageError
from linkwise.folders import prepare_partial, whole_or_not

Floats = np.ndarray[Any, np.dtype[np.float64]]
Longs = np.ndarray[Any, np.dtype[np.int64]]

START = datetime(2026, 1, 5)
DAY = 86_400_000_000  # microseconds
COLD = 0.25  # share of the members with few events
CURIOSITY_DAYS = 120.0  # days after which a curiosity has changed, in the mean
RELEVANT = 0.5  # share of what is shown that is of the member's own areas

# What draws a member to an item: own area, second area, curiosity, seniority, place, hidden taste.
WEIGHTS = {"own": 1.6, "second": 0.8, "curious": 2.0, "level": 0.6, "place": 0.7, "taste": 0.9}


class MembersSimulation(BaseModel, frozen=True, extra="forbid", use_attribute_docstrings=True):
    """What to simulate."""

    members: int = Field(5_000, ge=50, le=1_000_000)
    """Members of the network."""
    days: int = Field(150, ge=70, le=3650)
    """Length of the log, days: half of it to train on, a month of pause, then the test."""
    seed: int = Field(0, ge=0)
    """Seed of all randomness: the same seed gives the same network."""


@dataclass(frozen=True)
class Items:
    """Items of one surface: area, seniority, city (-1: none), kind of taste they please, and their texts."""

    area: Longs
    level: Longs
    city: Longs
    flavour: Longs
    table: pl.DataFrame


@dataclass(frozen=True)
class Page:
    """A surface: what is shown there, how often, and how its actions are drawn.

    `actions` are (name, base, past, weight of what draws to the item, inclination): an action's log-odds
    against doing nothing.
    """

    name: str
    noun: str
    template: str
    shown: float
    actions: tuple[tuple[str, str, str, float, float], ...]


IGNORE = ("ignore", "ignore", "done nothing with", 0.0, 0.0)
PAGES = (
    Page(
        "jobs",
        "job",
        "[Title: {title}, Company: {company}, Location: {location}, Description: {description}]",
        24,
        (
            ("apply", "apply to", "applied to", 1.0, -3.2),
            ("view", "view", "viewed", 0.6, -1.9),
            ("dismiss", "dismiss", "dismissed", -0.6, -1.4),
        ),
    ),
    Page(
        "posts", "post", "[Author: {author}, Text: {text}]", 30,
        (
            ("like", "like", "liked", 1.0, -2.8),
            ("comment", "comment on", "commented on", 1.0, -4.2),
        ),
    ),
    Page(
        "people", "person", "[Position: {position}, Company: {company}, Location: {location}]", 18,
        (("connect", "connect with", "connected with", 1.0, -2.6),),
    ),
    Page(
        "courses", "course", "[Title: {title}, Description: {description}]", 12,
        (("enrol", "enrol in", "enrolled in", 1.0, -2.9),),
    ),
    Page(
        "companies", "company", "[Name: {name}, About: {about}]", 10,
        (("follow", "follow", "followed", 1.0, -2.7),),
    ),
    Page(
        "mails", "mail", "[Subject: {subject}, From: {sender}]", 14,
        (("open", "open", "opened", 1.0, -2.4),),
    ),
)  # fmt: skip
SHARES = {"jobs": 0.6, "posts": 0.8, "people": 0.4, "courses": 0.15, "companies": 0.1, "mails": 0.2}
"""Items of each surface, for each member of the network."""

HELD_OUT = ("view", "comment", "follow", "open")
"""Tasks that are not meant for training: two new ones on known surfaces, two on new surfaces."""

INSTRUCTIONS = {
    "jobs": "You are given a member's profile and jobs that the member was shown. Tell whether the member "
    "will {action} the job.",
    "posts": "You are given a member's profile and posts of the feed. Tell whether the member will {action} "
    "the post.",
    "people": "You are given a member's profile and people the member may know. Tell whether the member will "
    "{action} the person.",
    "courses": "You are given a member's profile and courses. Tell whether the member will {action} the "
    "course.",
    "companies": "You are given a member's profile and pages of companies. Tell whether the member will "
    "{action} the company.",
    "mails": "You are given a member's profile and mails that the member received. Tell whether the member "
    "will {action} the mail.",
}


@dataclass(frozen=True)
class Members:
    """Members: what their profile says, and what it does not.

    `curious` (n, periods) is the area of a curiosity in each period of 30 days, `taste` (n, periods, 3) a
    liking for each flavour of an item.
    """

    area: Longs
    second: Longs
    level: Longs
    city: Longs
    activity: Floats
    curious: Longs
    taste: Floats
    table: pl.DataFrame


def simulate_members(config: MembersSimulation, out: Path) -> Path:
    """Write the network into the folder `out`: tables, `tasks/*.toml`, `truth.parquet` and `truth.json`.

    `members.parquet`, a table of items for each surface and one of events (`member, item, action, time`);
    in `truth.parquet` the probability of each event's actions, in `truth.json` for every task the AUC of
    those probabilities over the test, which no model can beat but by chance. Raises `UsageError` where
    `out` exists.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(
            f"{out}: it exists already and is no empty folder. Name a new one, or remove it first."
        )
    out = out.absolute()
    partial = out.parent / f".{out.name}.partial"
    prepare_partial(partial, out, False)
    with whole_or_not(partial, out):
        _write(config, partial)
        if out.exists():
            out.rmdir()
    return out


def _write(config: MembersSimulation, folder: Path) -> None:
    import tomli_w

    rng = np.random.default_rng(config.seed)
    members = _members(config, rng)
    members.table.write_parquet(folder / "members.parquet")
    (folder / "tasks").mkdir()
    about: dict[str, Any] = {
        "simulated": True,
        **config.model_dump(),
        "train_until": _iso(config.days / 2),
        "test_from": _iso(config.days / 2 + 30),
        "held_out": list(HELD_OUT),
        "tasks": {},
    }
    truths = []
    for page in PAGES:
        items = _items(page, members, rng)
        items.table.write_parquet(folder / f"{page.name}.parquet")
        events, chances = _events(config, page, members, items, rng)
        events.write_parquet(folder / f"events_{page.name}.parquet")
        truths.append(
            pl.concat([events, chances], how="horizontal").with_columns(
                pl.lit(page.name).alias("surface")
            )
        )
        for action, *_ in page.actions:
            task = _task(page, action)
            (folder / "tasks" / f"{action}.toml").write_text(tomli_w.dumps(task))
            about["tasks"][action] = _best(config, events, chances, action)
    pl.concat(truths, how="diagonal").write_parquet(folder / "truth.parquet")
    (folder / "truth.json").write_text(json.dumps(about, indent=1))
    (folder / "README").write_text(
        "A simulated professional network, made by: linkwise simulate members "
        f"--members {config.members} --days {config.days} --seed {config.seed}\n"
        "No row, name or text of any real network is in here.\n"
    )


def _iso(days: float) -> str:
    moment = np.datetime64(START, "us") + np.timedelta64(int(days * DAY), "us")
    return str(moment.astype("datetime64[s]"))


def _pick(rng: np.random.Generator, words: Sequence[str]) -> str:
    return str(words[int(rng.integers(len(words)))])


def _skill(rng: np.random.Generator, area: int) -> str:
    skills = AREAS[area].skills
    return _pick(rng, skills[int(rng.integers(len(skills)))])


def _two_skills(rng: np.random.Generator, area: int) -> tuple[str, str]:
    """Two different skills of an area."""
    skills = AREAS[area].skills
    first, second = rng.choice(len(skills), 2, replace=False)
    return _pick(rng, skills[first]), _pick(rng, skills[second])


def _name(rng: np.random.Generator) -> str:
    return _pick(rng, FIRST_SYLLABLES) + _pick(rng, LAST_SYLLABLES)


def _members(config: MembersSimulation, rng: np.random.Generator) -> Members:
    n, periods = config.members, -(-config.days // 30)
    area = rng.integers(len(AREAS), size=n)
    second = (area + rng.integers(1, len(AREAS), size=n)) % len(AREAS)
    level, city = rng.integers(len(LEVELS), size=n), rng.integers(len(CITIES), size=n)
    activity = rng.lognormal(-0.3, 0.7, size=n)
    activity[rng.random(n) < COLD] *= 0.1
    curious = np.empty((n, periods), dtype=np.int64)
    curious[:, 0] = rng.integers(len(AREAS), size=n)
    taste = np.empty((n, periods, 3))
    taste[:, 0] = rng.normal(size=(n, 3))
    change = 1 - np.exp(-30 / CURIOSITY_DAYS)
    for period in range(1, periods):
        new = rng.random(n) < change
        curious[:, period] = np.where(new, rng.integers(len(AREAS), size=n), curious[:, period - 1])
        taste[:, period] = 0.95 * taste[:, period - 1] + np.sqrt(1 - 0.95**2) * rng.normal(
            size=(n, 3)
        )
    rows = []
    for m in range(n):
        own = [_skill(rng, area[m]) for _ in range(3)] + [_skill(rng, second[m])]
        years = 1 + 4 * int(level[m]) + int(rng.integers(4))
        rows.append(
            {
                "id": f"m{m}",
                "position": f"{LEVELS[level[m]]} {_pick(rng, AREAS[area[m]].roles)}",
                "company": _name(rng),
                "skills": ", ".join(dict.fromkeys(own)),
                "location": ", ".join(CITIES[city[m]]),
                "years": str(years),
            }
        )
    return Members(area, second, level, city, activity, curious, taste, pl.DataFrame(rows))


def _items(page: Page, members: Members, rng: np.random.Generator) -> Items:
    n = max(60, int(SHARES[page.name] * len(members.area)))
    area, level = rng.integers(len(AREAS), size=n), rng.integers(len(LEVELS), size=n)
    city, flavour = rng.integers(len(CITIES), size=n), rng.integers(3, size=n)
    if page.name not in ("jobs", "people"):
        city[:] = -1
    if page.name not in ("jobs", "people", "courses"):
        level[:] = -1
    rows = [
        _item_texts(page.name, rng, int(area[i]), int(level[i]), int(city[i]), int(flavour[i]))
        for i in range(n)
    ]
    table = pl.DataFrame([{"id": f"{page.name}{i}", **row} for i, row in enumerate(rows)])
    return Items(area, level, city, flavour, table)


def _item_texts(
    surface: str, rng: np.random.Generator, area: int, level: int, city: int, flavour: int
) -> dict[str, str]:
    """The texts of one item, each fact in one of its wordings."""
    role, skill, other = (
        _pick(rng, AREAS[area].roles),
        *_two_skills(rng, area),
    )
    if surface == "jobs":
        asks = _pick(rng, ("You know", "We look for experience with", "The work is about"))
        return {
            "title": f"{LEVELS[level]} {role}",
            "company": _name(rng),
            "location": ", ".join(CITIES[city]),
            "description": f"{asks} {skill} and {other}. {_pick(rng, MODES[flavour]).capitalize()}.",
        }
    if surface == "posts":
        opens = _pick(rng, TONES[flavour]).capitalize()
        return {"author": role, "text": f"{opens} on {skill}, and a word about {other}."}
    if surface == "people":
        return {
            "position": f"{LEVELS[level]} {role}",
            "company": f"{_name(rng)}, {_pick(rng, COMPANY_SIZES[flavour])}",
            "location": ", ".join(CITIES[city]),
        }
    if surface == "courses":
        return {
            "title": f"{skill.capitalize()} for the {LEVELS[level]} {role}",
            "description": f"{_pick(rng, TONES[flavour]).capitalize()} to {other}.",
        }
    if surface == "companies":
        return {
            "name": _name(rng),
            "about": f"{_pick(rng, COMPANY_SIZES[flavour]).capitalize()}, known for {skill} and {other}.",
        }
    return {
        "subject": f"{_pick(rng, TONES[flavour]).capitalize()}: {skill}",
        "sender": f"{_name(rng)}, {role}",
    }


def _events(
    config: MembersSimulation, page: Page, members: Members, items: Items, rng: np.random.Generator
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What was shown to whom, and done; and the probability of each action (columns by its name)."""
    counts = rng.poisson(page.shown * members.activity * config.days / 150)
    member = np.repeat(np.arange(len(members.area)), counts)
    n = len(member)
    time = (rng.random(n) * config.days * DAY).astype(np.int64)
    # Half of what is shown is of the member's own areas, the rest any.
    wanted = np.where(rng.random(n) < 0.7, members.area[member], members.second[member])
    by_area = [np.flatnonzero(items.area == a) for a in range(len(AREAS))]
    item = rng.integers(len(items.area), size=n)
    for area, rows in enumerate(by_area):
        mine = np.flatnonzero((wanted == area) & (rng.random(n) < RELEVANT))
        if len(rows):
            item[mine] = rows[rng.integers(len(rows), size=len(mine))]
    draw = _draw(members, items, member, item, time // (30 * DAY))
    odds = np.stack([np.zeros(n)] + [w * draw + b for _, _, _, w, b in page.actions], axis=1)
    chance = np.exp(odds - odds.max(axis=1, keepdims=True))
    chance /= chance.sum(axis=1, keepdims=True)
    done = (rng.random(n)[:, None] > chance.cumsum(axis=1)[:, :-1]).sum(axis=1)
    names = np.array(["ignore", *(action[0] for action in page.actions)])
    order = np.lexsort((member, time))
    events = pl.DataFrame(
        {
            "member": [f"m{m}" for m in member[order]],
            "item": [f"{page.name}{i}" for i in item[order]],
            "action": names[done[order]],
            "time": pl.Series(time[order] + np.datetime64(START, "us").astype(np.int64)).cast(
                pl.Datetime("us")
            ),
        }
    )
    kept = {f"p_{name}": chance[order, 1 + k] for k, (name, *_) in enumerate(page.actions)}
    return events, pl.DataFrame(kept)


def _draw(members: Members, items: Items, member: Longs, item: Longs, period: Longs) -> Floats:
    """What draws members to items, of mean about 0 (n,)."""
    area, w = items.area[item], WEIGHTS
    found = w["own"] * (members.area[member] == area)
    found = found + w["second"] * (members.second[member] == area)
    found = found + w["curious"] * (members.curious[member, period] == area)
    levelled = items.level[item] >= 0
    found = found - w["level"] * levelled * np.abs(members.level[member] - items.level[item])
    country = np.arange(len(CITIES)) // 3
    placed = items.city[item] >= 0
    same = (members.city[member] == items.city[item]) * 1.0
    near = (country[members.city[member]] == country[items.city[item]]) * 0.5
    found = found + w["place"] * placed * (same + near)
    taste: Floats = members.taste[member, period, items.flavour[item]]
    return np.asarray(found + w["taste"] * taste, dtype=np.float64)


def _task(page: Page, action: str) -> dict[str, Any]:
    """The task's file."""
    return {
        "name": action,
        "instruction": INSTRUCTIONS[page.name].replace(
            "{action}", next(base for name, base, *_ in page.actions if name == action)
        ),
        "question": "Will the member {action} the following {noun}: {item}",
        "answer": {"yes": "The member will {action}", "no": "The member will not {action}"},
        "member": {
            "template": "{position} at {company}, {location}, {years} years of work. Skills: {skills}."
        },
        "item": {"noun": page.noun, "template": page.template},
        "actions": {
            name: {"base": base, "past": past} | ({"turns_down": True} if draw < 0 else {})
            for name, base, past, draw, _ in (*page.actions, IGNORE)
        },
        "history": {"select": "newest", "group_by_action": False, "budget_tokens": 1024},
        "data": {
            "members": "../members.parquet",
            "items": f"../{page.name}.parquet",
            "events": f"../events_{page.name}.parquet",
        },
    }


def _best(
    config: MembersSimulation, events: pl.DataFrame, chances: pl.DataFrame, action: str
) -> dict[str, float | None]:
    """The AUC of the true probabilities over the test, and how often the action is taken there."""
    from_ = np.datetime64(START, "us") + np.timedelta64(int((config.days / 2 + 30) * DAY), "us")
    test = events["time"].to_numpy() >= from_
    labels = (events["action"].to_numpy() == action)[test]
    score = chances[f"p_{action}"].to_numpy()[test]
    ranks = rankdata(score)
    positive = int(labels.sum())
    pairs = positive * (len(labels) - positive)
    if not pairs:
        return {
            "bayes_auc": None,
            "rate": positive / max(1, len(labels)),
            "test": len(labels),
        }
    area = (ranks[labels].sum() - positive * (positive + 1) / 2) / pairs
    return {"bayes_auc": float(area), "rate": positive / len(labels), "test": len(labels)}
