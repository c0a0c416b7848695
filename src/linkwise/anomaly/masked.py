"""`masked`: how well a graph's own edges are completed by a network that learned to complete normal ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from linkwise.anomaly.base import Contributions, Detector, Floats
from linkwise.anomaly.config import DetectorConfig
from linkwise.anomaly.masked_pairs import judged_pairs
from linkwise.context import Context
from linkwise.data.graphs import Graphs, Longs
from linkwise.errors import InputError, optional

BINS = 10
QUANTILES = np.array([0.1, 0.25, 0.5, 0.75, 0.9])
DECIMALS = 9  # of a probability: sums in another order of nodes differ further on
HEADS = 4  # of GAT
BATCH_PAIRS = 50_000  # pairs judged at a time
FLOOR = 1e-3  # added to the training graphs' deviations
MESSAGES = 100_000  # of masked neighbourhoods at a time
UNDECIDED = float(np.log(2))  # nats: the score of a graph without a pair of nodes, as of a coin


class MaskedConfig(DetectorConfig):
    """Masked completion."""

    mode: Literal["full-mask", "full-edge-prediction"] = "full-mask"
    """`full-mask` takes an edge away before completing it; `full-edge-prediction` leaves it to the layers."""
    score: Literal["knn", "likelihood"] = "knn"
    """`knn` distance to the nearest training graphs' completions; `likelihood` mean negative log-likelihood
    of edges and of pairs without one, nats."""
    neighbours: int = Field(5, ge=1)
    """Nearest training graphs whose distance counts."""
    counts: bool = True
    """Also tell the pair network how many paths of two and of three edges join the pair."""
    network: Literal["gin", "sage", "gat"] = "gin"
    """Kind of layers."""
    layers: int = Field(2, ge=1, le=6)
    """Layers of message passing; a node sees as many steps far."""
    size: int = Field(32, ge=4)
    """Numbers of a node at each layer; for `gat` a multiple of 4."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the pair network's first hidden values that are dropped in training."""
    epochs: int = Field(30, ge=1)
    """Passes over the training graphs."""
    batch_size: int = Field(16, ge=1)
    """Graphs at a time in training."""
    samples: int = Field(64, ge=1)
    """Edges drawn of a graph at each pass of training, and as many pairs without one."""
    learning_rate: float = Field(3e-3, gt=0)
    """Largest step of Adam; it falls to 0 by a cosine."""
    edges: int = Field(2_000, ge=10)
    """Edges of a graph that are judged: all up to so many, and so many drawn of more."""
    pairs: int = Field(100_000, ge=10)
    """Pairs of nodes up to which all without an edge are judged; of larger graphs as many are drawn as edges
    are judged."""
    seed: int = Field(0, ge=0)
    """Seed of weights and draws, beside that of the run."""

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.network == "gat" and self.size % HEADS:
            raise ValueError(f"size {self.size} is no multiple of {HEADS}, the heads of gat")
        return self


@dataclass(frozen=True)
class Completions:
    """Pairs of nodes of graphs and how likely an edge between them is.

    `pairs` (n, 2) are nodes, `graph` (n,) their graphs, `there` (n,) whether the edge is there, `log_odds`
    (n,) what the network says of it, and `weight` (n,) the share of each in its graph: those of edges sum to
    1, and so do those of pairs without.
    """

    pairs: Longs
    graph: Longs
    there: Any
    weight: Floats
    log_odds: Floats

    @property
    def probability(self) -> Floats:
        """Of an edge (n,), to 9 decimals, where edges and pairs without one are as many."""
        from scipy.special import expit

        return np.asarray(np.round(expit(self.log_odds), DECIMALS))

    @property
    def loss(self) -> Floats:
        """Negative log-likelihood of what is there (n,), nats."""
        return np.logaddexp(0.0, np.where(self.there, -self.log_odds, self.log_odds))


class Masked(Detector):
    """Completes edges (u, v) against pairs (u, w), and judges a graph by how well its own are completed.

    A GNN gives vectors of nodes, an MLP the log-odds of a pair from both, from 1 / the shortest path between
    them that is not the edge itself (0 if none), and from a vector of the whole graph (pooled vectors, log n,
    density), which is the same for all its pairs and tells none from another. Nodes come in by label, degree
    and a constant.

    With `full-mask` the vectors of an edge's ends are those of the graph without it, exactly: of each edge
    the neighbourhood that the layers can see is cut out, the edge left away, and run by itself. A pair
    without an edge has none to take away. So both are judged by the graph without the pair itself, and the
    mean log-likelihood is a pseudo-likelihood. With `full-edge-prediction` one pass over the graph serves all
    its pairs; only the path leaves the edge out.

    A graph is judged by all its edges, and all pairs without one, each as often as it would be drawn if each
    end u of each edge drew its w at random; of large graphs by a sample, drawn by a seed that is the graph's
    own (its Weisfeiler-Lehman key). Its summary (30,) are a histogram of 10 bins and 5 quantiles of the
    probabilities of edges, and those of pairs without one; 0 and one half where there are none. Distances are
    between summaries whose histograms are summed up from the left, each number in deviations of the training
    graphs': of type 2c against 3 that gave an AUROC of .999, histograms as they are .916.
    """

    name: ClassVar[str] = "masked"
    Config: ClassVar[type[DetectorConfig]] = MaskedConfig
    config: MaskedConfig
    _judge: Floats | None = None  # weights of a summary and a constant, where anomalies are known

    def __init__(self, config: MaskedConfig | None = None) -> None:
        self.config = config or MaskedConfig()

    def fit_with_anomalies(
        self, graphs: Graphs, anomalies: Graphs, context: Context | None = None
    ) -> Self:
        """Learn from normal graphs, and to tell their summaries from those of a few known anomalies.

        Scores are then log-odds of a logistic regression on summaries (each number in deviations), edges
        completed by the network of normal graphs alone. The network learns from three quarters of the normal
        graphs, and the regression from the rest, whose edges it completes as it will those of others: graphs
        that it learned from would be told from the anomalies by that alone. `decision_scores_` of the rest
        are those of a regression without the graph (5 folds, or as many as there are anomalies), and
        `threshold_` is taken of them.

        Raises `InputError` where there are fewer than two anomalies, or eight normal graphs.
        """
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedKFold, cross_val_predict

        if len(anomalies) < 2:
            raise InputError(
                f"{len(anomalies)} known anomalies; expected two or more. Use fit without them."
            )
        if len(graphs) < 8:
            raise InputError(
                f"{len(graphs)} normal graphs; to learn from known anomalies, too, takes eight or more."
            )
        context = context or Context(Path())
        order = context.rng("known anomalies").permutation(len(graphs))
        out = np.sort(order[: -(-len(graphs) // 4)])
        learned = np.setdiff1d(order, out)
        self.fit(graphs.select(learned), context)
        summary = np.concatenate([self.summaries(graphs.select(out)), self.summaries(anomalies)])
        strange = np.arange(len(summary)) >= len(out)
        deviation = self._summaries.std(axis=0)
        mean = self._summaries.mean(axis=0)
        scale = np.where(deviation > 1e-6, deviation, summary.std(axis=0).clip(1e-6))
        # By classes of like weight: anomalies are few.
        model = LogisticRegression(class_weight="balanced", max_iter=1000)
        folds = StratifiedKFold(min(5, len(anomalies), len(out)), shuffle=True, random_state=0)
        scaled = (summary - mean) / scale
        held_out = cross_val_predict(model, scaled, strange, cv=folds, method="decision_function")
        model.fit(scaled, strange)
        weights = model.coef_[0] / scale
        self._judge = np.append(weights, model.intercept_[0] - mean @ weights)
        self.decision_scores_ = np.empty(len(graphs))
        self.decision_scores_[out] = held_out[: len(out)]
        self.decision_scores_[learned] = self._summaries @ weights + self._judge[-1]
        self.threshold_ = float(
            np.quantile(held_out[: len(out)], 1 - self.config.contamination, method="higher")
        )
        return self

    def completions(self, graphs: Graphs, graph: int) -> Completions:
        """What is judged of one graph, its nodes numbered from 0; raises `UsageError` before `fit`."""
        return next(self.completions_of(graphs.select([graph])))

    def completions_of(self, graphs: Graphs) -> Iterator[Completions]:
        """What is judged of each graph, one after another; raises `UsageError` before `fit`."""
        self._check_fitted()
        for rows, found in self._completions(graphs):
            for row in range(rows.stop - rows.start):
                at = np.flatnonzero(found.graph == row)
                yield Completions(
                    found.pairs[at],
                    np.zeros(len(at), dtype=np.int64),
                    found.there[at],
                    found.weight[at],
                    found.log_odds[at],
                )

    def summaries(self, graphs: Graphs) -> Floats:
        """The distribution of each graph's completions (n, 30); raises `UsageError` before `fit`."""
        self._check_fitted()
        return self._summed(graphs)[0]

    def standardised(self, summary: Floats) -> Floats:
        """Summaries (n, 30), histograms summed up, in deviations of the training graphs'."""
        train, given = _summed_up(self._summaries), _summed_up(summary)
        found: Floats = (given - train.mean(axis=0)) / (train.std(axis=0) + FLOOR)
        return found

    def contributions(self, graphs: Graphs, graph: int) -> Contributions | None:
        """What each pair of nodes adds to the score; None where anomalies were known in training.

        Of `likelihood` a pair adds its loss. A distance is linear in the shares below each bin once the
        nearest training graphs and the distances to them are held: with g the mean over these of
        (z - z') / |z - z'|, the distance is z g plus what does not depend on the graph. So a pair adds its
        weight times the sum of g / deviation over the bins from its own on, less what a pair of the average
        training graph adds. What the quantiles add belongs to the whole.
        """
        self._check_fitted()
        if self._judge is not None:
            return None
        found = self.completions(graphs, graph)
        node = np.zeros(int(graphs.n_nodes[graph]))
        if self.config.score == "likelihood":
            terms = found.loss * _shares(found, 1)
            whole = 0.0 if len(terms) else UNDECIDED
            return Contributions(whole, node, found.pairs, terms, found.there)
        summary = _summary(found, 1)
        apart = self.standardised(summary) - self.standardised(self._summaries)
        distance = np.sqrt((apart**2).sum(axis=1))
        nearest = np.argsort(distance, kind="stable")
        nearest = nearest[: min(self.config.neighbours, len(nearest))]
        score = float(distance[nearest].mean())
        used = nearest[distance[nearest] > 0]
        slope = (apart[used] / distance[used][:, None]).sum(axis=0) / len(nearest)
        train = _summed_up(self._summaries)
        slope = slope / (train.std(axis=0) + FLOOR)
        usual = train.mean(axis=0)
        terms = np.zeros(len(found.there))
        bins = _bins(found.probability)
        for first, kind in ((0, True), (BINS + len(QUANTILES), False)):
            block = slice(first, first + BINS)
            from_bin = np.cumsum(slope[block][::-1])[::-1] - float(slope[block] @ usual[block])
            at = np.asarray(found.there) == kind
            terms[at] = found.weight[at] * from_bin[bins[at]]
        return Contributions(score - float(terms.sum()), node, found.pairs, terms, found.there)

    def sections(self, normal: Graphs, strange: Graphs) -> tuple[Any, ...]:
        """How edges are completed in graphs of both kinds."""
        from linkwise.anomaly.masked_page import completion_sections

        self._check_fitted()
        return completion_sections(self, normal, strange)

    def _fit(self, graphs: Graphs, context: Context) -> Floats:
        edges, n = graphs.n_edges, graphs.n_nodes
        if not edges.any():
            raise InputError("no graph has an edge; masked completion has nothing to complete.")
        if (2 * edges == n * (n - 1)).all():
            raise InputError(
                "all graphs are complete; without a pair that has no edge there is nothing to tell edges "
                "from. Use another detector."
            )
        optional("torch", "anomaly", "masked completion")
        from linkwise.anomaly.masked_training import train

        self._names = list(graphs.node_names)
        self._judge = None
        with context.step("masked completion", self.config.epochs):
            seed = int(context.rng(f"masked {self.config.seed}").integers(2**31))
            self._network = train(graphs, self._labels(graphs), self.config, seed, context)
        self._summaries, likelihood = self._summed(graphs)
        if self.config.score == "likelihood":
            return likelihood
        return self._distances(self._summaries, without_self=True)

    def _labels(self, graphs: Graphs) -> Floats:
        """One-hot labels by the names of training (n_nodes, k + 1); the last column is of others."""
        n = int(graphs.first[-1])
        if not self._names:
            return np.zeros((n, 0))
        number = {name: k for k, name in enumerate(self._names)}
        column = np.full(n, len(self._names))
        if graphs.node_label is not None:
            known = [number.get(name, len(self._names)) for name in graphs.node_names]
            column = np.array(known)[graphs.node_label]
        found: Floats = np.eye(len(self._names) + 1)[column]
        return found

    def _scores(self, graphs: Graphs) -> Floats:
        summary, likelihood = self._summed(graphs)
        if self._judge is not None:
            return np.asarray(summary @ self._judge[:-1] + self._judge[-1])
        if self.config.score == "likelihood":
            return likelihood
        return self._distances(summary, without_self=False)

    def _summed(self, graphs: Graphs) -> tuple[Floats, Floats]:
        """Summaries (n, 30) and mean negative log-likelihoods (n,)."""
        summary = np.zeros((len(graphs), 2 * (BINS + len(QUANTILES))))
        likelihood = np.full(len(graphs), UNDECIDED)
        for rows, found in self._completions(graphs):
            n = rows.stop - rows.start
            summary[rows] = _summary(found, n)
            total = np.bincount(found.graph, found.loss * _shares(found, n), n)
            some = np.bincount(found.graph, minlength=n) > 0
            likelihood[rows][some] = total[some]
        return summary, likelihood

    def _distances(self, summary: Floats, *, without_self: bool) -> Floats:
        """The mean distance to the nearest training summaries (n,)."""
        from scipy.spatial.distance import cdist

        distance = cdist(self.standardised(summary), self.standardised(self._summaries))
        if without_self:
            np.fill_diagonal(distance, np.inf)
        k = min(self.config.neighbours, len(self._summaries) - without_self)
        return np.asarray(np.sort(distance, axis=1)[:, :k].mean(axis=1))

    def _completions(self, graphs: Graphs) -> Iterator[tuple[slice, Completions]]:
        """Completions of graphs one after another, as many graphs at a time as memory is meant for."""
        from linkwise.anomaly.masked_training import log_odds

        c = self.config
        counts = np.minimum(graphs.n_nodes * (graphs.n_nodes - 1) // 2, c.pairs) + graphs.n_edges
        begin = 0
        while begin < len(graphs):
            within = np.cumsum(counts[begin:]) <= BATCH_PAIRS
            end = begin + max(1, int(within.sum()))
            part = graphs.select(np.arange(begin, end))
            pairs, graph, there, weight, lengths = judged_pairs(part, c)
            odds = log_odds(
                self._network, part, self._labels(part), c.mode, pairs, there, lengths, MESSAGES
            )
            pairs = pairs - part.first[graph][:, None]
            yield slice(begin, end), Completions(pairs, graph, there, weight, odds)
            begin = end

    def _save(self, folder: Path) -> dict[str, Any]:
        from safetensors.torch import save_file

        save_file(self._network.state_dict(), folder / "network.safetensors")
        np.save(folder / "summaries.npy", self._summaries)
        return {
            "names": self._names,
            "judge": None if self._judge is None else self._judge.tolist(),
        }

    def _load(self, folder: Path, own: dict[str, Any]) -> None:
        optional("torch", "anomaly", "masked completion")
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from linkwise.anomaly.masked_training import network_of

        self._names = list(own["names"])
        self._judge = None if own["judge"] is None else np.array(own["judge"])
        self._summaries = np.load(folder / "summaries.npy", allow_pickle=False)
        labels = len(self._names) + 1 if self._names else 0
        self._network = network_of(self.config, labels).double().eval()
        try:
            self._network.load_state_dict(load_file(folder / "network.safetensors"))
        except (SafetensorError, RuntimeError) as error:
            raise ValueError(f"network.safetensors: {error}") from error


def _shares(found: Completions, n: int) -> Floats:
    """What a pair's loss counts in its graph's: edges and others make a half each, if there are both."""
    some = [
        np.bincount(found.graph[found.there == kind], minlength=n) > 0 for kind in (True, False)
    ]
    both = (some[0] & some[1])[found.graph]
    return found.weight * np.where(both, 0.5, 1.0)


def _summed_up(summary: Floats) -> Floats:
    """Shares of probabilities up to each bin, so that neighbouring bins are near; quantiles as they are."""
    found = summary.copy()
    for first in (0, BINS + len(QUANTILES)):
        found[:, first : first + BINS] = np.cumsum(summary[:, first : first + BINS], axis=1)
    return found


def _bins(probability: Floats) -> Longs:
    """The bin of each probability."""
    return np.minimum((probability * BINS).astype(np.int64), BINS - 1)


def _summary(found: Completions, n: int) -> Floats:
    """Histograms and quantiles of the probabilities of edges, then of others (n, 30)."""
    parts = []
    probability = found.probability
    for kind in (True, False):
        at = np.flatnonzero(found.there == kind)
        graph, p, weight = found.graph[at], probability[at], found.weight[at]
        bins = _bins(p)
        parts.append(np.bincount(graph * BINS + bins, weight, n * BINS).reshape(n, BINS))
        order = np.lexsort((weight, p, graph))
        starts = np.searchsorted(graph[order], np.arange(n + 1))
        quantiles = np.full((n, len(QUANTILES)), 0.5)
        for row in np.flatnonzero(np.diff(starts)):
            own = order[starts[row] : starts[row + 1]]
            # Between the middles of the weights, as numpy's method "hazen".
            middle = np.cumsum(weight[own]) - weight[own] / 2
            quantiles[row] = np.interp(QUANTILES, middle, p[own])
        parts.append(quantiles)
    return np.concatenate(parts, axis=1)
