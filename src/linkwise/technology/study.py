"""A forecast of new combinations of technologies, and how well the same would have done in the past."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from linkwise.context import Context
from linkwise.data.codes import Level, roll_up
from linkwise.data.documents import (
    Documents,
    DocumentsConfig,
    Text,
    read_code_titles,
    read_documents,
)
from linkwise.errors import InputError, UsageError, optional
from linkwise.metrics.pairs import PairMetrics, evaluate_pairs
from linkwise.report.outcome import Outcome
from linkwise.technology.anchors import RULES, Singles, cosines
from linkwise.technology.config import ForecastConfig, window
from linkwise.technology.corpus import Bools, Corpus, Longs, Years, corpus_of
from linkwise.technology.forecast import Labels, Pairs, Sources, came_true, never_combined
from linkwise.technology.vectors import (
    Floats,
    YearlySums,
    patent_vectors,
    sums_of,
    token_sums,
    unit,
)

if TYPE_CHECKING:
    from linkwise.estimators.tabular import Boosting
    from linkwise.report import Figure

BASELINE = "common neighbours"
TRIVIAL = ("random", *RULES)
LEARNED = "learned"
TRUTH = "best possible"  # of simulated patents: how near two codes really are in the forecast years
SPAN = 5  # years of a window that is not given
MANY = 1_000_000  # pairs from which on fewer resamples are drawn
FEWER = 200
MOST_ROWS = 5_000_000  # of the evaluation, over all models
KEPT = 100_000  # pairs of each model that the evaluation keeps beyond it
LEAST_LEARNED = 20  # pairs that came true in an earlier window, below which nothing is learned


@dataclass(frozen=True)
class Plan:
    """The windows: patents of `embed` make the vectors, those of `forecast` tell what came true."""

    embed: Years
    forecast: Years
    judged: bool
    """Whether there are patents of the forecast years."""

    @property
    def learn_embed(self) -> Years:
        """The window whose vectors the learned scorer learns from."""
        return self.embed.before(self.forecast.length)

    @property
    def learn_forecast(self) -> Years:
        """The window that it learns to forecast; it ends before the real one begins."""
        return self.forecast.before(
            self.forecast.first - self.embed.last - 1 + self.forecast.length
        )


@dataclass(frozen=True)
class Judged:
    """One level of codes: its pairs, what each model says of them, and what came true."""

    level: str
    corpus: Corpus
    pairs: Pairs
    scores: dict[str, Singles]
    labels: Labels | None
    metrics: PairMetrics | None
    unscorable: dict[str, list[str]]
    """Codes that no score can be given to, by the reason."""
    learned: Boosting | None
    notes: tuple[str, ...] = ()


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


def study(
    paths: Sequence[str], documents: DocumentsConfig, config: ForecastConfig, context: Context
) -> Outcome:
    """Carry out the forecast into `context.folder`.

    Raises `InputError` where the patents have no codes, no pair is left or a window is empty, `UsageError`
    where windows or models do not fit each other.
    """
    from linkwise.technology.page import build_report

    with context.step("read the patents"):
        found = read_documents(paths, documents)
        found.check_years()
        found.check_codes()
        titles = {} if config.code_titles is None else read_code_titles(Path(config.code_titles))
        if said := found.spelling():
            context.progress.say(said)
        corpus = corpus_of(found.table["year"], found.table["codes"])
        check_codes(corpus)
        plan = plan_of(corpus, config)
    vectors = read_vectors(found, corpus, plan, documents.text, config, context)
    judged = []
    for level in (None, *config.also_level):
        name = documents.level or "codes" if level is None else level
        with context.step(f"forecast {name}"):
            own, sources = at_level(corpus, vectors, level, context.seed)
            judged.append(judge(name, own, sources, vectors, level, plan, config, context, paths))
    metrics = [row for of in judged for row in rows_of(of, plan)]
    first = judged[0]
    chosen = chosen_model(first)
    with context.step("list the forecast"):
        listed = list_pairs(first, chosen, found, titles, vectors, plan, config)
    listed.write_parquet(context.folder / "pairs.parquet")
    save_model(first, vectors, plan, context.folder / "model")
    drawn = None if not config.map else draw_map(found, corpus, titles, vectors, plan, context)
    page = build_report(
        judged, metrics, listed, chosen, plan, found, vectors, drawn, is_simulated(paths)
    )
    return Outcome(metrics, ranking_of(first), evaluation_of(first), page)


def draw_map(
    documents: Documents,
    corpus: Corpus,
    titles: dict[str, str],
    vectors: Vectors,
    plan: Plan,
    context: Context,
) -> Figure:
    """The map of the patents of the embedding years and their codes, written beside the report."""
    from linkwise.technology import map as maps

    each = next(iter(vectors.patents.values()))
    rows = np.flatnonzero(corpus.within(plan.embed))
    settings = maps.MapConfig()
    with context.step("draw the map", 100):
        components = maps.principal_components(each[rows], settings.components)
        at = maps.layout(components, settings, context.seed, context.progress.advance)
        some = documents.table[rows]
        texts = (some["title"] + " " + some["abstract"]).to_list()
        topics = maps.topics(at, texts, settings)
        codes = maps.place(at, topics.labels, some["codes"].to_list())
        maps.write_map(
            context.folder, some["id"].to_list(), some["title"].to_list(), at, topics, codes, titles
        )
        return maps.figure(at, topics, context.seed)


def check_codes(corpus: Corpus) -> None:
    """Raise `InputError` where codes never stand together."""
    if len(np.unique(corpus.patent)) == len(corpus.patent):
        raise InputError(
            f"every one of the {len(corpus.patent):,} patents with codes has exactly one, so nothing was "
            "ever combined. Use a column that holds all codes of a patent (--codes), or a deeper --level."
        )


def plan_of(corpus: Corpus, config: ForecastConfig) -> Plan:
    """The windows, those not given by default; raises where one does not fit the patents."""
    first, last = int(corpus.year.min()), int(corpus.year.max())
    forecast, embed = window(config.forecast, "--forecast"), window(config.embed, "--embed")
    if forecast is None:
        begin = last - SPAN + 1 if embed is None else embed.last + 1
        forecast = Years(begin, max(last, begin))
    if embed is None:
        embed = Years(forecast.first - SPAN, forecast.first - 1)
    with_codes = np.zeros(len(corpus.year), dtype=np.bool_)
    with_codes[corpus.patent] = True
    if not (corpus.within(embed) & with_codes).any():
        raise InputError(
            f"no patent with codes is of the years {embed} (--embed); the patents are of {first} to {last}."
        )
    judged = forecast.first <= last
    if judged and not (corpus.within(forecast) & with_codes).any():
        raise InputError(
            f"no patent with codes is of the years {forecast} (--forecast); the patents are of {first} to "
            f"{last}."
        )
    return Plan(embed, forecast, judged)


def years_read(corpus: Corpus, plan: Plan, config: ForecastConfig) -> Years:
    """The years whose texts are read: back to the trends of the earlier window, if that is learned from."""
    first = plan.embed.before(plan.embed.length).first
    if config.learned:
        first = plan.learn_embed.before(plan.embed.length).first
    return Years(max(first, int(corpus.year.min())), plan.embed.last)


def check_model(name: str, about: dict[str, Any], plan: Plan, config: ForecastConfig) -> str | None:
    """What must be said of what a model may know; raises `UsageError` where it was tuned past the cutoff."""
    until = about.get("until") or config.tuned_until
    last = plan.embed.last
    if until is not None and until > last:
        raise UsageError(
            f"{name} was tuned on patents up to {until}, and the forecast may know nothing after "
            f"{last}; use a "
            f"model tuned with --until {last} or earlier, or later windows."
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
    base = "itself" if "objective" not in about else "in its base"
    return (
        f"{name}: what it was pre-trained on ({base}) reaches past {last}, or is not known to end before; "
        "its forecasts of the past may profit."
    )


def read_vectors(
    documents: Documents,
    corpus: Corpus,
    plan: Plan,
    parts: Sequence[Text],
    config: ForecastConfig,
    context: Context,
) -> Vectors:
    """Run every language model over every text."""
    yearly: dict[str, YearlySums] = {}
    rows: dict[str, Floats] = {}
    known: dict[str, Bools] = {}
    patents: dict[str, Any] = {}
    notes: list[str] = []
    years = years_read(corpus, plan, config)
    if config.lm:
        optional("torch", "lm", "a language model").set_num_threads(context.threads)
    for name in config.lm:
        from linkwise.lm.encode import TextEncoder
        from linkwise.technology.tokens import TokenReader, known_codes

        encoder = TextEncoder(name)
        note = check_model(name, encoder.model.about, plan, config)
        notes += [note] if note else []
        for part in parts:
            texts = documents.texts(part)
            n = int(corpus.within(years).sum())
            label = name if tuple(parts) == ("abstract",) else f"{name}, {part}"
            with context.step(f"embed the patents: {label}", n):
                each = patent_vectors(
                    partial(encoder.embed, max_tokens=config.max_tokens),
                    texts, corpus, years, context.progress.advance,
                )  # fmt: skip
            yearly[f"text: {label}"] = sums_of(each, corpus, years)
            patents[f"text: {label}"] = each
            codes = known_codes(encoder.model.about)
            if not codes:
                continue
            reader = TokenReader(encoder.model)
            with context.step(f"read hidden technology tokens: {label}", n):
                each = patent_vectors(
                    partial(reader.hidden, max_tokens=config.max_tokens),
                    texts, corpus, years, context.progress.advance,
                )  # fmt: skip
            yearly[f"hidden tokens: {label}"] = sums_of(each, corpus, years)
            with context.step(f"read the technology tokens: {label}", n):
                yearly[f"tokens: {label}"] = token_sums(
                    reader, texts, corpus, years, config.max_tokens, context.progress.advance
                )
            there = np.isin(corpus.names, codes)
            if not there.any():
                raise UsageError(
                    f"{name} has tokens for {codes[0]}, {codes[1]} and others, and none for the "
                    "codes of these "
                    f"patents, such as {corpus.names[0]}; were they learned at another --level?"
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
    return Vectors(yearly, rows, known, patents, tuple(notes))


def at_level(
    corpus: Corpus, vectors: Vectors, level: Level | None, seed: int
) -> tuple[Corpus, Sources]:
    """The corpus with its codes rolled up, and the vectors' sums with them."""
    if level is None:
        return corpus, Sources(corpus, vectors.yearly, vectors.rows, seed)
    parents = [roll_up(name, level) for name in corpus.names]
    if any(parent is None for parent in parents):
        bad = corpus.names[parents.index(None)]
        raise UsageError(f'--also-level {level}: "{bad}" is no symbol as deep as that.')
    names, number = np.unique(np.array(parents, dtype=str), return_inverse=True)
    links = np.unique(np.stack([corpus.patent, number[corpus.code]]), axis=1)
    coarse = Corpus(corpus.year, links[0], links[1].astype(np.int64), tuple(str(n) for n in names))
    yearly = {}
    for name, sums in vectors.yearly.items():
        total = np.zeros((len(sums.total), len(names), sums.total.shape[2]), dtype=np.float32)
        count = np.zeros((len(sums.count), len(names)), dtype=np.int64)
        for child, parent in enumerate(number):
            total[:, parent] += sums.total[:, child]
            count[:, parent] += sums.count[:, child]
        yearly[name] = YearlySums(sums.first_year, total, count)
    return coarse, Sources(coarse, yearly, {}, seed)


def scorable(
    corpus: Corpus, vectors: Vectors, level: Level | None, embed: Years
) -> tuple[Bools, dict[str, list[str]]]:
    """Codes that every model has a vector for in a window (n_codes,), and the others by the reason."""
    there = corpus.degrees(corpus.within(embed)) > 0
    seen = corpus.degrees(corpus.until(embed.last)) > 0
    reasons = {
        f"first on a patent after {embed.last}": [
            n for n, s in zip(corpus.names, seen, strict=True) if not s
        ],
        f"on no patent of {embed}": [
            n for n, s, t in zip(corpus.names, seen, there, strict=True) if s and not t
        ],
    }
    if level is None:
        for name, known in vectors.known.items():
            lost = there & ~known
            if lost.any():
                reasons[f"without a technology token ({name})"] = [
                    n for n, x in zip(corpus.names, lost, strict=True) if x
                ]
        for known in vectors.known.values():
            there = there & known
    return there, {reason: codes for reason, codes in reasons.items() if codes}


def judge(
    name: str,
    corpus: Corpus,
    sources: Sources,
    vectors: Vectors,
    level: Level | None,
    plan: Plan,
    config: ForecastConfig,
    context: Context,
    paths: Sequence[str],
) -> Judged:
    """Score all pairs of one level that were never combined, and compare with what came true."""
    codes, unscorable = scorable(corpus, vectors, level, plan.embed)
    pairs = never_combined(corpus, codes, plan.embed.last)
    if not len(pairs):
        raise InputError(
            f"{name}: of the {int(codes.sum())} codes of {plan.embed} every pair was combined "
            "before, or there is "
            "one code; nothing is left to forecast. Use a deeper --level."
        )
    scores: dict[str, Singles] = {
        "random": context.rng(f"random {name}").random(len(pairs)).astype(np.float32)
    }
    scores |= sources.scores(pairs, plan.embed)
    notes: list[str] = []
    model = None
    if config.learned:
        model, why = learn(corpus, sources, vectors, level, plan, config, context)
        if model is None:
            notes.append(f"Nothing was learned: {why}.")
        else:
            known = _without(scores, "random")
            learned = np.empty(len(pairs), dtype=np.float32)
            for start in range(0, len(pairs), MANY):
                part = slice(start, start + MANY)
                some = {name: of[part] for name, of in known.items()}
                learned[part] = model.score(sources.signals(pairs.some(part), plan.embed, some))
            scores[LEARNED] = learned
    truth = true_nearness(paths, corpus, pairs, plan.forecast) if level is None else None
    if truth is not None:
        scores[TRUTH] = truth
    labels = metrics = None
    if plan.judged:
        labels = came_true(corpus, pairs, plan.forecast, config, check=True, seed=context.seed)
        n = int(labels.positive.sum())
        if 0 < n < len(pairs):
            samples = config.bootstrap if len(pairs) < MANY else min(FEWER, config.bootstrap)
            metrics = evaluate_pairs(
                labels.positive, scores, pairs.first, pairs.second, trivial=TRIVIAL,
                samples=samples, seed=context.seed,
            )  # fmt: skip
        else:
            notes.append(f"Not measurable: {n} of {len(pairs):,} pairs came true ({labels.name}).")
    return Judged(name, corpus, pairs, scores, labels, metrics, unscorable, model, tuple(notes))


def _without(scores: dict[str, Singles], *names: str) -> dict[str, Singles]:
    return {name: of for name, of in scores.items() if name not in names}


def learn(
    corpus: Corpus,
    sources: Sources,
    vectors: Vectors,
    level: Level | None,
    plan: Plan,
    config: ForecastConfig,
    context: Context,
) -> tuple[Boosting | None, str]:
    """Boosting on all signals, of an earlier window whose outcome was known; or None and why "
    "there is none."""
    from linkwise.estimators.tabular import Boosting, BoostingConfig

    embed, outcome = plan.learn_embed, plan.learn_forecast
    if embed.first < int(corpus.year.min()):
        return None, f"the patents do not reach back to {embed.first}"
    codes, _ = scorable(corpus, vectors, level, embed)
    pairs = never_combined(corpus, codes, embed.last)
    if not len(pairs) or not corpus.within(outcome).any():
        return None, f"there is no pair to learn from in {embed} and {outcome}"
    labels = came_true(corpus, pairs, outcome, config)
    positive = np.asarray(labels.p < 0.05)
    if positive.sum() < LEAST_LEARNED:
        return None, (
            f"{int(positive.sum())} pairs came true in {outcome}, fewer than {LEAST_LEARNED}"
        )
    if len(pairs) > MANY:  # all that came true, and others by lot
        others = context.rng("pairs to learn from").random(len(pairs)) < MANY / len(pairs)
        pairs, positive = pairs.some(positive | others), positive[positive | others]
    frame = sources.signals(pairs, embed, sources.scores(pairs, embed))
    boosting = Boosting(BoostingConfig(rounds=150, learning_rate=0.03, num_leaves=7))
    model = boosting.fit(
        frame, positive.astype(np.float64), seed=context.seed, threads=context.threads
    )
    return model, ""


def true_nearness(
    paths: Sequence[str], corpus: Corpus, pairs: Pairs, forecast: Years
) -> Singles | None:
    """Of simulated patents: how near two codes really are, the mean over the forecast years (n,)."""
    folder = _simulation(paths)
    if folder is None:
        return None
    truth = pl.read_parquet(folder / "truth.parquet").filter(
        pl.col("year").is_between(forecast.first, forecast.last)
    )
    if not set(corpus.names) <= set(truth["code"]):
        return None
    total = np.zeros(len(pairs), dtype=np.float32)
    for _, of_year in truth.group_by("year", maintain_order=True):
        places = dict(zip(of_year["code"], of_year["position"].to_list(), strict=True))
        table = np.array([places[name] for name in corpus.names])
        total += cosines(table, pairs.first, pairs.second)
    return total


def _simulation(paths: Sequence[str]) -> Path | None:
    """The folder of a simulation that the patents are from."""
    for path in paths:
        folder = Path(path) if Path(path).is_dir() else Path(path).parent
        note = folder / "truth.json"
        if note.is_file() and json.loads(note.read_text()).get("simulated"):
            return folder if (folder / "truth.parquet").is_file() else None
    return None


def is_simulated(paths: Sequence[str]) -> bool:
    """Whether the patents are simulated."""
    return _simulation(paths) is not None


def chosen_model(judged: Judged) -> str:
    """The model whose list is shown: what learned from earlier windows, else the most that is known."""
    names = list(judged.scores)
    for wanted in (LEARNED, "hidden tokens: ", "text: ", "PPMI vectors"):
        for name in names:
            if name.startswith(wanted):
                return name
    return names[0]


def rows_of(judged: Judged, plan: Plan) -> list[dict[str, Any]]:
    """The rows of `metrics.json` of one level."""
    if judged.metrics is None:
        return []
    return [
        asdict(row)
        for row in judged.metrics.rows(BASELINE, split=str(plan.forecast), slice=judged.level)
    ]


def ranks_of(scores: Singles, label: Bools | None) -> Longs:
    """Ranks of pairs (n,), from 1; among equal scores those that came true stand last."""
    worse = np.zeros(len(scores)) if label is None else label
    order = np.lexsort((worse, -scores.astype(np.float64)))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(1, len(order) + 1)
    return rank


def ranking_of(judged: Judged) -> pl.DataFrame:
    """The first pairs by every model: the contract's table, a pair being a query with its item."""
    tables = []
    names = np.array(judged.corpus.names)
    for model, scores in judged.scores.items():
        rank = ranks_of(scores, None)
        rows = np.flatnonzero(rank <= 1000)
        rows = rows[np.argsort(rank[rows])]
        tables.append(
            pl.DataFrame(
                {
                    "model": [model] * len(rows),
                    "query": names[judged.pairs.first[rows]],
                    "item": names[judged.pairs.second[rows]],
                    "score": scores[rows].astype(np.float64),
                    "rank": rank[rows],
                }
            )
        )
    return pl.concat(tables)


def evaluation_of(judged: Judged) -> pl.DataFrame:
    """Every judged pair with its rank, score and label; of very many those that came true and the first."""
    schema = {
        "model": pl.String, "slice": pl.String, "query": pl.String, "item": pl.String,
        "rank": pl.Int64, "score": pl.Float64, "label": pl.Boolean,
    }  # fmt: skip
    if judged.labels is None:
        return pl.DataFrame(schema=schema)
    label = judged.labels.positive
    names = np.array(judged.corpus.names)
    every = len(judged.pairs) * len(judged.scores) <= MOST_ROWS
    tables = []
    for model, scores in judged.scores.items():
        rank = ranks_of(scores, label)
        rows = np.arange(len(rank)) if every else np.flatnonzero((rank <= KEPT) | label)
        tables.append(
            pl.DataFrame(
                {
                    "model": [model] * len(rows),
                    "slice": [judged.level] * len(rows),
                    "query": names[judged.pairs.first[rows]],
                    "item": names[judged.pairs.second[rows]],
                    "rank": rank[rows],
                    "score": scores[rows].astype(np.float64),
                    "label": label[rows],
                },
                schema=schema,
            )
        )
    return pl.concat(tables)


def list_pairs(
    judged: Judged,
    chosen: str,
    documents: Documents,
    titles: dict[str, str],
    vectors: Vectors,
    plan: Plan,
    config: ForecastConfig,
) -> pl.DataFrame:
    """The first pairs by the chosen model, with what speaks for them.

    Titles; the cosine of the first language model (else of PPMI vectors) now and in each earlier window;
    of each code the patents nearest to the other; the first patent that combined them, where there is one.
    """
    corpus, pairs = judged.corpus, judged.pairs
    rank = ranks_of(judged.scores[chosen], None)
    rows = np.argsort(rank)[: config.top]
    some = pairs.some(rows)
    names = np.array(corpus.names)
    label = None if judged.labels is None else judged.labels.positive[rows]
    columns: dict[str, Any] = {
        "rank": rank[rows],
        "a": names[some.first],
        "b": names[some.second],
        "title_a": [titles.get(n, "") for n in names[some.first]],
        "title_b": [titles.get(n, "") for n in names[some.second]],
        "score": judged.scores[chosen][rows].astype(np.float64),
    }
    text = next((name for name in vectors.yearly), None)
    shown = text or "PPMI vectors"
    columns["cosine"] = judged.scores[shown][rows].astype(np.float64)
    columns["cosine_of"] = [shown] * len(rows)
    columns["past"] = _past(judged, some, vectors, shown, plan)
    near = _nearest_patents(judged, some, documents, vectors, plan)
    columns["patents_a"], columns["patents_b"] = near
    columns["first_combined_by"] = _first_combined(judged, some, documents, plan)
    if label is not None:
        columns["came_true"] = label
    return pl.DataFrame(columns)


def _past(
    judged: Judged, pairs: Pairs, vectors: Vectors, shown: str, plan: Plan
) -> list[list[dict[str, Any]]]:
    """The cosine of pairs in each window of as many years, back to the first that was read."""
    if shown not in vectors.yearly:
        return [[] for _ in range(len(pairs))]
    sums = vectors.yearly[shown]
    found: list[list[dict[str, Any]]] = [[] for _ in range(len(pairs))]
    years = plan.embed
    while years.first >= sums.first_year:
        mean, there = sums.mean(years)
        values = cosines(mean, pairs.first, pairs.second)
        for k, (a, b) in enumerate(zip(pairs.first, pairs.second, strict=True)):
            if there[a] and there[b]:
                found[k].insert(0, {"years": str(years), "cosine": round(float(values[k]), 4)})
        years = years.before(plan.embed.length)
    return found


NEAREST = 3


def _nearest_patents(
    judged: Judged, pairs: Pairs, documents: Documents, vectors: Vectors, plan: Plan
) -> tuple[list[list[str]], list[list[str]]]:
    """Of each code of a pair the ids of the patents, of the window, whose texts are nearest to the other."""
    name = next(iter(vectors.patents), None)
    empty: list[list[str]] = [[] for _ in range(len(pairs))]
    if name is None:
        return empty, [[] for _ in range(len(pairs))]
    corpus = judged.corpus
    mean, _ = vectors.yearly[name].mean(plan.embed)
    each = vectors.patents[name]
    within = corpus.within(plan.embed)
    kept = within[corpus.patent]
    order = np.argsort(corpus.code[kept], kind="stable")
    code, patent = corpus.code[kept][order], corpus.patent[kept][order]
    starts = np.searchsorted(code, np.arange(len(corpus.names) + 1))
    middle = each[within].mean(axis=0)
    ids = documents.table["id"]

    def near(own: int, other: int) -> list[str]:
        rows = patent[starts[own] : starts[own + 1]]
        alike = (each[rows] - middle) @ mean[other]
        return [str(ids[int(row)]) for row in rows[np.argsort(-alike)[:NEAREST]]]

    both = [(int(a), int(b)) for a, b in zip(pairs.first, pairs.second, strict=True)]
    return [near(a, b) for a, b in both], [near(b, a) for a, b in both]


def _first_combined(
    judged: Judged, pairs: Pairs, documents: Documents, plan: Plan
) -> list[str | None]:
    """The first patent after the embedding years that carries both codes, with its year; None without one."""
    corpus = judged.corpus
    later = ~corpus.until(plan.embed.last)[corpus.patent]
    carriers: dict[int, set[int]] = {}
    wanted = {int(c) for c in np.concatenate([pairs.first, pairs.second])}
    for patent, code in zip(
        corpus.patent[later].tolist(), corpus.code[later].tolist(), strict=True
    ):
        if code in wanted:
            carriers.setdefault(code, set()).add(patent)
    ids = documents.table["id"]
    found: list[str | None] = []
    for a, b in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True):
        both = carriers.get(a, set()) & carriers.get(b, set())
        if not both:
            found.append(None)
            continue
        first = min(both, key=lambda row: (int(corpus.year[row]), row))
        found.append(f"{ids[first]} ({int(corpus.year[first])})")
    return found


def save_model(judged: Judged, vectors: Vectors, plan: Plan, folder: Path) -> None:
    """The codes' vectors of the embedding years, as safetensors, their names, and the learned scorer."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        name: sums.mean(plan.embed)[0].astype(np.float32) for name, sums in vectors.yearly.items()
    }
    if tables:
        save_file(tables, folder / "vectors.safetensors")
    about = {"codes": list(judged.corpus.names), "embed": str(plan.embed), "level": judged.level}
    (folder / "codes.json").write_text(json.dumps(about, indent=1))
    if judged.learned is not None:
        judged.learned.save(folder)
