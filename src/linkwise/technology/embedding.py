"""What language models make of the patents: vectors and states of tokens, by year and code."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from linkwise.context import Context
from linkwise.data.documents import Documents, Text
from linkwise.errors import UsageError, optional
from linkwise.technology.config import ForecastConfig
from linkwise.technology.corpus import Bools, Corpus
from linkwise.technology.plan import Plan, years_read
from linkwise.technology.vectors import (
    Floats,
    YearlySums,
    patent_vectors,
    sums_of,
    token_sums,
    unit,
)


@dataclass(frozen=True)
class Vectors:
    """What the language models make of the patents, and what is to be said of the models."""

    yearly: dict[str, YearlySums]
    rows: dict[str, Floats]
    known: dict[str, Bools]
    """For each name, which codes it can have a vector for at all (n_codes,)."""
    patents: dict[str, Any]
    """Of text models: the vectors of the patents (n_patents, size)."""
    notes: tuple[str, ...]
    tuned: dict[str, int | None]
    """The last year that models were tuned on; None where a tuned one does not say it."""
    model_of: dict[str, str]
    """The language model behind each score."""

    def tuned_past(self, year: int) -> frozenset[str]:
        """Scores by models that were tuned on patents after a year, or until nobody knows when."""
        late = {name for name, until in self.tuned.items() if until is None or until > year}
        return frozenset(score for score, name in self.model_of.items() if name in late)

    @property
    def undated(self) -> frozenset[str]:
        """Scores by models that were tuned until nobody knows when."""
        return frozenset(s for s, name in self.model_of.items() if self.tuned.get(name, 0) is None)


def check_model(name: str, about: dict[str, Any], plan: Plan, config: ForecastConfig) -> str | None:
    """What must be said of what a model may know; raises `UsageError` where it was tuned past the cutoff."""
    until = about.get("until") or config.tuned_until
    last = plan.embed.last
    if until is not None and until > last:
        raise UsageError(
            f"{name} was tuned on patents up to {until}, and the forecast may know nothing after {last}; "
            f"use a model tuned with --until {last} or earlier, or later windows."
        )
    if config.tuned_until is not None and (about.get("until") or 0) > config.tuned_until:
        raise UsageError(
            f"{name} was tuned on patents up to {about['until']}, not {config.tuned_until} (--tuned-until)."
        )
    if "objective" in about and until is None:
        return (
            f"{name} was tuned, and does not say until which year: it may know patents after {last}. Tune it "
            "with --until, or say the year with --tuned-until."
        )
    base = "what it was tuned from" if "objective" in about else "this model"
    return (
        f"{name}: {base} was pre-trained on texts later than {last}, or of unknown years; forecasts of "
        "the past may profit."
    )


def _mark(label: str, model: str) -> str:
    """A name for what a model makes of the texts: another once a file of its folder has changed."""
    files = sorted(Path(model).rglob("*")) if Path(model).is_dir() else []
    stats = [f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files]
    return hashlib.md5("\n".join([label, *stats]).encode()).hexdigest()[:12]


def read_vectors(
    documents: Documents,
    corpus: Corpus,
    plan: Plan,
    parts: Sequence[Text],
    config: ForecastConfig,
    context: Context,
) -> Vectors:
    """Run every language model over every text; what is done is kept in `context.work` for a resumed run."""
    yearly: dict[str, YearlySums] = {}
    rows: dict[str, Floats] = {}
    known: dict[str, Bools] = {}
    patents: dict[str, Any] = {}
    notes: list[str] = []
    tuned: dict[str, int | None] = {}
    model_of: dict[str, str] = {}
    years = years_read(corpus, plan, config)
    if config.lm:
        optional("torch", "lm", "a language model").set_num_threads(context.threads)
    for name in config.lm:
        from linkwise.lm.encode import TextEncoder
        from linkwise.technology.tokens import TokenReader, known_codes

        encoder = TextEncoder(name)
        note = check_model(name, encoder.model.about, plan, config)
        notes += [note] if note else []
        until = encoder.model.about.get("until") or config.tuned_until
        if until is not None or "objective" in encoder.model.about:
            tuned[name] = until
        for part in parts:
            texts = documents.texts(part)
            n = int(corpus.within(years).sum())
            label = name if tuple(parts) == ("abstract",) else f"{name}, {part}"
            kept = context.work / _mark(label, name)
            with context.step(f"embed the patents: {label}", n):
                each = patent_vectors(
                    partial(encoder.embed, max_tokens=config.max_tokens),
                    texts, corpus, years, context.progress.advance, kept / "texts",
                )  # fmt: skip
            yearly[f"text: {label}"] = sums_of(each, corpus, years)
            patents[f"text: {label}"] = each
            codes = known_codes(encoder.model.about)
            if not codes:
                continue
            if part == parts[0]:
                notes.append(
                    f"{name}: its technology tokens may have begun as the titles of their codes, and titles "
                    "are of today's classification: of no year."
                )
            reader = TokenReader(encoder.model)
            with context.step(f"read hidden technology tokens: {label}", n):
                each = patent_vectors(
                    partial(reader.hidden, max_tokens=config.max_tokens),
                    texts, corpus, years, context.progress.advance, kept / "hidden",
                )  # fmt: skip
            yearly[f"hidden tokens: {label}"] = sums_of(each, corpus, years)
            with context.step(f"read the technology tokens: {label}", n):
                yearly[f"tokens: {label}"] = token_sums(
                    reader, texts, corpus, years, config.max_tokens, context.progress.advance,
                    kept / "tokens.npz",
                )  # fmt: skip
            there = np.isin(corpus.names, codes)
            if not there.any():
                raise UsageError(
                    f"{name} has tokens for {codes[0]}, {codes[1]} and others, and none for the codes of "
                    f"these patents, such as {corpus.names[0]}; were they learned at another --level?"
                )
            known[f"tokens: {label}"] = there
            if f"token rows: {name}" not in rows:
                table = np.zeros((len(corpus.names), encoder.size))
                place = {code: at for at, code in enumerate(codes)}
                own_rows = [place[c] for c in np.array(corpus.names)[there]]
                static = reader.static
                table[there] = static[own_rows] - static.mean(axis=0)
                rows[f"token rows: {name}"] = unit(table)
                known[f"token rows: {name}"] = there
        model_of |= {score: name for score in (*yearly, *rows) if score not in model_of}
    return Vectors(yearly, rows, known, patents, tuple(notes), tuned, model_of)
