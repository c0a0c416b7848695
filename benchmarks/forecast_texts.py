"""What language models read in the embedding years alone foretell: plain text, tuned text and hidden tokens.

    linkwise simulate patents --patents 10000 --codes 300 --seed 5 --out pat
    python benchmarks/forecast_texts.py pat/patents.parquet --lm minilm,models/tt --text abstract,claims,both

The scores are those of `linkwise forecast`, less `learned`, for which the texts of earlier years would be
read, and the tokens shown: a quarter of the time. Printed is the AUC by both labels, and over the pairs whose
codes both are on patents of the forecast years, with the paired difference to the first language model's
plain text.
"""

from __future__ import annotations

import argparse
from functools import partial

import torch

from linkwise.data.documents import DocumentsConfig, read_documents
from linkwise.lm.encode import TextEncoder
from linkwise.metrics.pairs import PairMetrics, evaluate_pairs
from linkwise.technology.anchors import Singles, cosines
from linkwise.technology.config import WITHOUT_TEXT, ForecastConfig
from linkwise.technology.corpus import corpus_of
from linkwise.technology.forecast import Sources, came_true, never_combined
from linkwise.technology.judging import true_nearness
from linkwise.technology.plan import plan_of
from linkwise.technology.tokens import TokenReader, known_codes
from linkwise.technology.vectors import patent_vectors, sums_of


def said(found: PairMetrics, model: str, first: str) -> str:
    """AUC with its interval, and the difference to another model."""
    value, low, high = found.value(model, "auc")
    text = f"{value:.3f} [{low:.3f}, {high:.3f}]"
    if model == first:
        return text
    value, low, high = found.difference(model, first, "auc")
    return f"{text} {value:+.3f} [{low:+.3f}, {high:+.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("patents")
    parser.add_argument("--lm", default="minilm")
    parser.add_argument("--text", default="abstract")
    parser.add_argument("--codes")
    parser.add_argument("--level")
    parser.add_argument("--embed", default="2006-2010")
    parser.add_argument("--forecast", default="2011-2015")
    parser.add_argument("--max-tokens", type=int, default=192)
    parser.add_argument("--samples", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    parts = tuple(options.text.split(","))
    found = read_documents(
        options.patents, DocumentsConfig(codes=options.codes, level=options.level, text=parts)
    )
    corpus = corpus_of(found.table["year"], found.table["codes"])
    config = ForecastConfig(embed=options.embed, forecast=options.forecast)
    plan = plan_of(corpus, config)
    pairs = never_combined(corpus, corpus.degrees(corpus.within(plan.embed)) > 0, plan.embed.last)
    labels = came_true(corpus, pairs, plan.forecast, config, check=True)
    scores: dict[str, Singles] = {}
    for name in options.lm.split(","):
        encoder = TextEncoder(name)
        reads = {"text": partial(encoder.embed, max_tokens=options.max_tokens)}
        if known_codes(encoder.model.about):
            reader = TokenReader(encoder.model)
            reads["hidden tokens"] = partial(reader.hidden, max_tokens=options.max_tokens)
        for part in parts:
            for kind, embed in reads.items():
                each = patent_vectors(embed, found.texts(part), corpus, plan.embed)
                vectors, _ = sums_of(each, corpus, plan.embed).mean(plan.embed)
                score = cosines(vectors, pairs.first, pairs.second)
                scores[f"{kind}: {name}, {part}"] = score
    first = next(iter(scores))
    others = Sources(corpus, {}, {}, 0).scores(pairs, plan.embed)
    scores |= {name: others[name] for name in WITHOUT_TEXT}
    truth = true_nearness([options.patents], corpus, pairs, plan.forecast)
    if truth is not None:
        scores["best possible"] = truth
    print(
        f"{len(pairs):,} pairs; {labels.name}: {labels.positive.sum():,}, by chance alone "
        f"{labels.by_chance:,.0f}; after Benjamini-Hochberg {labels.validated.sum():,}; combined at all "
        f"{labels.combined.sum():,}; both codes occur: {labels.there.sum():,}"
    )
    for what, label, rows in (
        (labels.kind, labels.positive, slice(None)),
        (f"{labels.kind}, both codes occur", labels.positive, labels.there),
        ("combined at all", labels.combined, slice(None)),
    ):
        some = pairs.some(rows)
        of = {name: own[rows] for name, own in scores.items()}
        metrics = evaluate_pairs(
            label[rows], of, some.first, some.second, samples=options.samples, seed=0
        )
        print(f"{what} ({metrics.n:,} pairs): AUC, and less {first}")
        for name in sorted(of, key=lambda n: -metrics.points[n]["auc", None]):
            print(f"  {name:40} {said(metrics, name, first)}")


if __name__ == "__main__":
    main()
