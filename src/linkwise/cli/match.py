"""`linkwise match`: which texts belong together."""

from __future__ import annotations

import json
import sys
from inspect import cleandoc
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Group, Parameter
from pydantic import Field
from rich.console import Console

from linkwise.cli.match_label import label
from linkwise.cli.options import Changes, Json, Out, Overwrite, Quiet, Resume, Seed
from linkwise.cli.show import carry_out, metrics_table, show_report
from linkwise.data.documents import DocumentsConfig
from linkwise.data.schema import parted
from linkwise.errors import UsageError
from linkwise.matching.config import VIEWS, MatchConfig, PairsConfig
from linkwise.matching.link_config import LinkConfig

Study = Annotated[MatchConfig, Parameter(name="*", group=Group("Texts and goals", sort_key=1))]
Matching = Annotated[
    PairsConfig, Parameter(name="*", group=Group("Patents and sections", sort_key=1))
]
Reading = Annotated[DocumentsConfig, Parameter(name="*", group=Group("Patents", sort_key=2))]
Graph = Annotated[LinkConfig, Parameter(name="*", group=Group("Links", sort_key=1))]
Cores = Annotated[int | None, Field(ge=1), Parameter(help="CPU threads; by default all.")]


def pairs(
    patents: Annotated[
        str, Parameter(help="Table of patents or other documents: Parquet, CSV, TSV or JSON lines.")
    ],
    sections: Annotated[
        tuple[str, ...],
        Parameter(
            help="Files of sections: .md, .html, .txt with numbered headings, or tables.",
            negative=(),
        ),
    ],
    /,
    *,
    out: Out,
    overwrite: Overwrite = False,
    resume: Resume = False,
    seed: Seed = 0,
    threads: Cores = None,
    json_: Json = False,
    quiet: Quiet = False,
    changes: Changes = (),
    dry_run: Annotated[
        bool,
        Parameter(
            negative=(),
            help="Tell what a language model as judge would take (parameters, memory, tokens), and do "
            "nothing.",
        ),
    ] = False,
    documents: Reading = DocumentsConfig(),  # noqa: B008 (frozen)
    matching: Matching = PairsConfig(),  # noqa: B008 (frozen)
) -> None:
    """Match texts with texts: patents with the sections of reference works, or with goals.

    With pairs that people have judged the judge learns from these, is tried on documents (or patents) that it
    has not seen, and gives probabilities.

    ```
    printf '# 1 Storage\\nCover tanks.\\n# 2 Gas\\nWash waste gas in a scrubber.\\n' > manual.md
    printf 'id,title,abstract\\np1,Tower,It washes acid gas\\np2,Lid,A roof for tanks\\n' > p.csv
    linkwise match p.csv manual.md --out runs/match
    ```

    With labels: linkwise match patents.parquet sections.parquet --labels pairs.csv --judge cross-encoder
    --split by-document --out runs/judged. With one's own file called goals, views or label, write ./goals.
    """
    values = matching.model_dump()
    for name in ("labels", "judge"):
        if values[name] is not None and Path(values[name]).exists():
            values[name] = str(Path(values[name]).absolute())
    groups = {
        "pairs": values, "documents": documents.model_dump(), "engine": {"threads": threads},
        "seed": seed,
    }  # fmt: skip
    if dry_run:
        _show_plan((patents, *sections), groups, changes, json_)
        return
    run = carry_out(
        "match-pairs", (patents, *sections), groups, changes, out=out, overwrite=overwrite, resume=resume,
        quiet=quiet,
    )  # fmt: skip
    show_run(run, json_, quiet)


def _show_plan(
    paths: tuple[str, ...], groups: dict[str, Any], changes: Changes, as_json: bool
) -> None:
    """Print what a language model as judge would take."""
    from linkwise.config import RunConfig, with_changes
    from linkwise.matching.plan import plan, words_of

    values = {"verb": "match-pairs", "paths": list(paths)} | groups
    config = RunConfig.from_values(with_changes(values, changes), "linkwise match")
    found = plan(config.paths, config.documents, config.pairs, config.seed)
    if as_json:
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
    else:
        print("\n".join(words_of(found)), file=sys.stderr)


def goals(
    texts: Annotated[str, Parameter(help="Table of texts: Parquet, CSV, TSV or JSON lines.")],
    /,
    *,
    out: Out,
    overwrite: Overwrite = False,
    resume: Resume = False,
    seed: Seed = 0,
    threads: Cores = None,
    json_: Json = False,
    quiet: Quiet = False,
    changes: Changes = (),
    match: Study = MatchConfig(),  # noqa: B008 (frozen)
) -> None:
    """Find the goals that texts are about: every text with every goal, and what speaks for it.

    Where the table says of some texts whether people found a goal in them, a judge learns from these, is
    tried on goals whose labels it has not seen, and gives probabilities.

    ```
    printf 'text\\nA net against malaria for every bed\\nSolar panels on the roofs of schools\\n' > texts.csv
    linkwise match goals texts.csv --out runs/goals
    ```

    With labels, in columns sdg and label: linkwise match goals judged.csv --goal sdg --out runs/judged
    """
    values = match.model_dump() | {"kind": "goals"}
    if match.goals is not None:
        values["goals"] = str(Path(match.goals).absolute())
    groups = {"match": values, "engine": {"threads": threads}, "seed": seed}
    run = carry_out(
        "match", (texts,), groups, changes, out=out, overwrite=overwrite, resume=resume, quiet=quiet
    )
    show_run(run, json_, quiet)


def link(
    *,
    patents: Annotated[
        tuple[str, ...], Parameter(help="Tables of the patents, or a folder of them.", negative=())
    ],
    sections: Annotated[
        str, Parameter(help="Files of the techniques' sections, as of match views, with commas.")
    ],
    pollutants: Annotated[
        str, Parameter(help="Pollutants: JSON or a table, with name, synonyms, cas, formula.")
    ],
    out: Out,
    overwrite: Overwrite = False,
    resume: Resume = False,
    seed: Seed = 0,
    threads: Cores = None,
    json_: Json = False,
    quiet: Quiet = False,
    changes: Changes = (),
    documents: Reading = DocumentsConfig(),  # noqa: B008 (frozen)
    links: Graph = LinkConfig(),  # noqa: B008 (frozen)
) -> None:
    """Link patents, techniques, pollutants and goals in one graph, each link with its score and why.

    What people or others said of pairs becomes links too; where there is enough of it, a judge learns from
    it, and is compared with it on pollutants of which it has seen nothing.

    ```
    printf 'id,title,abstract\\nP1,Wet scrubber,It takes zinc dust and HCl out of flue gas.\\n' > p.csv
    printf '# 1 Scrubbing\\nWash dust out of gas.\\n# 2 Storage\\nCover tanks.\\n' > manual.md
    echo '["Zinc and compounds (as Zn)", "Hydrogen chloride", "Toluene"]' > pollutants.json
    linkwise match link --patents p.csv --sections manual.md --pollutants pollutants.json --out runs/links
    ```
    """
    values = links.model_dump()
    values |= {"sections": _absolute(sections), "pollutants": str(Path(pollutants).absolute())}
    values |= {name: _absolute(values[name]) for name in ("published", "labels")}
    if links.goals is not None:
        values["goals"] = str(Path(links.goals).absolute())
    groups = {
        "link": values, "documents": documents.model_dump(), "engine": {"threads": threads}, "seed": seed
    }  # fmt: skip
    run = carry_out(
        "match-link",
        patents,
        groups,
        changes,
        out=out,
        overwrite=overwrite,
        resume=resume,
        quiet=quiet,
    )
    show_links(run, json_, quiet)


def _absolute(files: Any) -> tuple[str, ...]:
    return tuple(str(Path(path).absolute()) for path in parted(files))


def views(
    sections: Annotated[
        tuple[str, ...],
        Parameter(
            help="Files of sections: .md, .html, .txt with numbered headings, or tables.",
            negative=(),
        ),
    ],
    /,
    *,
    out: Annotated[str, Parameter(help="File of the texts (.parquet).")],
    view: Annotated[
        tuple[str, ...],
        Parameter(
            help="Views, separated by commas: document, chapter, section, pair.", negative=()
        ),
    ] = VIEWS,
    words: Annotated[int, Parameter(help="Words of a piece of a document or chapter.")] = 300,
    overlap: Annotated[int, Parameter(help="Words that a piece has of the one before.")] = 60,
    overwrite: Annotated[
        bool, Parameter(help="Replace the file if it exists.", negative=())
    ] = False,
) -> None:
    """Write a reference work as texts for a language model to learn its field from.

    Pieces of documents and chapters; sections under the titles above them, with what they cite and what cites
    them; pairs of which one cites the other.

    ```
    printf '# 1 Storage\\nCover it, see Section 2.\\n# 2 Gas\\nWash it.\\n' > manual.md
    linkwise match views manual.md --out texts.parquet
    linkwise lm adapt --model minilm --objective mlm --texts texts.parquet --epochs 1 --out models/field
    ```
    """
    from linkwise.data.sections import read_sections
    from linkwise.matching.views import section_views

    path = Path(out)
    if path.suffix != ".parquet":
        raise UsageError(f"--out is {path}; expected a file ending in .parquet.")
    if path.exists() and not overwrite:
        raise UsageError(f"{path}: the file exists. Choose another --out, or use --overwrite.")
    read = read_sections(sections)
    found = section_views(read, parted(view), words=words, overlap=overlap)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        found.write_parquet(partial, compression="zstd")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    counts = ", ".join(
        f"{name} {n:,}" for name, n in found["view"].value_counts(sort=True).iter_rows()
    )
    for note in read.notes:
        print(note, file=sys.stderr)
    print(
        f"{len(read.table):,} sections, {len(read.cites):,} citations; {len(found):,} texts "
        f"({counts}): {path}",
        file=sys.stderr,
    )


def show_run(run: Any, as_json: bool, quiet: bool) -> None:
    """Print a finished run: its metrics as JSON, or a table, and where the report is."""
    if as_json:
        sys.stdout.write(json.dumps(run.metrics, indent=1) + "\n")
    if quiet:
        return
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if run.metrics:
        rows = [{**row, "split": "test"} for row in run.metrics]
        against = "auc" if run.config.verb == "match-pairs" else "accuracy"
        console.print(metrics_table(rows, ("accuracy", "f1", "auc"), against=against))
    show_report(console, run)


def show_links(run: Any, as_json: bool, quiet: bool) -> None:
    """Print a finished graph: its metrics as JSON, or a table for each kind of pair, and its report."""
    if as_json:
        sys.stdout.write(json.dumps(run.metrics, indent=1) + "\n")
    if quiet:
        return
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for slice in dict.fromkeys(row["slice"] for row in run.metrics):
        rows = [
            {**row, "slice": "all", "split": "test"} for row in run.metrics if row["slice"] == slice
        ]
        correlated = rows[0]["metric"] == "rank_correlation"
        names = ("rank_correlation",) if correlated else ("auc", "f1", "precision", "recall")
        if not {row["metric"] for row in rows} >= set(names):
            continue  # of a single pollutant
        console.print(slice, style="bold")
        console.print(metrics_table(rows, names, against=names[0]))
    show_report(console, run)


def add_to(app: App) -> None:
    """Add the verb to the command line."""
    verb = App(
        name="match",
        help=cleandoc(pairs.__doc__ or ""),
        help_format="markdown",
    )
    verb.default(pairs)
    verb.command(goals)
    verb.command(views)
    verb.command(label)
    verb.command(link)
    app.command(verb)
