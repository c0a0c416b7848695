"""The list of a forecast on its page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from linkwise.report import (
    Column,
    Section,
    Table,
    Text,
)
from linkwise.technology.words import counted, outcome, what_ranks

if TYPE_CHECKING:
    from linkwise.technology.judging import Judged

SHOWN = 40  # pairs of the list on the page


def list_section(listed: pl.DataFrame, first: Judged, min_patents: int) -> Section:
    """The first pairs, what speaks for each, and what became of it."""
    plan = first.plan
    judged = first.labels is not None
    looked_up = listed["first_combined_by"].null_count() < len(listed)
    rows = [
        (
            row["rank"],
            f"{_named(row, 'a')} with {_named(row, 'b')}",
            row["score"],
            _reasons(row),
            *((outcome(row),) if judged else ()),
        )
        for row in listed.head(SHOWN).iter_rows(named=True)
    ]
    fewer = "" if min_patents == 1 else f", both codes on {min_patents:,} patents at least"
    note = (
        f"Patents of a code: those of {plan.embed}. Common partners: codes that both have been together "
        "with then."
    )
    if min_patents > 1:
        note += " Ranks are those among all pairs."
    if "cosine_of" in listed.columns and len(listed):
        shown = listed["cosine_of"][0]
        note += f" Cosine: of {shown}, about its mean over all codes"
        note += "." if shown == first.chosen else ", a reason and not the score."
    if first.labels is not None:
        note += (
            f" In {plan.forecast} a pair is {first.labels.kind}, or combined on no more patents than chance "
            "may bring, or neither."
        )
    else:
        note += f" What became of the pairs is not judged: {first.unjudged}"
    if looked_up:
        note += " First combined by: the first patent after the embedding years with both codes."
    return Section(
        title=f"The forecast for {plan.forecast}",
        blocks=(
            Text(paragraphs=(what_ranks(first.chosen),)),
            Table(
                caption=f"The first pairs by {first.chosen}, never combined up to {plan.embed.last}{fewer}",
                columns=(
                    Column(name="rank", format="int"),
                    Column(name="pair"),
                    Column(name="score", format="float3"),
                    Column(name="what speaks for it"),
                    *((Column(name=f"in {plan.forecast}"),) if judged else ()),
                ),
                rows=tuple(rows),
                limit=20,
                note=note,
                source="pairs.parquet and pairs.csv",
            ),
        ),
    )


def _named(row: dict[str, Any], which: str) -> str:
    """A code with its title and its patents."""
    title = row[f"title_{which}"]
    short = title if len(title) <= 60 else f"{title[:57]}..."
    about = [*([short] if short else []), counted(row[f"n_patents_{which}"], "patent", "patents")]
    return f"{row[which]} ({'; '.join(about)})"


def _reasons(row: dict[str, Any]) -> str:
    """Common partners, with a language model cosines and the nearest patents, and who combined it first."""
    n, names = row["n_common"], ", ".join(row["common"])
    more = ", ..." if n > len(row["common"]) else ""
    said = [
        f"{counted(n, 'common partner', 'common partners')}: {names}{more}"
        if n
        else "no common partner"
    ]
    if "cosine" in row:
        earlier = [f"{window['years']}: {window['cosine']:.2f}" for window in row["past"][:-1]]
        said.append(f"cosine {row['cosine']:.2f}" + (f" ({', '.join(earlier)})" if earlier else ""))
        for own, other in (("a", "b"), ("b", "a")):
            said.append(f"{row[own]} nearest to {row[other]}: {', '.join(row[f'patents_{own}'])}")
    if row["first_combined_by"]:
        said.append(f"first combined by {row['first_combined_by']}")
    return "; ".join(said)
