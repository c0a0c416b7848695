"""A forecast of new combinations of technologies, and how well the same would have done in the past."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from linkwise.context import Context
from linkwise.data.documents import (
    Documents,
    DocumentsConfig,
    read_code_titles,
    read_documents,
)
from linkwise.data.spreadsheet import write_csv
from linkwise.errors import InputError, ResourceError, UsageError
from linkwise.estimators.map import check_installed, draw_map
from linkwise.report.outcome import Outcome
from linkwise.technology.config import ForecastConfig
from linkwise.technology.corpus import Corpus, corpus_of
from linkwise.technology.embedding import Vectors, read_vectors
from linkwise.technology.judging import (
    Judged,
    at_level,
    evaluation_of,
    is_simulated,
    judge,
    parents_of,
    rows_of,
)
from linkwise.technology.listing import (
    check_listed,
    flat,
    list_pairs,
    ranking_of,
)
from linkwise.technology.plan import Plan, last_judged, plan_of

if TYPE_CHECKING:
    from linkwise.report import Figure

# Bytes of a pair of codes at the most, as measured without texts; and for each text that a language model
# reads up to four scores, twice where the pairs that could come true are judged apart.
PAIR, PAIR_OF_TEXT = 250, 32


def study(
    paths: Sequence[str], documents: DocumentsConfig, config: ForecastConfig, context: Context
) -> Outcome:
    """Carry out the forecast into `context.folder`.

    Raises `InputError` where the patents have no codes, no pair is left or a window is empty, `UsageError`
    where windows, levels or models do not fit each other.
    """
    from linkwise.technology.page import build_report

    if config.map:
        check_installed()
    with context.step("read the patents"):
        found = read_documents(paths, documents)
        found.check_years()
        found.check_codes()
        for said in (found.spelling(), found.doubled()):
            if said:
                context.progress.say(said)
        titles = {} if config.code_titles is None else read_code_titles(Path(config.code_titles))
        corpus = corpus_of(found.table["year"], found.table["codes"])
        check_codes(corpus)
        for also in config.also_level:
            parents_of(corpus, also)
        plan = plan_of(corpus, config)
        check_min_patents(corpus, plan, config)
        check_memory(corpus, plan, len(config.lm) * len(documents.text), free_memory())
    vectors = read_vectors(found, corpus, plan, documents.text, config, context)
    judged: list[Judged] = []
    said_too: list[str] = []
    for level in (None, *config.also_level):
        name = documents.level or "codes" if level is None else level
        with context.step(f"forecast {name}"):
            own, sources = at_level(corpus, vectors, level, context.seed)
            try:
                of = judge(name, own, sources, vectors, level, plan, config, context, paths)
            except InputError as error:  # of a level beside it: the forecast itself stands without
                if level is None:
                    raise
                said_too.append(str(error))
                continue
            judged.append(of)
        check_listed(judged[0], config.list_by)
    first = judged[0]
    past = None
    if not plan.judged:
        past, why = judge_past(corpus, vectors, first, plan, config, context, paths)
        said_too += [why] if why else []
    told = judged if past is None else [past]
    metrics = [row for of in told for row in rows_of(of)]
    with context.step("list the forecast"):
        listed = list_pairs(first, first.chosen, found, titles, vectors, plan, config)
    listed.write_parquet(context.folder / "pairs.parquet")
    write_csv(flat(listed), context.folder / "pairs.csv")
    save_model(first, vectors, plan, context.folder / "model")
    drawn = None if not config.map else drawn_map(found, corpus, titles, vectors, plan, context)
    page = build_report(
        judged,
        past,
        said_too,
        listed,
        found,
        vectors,
        drawn,
        is_simulated(paths),
        config.min_patents,
    )
    return Outcome(metrics, ranking_of(first), evaluation_of(told[0]), page)


def check_min_patents(corpus: Corpus, plan: Plan, config: ForecastConfig) -> None:
    """Raise `UsageError` where no pair of codes has as many patents as are asked for."""
    degree = np.sort(corpus.degrees(corpus.within(plan.embed)))
    if len(degree) > 1 and degree[-2] < config.min_patents:
        raise UsageError(
            f"--min-patents is {config.min_patents}; of the codes in {plan.embed} two have {degree[-2]:,} "
            "at most."
        )


def check_memory(corpus: Corpus, plan: Plan, texts: int, free: int | None) -> None:
    """Raise `ResourceError` where the pairs of codes would not fit into the memory that is free (bytes).

    Every pair is scored and ranked, which nothing short of holding all scores of a model does exactly;
    `texts` are the language models times the parts of a patent that they read.
    """
    n_codes = int((corpus.degrees(corpus.within(plan.embed)) > 0).sum())
    n_pairs = n_codes * (n_codes - 1) // 2
    need = n_pairs * (PAIR + texts * PAIR_OF_TEXT)
    if free is not None and need > free:
        raise ResourceError(
            f"{n_codes:,} codes of {plan.embed} make {n_pairs:,} pairs, which take about "
            f"{need / 2**30:.1f} GiB; {free / 2**30:.1f} GiB are free. Roll codes up with --level, leave "
            "indexing codes out with --leave-out-indexing, or use a machine with more memory."
        )


def free_memory() -> int | None:
    """Bytes of memory that are free for this process; None where the system does not tell."""
    found = []
    for path, name, unit in (
        ("/proc/meminfo", "MemAvailable:", 1024),
        ("/sys/fs/cgroup/memory.max", "", 1),  # of a container
    ):
        if Path(path).is_file():
            words = Path(path).read_text().split()
            value = words[words.index(name) + 1] if name in words else words[0]
            found += [int(value) * unit] if value.isdigit() else []
    return min(found, default=None)


def judge_past(
    corpus: Corpus,
    vectors: Vectors,
    first: Judged,
    plan: Plan,
    config: ForecastConfig,
    context: Context,
    paths: Sequence[str],
) -> tuple[Judged | None, str]:
    """The same forecast at the last windows that can be judged; or None, and why there is none."""
    earlier = last_judged(corpus, plan)
    if earlier is None:
        return (
            None,
            "The patents do not reach back to windows of the same length that could be judged.",
        )
    late = [
        name
        for name, until in vectors.tuned.items()
        if until is not None and until > earlier.embed.last
    ]
    if late:
        return None, (
            f"{late[0]} was tuned on patents up to {vectors.tuned[late[0]]}: it cannot be judged on "
            f"{earlier.forecast}, the last years that could tell."
        )
    with context.step(f"forecast {earlier.forecast}, to judge by"):
        own, sources = at_level(corpus, vectors, None, context.seed)
        try:
            past = judge(first.level, own, sources, vectors, None, earlier, config, context, paths)
        except InputError as error:
            return None, f"The last years that could tell are not judged: {error}"
    return past, ""


def drawn_map(
    documents: Documents,
    corpus: Corpus,
    titles: dict[str, str],
    vectors: Vectors,
    plan: Plan,
    context: Context,
) -> Figure:
    """The map of the patents of the embedding years and their codes, written beside the report."""
    each = next(iter(vectors.patents.values()))
    rows = np.flatnonzero(corpus.within(plan.embed))
    some = documents.table[rows]
    texts = (some["title"] + " " + some["abstract"]).to_list()
    return draw_map(each[rows], some, texts, some["codes"].to_list(), context, titles=titles)


def check_codes(corpus: Corpus) -> None:
    """Raise `InputError` where codes never stand together."""
    if len(np.unique(corpus.patent)) == len(corpus.patent):
        raise InputError(
            f"every one of the {len(corpus.patent):,} patents with codes has exactly one, so nothing was "
            "ever combined. Use a column that holds all codes of a patent (--codes), or a deeper --level."
        )


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
