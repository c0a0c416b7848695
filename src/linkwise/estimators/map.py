"""A map of patents and of their codes or pollutants: what is alike lies together, and areas have names.

Vectors become principal components, and these two coordinates by UMAP (McInnes, Healy and Melville 2018).
Topics are the dense areas of the map (HDBSCAN, Campello et al. 2013), named by class-based TF-IDF
(Grootendorst 2022). A code, or a pollutant, stands where its patents stand. The coordinates are made once
and saved.

Near points are alike; how far apart two distant areas lie, and which way, means little.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from linkwise.context import Context
from linkwise.errors import InputError, UsageError, optional
from linkwise.report import Figure, ScatterChart, ScatterSeries

Singles = np.ndarray[Any, np.dtype[np.float32]]
Floats = np.ndarray[Any, np.dtype[np.float64]]
Longs = np.ndarray[Any, np.dtype[np.int64]]
ROWS = 16_384  # vectors taken into float64 at once
WORDS = 10  # that name a topic
DRAWN = 5000  # patents on the figure
MARKED = 24  # codes, or pollutants, on the figure
CORE = 5  # neighbours of a point whose distance is its density
NO_TOPIC = -1

_PURPOSE = "a map"
# A word has its combining marks, which Python's \w leaves out: without them words of Hindi or Thai break up.
_MARKS = (
    "\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0963\u0966-\u0dff\u0e00-\u0e4e\u0e81-\u0ece"
)
_RUN = re.compile(rf"(?:[^\W_]|[{_MARKS}\u0f71-\u0fbc\u102b-\u103e\u17b4-\u17d3])+")
_SPACELESS = re.compile(
    "[\u0e00-\u0eff\u0f40-\u0fbc\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff]+"
)
# What is said in any patent, and names no topic.
_PATENT_WORDS = frozenset(
    [
        "according", "apparatus", "claim", "claimed", "claims", "comprise", "comprised",
        "comprises", "comprising", "device", "embodiment", "embodiments", "fig", "figure",
        "having", "include", "included", "includes", "including", "invention", "method",
        "methods", "plurality", "present", "preferably", "provide", "provided", "provides",
        "relates", "said", "system", "thereof", "use", "used", "using", "wherein", "whereby",
    ]
)  # fmt: skip


class MapConfig(BaseModel):
    """How the map is made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    components: int = Field(50, ge=2)
    """Principal components that UMAP sees; as many as there are, where vectors have fewer."""
    neighbours: int = Field(15, ge=2, le=200)
    """Nearest patents that UMAP keeps near: fewer show finer detail."""
    min_dist: float = Field(0.1, ge=0, le=1)
    """How close points may lie on the map, where 10 is about the width of a map of one cluster."""
    min_topic: int | None = Field(None, ge=2)
    """Patents of the smallest topic; by default half the square root of all, and at least 5."""


def check_installed() -> None:
    """Raise `ResourceError`, before any work, where the packages that make a map are missing."""
    for module in ("umap", "fast_hdbscan"):
        if find_spec(module) is None:  # not imported: UMAP takes ten seconds
            optional(module, "map", _PURPOSE)


def principal_components(vectors: np.ndarray[Any, Any], k: int) -> Singles:
    """The `k` principal components of vectors (n, size), the widest first: (n, min(k, size)).

    Exact, by the eigenvectors of the covariance, summed in float64 over pieces: beside `vectors`, which may
    be a memory map, it takes size x size numbers and the result. Of each eigenvector the largest entry is
    positive. Raises `InputError` where there is no vector, or one has a value that is not finite.
    """
    from scipy.linalg import eigh

    n, size = vectors.shape
    if not n or not size:
        raise InputError(f"vectors are {n:,} of {size} numbers; a map needs at least one of each.")
    mean = np.zeros(size)
    for first, piece in _pieces(vectors):
        bad = ~np.isfinite(piece).all(axis=1)
        if bad.any():
            raise InputError(
                f"vector {first + int(bad.argmax()) + 1:,} of {n:,} has a value that is not finite; "
                "a map needs numbers. Encode that text again, or leave it out."
            )
        mean += piece.sum(axis=0)
    mean /= n
    covariance = np.zeros((size, size))
    for _, piece in _pieces(vectors):
        piece -= mean
        covariance += piece.T @ piece
    k = min(k, size)
    axes = eigh(covariance / n, subset_by_index=[size - k, size - 1])[1][:, ::-1]  # (size, k)
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(k)] < 0, -1, 1)
    found = np.empty((n, k), dtype=np.float32)
    for first, piece in _pieces(vectors):
        found[first : first + len(piece)] = (piece - mean) @ axes
    return found


def _pieces(vectors: np.ndarray[Any, Any]) -> Iterator[tuple[int, Floats]]:
    """Each piece's first row, and the piece less the first of all vectors: what is the same is exactly 0."""
    origin = np.array(vectors[0], dtype=np.float64)
    for first in range(0, len(vectors), ROWS):
        yield first, np.array(vectors[first : first + ROWS], dtype=np.float64) - origin


def layout(
    components: Singles,
    config: MapConfig,
    seed: int,
    advance: Callable[[int], None] = lambda _: None,
) -> Singles:
    """Coordinates (n, 2) by UMAP of principal components (n, k), the widest first.

    Starts from the first two components (Kobak and Linderman 2021), takes all points at once and one core,
    so that one seed gives one map: 650,000 points took 7 minutes and 4 GiB. `advance` is told the
    per cent of UMAP's epochs that are done. No more points than `config.neighbours` have no neighbourhoods:
    they stand at their first two components, as do points that are all the same.
    """
    n = len(components)
    start = np.zeros((n, 2), dtype=np.float32)
    start[:, : components.shape[1]] = components[:, :2]
    spread = float(np.abs(start).max(initial=0))
    if n <= config.neighbours or spread == 0:
        return start
    umap = optional("umap", "map", _PURPOSE)
    # UMAP stretches the start over a square, which must have a width and a height; the noise is both
    # where points lie on a line.
    noise = np.random.default_rng(seed).normal(scale=1e-4, size=start.shape)
    epochs = 500 if n <= 10_000 else 200  # UMAP's own choice
    model = umap.UMAP(
        n_neighbors=config.neighbours,
        min_dist=config.min_dist,
        n_epochs=epochs,
        init=(10 * start / spread + noise).astype(np.float32),
        random_state=seed,
        n_jobs=1,  # several would write into each other's points: another map each time
        tqdm_kwds={
            "disable": False,
            "file": _Epochs(epochs, advance),
            "bar_format": "{n_fmt}",
            "mininterval": 1,
        },
    )
    return np.asarray(model.fit_transform(components), dtype=np.float32)


class _Epochs:
    """The file that UMAP's progress bar writes to: the number of the epoch, and nothing else."""

    def __init__(self, epochs: int, advance: Callable[[int], None]) -> None:
        self.epochs, self.advance = epochs, advance

    def write(self, text: str) -> None:
        if text.strip().isdigit():
            self.advance(100 * int(text) // self.epochs)

    def flush(self) -> None:
        pass


@dataclass(frozen=True)
class Topics:
    """Topics of a map: `labels` (n,) tell each point's topic, or -1 for none.

    `table` has a row per topic, the largest first, and 0 its number: `topic`, `n` (points), `words` (10, the
    most telling first; fewer where texts have no more), `x` and `y` (the median of its points).
    """

    labels: Longs
    table: pl.DataFrame


def topics(coordinates: Singles, texts: Sequence[str], config: MapConfig) -> Topics:
    """Dense areas of the map (n, 2), and the words that set the texts (n,) of each apart.

    Points between the areas have no topic. Where the points form no two areas, such as few points or one
    even cloud, none has, and the table is empty. English stop words, and words of any patent, name nothing;
    of writing without spaces, such as Chinese or Thai, each two neighbouring characters are a word. Raises
    `UsageError` where coordinates and texts are not equally many.
    """
    if len(coordinates) != len(texts):
        raise UsageError(
            f"{len(coordinates):,} coordinates came with {len(texts):,} texts; a map needs one text for "
            "each point."
        )
    labels = _by_size(_clusters(coordinates, config))
    n_topics = int(labels.max(initial=NO_TOPIC)) + 1
    members = [np.flatnonzero(labels == topic) for topic in range(n_topics)]
    centres = [np.median(coordinates[rows], axis=0) for rows in members]
    return Topics(
        labels,
        pl.DataFrame(
            {
                "topic": range(n_topics),
                "n": [len(rows) for rows in members],
                "words": _telling_words(texts, members),
                "x": [float(x) for x, _ in centres],
                "y": [float(y) for _, y in centres],
            },
            schema={
                "topic": pl.Int32,
                "n": pl.Int64,
                "words": pl.List(pl.String),
                "x": pl.Float32,
                "y": pl.Float32,
            },
        ),
    )


def _clusters(coordinates: Singles, config: MapConfig) -> Longs:
    n = len(coordinates)
    smallest = config.min_topic or max(5, math.isqrt(n) // 2)
    if n < 2 * smallest or np.ptp(coordinates) == 0:  # not two areas
        return np.full(n, NO_TOPIC, dtype=np.int64)
    hdbscan = optional("fast_hdbscan", "map", "topics of a map")
    numba = optional("numba", "map", "topics of a map")
    # Left to itself, the density of a point is that of as many neighbours as the smallest topic has: tables
    # of 650,000 x 400. On 3,731 real patents (TF-IDF vectors) 5 neighbours and half the square root gave 29
    # topics, the largest a fifth of the patents; 10 and the square root gave 9, one with two thirds. Leaves
    # of the tree, instead of the most stable clusters, left a third of the patents without a topic.
    model = hdbscan.HDBSCAN(min_cluster_size=smallest, min_samples=min(CORE, smallest))
    # Several threads share bounds as they go, so that ties fall one way or another; one thread always finds
    # the same. The package's own way to that, `reproducible`, took 15 times as long for 20,000 points, and
    # did not end for 650,000.
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        found = model.fit(coordinates.astype(np.float64))
    finally:
        numba.set_num_threads(threads)
    return np.asarray(found.labels_, dtype=np.int64)


def _by_size(labels: Longs) -> Longs:
    """The same topics, numbered by size, the largest 0."""
    if not (labels >= 0).any():
        return labels
    order = np.argsort(-np.bincount(labels[labels >= 0]), kind="stable")
    number = np.empty(len(order) + 1, dtype=np.int64)
    number[order], number[-1] = np.arange(len(order)), NO_TOPIC
    return number[labels]


def words(text: str) -> list[str]:
    """The words of a text that may name a topic, in lower case; those of scripts without spaces as pairs."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    found: list[str] = []
    for run in _RUN.findall(unicodedata.normalize("NFKC", text).lower()):
        last = 0
        for part in _SPACELESS.finditer(run):
            found.append(run[last : part.start()])
            found += [part[0][i : i + 2] for i in range(len(part[0]) - 1)]
            last = part.end()
        found.append(run[last:])
    return [
        word
        for word in found
        if len(word) > 1
        and not word.isdigit()
        and word not in ENGLISH_STOP_WORDS
        and word not in _PATENT_WORDS
    ]


def _telling_words(texts: Sequence[str], members: Sequence[Longs]) -> list[list[str]]:
    """The words of each topic that weigh most; of equal ones the first in the alphabet."""
    from sklearn.feature_extraction.text import CountVectorizer

    def of_topic(rows: Longs) -> Iterator[str]:  # a topic's texts as one, never in memory as such
        for row in rows.tolist():
            yield from words(texts[row])

    counter = CountVectorizer(analyzer=of_topic)
    try:
        weights = class_tf_idf(counter.fit_transform(members))
    except ValueError:  # of scikit-learn: no text has a word, or there is no topic
        return [[] for _ in members]
    names = counter.get_feature_names_out()
    found = []
    for topic in range(len(members)):
        begin, end = weights.indptr[topic], weights.indptr[topic + 1]
        order = np.lexsort((weights.indices[begin:end], -weights.data[begin:end]))[:WORDS]
        found.append([str(name) for name in names[weights.indices[begin:end][order]]])
    return found


def class_tf_idf(counts: Any) -> Any:
    """Weights of words in topics (topics, words), sparse: tf log(1 + A / f) (Grootendorst 2022, eq. 2).

    `counts` (topics, words) is a sparse table of tf, how often a word stands in a topic; f is how often it
    stands in all, and A how many words a topic has in the mean.
    """
    from scipy.sparse import csr_array

    table = csr_array(counts, dtype=np.float64)
    per_word = np.asarray(table.sum(axis=0)).ravel()
    mean = per_word.sum() / table.shape[0]
    weights = np.log1p(mean / np.maximum(per_word, 1))
    return csr_array(
        (table.data * weights[table.indices], table.indices, table.indptr), table.shape
    )


def place(
    coordinates: Singles, labels: Longs, code_sets: Sequence[Collection[str]]
) -> pl.DataFrame:
    """Where codes stand on the patents' map: `id`, `n` (patents), `x`, `y`, `topic`, by code.

    `code_sets` are the codes, or pollutants, of each patent, of `coordinates` (n, 2) and topics `labels`
    (n,). A code stands at the geometric median of its patents, the point with the least sum of distances to
    them: a few patents in another field do not draw it away, as they would a mean. Its topic is the most
    frequent one of its patents. (Vectors of codes need not lie among vectors of patents, so that UMAP's own
    transform of them would place them by accident; where a code's patents stand is known.)
    """
    names = sorted({code for codes in code_sets for code in codes})
    number = {name: i for i, name in enumerate(names)}
    pairs = [(number[code], row) for row, codes in enumerate(code_sets) for code in set(codes)]
    pairs.sort()
    code, row = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    n = np.bincount(code, minlength=len(names))
    at = _geometric_medians(coordinates[row].astype(np.float64), code, n)
    order = np.lexsort((labels[row], code))
    topic = np.full(len(names), NO_TOPIC, dtype=np.int64)
    kinds, counts = np.unique(
        np.column_stack([code[order], labels[row][order]]), axis=0, return_counts=True
    )
    # By rising count, so that the most frequent is written last; of equal ones the larger topic.
    for i in np.lexsort((-kinds[:, 1], counts)):
        if kinds[i, 1] != NO_TOPIC:
            topic[kinds[i, 0]] = kinds[i, 1]
    return pl.DataFrame(
        {"id": names, "n": n, "x": at[:, 0], "y": at[:, 1], "topic": topic},
        schema={
            "id": pl.String,
            "n": pl.Int64,
            "x": pl.Float32,
            "y": pl.Float32,
            "topic": pl.Int32,
        },
    )


def _geometric_medians(points: Floats, group: Longs, n: Longs) -> Floats:
    """The geometric median of the points (m, 2) of each group (m,), by Weiszfeld's iteration: (groups, 2)."""
    far = float(np.ptp(points, axis=0).max(initial=0)) if len(points) else 0.0

    def means(weights: Floats) -> Floats:
        total = np.bincount(group, weights, minlength=len(n))
        sums = [np.bincount(group, weights * points[:, axis], len(n)) for axis in (0, 1)]
        return np.column_stack(sums) / total[:, None]

    at = means(np.ones(len(points)))
    for _ in range(200):
        distance = np.linalg.norm(points - at[group], axis=1)
        before, at = at, means(1 / np.maximum(distance, 1e-7 * far + 1e-12))
        if np.abs(at - before).max(initial=0) <= 1e-5 * far:
            break
    return at


def write_map(
    folder: Path,
    ids: Sequence[str],
    titles: Sequence[str],
    coordinates: Singles,
    found: Topics,
    marks: pl.DataFrame,
    mark_titles: Mapping[str, str],
    years: Sequence[int | None] | None = None,
    patent_codes: Sequence[Sequence[str]] | None = None,
    kind: str = "code",
) -> None:
    """Write ``folder/map.parquet`` and ``folder/topics.parquet``, to be drawn without computing anything.

    map.parquet has a row per patent, as they come, and then per mark (`place`): `id`, `kind` ("patent", or
    that of the marks), `x`, `y`, `topic` (-1: none), `title` (null for a mark that `mark_titles` lacks),
    `year` and `codes` of a patent where they are given.
    topics.parquet is `Topics.table`.
    """
    schema: dict[str, Any] = {
        "id": pl.String,
        "kind": pl.String,
        "x": pl.Float32,
        "y": pl.Float32,
        "topic": pl.Int32,
        "title": pl.String,
        "year": pl.Int32,
        "codes": pl.List(pl.String),
    }
    none = [None] * len(coordinates)
    patents = pl.DataFrame(
        {
            "id": pl.Series(ids, dtype=pl.String),
            "kind": pl.repeat("patent", len(coordinates), eager=True),
            "x": coordinates[:, 0],
            "y": coordinates[:, 1],
            "topic": found.labels,
            "title": pl.Series(titles, dtype=pl.String),
            "year": none if years is None else years,
            "codes": none if patent_codes is None else patent_codes,
        },
        schema_overrides=schema,
    )
    names = marks["id"].to_list()
    below = marks.select(
        id="id",
        kind=pl.lit(kind),
        x="x",
        y="y",
        topic="topic",
        title=pl.Series([mark_titles.get(name) for name in names], dtype=pl.String),
        year=pl.lit(None, pl.Int32),
        codes=pl.lit(None, pl.List(pl.String)),
    )
    folder.mkdir(parents=True, exist_ok=True)
    pl.concat([patents, below]).write_parquet(folder / "map.parquet", compression="zstd")
    found.table.write_parquet(folder / "topics.parquet", compression="zstd")


def figure(
    coordinates: Singles,
    found: Topics,
    seed: int,
    marks: pl.DataFrame | None = None,
    kind: str = "code",
) -> Figure:
    """The map as a figure of a report: patents coloured by topic, and topics' first words at their centres.

    Of more than 5,000 patents as many are drawn by lot, which the caption says. Of `marks` (`place`) those
    with the most patents are marked where they stand.
    """
    n, n_topics = len(coordinates), found.table.height
    rows = np.arange(n)
    if n > DRAWN:
        rows = np.sort(np.random.default_rng(seed).choice(n, DRAWN, replace=False))
    series = []
    names = [_name(topic, said) for topic, said in found.table.select("topic", "words").iter_rows()]
    for topic, name in [*enumerate(names), (NO_TOPIC, "no topic")]:
        mine = coordinates[rows[found.labels[rows] == topic]].astype(np.float64)
        if len(mine):
            grey = topic == NO_TOPIC
            series.append(ScatterSeries(name=name, x=mine[:, 0], y=mine[:, 1], baseline=grey))
    marked = (
        [] if marks is None else marks.sort("n", "id", descending=[True, False])[:MARKED].rows()
    )
    series += [ScatterSeries(name=name, x=[x], y=[y], mark=True) for name, _, x, y, _ in marked]
    drawn = f"{len(rows):,} of {n:,} patents, drawn by lot" if n > DRAWN else f"{n:,} patents"
    counted = f"{n_topics} topics" if n_topics != 1 else "1 topic"
    without = float((found.labels == NO_TOPIC).mean()) if n else 0.0
    sizes = found.table["n"].to_list()
    largest = "; ".join(
        f"{name} ({size / n:.1%})" for name, size in zip(names[:8], sizes[:8], strict=True)
    )
    alt = f"A map of {n:,} patents in {counted}. {without:.0%} of them have none."
    note = "Near patents are alike; axes have no meaning, and distances between far areas little."
    if marked:
        note += (
            f" Dark points: where the patents of the {len(marked)} {kind}s with the most patents stand; "
            "names where "
            "there is room."
        )
    if n_topics:
        alt += f" The largest, with their share of patents: {largest}."
    else:
        note += " The patents form no two dense areas, so there are no topics."
    return Figure(
        caption=f"Map of {drawn}, in {counted}",
        alt=alt,
        chart=ScatterChart(series=series),
        note=note,
    )


def draw_map(
    vectors: Singles,
    patents: pl.DataFrame,
    texts: Sequence[str],
    code_sets: Sequence[Collection[str]],
    context: Context,
    *,
    kind: str = "code",
    titles: Mapping[str, str] | None = None,
) -> Figure:
    """The map of patents (n, size) with what they carry: both files in `context.folder`, and the figure.

    `patents` have `id`, `title` and, where known, `year` and `codes`; their `texts` (n,) name the topics.
    `code_sets` (n,) are what is marked on the map, of a `kind` ("code" or "pollutant") with these `titles`.
    """
    settings = MapConfig()
    with context.step("draw the map", 100):
        components = principal_components(vectors, settings.components)
        at = layout(components, settings, context.seed, context.progress.advance)
        found = topics(at, texts, settings)
        marks = place(at, found.labels, code_sets)
        write_map(
            context.folder,
            patents["id"].to_list(),
            patents["title"].to_list(),
            at,
            found,
            marks,
            titles or {},
            patents["year"].to_list() if "year" in patents.columns else None,
            patents["codes"].to_list() if "codes" in patents.columns else None,
            kind,
        )
        return figure(at, found, context.seed, marks, kind)


def _name(topic: int, said: Sequence[str]) -> str:
    """Two words, the second no longer form of the first."""
    if not said:
        return f"topic {topic}"
    return ", ".join([said[0], *[word for word in said[1:] if not word.startswith(said[0])][:1]])
