"""Patents matched with sections in two stages: retrieved exactly, then judged; tried on what people said."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from linkwise.context import Context
from linkwise.data.documents import DocumentsConfig, read_documents
from linkwise.data.files import is_simulated
from linkwise.data.sections import read_sections
from linkwise.errors import InputError
from linkwise.lm.keep import text_encoder
from linkwise.matching.config import PairsConfig
from linkwise.matching.judges import (
    TEXT,
    WEIGHED,
    WORDS,
    FeatureJudge,
    Fitted,
    Judge,
    Pairs,
    Tried,
    as_it_is,
    check_folds,
    cross_fit,
    fitted,
    text_judge,
    words_judge,
)
from linkwise.matching.labels import FEWEST, Labelled, folds_of, read_pairs
from linkwise.matching.load_judge import (
    begin_judge,
    check_judge,
    folder_of_judge,
    load_judge,
    write_judge,
)
from linkwise.matching.retrieve import retrieve
from linkwise.matching.search import top_k_sparse
from linkwise.matching.sides import (
    Pieces,
    Side,
    embed_pieces,
    side_of_documents,
    side_of_sections,
)
from linkwise.matching.similar import Pools, Similar, collect, parts_of, with_rivals, word_counter
from linkwise.metrics.bootstrap import (
    MetricRow,
    bootstrap_weights,
    evaluate_binary,
    percentile_interval,
)
from linkwise.metrics.interval import proportion_interval
from linkwise.report.outcome import Outcome

Floats = np.ndarray[Any, np.dtype[np.float64]]
Longs = np.ndarray[Any, np.dtype[np.int64]]

BLOCK = 1024  # patents whose sentences are in memory at a time
PLACES = (1, 5, 10, 20, 50, 100, 200)  # of a retrieved list, at which recall is reported
BY_THRESHOLD = ("accuracy", "precision", "recall", "f1")
END_TO_END = "retrieved first"
INDEX = "index.safetensors"


@dataclass(frozen=True)
class Judged:
    """What each model says of the labelled pairs, by judges that saw none of their group.

    `tried` by model, the chosen one last; `place` (m,) is each pair's place in the retrieved list, from 0, -1
    where it is not in it.
    """

    labelled: Labelled
    pairs: Pairs
    tried: dict[str, Tried]
    chosen: str
    place: Longs
    metrics: list[dict[str, Any]]


class Compared:
    """Two sides with what is known of all their texts; sentences of patents come a block at a time."""

    def __init__(self, queries: Side, items: Side, config: PairsConfig, context: Context) -> None:
        self.queries, self.items, self.context = queries, items, context
        self._kept: dict[str, Any] = {}  # vectors of sentences of labelled patents, asked for again
        self._keeping = False
        self.encoder = text_encoder(config.lm, config.vectors, context.threads)
        with context.step(f"embed {len(items):,} sections"):
            self.item_pieces = embed_pieces(items.texts, self._stored("sections"))
            self.collection = collect(
                items.ids, items.titles, self._stored("sentences"), whole=self.item_pieces.whole,
                parts=[parts_of(text) for text in items.texts],
            )  # fmt: skip
        with context.step(f"embed {len(queries):,} patents", len(queries)):
            self.query_pieces = self._query_pieces()
        with context.step("retrieve", len(queries)):
            self.candidates, self.cosines = retrieve(
                self.query_pieces, self.item_pieces, config.retrieve,
                advance=context.progress.advance,
            )  # fmt: skip
        with context.step("count words"):
            self.words = word_counter([*self.collection.said, *queries.texts])
        self.pools = Pools(
            self.query_pieces.whole, self.item_pieces.whole, pools_of(self.candidates, len(items))
        )

    def embed(self, texts: Sequence[str]) -> Any:
        """Vectors of texts that the encoder can read whole."""
        new = [text for text in dict.fromkeys(texts) if text not in self._kept]
        note = self.context.progress.note
        vectors = self.encoder.embed(
            new, max_tokens=256, advance=lambda done: note(f"{done:,} of {len(new):,} texts")
        )
        found = dict(zip(new, vectors, strict=True))
        if self._keeping:
            self._kept |= found
        if not texts:
            return np.zeros((0, self.encoder.size), dtype=np.float32)
        return np.stack([found[text] if text in found else self._kept[text] for text in texts])

    def _stored(self, name: str) -> Callable[[Sequence[str]], Any]:
        """The same, kept in the run's folder of work: a resumed run embeds nothing twice."""
        path = self.context.work / f"{name}.npy"

        def embed(texts: Sequence[str]) -> Any:
            if path.exists():
                return np.load(path, allow_pickle=False)
            found = self.embed(texts)
            partial = path.with_suffix(".partial")
            with partial.open("wb") as file:
                np.save(file, found)
            partial.replace(path)
            return found

        return embed

    def _query_pieces(self) -> Pieces:
        parts = []
        for rows in _blocks(len(self.queries)):
            some = [self.queries.texts[row] for row in rows]
            parts.append(embed_pieces(some, self._stored(f"patents-{rows.start}")))
            self.context.progress.advance(rows.stop)
        offsets = np.cumsum([0, *(len(part.vectors) for part in parts)])
        starts = [part.start[:-1] + offset for part, offset in zip(parts, offsets, strict=False)]
        return Pieces(
            np.concatenate([*starts, offsets[-1:]]),
            np.concatenate([part.vectors for part in parts]),
            np.concatenate([part.whole for part in parts]),
        )

    def features(self, similar: Similar, at: int, row: int, items: Longs, n_rivals: int) -> Floats:
        """The features of a patent (its place in `similar`, and its row) with some sections."""
        own = with_rivals(similar(at, items), n_rivals)
        return np.hstack([own, self.pools(row, items)])

    def similar(self, rows: Sequence[int]) -> Similar:
        """Some patents, whose sentences are embedded now, and all sections."""
        some = collect(
            [self.queries.ids[row] for row in rows],
            [self.queries.texts[row] for row in rows],
            self.embed,
            whole=self.query_pieces.whole[list(rows)],
        )
        return Similar(some, self.collection, self.words)

    def features_of(self, labelled: Labelled) -> Floats:
        """The features (m, n_features) of labelled pairs, each beside what was retrieved for its patent."""
        queries, first = np.unique(labelled.query, return_inverse=True)
        found: list[Any] = [None] * len(labelled)
        self._keeping = True
        with self.context.step("compare the labelled pairs", len(queries)):
            for rows in _blocks(len(queries)):
                similar = self.similar(queries[rows.start : rows.stop].tolist())
                for at in rows:
                    mine = np.flatnonzero(first == at)
                    near = self.candidates[queries[at]]
                    # Labelled pairs stand behind the retrieved, and are no rivals themselves.
                    asked = np.concatenate([near, labelled.item[mine]])
                    features = self.features(
                        similar, at - rows.start, int(queries[at]), asked, len(near)
                    )
                    where = {int(item): k for k, item in enumerate(near)}
                    for k, pair in enumerate(mine.tolist()):
                        # One that was retrieved is its own rival there.
                        row = where.get(int(labelled.item[pair]), len(near) + k)
                        found[pair] = features[row]
                self.context.progress.advance(rows.stop)
        self._keeping = False
        return np.array(found)


def pools_of(candidates: Longs, n_items: int) -> list[Longs]:
    """For each item the queries that retrieved it."""
    k = candidates.shape[1]
    order = np.argsort(candidates.ravel(), kind="stable")
    bounds = np.searchsorted(candidates.ravel()[order], np.arange(1, n_items))
    return [rows // k for rows in np.split(order, bounds)]


def _blocks(n: int) -> Iterator[range]:
    return (range(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK))


def study(
    paths: Sequence[str], documents: DocumentsConfig, config: PairsConfig, context: Context
) -> Outcome:
    """Carry out the match into `context.folder`; the first path is of the patents, the others of sections.

    Raises `InputError` where texts, labels or a judge cannot be used.
    """
    from linkwise.matching.pairs_page import build_report

    if len(paths) < 2:
        raise InputError(
            "expected a table of patents and one or more files of sections, in this order."
        )
    check_judge(config)
    with context.step("read the texts"):
        read = read_documents(paths[0], documents, codes=False)
        queries = side_of_documents(read, documents.text[0])
        items = side_of_sections(read_sections(list(paths[1:]), config.section_id))
        labelled = None
        if config.labels is not None:
            columns = config.patent_column, config.section_column, config.label_column
            labelled = read_pairs(config.labels, queries, items, columns)
            fold, group = folds_of(labelled, items, config.split, config.folds, context.seed)
    folder = folder_of_judge(config)
    if labelled is not None and folder is None:
        check_folds(labelled, fold)  # before anything is embedded
    known = None if folder is None else load_judge(folder, config, queries, items, context)
    compared = Compared(queries, items, config, context)
    costs = config.cost_wrong_yes, config.cost_wrong_no
    judged, use = None, known
    if labelled is not None:
        pairs = Pairs(labelled.query, labelled.item, compared.features_of(labelled))
        models = _models(config, queries, items, context, known)
        tried = {}
        for name, make in models.items():
            with context.step(f"try {name}"):
                tried[name] = _tried(name, make, known, pairs, labelled, fold, group, costs)
        chosen = next(reversed(models))
        place = places_of(labelled, compared.candidates)
        rows = metrics_of(labelled, tried, place, compared, items, config, context.seed)
        judged = Judged(labelled, pairs, tried, chosen, place, rows)
        with context.step(f"learn from all pairs: {chosen}"):
            use = use or fitted(models[chosen](-1), pairs, labelled.label, group, fold == 0, costs)
    elif use is None and config.judge != WEIGHED:
        bare = config.model_copy(update={"epochs": 0})
        use = as_it_is(begin_judge(bare, queries, items, context, ""), costs)
    if use is not None and use.calibrated and not use.known:
        write_judge(use, config, context.folder / "model")
    write_index(compared, context.folder / "model")
    ranking = ranked(compared, config, use, context)
    nodes = pl.concat([queries.table("query"), items.table("item")])
    nodes.write_parquet(context.folder / "nodes.parquet", compression="zstd")
    evaluation = evaluation_of(queries, items, judged)
    simulated = is_simulated([Path(path) for path in paths])
    page = build_report(compared, config, ranking, judged, use, simulated)
    return Outcome([] if judged is None else judged.metrics, ranking, evaluation, page)


def write_index(compared: Compared, folder: Path) -> None:
    """Write `index.safetensors`: what `serving.Matcher` needs beside the texts to match new ones."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        "item_start": compared.item_pieces.start,
        "item_vectors": compared.item_pieces.vectors,
        "part_vectors": compared.collection.part_vectors,
        "query_whole": compared.query_pieces.whole,
        "candidates": compared.candidates.astype(np.int32),
    }
    partial = folder / "index.partial"
    save_file({name: np.ascontiguousarray(table) for name, table in tables.items()}, partial)
    partial.replace(folder / INDEX)


def _models(
    config: PairsConfig, queries: Side, items: Side, context: Context, known: Fitted | None
) -> dict[str, Callable[[int], Judge]]:
    """What is tried on the labelled pairs, the chosen judge last; a number tells trainings apart."""
    found: dict[str, Callable[[int], Judge]] = {
        WORDS: lambda fold: words_judge(),
        TEXT: lambda fold: text_judge(),
    }
    if known is not None:
        return found | {f"judge of {Path(config.judge).name}": lambda fold: known.judge}
    found[WEIGHED] = lambda fold: FeatureJudge()
    if config.judge == WEIGHED:
        return found
    name = str(config.model) if config.judge == "server" else Path(config.judge).name
    tuned = config.judge != "server" and config.epochs > 0
    if tuned and config.judge != "cross-encoder":
        bare = config.model_copy(update={"epochs": 0})
        found[f"{name}, as it is"] = lambda fold: begin_judge(bare, queries, items, context, "")
    label = f"{name}{', tuned' if tuned and config.judge != 'cross-encoder' else ''}"
    return found | {
        label: lambda fold: begin_judge(
            config,
            queries,
            items,
            context,
            f"{name} without fold {fold + 1}" if fold >= 0 else name,
        )
    }


def _tried(
    name: str,
    make: Callable[[int], Judge],
    known: Fitted | None,
    pairs: Pairs,
    labelled: Labelled,
    fold: Longs,
    group: Longs,
    costs: tuple[float, float],
) -> Tried:
    """Cross-fitted; a judge that was learned before, as it is."""
    if known is None or make(0) is not known.judge:
        return cross_fit(make, pairs, labelled, fold, group, costs)
    found = Tried(known.log_odds(pairs), np.zeros(len(pairs), dtype=np.bool_))
    found.threshold = np.full(len(pairs), known.threshold)
    found.yes = found.probability >= known.threshold
    return found


def places_of(labelled: Labelled, candidates: Longs) -> Longs:
    """The place (m,) of each labelled pair in its patent's retrieved list, from 0; -1 outside of it."""
    same = candidates[labelled.query] == labelled.item[:, None]
    found: Longs = np.where(same.any(axis=1), same.argmax(axis=1), -1)
    return found


def metrics_of(
    labelled: Labelled,
    tried: dict[str, Tried],
    place: Longs,
    compared: Compared,
    items: Side,
    config: PairsConfig,
    seed: int,
) -> list[dict[str, Any]]:
    """Rows of metrics.json: all labelled pairs, what was retrieved first, each document, and recall."""
    rows = _binary(labelled, tried, np.arange(len(labelled)), "all", config, seed)
    lost = place < 0
    cut = {
        name: Tried(np.where(lost, -50.0, model.log_odds), model.yes & ~lost, model.threshold)
        for name, model in tried.items()
    }
    rows += _binary(labelled, cut, np.arange(len(labelled)), END_TO_END, config, seed)
    documents = np.array([items.document[row] for row in labelled.item])
    for name in dict.fromkeys(sorted(documents.tolist())):
        inside = np.flatnonzero(documents == name)
        yes = labelled.label[inside].sum()
        if len(inside) >= FEWEST and 0 < yes < len(inside):
            some = _binary(labelled, tried, inside, f"document {name}", config, seed)
            rows += [row for row in some if row.metric in ("auc", "f1")]
    rows += _recall(labelled, compared, config, seed)
    found = [asdict(row) for row in rows]
    template = dict.fromkeys(found[0])
    for name, model in tried.items():
        wrong_yes = config.cost_wrong_yes * (model.yes * (1 - labelled.label))
        wrong_no = config.cost_wrong_no * (~model.yes * labelled.label)
        cost = float((wrong_yes + wrong_no).mean())
        found.append(
            template
            | {
                "model": name, "split": config.split, "slice": "all", "metric": "cost",
                "value": cost, "n": len(labelled),
            }
        )  # fmt: skip
    return found


def _binary(
    labelled: Labelled,
    tried: dict[str, Tried],
    rows: Longs,
    name: str,
    config: PairsConfig,
    seed: int,
) -> list[MetricRow]:
    """All metrics of some pairs; yes and no as each fold's own threshold has it."""
    from scipy.special import expit, logit

    units = np.unique(labelled.query[rows], return_inverse=True)[1]
    scores = {model: found.log_odds[rows] for model, found in tried.items()}
    odds = {model: found.probability[rows] for model, found in tried.items()}
    # About the threshold of each fold, so that one threshold of .5 is that of all.
    about = {}
    for model, found in tried.items():
        at = np.clip(found.threshold[rows], 1e-12, 1 - 1e-12)
        shifted = expit(found.log_odds[rows] - logit(at))
        yes = found.yes[rows]
        about[model] = np.where(yes, np.maximum(shifted, 0.5), np.minimum(shifted, 0.5 - 1e-9))
    wanted: list[MetricRow] = []
    for probabilities, by_threshold in ((odds, False), (about, True)):
        found_rows = evaluate_binary(
            labelled.label[rows],
            scores,
            probabilities,
            baseline=WORDS,
            split=config.split,
            slice=name,
            shares=(),
            samples=config.bootstrap,
            units=units,
            seed=seed,
        )
        wanted += [row for row in found_rows if (row.metric in BY_THRESHOLD) == by_threshold]
    order = {model: k for k, model in enumerate(tried)}
    return sorted(wanted, key=lambda row: order[row.model])


def _recall(
    labelled: Labelled, compared: Compared, config: PairsConfig, seed: int
) -> list[MetricRow]:
    """The share of the pairs with yes that is among the first k retrieved, by text vectors and by words."""
    asked = np.unique(labelled.query[labelled.label == 1])
    own = {int(row): k for k, row in enumerate(asked)}
    pairs = [
        (own[int(q)], int(i))
        for q, i, yes in zip(labelled.query, labelled.item, labelled.label, strict=True)
        if yes
    ]
    most = max(PLACES)
    by_text, _ = retrieve(_some(compared.query_pieces, asked), compared.item_pieces, most)
    said = [compared.queries.texts[row] for row in asked]
    by_words, _ = top_k_sparse(
        compared.words.transform(said), compared.words.transform(compared.collection.said), most
    )
    counts = np.bincount([q for q, _ in pairs], minlength=len(asked)).astype(np.float64)
    weights = np.concatenate(
        list(bootstrap_weights(np.random.default_rng(seed), len(asked), config.bootstrap))
    )
    lists = {"retrieved by words": by_words, "retrieved by text vectors": by_text}
    places = {
        name: np.array(
            [np.append(np.flatnonzero(found[q] == i), most)[0] for q, i in pairs], dtype=np.int64
        )
        for name, found in lists.items()
    }
    rows = []
    for k in sorted({*(p for p in PLACES if p < len(compared.items)), config.retrieve}):
        points, draws = {}, {}
        for name, place in places.items():
            hits = np.bincount(
                [q for q, _ in pairs], weights=(place < k).astype(np.float64), minlength=len(asked)
            )
            points[name] = hits.sum() / counts.sum()
            draws[name] = (weights @ hits) / np.maximum(weights @ counts, 1)
        base = "retrieved by words"
        for name in lists:
            other = points[name] - points[base]
            ends = percentile_interval(draws[name])
            if points[name] in (0, 1):  # of which no resample differs
                ends = proportion_interval(float(points[name]) * len(asked), len(asked))
            rows.append(
                MetricRow(
                    name, config.split, "all", "recall_at", k,
                    float(points[name]), *ends, len(pairs),
                    float(points[base]),
                    *((None, None, None) if name == base else
                      (float(other), *percentile_interval(draws[name] - draws[base]))),
                )
            )  # fmt: skip
    return rows


def _some(pieces: Pieces, rows: Longs) -> Pieces:
    """The pieces of some texts."""
    spans = [np.arange(pieces.start[row], pieces.start[row + 1]) for row in rows]
    start = np.concatenate([[0], np.cumsum([len(span) for span in spans])]).astype(np.int64)
    return replace(
        pieces, start=start, vectors=pieces.vectors[np.concatenate(spans)], whole=pieces.whole[rows]
    )


def ranked(
    compared: Compared, config: PairsConfig, use: Fitted | None, context: Context
) -> pl.LazyFrame:
    """The retrieved sections of every patent, the best first by the judge, with what speaks for each.

    `score` are the log-odds of yes; without a judge the cosine that retrieved. `query_part` and `item_part`
    are the sentences of both that go best with each other. The rows lie in files of the run's folder of
    work, a block of patents each: of many patents they are more than memory holds, and a resumed run judges
    no block twice.
    """
    model = TEXT if use is None else config.judge
    step = "list what was retrieved" if use is None else "judge what was retrieved"
    files = []
    with context.step(step, len(compared.queries)):
        for rows in _blocks(len(compared.queries)):
            path = context.work / f"ranking-{rows.start:09}.parquet"
            if not path.exists():
                partial = path.with_suffix(".partial")
                _ranked_block(compared, rows, use, model).write_parquet(partial)
                partial.replace(path)
            files.append(path)
            context.progress.advance(rows.stop)
    return pl.scan_parquet(files)


def _ranked_block(compared: Compared, rows: range, use: Fitted | None, model: str) -> pl.DataFrame:
    """The ranking of some patents."""
    queries, items = compared.queries, compared.items
    k = compared.candidates.shape[1]
    similar = compared.similar(rows)
    near = compared.candidates[rows.start : rows.stop]
    scores = compared.cosines[rows.start : rows.stop].astype(np.float64)
    if use is not None:
        features = np.concatenate(
            [compared.features(similar, at, row, near[at], k) for at, row in enumerate(rows)]
        )
        pairs = Pairs(np.repeat(np.arange(rows.start, rows.stop), k), near.ravel(), features)
        scores = use.log_odds(pairs).reshape(len(rows), k)
    order = np.argsort(-scores, axis=1, kind="stable")
    near = np.take_along_axis(near, order, axis=1)
    scores = np.take_along_axis(scores, order, axis=1)
    spoken = [similar.best_parts(at, int(item)) for at in range(len(rows)) for item in near[at]]
    p = pl.lit(None, pl.Float64)
    yes = pl.lit(None, pl.Boolean)
    if use is not None:
        p = 1 / (1 + (-pl.col("score")).exp())
        yes = p >= use.threshold
    return pl.DataFrame(
        {
            "query": np.repeat([queries.ids[row] for row in rows], k),
            "item": [items.ids[item] for item in near.ravel()],
            "title": [items.titles[item] for item in near.ravel()],
            "score": scores.ravel(),
            "rank": np.tile(np.arange(1, k + 1), len(rows)),
            "query_part": [mine for mine, _ in spoken],
            "item_part": [theirs for _, theirs in spoken],
        }
    ).select(
        pl.lit(model).alias("model"), "query", "item", "title", "score", "rank",
        p.alias("probability"), yes.alias("yes"), "query_part", "item_part",
    )  # fmt: skip


def evaluation_of(queries: Side, items: Side, judged: Judged | None) -> pl.DataFrame:
    """Every labelled pair by every model: `model, slice, query, item, rank, score, label`."""
    schema = {
        "model": pl.String, "slice": pl.String, "query": pl.String, "item": pl.String,
        "rank": pl.Int64, "score": pl.Float64, "label": pl.Int8,
    }  # fmt: skip
    if judged is None:
        return pl.DataFrame(schema=schema)
    labelled = judged.labelled
    parts = []
    for model, tried in judged.tried.items():
        frame = pl.DataFrame(
            {
                "model": model,
                "slice": "all",
                "query": [queries.ids[row] for row in labelled.query],
                "item": [items.ids[row] for row in labelled.item],
                "score": tried.log_odds,
                "label": labelled.label.astype(np.int8),
            }
        )
        # Among the labelled pairs of a patent; ties against the model.
        rank = (-pl.col("score")).rank("max").over("query").cast(pl.Int64).alias("rank")
        parts.append(frame.with_columns(rank))
    return pl.concat(parts).select(list(schema))
