"""`linkwise match label`: pairs shown in the terminal, for a person to say yes or no."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from linkwise.cli.options import Seed
from linkwise.errors import InputError, UsageError

LONGEST = 1500  # characters of a text that are shown
KEYS = "y yes, n no, s skip, u undo the last, q quit, ? help"
HELP = (
    "y: the patent helps with the section. n: it does not. s: pass this pair over; it is not asked again. "
    "u: take the last answer back. q: stop; the same command goes on from here. Every answer is written "
    "at once."
)
MARKS = (
    ">>",
    "<<",
)  # around the sentences that go best with each other, where there are no colours


def label(
    run: Annotated[str, Parameter(help="Folder of a finished run of linkwise match.")],
    /,
    *,
    out: Annotated[
        str, Parameter(help="File of the labels (.csv); what is in it is not asked again.")
    ],
    person: Annotated[str, Parameter(help="Who answers; each has labels of their own.")],
    order: Annotated[
        Literal["uncertain", "random"],
        Parameter(
            help="Pairs that the judge is least sure of first, or any: figures on any hold for all."
        ),
    ] = "uncertain",
    seed: Seed = 0,
) -> None:
    """Label pairs of a run by hand: yes or no, one keystroke and Enter each.

    Every answer is written at once; the same command goes on where it ended. Every fourth pair is one that
    another person has labelled, and at the end Cohen's kappa says how far you agree.

    ```
    printf '# 1 Storage\\nCover tanks.\\n# 2 Gas\\nWash waste gas in a scrubber.\\n' > manual.md
    printf 'id,title,abstract\\np1,Tower,It washes acid gas\\np2,Lid,A roof for tanks\\n' > p.csv
    linkwise match p.csv manual.md --out runs/match
    printf 'y\\nn\\nq\\n' | linkwise match label runs/match --person ann --out labels.csv
    linkwise match p.csv manual.md --out runs/again   # with 20 of each: --labels labels.csv
    ```
    """
    import polars as pl

    from linkwise.matching.labelling import (
        SKIPPED,
        Asked,
        add_label,
        agreements,
        drop_last,
        pairs_to_ask,
        read_labels,
    )
    from linkwise.run import Run

    if not person.strip():
        raise UsageError("--person is empty; give a name or initials.")
    if Path(out).suffix != ".csv":
        raise UsageError(f"--out is {out}; expected a file ending in .csv.")
    found = Run.open(run)
    if found.config.verb != "match-pairs":
        raise UsageError(
            f"{run}: a run of {found.config.verb}; pairs are labelled of runs of linkwise match PATENTS "
            "SECTIONS."
        )
    path = Path(out)
    nodes = pl.read_parquet(found.folder / "nodes.parquet")
    texts = {(row["kind"], row["id"]): row for row in nodes.iter_rows(named=True)}
    ranking = found.ranking
    spoken = {
        (row["query"], row["item"]): (row["query_part"], row["item_part"])
        for row in ranking.iter_rows(named=True)
    }
    waiting = pairs_to_ask(ranking, read_labels(path), person, order, seed)
    console = Console(stderr=True, highlight=False)
    done, skipped = 0, 0
    current: list[Asked] = waiting[::-1]
    while current:
        asked = current[-1]
        for kind, name in (("query", asked.patent), ("item", asked.section)):
            if (kind, name) not in texts:
                raise InputError(
                    f'{path}: "{name}" is not in the run {run}; label that run\'s pairs.'
                )
        pair = asked.patent, asked.section
        console.print(_shown(asked, texts, spoken.get(pair), plain=console.color_system is None))
        console.print(f"answered {done} | {KEYS}: ", end="", markup=False)
        answer = sys.stdin.readline()
        key = answer.strip().lower()
        if not answer or key in ("q", "quit"):
            break
        if key in ("y", "yes", "n", "no"):
            add_label(path, asked, "yes" if key[0] == "y" else "no", person)
            current.pop()
            done += 1
        elif key in ("s", "skip"):
            add_label(path, asked, SKIPPED, person)
            current.pop()
            skipped += 1
        elif key in ("u", "undo"):
            before = drop_last(path, person)
            if before is None:
                console.print("There is nothing to undo.")
            else:
                current.append(before[0])
                if before[1] == SKIPPED:
                    skipped = max(0, skipped - 1)
                else:
                    done = max(0, done - 1)
        elif key in ("?", "h", "help"):
            console.print(HELP, markup=False)
        else:
            console.print(f'"{key[:20]}" is none of the keys.', markup=False)
    labels = read_labels(path)
    mine = labels.filter(pl.col("person") == person, pl.col("label") != SKIPPED)
    yes = int(mine["label"].str.to_lowercase().is_in(["yes", "y", "1", "true"]).sum())
    console.print()
    console.print(
        f"{person}: {len(mine):,} labelled ({yes:,} yes), {done:,} of them now, {skipped:,} skipped: {path}",
        markup=False,
    )
    for first, second, n, value in agreements(labels):
        words = "undefined: both gave one answer throughout" if value != value else f"{value:.2f}"
        console.print(f"{first} and {second}: {n:,} pairs of both, kappa {words}", markup=False)


def _shown(
    asked: Any,
    texts: dict[tuple[str, str], Any],
    spoken: tuple[str, str] | None,
    plain: bool = False,
) -> Text:
    """Both texts, with the sentences that go best with each other set off: by `MARKS` where it is `plain`."""
    whole = Text("\n")
    for kind, name, part in (
        ("query", asked.patent, spoken and spoken[0]),
        ("item", asked.section, spoken and spoken[1]),
    ):
        row = texts[kind, name]
        whole.append(
            f"{'Patent' if kind == 'query' else 'Section'} {name}: {row['title']}\n", "bold"
        )
        said = row["text"] if len(row["text"]) <= LONGEST else row["text"][:LONGEST] + " ..."
        start = said.find(part) if part else -1
        if part and start >= 0:
            whole.append(said[:start])
            whole.append(f"{MARKS[0]} {part} {MARKS[1]}" if plain else part, "reverse")
            whole.append(said[start + len(part) :])
        else:
            whole.append(said)
        whole.append("\n\n")
    return whole
