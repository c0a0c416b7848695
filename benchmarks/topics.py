"""The claim on topics from ten examples, by ten draws of them, and from a topic's name alone.

    python benchmarks/topics.py ../shared/data/kista_patents/patents.parquet

Each topic is judged by a judge that saw the labels of the other topics alone, as `linkwise match goals` does;
the examples of a draw are not judged. Texts are embedded once. It prints the AUC of every draw, and what they
are in the mean.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import polars as pl

from linkwise.lm.encode import TextEncoder
from linkwise.matching.config import MatchConfig
from linkwise.matching.goals import Goals, Texts
from linkwise.matching.similar import Pools, Similar, collect
from linkwise.matching.study import features_of, judge, pools_of
from linkwise.metrics.binary import auc


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "patents", help="columns publication_number, topic, valid, title_text, abstract_text"
    )
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--examples", type=int, default=10)
    given = parser.parse_args()
    table = (
        pl.read_parquet(given.patents)
        .unique("publication_number", keep="first", maintain_order=True)
        .with_columns(
            text=pl.col("title_text").fill_null("") + ". " + pl.col("abstract_text").fill_null("")
        )
        .filter(pl.col("text").str.len_chars() > 5)
    )
    topics = table["topic"].unique(maintain_order=True).to_list()
    print(f"{len(table):,} patents of {', '.join(topics)}")
    encoder, kept = TextEncoder("minilm", threads=1), {}

    def embed(some: Any) -> Any:
        new = [text for text in dict.fromkeys(some) if text not in kept]
        if new:
            kept.update(zip(new, encoder.embed(new, max_tokens=256), strict=True))
        return np.stack([kept[text] for text in some])

    def tried(seed: int | None) -> dict[str, list[float]]:
        """AUC of each model, over all and by topic; without a seed no examples are drawn."""
        rng = np.random.default_rng(seed or 0)
        about, drawn = [], set()
        for topic in topics:
            valid = np.flatnonzero((table["topic"] == topic) & table["valid"].cast(pl.Boolean))
            some = [] if seed is None else rng.choice(valid, given.examples, replace=False).tolist()
            drawn |= set(some)
            about.append([topic.replace("_", " "), *(table["text"][k] for k in some)])
        rest = table[[k for k in range(len(table)) if k not in drawn]]
        goals = Goals(topics, [own[0] for own in about], about, "topics")
        texts = Texts(
            rest["publication_number"].to_list(),
            rest["text"].to_list(),
            np.arange(len(rest)),
            np.array([topics.index(topic) for topic in rest["topic"]]),
            rest["valid"].cast(pl.Float64).to_numpy(),
            (),
        )
        items = collect(goals.ids, goals.names, embed, goals.about)
        queries = collect(texts.ids, texts.texts, embed)
        pools = Pools(queries.whole, items.whole, pools_of(texts, len(items)))
        features = features_of(Similar(queries, items), pools)
        judged = judge(features, texts, goals, MatchConfig(bootstrap=200), 0)
        for row in judged.metrics:
            if row["metric"] == "auc" and row["slice"] == "all" and seed is None:
                print(
                    f"    {row['model']}: {row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
                )
        return {
            name: [auc(texts.label, score)]
            + [
                auc(texts.label[texts.goal == k], score[texts.goal == k])
                for k in range(len(topics))
            ]
            for name, score in judged.scores.items()
        }

    def told(values: Any) -> str:
        return ", ".join(f"{value:.3f}" for value in values)

    print("from the name alone: over all, and by topic")
    for name, values in tried(None).items():
        print(f"  {name}: {told(values)}")
    draws = []
    for seed in range(given.draws):
        draws.append(tried(seed))
        print(
            f"seed {seed}: " + "; ".join(f"{n} {told(v)}" for n, v in draws[-1].items()), flush=True
        )
    for name in draws[0]:
        values = np.array([draw[name] for draw in draws])
        print(f"{name}: mean {told(values.mean(axis=0))}")
        print(
            f"    standard deviation {told(values.std(axis=0, ddof=1))}, least {told(values.min(axis=0))}"
        )


if __name__ == "__main__":
    main()
