"""Task files as a person would write them, to be edited: of ratings, of kinds of events, of tags."""

from __future__ import annotations

import json
import re

import polars as pl

from linkwise.rank.config import NewSurfaceConfig

PASS = "pass"  # what a log has no word for: not liked, not chosen


def own_task(
    action: str,
    events: pl.DataFrame,
    items: pl.DataFrame,
    members: pl.DataFrame | None,
    config: NewSurfaceConfig,
) -> str:
    """The task file of the log's own question."""
    nouns = plural(config.noun)
    if "rating" in events.columns:
        least = f"{config.at_least:g}"
        low, high = extent(events["rating"])
        head = (
            f"# Will the member {action} the {config.noun}, that is, give it a rating of {least} or more?\n"
            f"# Ratings go from {low} to {high}."
        )
        told = (
            f"You are given the {nouns} that a member has rated. Tell whether the member will {action} "
            f"another {config.noun}: rate it {least} or higher."
        )
        actions = {
            action: (action, past_of(action)),
            PASS: (f"not {action}", f"not {past_of(action)}"),
        }
        data = (
            f"# Where the line is between the two. A rating of {least} and more is the first.\n"
            f'rated = {{ column = "rating", at_least = {least}, then = {_said(action)}, '
            f'otherwise = "{PASS}" }}\n'
        )
    else:
        kinds = [action, *(k for k in events["action"].unique(maintain_order=True) if k != action)]
        head = f"# Will the member {' '.join(action.split())} the {config.noun}?"
        if config.drawn:
            head += (
                "\n# The log tells only what was chosen. What stands here as passed by was drawn, "
                f"{config.drawn:g} for each event in the mean,\n# in proportion to how often it was chosen: "
                "nobody was shown it, and figures are of such draws."
            )
        given = "which of them a member chose" if config.drawn else "what a member did with them"
        told = (
            f"You are given {nouns}, and {given}. Tell whether the member will {action} another "
            f"{config.noun}."
        )
        actions = {kind: (kind, past_of(kind)) for kind in kinds}
        if PASS in actions:
            actions[PASS] = ("pass by", "passed by")
        data = ""
    return _toml(head, action, told, actions, data, "events.parquet", items, members, config)


def tag_task(items: pl.DataFrame, members: pl.DataFrame | None, config: NewSurfaceConfig) -> str:
    """The task file of tags."""
    head = (
        f"# Will the member tag the {config.noun}, that is, put words of their own to it? Of members who tag "
        "at all:\n# what they tagged, and what they rated and never tagged."
    )
    told = (
        f"You are given the {plural(config.noun)} that a member has rated or tagged. Tell whether the member "
        f"will tag another {config.noun}: put words of their own to it."
    )
    actions = {"tag": ("tag", "tagged"), PASS: ("not tag", "rated and not tagged")}
    return _toml(head, "tag", told, actions, "", "tags.parquet", items, members, config)


def _toml(
    head: str,
    action: str,
    told: str,
    actions: dict[str, tuple[str, str]],
    data: str,
    table: str,
    items: pl.DataFrame,
    members: pl.DataFrame | None,
    config: NewSurfaceConfig,
) -> str:
    """A task file, with a word on what a user will want to change."""
    template = f"[{', '.join(_labelled(name) for name in items.columns[1:])}]"
    tokens, budget = (128, 1024) if config.texts else (48, 512)  # room for some 10 or 25 past items
    about = (
        ""
        if members is None
        else (
            "# How a member is described: {column} stands for what members.parquet has there.\n"
            f"member = {{ template = {_said('. '.join(map(_labelled, members.columns[1:])) + '.')} }}\n"
        )
    )
    said = "\n".join(
        f"{_key(name)} = {{ base = {_said(base)}, past = {_said(past)} }}"
        for name, (base, past) in actions.items()
    )
    place = "" if members is None else 'members = "../members.parquet"\n'
    target = f"target = {_said(action)}\n" if slug(action) != action else ""
    return f"""\
{head}
# Made by `linkwise rank new`, to be edited: the wording matters most. What a model reads then is printed by
# `linkwise rank show THIS_FILE --member ID`.
name = {_said(slug(action))}
{target}instruction = {_said(told)}
# Whatever else it should know, a sentence each.
notes = []
question = "Will the member {{action}} the following {{noun}}: {{item}}"
answer = {{ yes = "The member will {{action}} it", no = "The member will not {{action}} it" }}
{about}\
# How an item is described: {{column}} stands for what items.parquet has there; a longer one is cut at so
# many tokens.
item = {{ noun = {_said(config.noun)}, template = {_said(template)}, tokens = {tokens} }}
# The member's past: the newest that so many tokens have room for, each with its answer. More costs time.
history = {{ select = "newest", group_by_action = false, budget_tokens = {budget} }}

# How each action is said: "will ...", "has ...".
[actions]
{said}

[data]
{place}items = "../items.parquet"
events = "../{table}"
{data}"""


def _labelled(name: str) -> str:
    """A column as it stands in a template: Title: {title}."""
    label = name.replace("_", " ").strip()
    return f"{label[:1].upper()}{label[1:]}: {{{name}}}"


def slug(action: str) -> str:
    """A name for a task and its file."""
    return re.sub(r"[^\w-]+", "-", action)


def _key(name: str) -> str:
    """A key of TOML, in quotes where it needs them."""
    bare = name.isascii() and all(c.isalnum() or c in "-_" for c in name)
    return name if bare and name else _said(name)


def _said(text: str) -> str:
    """A string of TOML: that of JSON is one, but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def plural(noun: str) -> str:
    """Several of them, as regular English has it: movies, stories, boxes."""
    if noun.endswith("y") and noun[-2:-1] not in tuple("aeiou"):
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "z", "ch", "sh")) else f"{noun}s"


PAST = {"buy": "bought", "read": "read", "see": "saw", "choose": "chosen", "hear": "heard"}


def past_of(action: str) -> str:
    """What was done, as regular English has it, and a few verbs more: liked, tagged, applied to."""
    verb, _, rest = action.partition(" ")
    if verb in PAST:
        done = PAST[verb]
    elif verb.endswith("e"):
        done = f"{verb}d"
    elif verb.endswith("y") and verb[-2:-1] not in tuple("aeiou"):
        done = f"{verb[:-1]}ied"
    elif (
        verb[-1:] not in tuple("aeiouwxy")
        and sum(c in "aeiou" for c in verb) == 1
        and (verb[-2:-1] in tuple("aeiou"))
    ):
        done = f"{verb}{verb[-1]}ed"  # tag, skip
    else:
        done = f"{verb}ed"
    return f"{done} {rest}".strip()


def extent(ratings: pl.Series) -> tuple[str, str]:
    """The least and the largest rating, as they are said."""
    values = ratings.to_numpy()
    return f"{values.min():g}", f"{values.max():g}"
