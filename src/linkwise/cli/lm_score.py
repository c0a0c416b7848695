"""`linkwise lm score` and `linkwise lm probe`: what a language model finds likely, and what it knows."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from linkwise.cli.options import Json, Quiet, Threads, use_threads
from linkwise.cli.show import progress, short
from linkwise.errors import InputError, UsageError


def score(
    *,
    context: Annotated[str, Parameter(help="What the continuations follow.")],
    continuations: Annotated[
        str, Parameter(help="Table of them, or .txt, one per line; a space is put before each.")
    ],
    lm: Annotated[str, Parameter(help="Causal model: a folder, or a name on the hub.")],
    column: Annotated[
        str | None, Parameter(help="Column with the continuations; not needed for .txt.")
    ] = None,
    top: Annotated[
        int | None, Parameter(help="Show the best so many only, found without scoring all.")
    ] = None,
    normalise: Annotated[
        Literal["sum", "mean", "bytes", "catalogue"],
        Parameter(
            help="Log-probability whole, by token, by byte, or with each step's over the continuations only, "
            "a full stop ending each."
        ),
    ] = "sum",
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"], Parameter(help="Numbers to run the model in.")
    ] = "float32",
    threads: Threads = None,
    json_: Json = False,
) -> None:
    """Rank continuations of one context by their exact likelihood, shared beginnings being run once.

    ```
    printf 'cats and dogs\\nthe end\\nonce upon a time\\n' > lines.txt
    printf 'The cat sat on the mat\\nIt rained cats and dogs\\n' > texts.txt
    linkwise lm adapt --as causal --objective clm --texts texts.txt --epochs 1 --out models/small
    linkwise lm score --lm models/small --context "It rained" --continuations lines.txt --top 2
    ```
    """
    import numpy as np

    from linkwise.data.texts import read_texts
    from linkwise.lm.load import load_model
    from linkwise.lm.titles import ended_titles
    from linkwise.lm.titles import read_titles as read
    from linkwise.lm.tree import score_trie, walk

    if top is not None and top < 1:
        raise UsageError(f"--top is {top}; expected 1 or more.")
    use_threads(threads)
    texts = read_texts(continuations, column)["text"].fill_null("").to_list()
    model = load_model(lm, "causal", dtype=dtype).must_look_back()
    titles = read(model, texts, most=10**6)
    if len(titles.named) < len(titles):
        empty = np.flatnonzero(titles.lengths == 0) + 1
        raise InputError(
            f"{continuations}: {len(empty)} of {len(titles)} continuations have no tokens, in row "
            f"{', '.join(map(str, empty[:5]))}{', ...' if len(empty) > 5 else ''}; remove them."
        )
    over: Literal["vocabulary", "catalogue"]
    over = "catalogue" if normalise == "catalogue" else "vocabulary"
    ended = ended_titles(titles, model.encode_after(".")[:1] if over == "catalogue" else ())
    before = [*model.text_start(), *model.encode(context.rstrip())]
    divisor = titles.divisor(normalise)
    visited = None
    if top is None:
        (sums,) = score_trie(model.network, [before], ended.trie, over=over)
        found = sums / divisor
        order = (-found).argsort(kind="stable")
        rows = [(texts[i], float(found[i])) for i in order]
    else:
        best = walk(model.network, before, ended.trie, top, lengths=divisor, over=over)
        visited = best.visited
        rows = [(texts[i], float(s)) for i, s in zip(best.items, best.scores, strict=True)]
    if json_:
        print(json.dumps([{"continuation": t, "score": s} for t, s in rows], indent=1))
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    table.add_column("rank", justify="right")
    table.add_column("score, nats", justify="right")
    table.add_column("continuation")
    for rank, (text, value) in enumerate(rows, 1):
        table.add_row(str(rank), short(value), text)
    Console(highlight=False, soft_wrap=True).print(table)
    if visited is not None:
        print(f"{visited:.0%} of the inner tokens were run.", file=sys.stderr)


def probe(
    *,
    texts: Annotated[str, Parameter(help="Table with the texts and their titles.")],
    column: Annotated[str, Parameter(help="Column with the text.")],
    title_column: Annotated[str, Parameter(help="Column with the title.")] = "title",
    model: Annotated[str, Parameter(help="Masked or causal model: a folder or a name.")] = "minilm",
    sample: Annotated[
        int | None, Parameter(help="So many rows, drawn at random; by default all.")
    ] = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """How well a model knows a domain: the rank of each title's own text among all texts.

    ```
    printf 'plot,title\\nToys come to life,Toy Story\\nA game swallows children,Jumanji\\n' > films.csv
    linkwise lm adapt --texts films.csv --column plot --objective mlm-hybrid --epochs 1 --out models/f
    linkwise lm probe --model models/f --texts films.csv --column plot
    ```
    """
    import numpy as np

    from linkwise.data.items import spoken_title
    from linkwise.data.texts import read_texts
    from linkwise.lm.load import has_head, is_causal_model, load_model
    from linkwise.lm.probe import true_text_ranks
    from linkwise.metrics.bootstrap import bootstrap_weights, percentile_interval

    table = read_texts(texts, column)
    if title_column not in table.columns:
        raise InputError(
            f'{texts}: no column "{title_column}" (--title-column); the columns are '
            f"{', '.join(table.columns)}."
        )
    table = table.drop_nulls(["text", title_column])
    if sample is not None and sample < len(table):
        table = table.sample(sample, seed=0)
    causal = is_causal_model(model)
    if not causal and not has_head(model, "masked"):
        raise InputError(
            f"{model}: this model has no trained masked head; train one with linkwise lm adapt."
        )
    loaded = load_model(model, "causal" if causal else "masked").must_look_back()
    shown = progress(quiet)
    try:
        shown.start("probe", len(table))
        ranks = true_text_ranks(
            loaded,
            table["text"].to_list(),
            [spoken_title(str(title)) for title in table[title_column]],
            causal=causal,
            advance=shown.advance,
        )
    finally:
        shown.close()
    chance = float((1 / np.arange(1, len(ranks) + 1)).mean())
    median = float(np.median(ranks))
    result: dict[str, object] = {"texts": len(ranks), "chance_mrr": chance, "median_rank": median}
    for name, values in (
        ("mrr", 1 / ranks),
        ("first", (ranks == 1).astype(float)),
        ("first_20", (ranks <= 20).astype(float)),
    ):
        rng = np.random.default_rng(0)
        draws = np.concatenate(
            [w @ values / len(values) for w in bootstrap_weights(rng, len(values), 1000)]
        )
        low, high = percentile_interval(draws)
        result[name] = {"value": float(values.mean()), "low": low, "high": high}
    if json_:
        print(json.dumps(result, indent=1))
        return
    for name, words in (("mrr", "MRR"), ("first", "first"), ("first_20", "among the first 20")):
        row = result[name]
        assert isinstance(row, dict)
        print(f"{words}: {short(row['value'])} [{short(row['low'])}, {short(row['high'])}]")
    print(f"median rank {median:.0f} of {len(ranks):,}; MRR by chance {short(chance)}")
