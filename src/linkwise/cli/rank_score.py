"""`linkwise rank score`: candidates ranked for members, by a finished run or a model behind a server."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from cyclopts import Group, Parameter
from rich.console import Console
from rich.table import Table

from linkwise.cli.options import Json, Threads, use_threads
from linkwise.cli.show import short
from linkwise.data.schema import parted
from linkwise.errors import InputError, UsageError

SERVED = Group("Model behind a server", sort_key=1)
SHOWN = 20  # lists that are printed; more are for a file
UNREAD = 0.5  # share of a text's tokens that a model may not know before its user is told


def score(
    run: Annotated[
        str | None, Parameter(help="Folder of a finished run; none with --server.")
    ] = None,
    /,
    *,
    task: Annotated[str, Parameter(help="The task's file (TOML).")],
    member: Annotated[
        str, Parameter(help="Id of a member, ids separated by commas, or all for every member.")
    ],
    items: Annotated[
        str | None,
        Parameter(help="Ids of candidates, separated by commas; by default every item."),
    ] = None,
    new: Annotated[
        bool, Parameter(help="Leave out what the member has acted on already.", negative=())
    ] = False,
    retrieve: Annotated[
        int | None,
        Parameter(
            help="Score only so many, those nearest to the member by the model's embeddings."
        ),
    ] = None,
    top: Annotated[int, Parameter(help="List so many.")] = 10,
    at: Annotated[
        str | None,
        Parameter(help="Time, 2026-04-20; nothing of then or later is shown. By default all is."),
    ] = None,
    out: Annotated[
        str | None,
        Parameter(help="Write the lists into this file (.parquet, .csv or .jsonl) instead."),
    ] = None,
    overwrite: Annotated[
        bool, Parameter(help="Replace the file if it exists.", negative=())
    ] = False,
    threads: Threads = None,
    json_: Json = False,
    server: Annotated[
        str | None,
        Parameter(
            group=SERVED,
            help="Ask a chat model instead: address of an OpenAI-compatible API, up to and with /v1.",
        ),
    ] = None,
    model: Annotated[
        str | None, Parameter(group=SERVED, help="Name of the model, as the server calls it.")
    ] = None,
    key_variable: Annotated[
        str, Parameter(group=SERVED, help="Environment variable with the key; unset: no key.")
    ] = "OPENAI_API_KEY",
    requests: Annotated[
        int, Parameter(group=SERVED, help="Requests at most, one for each candidate.")
    ] = 1000,
    cache: Annotated[
        str | None,
        Parameter(group=SERVED, help="File of replies; what is in it is not asked again."),
    ] = None,
) -> None:
    """Rank candidates for a member, on any surface that a task file describes.

    ```
    linkwise simulate members --members 300 --seed 3 --out net
    linkwise rank train net/tasks/connect.toml --base tiny --out runs/brew
    linkwise rank score runs/brew --task net/tasks/follow.toml --member m17 --top 5
    linkwise rank score runs/brew --task net/tasks/follow.toml --member all --new --out lists.parquet
    ```

    With no run, by a model behind a server: linkwise rank score --server http://127.0.0.1:8000/v1
    --model NAME --task net/tasks/follow.toml --member m17
    """
    from linkwise.rank.lists import FORMATS, acted_on, ranked, reasons, write_lists
    from linkwise.rank.surface import moment, read_surface
    from linkwise.rank.task import read_task

    if top < 1:
        raise UsageError(f"--top is {top}; expected 1 or more.")
    if (run is None) == (server is None):
        raise UsageError("give the folder of a run, or --server with --model; one of the two.")
    path = None if out is None else Path(out)
    if path is not None and path.suffix not in FORMATS:
        raise UsageError(f"--out is {path}; expected a file ending in {', '.join(FORMATS)}.")
    if path is not None and path.exists() and not overwrite:
        raise UsageError(f"{path}: the file exists. Choose another --out, or use --overwrite.")
    surface = read_surface(read_task(task))
    before = None if at is None else moment(at, surface.clock, "--at")
    members = (
        list(range(len(surface.members)))
        if member == "all"
        else [surface.row_of(name) for name in parted(member)]
    )
    if path is None and not json_ and len(members) > SHOWN:
        raise UsageError(f"{len(members):,} lists are many to print; give --out FILE or --json.")
    every = list(range(len(surface.items)))
    if items is not None:
        every = [surface.row_of(name, "items") for name in parted(items)]
    if not every:
        raise InputError(f"{task}: there are no items to rank.")
    scorer: _Run | _Served
    if server is not None:
        if model is None:
            raise UsageError(
                "--server needs --model, the name that the server has for what it serves."
            )
        if retrieve is not None:
            raise UsageError("--retrieve needs a run's embeddings; with --server give --items.")
        scorer = _Served(surface, server, model, key_variable, requests, cache)
    else:
        if retrieve is not None and (items is not None or retrieve < top):
            raise UsageError(
                f"--retrieve is {retrieve}; expected {top} (--top) or more, and no --items beside it."
            )
        use_threads(threads)
        scorer = _Run(surface, str(run), retrieve)
    listed: list[dict[str, Any]] = []
    notes = _Notes(surface, scorer.verbaliser)
    for asked in members:
        rows = every
        if new:
            done = set(acted_on(surface, asked, before).tolist())
            rows = [row for row in rows if row not in done]
        scored = scorer.scores(asked, rows, before)
        places, found = ranked(surface, asked, scored.rows, scored.scores, top, before)
        if scored.bounded is not None:
            found = [
                entry | {"bounded": bool(scored.bounded[place].any())}
                for entry, place in zip(found, places, strict=True)
            ]
        if server is None:
            shown = [scored.rows[place] for place in places]
            why = reasons(scorer.ranker, scorer.verbaliser, asked, shown, before)
            found = [entry | {"why": words} for entry, words in zip(found, why, strict=True)]
        notes.look(asked, [scored.rows[place] for place in places], before, scored.bounded)
        listed += found
    if path is not None:
        write_lists(listed, path)
        print(f"{len(members):,} lists, {len(listed):,} lines: {path}", file=sys.stderr)
    elif json_:
        print(json.dumps(listed, indent=1))
    else:
        _print_table(listed, len(members) > 1)
    notes.say()


class _Scored(NamedTuple):
    """Candidates of one member, with their scores, and which answers a server did not report."""

    rows: list[int]
    scores: Any
    bounded: Any = None


class _Run:
    """Scores by a finished run."""

    def __init__(self, surface: Any, folder: str, retrieve: int | None) -> None:
        from linkwise.rank.ranker import Ranker
        from linkwise.run import Run

        self.ranker: Any = Ranker.load(Run.open(folder).folder / "model")
        self.verbaliser = self.ranker.verbaliser(surface)
        self.retrieve = retrieve

    def scores(self, member: int, rows: list[int], before: int | None) -> _Scored:
        """The scores of some candidates, of those nearest to the member where that was asked for."""
        if self.retrieve is not None:
            near = self.ranker.retrieve(self.verbaliser, member, self.retrieve, before, among=rows)
            rows = near
        return _Scored(rows, self.ranker.scores(self.verbaliser, member, rows, before))


class _Served:
    """Scores by a model behind a server."""

    ranker: Any = None

    def __init__(
        self, surface: Any, address: str, model: str, key: str, requests: int, cache: str | None
    ) -> None:
        from linkwise.lm.budget import Budget
        from linkwise.lm.replies import Cache
        from linkwise.lm.server import Server
        from linkwise.rank.served import ServedRanker

        kept = None if cache is None else Cache(cache)
        budget = Budget(requests=requests)
        self.served = ServedRanker(
            Server(address, model, key_variable=key, budget=budget, cache=kept)
        )
        self.verbaliser = self.served.verbaliser(surface)
        self.yes = surface.yes

    def scores(self, member: int, rows: list[int], before: int | None) -> _Scored:
        """The scores of some candidates, and which answers the server did not report."""
        found = self.served.probabilities(self.verbaliser, member, rows, before)
        return _Scored(rows, found.probability[:, self.yes], found.bounded)


class _Notes:
    """What a user has to know of the lists beside them, gathered over the members."""

    def __init__(self, surface: Any, verbaliser: Any) -> None:
        self.surface, self.verbaliser = surface, verbaliser
        self.without_room: list[str] = []
        self.unread: set[int] = set()
        self.listed: set[int] = set()
        self.bounded = self.asked = 0

    def look(self, member: int, shown: list[int], before: int | None, bounded: Any) -> None:
        """See what is to be said of one member's list."""
        prompt = self.verbaliser.prompt(member, before)
        if prompt.left_out and not prompt.shown:
            self.without_room.append(self.surface.members["id"][member])
        model = self.verbaliser.model
        unknown = getattr(getattr(model, "tokenizer", None), "unk_token_id", None)
        for item in set(shown) - self.listed:
            values = [value for value in self.surface.items.row(item)[1:] if value]
            tokens = [token for value in values for token in model.encode(value)]
            if unknown is not None and tokens.count(unknown) > UNREAD * len(tokens):
                self.unread.add(item)
        self.listed.update(shown)
        if bounded is not None:
            self.bounded += int(bounded.any(axis=1).sum())
            self.asked += len(bounded)

    def say(self) -> None:
        """Print it."""
        said = []
        if self.without_room:
            budget = self.surface.task.history.budget_tokens
            said.append(
                f"{', '.join(self.without_room[:3])}{', ...' * (len(self.without_room) > 3)}: no past event "
                f"has room in a history of {budget} tokens (history.budget_tokens); the list is made as if "
                "there was none."
            )
        if self.unread:
            said.append(
                f"{len(self.unread)} of the {len(self.listed)} items listed are texts of which the model "
                "knows less than half of the words (a script that it never read?): their places tell little."
            )
        if self.bounded:
            said.append(
                f"{self.bounded} of {self.asked} candidates have an answer that is not among the likeliest "
                "tokens that the server reports; the most that it can have stands in its place."
            )
        print("".join(f"{line}\n" for line in said), end="", file=sys.stderr)


def _print_table(listed: list[dict[str, Any]], several: bool) -> None:
    """Print ranked candidates, one a line: the beginning of each text, and why it stands there."""
    from linkwise.rank.lists import beginning

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    own = ("member", "rank", "item", "score", "before", "bounded", "why")
    names = ["member"] * several + ["rank", "item", "score", "text"]
    names += [name for name in ("before", "why") if any(entry.get(name) for entry in listed)]
    for name in names:
        heading = {"before": "the member has", "why": "why, log-odds"}.get(name, name)
        table.add_column(heading, justify="right" if name in ("rank", "score") else "left")
    for entry in listed:
        text = beginning(", ".join(str(v) for k, v in entry.items() if k not in own and v), 60)
        cells = {**entry, "rank": str(entry["rank"]), "score": short(entry["score"]), "text": text}
        table.add_row(*(cells[name] or "" for name in names))
    Console(highlight=False).print(table)
