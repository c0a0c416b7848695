"""`blend`: several recommenders in one list, by weights (Music Box: popularity, item-item, nmf with svd)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from linkwise.context import Context
from linkwise.data.interactions import Histories, Interactions, Longs, Singles, chunks
from linkwise.data.queries import Queries
from linkwise.errors import InputError
from linkwise.metrics.ranking import full_ranks, per_query
from linkwise.recommend.base import Arrays, ModelConfig, Recommender

OVERLAP = "nmf+svd"  # the items that two models agree on, as one part of the blend
TOP = 100  # of each list, for the overlap
CONSTANT = 60  # of the reciprocal rank (Cormack, Clarke and Buettcher 2009)
TUNED_QUERIES = 1000
TUNED_WEIGHTS = 50  # that --blend tune tries


class BlendConfig(ModelConfig):
    """Weights of recommenders in one list."""

    weights: dict[str, float] = Field({"popularity": 0.2, "item-item": 0.2, OVERLAP: 0.6})
    """Weight of each part: a recommender, or two with a + between them: the items in the first hundred of
    both by their mean rank, filled up by mean rank."""
    combine: Literal["reciprocal-rank", "score"] = "reciprocal-rank"
    """What is weighted: 1 / (60 + rank), or the scores, moved to lie between 0 and 1."""
    tune: int = Field(0, ge=0)
    """Random weights that are tried on the validation, the given ones first; 0 keeps the given ones."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, given: Any) -> Any:
        return parse_blend(given) if isinstance(given, str) else given

    @model_validator(mode="after")
    def _sane(self) -> Self:
        if not self.weights or min(self.weights.values()) < 0 or sum(self.weights.values()) <= 0:
            raise ValueError("weights must not be negative, and not all 0")
        return self

    @property
    def models(self) -> tuple[str, ...]:
        """The recommenders that are needed."""
        return tuple(dict.fromkeys(name for part in self.weights for name in part.split("+")))


def parse_blend(text: str) -> dict[str, Any]:
    """Fields of a blend from `tune`, or from weights such as `popularity=.2,nmf+svd=.8`."""
    if text.strip() == "tune":
        return {"tune": TUNED_WEIGHTS}
    weights = {}
    for part in text.split(","):
        name, sign, number = part.partition("=")
        try:
            weights[name.strip()] = float(number)
        except ValueError:
            sign = ""
        if not sign or not name.strip():
            raise ValueError(
                f'"{text}" is no blend; expected tune, or weights such as popularity=.2,nmf+svd=.8'
            )
    return {"weights": weights}


class Blend(Recommender):
    """Adds up what its parts say of an item, each times its weight."""

    name = "blend"
    Config = BlendConfig
    config: BlendConfig

    def __init__(self, config: ModelConfig | None = None, *, min_items: int = 0) -> None:
        super().__init__(config, min_items=min_items)
        self.models_: dict[str, Recommender] = {}
        self.weights_ = dict(self.config.weights)

    def settled(self) -> BlendConfig:
        """The config with the weights that were learned."""
        return self.config.model_copy(update={"weights": dict(self.weights_), "tune": 0})

    def _fit(self, log: Interactions, validation: Queries | None, context: Context) -> None:
        from linkwise.recommend.registry import model_class

        for name in self.config.models:
            kind = model_class(name)
            model = kind(self.settings.get(name, kind.Config()))
            self.models_[name] = model.fit(log, validation=validation, context=context)
        self.weights_ = dict(self.config.weights)
        if self.config.tune and validation is not None and len(validation):
            self.weights_ = self._tuned(validation, context)

    def _tuned(self, validation: Queries, context: Context) -> dict[str, float]:
        """The weights, of some drawn evenly from all that add up to one, with the best NDCG@10."""
        rng = context.rng("blend")
        rows = np.arange(len(validation))
        if len(rows) > TUNED_QUERIES:
            rows = np.sort(rng.choice(rows, TUNED_QUERIES, replace=False))
        queries = validation.take(rows)
        parts = list(self.config.weights)
        given = np.array(list(self.config.weights.values()))
        tried = [given / given.sum(), *rng.dirichlet(np.ones(len(parts)), self.config.tune)]
        ranks = np.empty((len(tried), len(queries.targets.items)), dtype=np.int64)
        for start, some in chunks(queries.histories, len(self.catalogue_)):
            said = self._said(some)  # (parts, n, n_items)
            targets = queries.targets.slice(start, start + len(some))
            at = slice(queries.targets.offsets[start], queries.targets.offsets[start + len(some)])
            for number, weights in enumerate(tried):
                scores = np.tensordot(weights.astype(np.float32), said, axes=1)
                if not queries.repeats:
                    scores[some.rows, some.items] = -np.inf
                ranks[number, at] = full_ranks(scores, targets.rows, targets.items.astype(np.int64))
        ndcg = [per_query(found, queries.targets.offsets, 10)["ndcg"].mean() for found in ranks]
        best = tried[int(np.argmax(ndcg))]
        self.tried_ = [
            (
                ", ".join(f"{part} {w:.3f}" for part, w in zip(parts, weights, strict=True)),
                float(value),
            )
            for weights, value in zip(tried, ndcg, strict=True)
        ]
        return dict(zip(parts, (float(weight) for weight in best), strict=True))

    def _scores(self, histories: Histories) -> Singles:
        weights = np.array(list(self.weights_.values()), dtype=np.float32)
        scores: Singles = np.tensordot(weights / weights.sum(), self._said(histories), axes=1)
        return scores

    def _said(self, histories: Histories) -> Singles:
        """What each part gives every item after each history (parts, n, n_items)."""
        scores = {name: model.scores(histories) for name, model in self.models_.items()}
        found = []
        for part in self.weights_:
            names = part.split("+")
            if len(names) == 1:
                own = scores[names[0]]
            else:
                # Better is higher: the agreed first, and among them and the rest the lower mean rank.
                places = [_ranks(scores[name]) for name in names]
                mean = np.mean(places, axis=0)
                agreed = np.all([place <= TOP for place in places], axis=0)
                own = (agreed * (mean.shape[1] + 1.0) - mean).astype(np.float32)
            if self.config.combine == "score":
                low = own.min(axis=1, keepdims=True)
                spread = own.max(axis=1, keepdims=True) - low
                found.append((own - low) / np.where(spread > 0, spread, 1))
            else:
                found.append((1 / (CONSTANT + _ranks(own))).astype(np.float32))
        return np.stack(found)

    def _similar(self, items: Longs) -> Singles:
        """By the parts' own similarities, each moved to lie between 0 and 1; popularity has no say."""
        total = np.zeros((len(items), len(self.catalogue_)), dtype=np.float32)
        for part, weight in self.weights_.items():
            names = [name for name in part.split("+") if name not in ("popularity", "random")]
            for name in names:
                alike = np.clip(self.models_[name]._similar(items), 0, None)
                largest = alike.max(axis=1, keepdims=True)
                total += weight / len(names) * alike / np.where(largest > 0, largest, 1)
        return total

    def _arrays(self) -> Arrays:
        return {"weights": np.array(list(self.weights_.values()))}

    def _restore(self, arrays: Arrays) -> None:
        weights = (float(weight) for weight in arrays["weights"])
        self.weights_ = dict(zip(self.config.weights, weights, strict=True))

    def save(self, folder: Path) -> None:
        """Write the blend, and its parts into folders of their own."""
        super().save(folder)
        for name, model in self.models_.items():
            model.save(folder / name)

    @classmethod
    def load(cls, folder: Path, log: Interactions | None = None) -> Self:
        """Read what `save` wrote; raises `InputError` where a part is missing."""
        from linkwise.recommend.registry import model_class

        self = super().load(folder, log)
        for name in self.config.models:
            if not (folder / name).is_dir():
                raise InputError(f"{folder}: the blend's part {name} is missing.")
            self.models_[name] = model_class(name).load(folder / name, log)
        return self


def _ranks(scores: Singles) -> Singles:
    """The rank of each item in its row, from 1; equal scores in the order of the items (n, n_items)."""
    order = np.argsort(-scores, axis=1, kind="stable")
    ranks = np.empty_like(order)
    places = np.arange(1, scores.shape[1] + 1)
    np.put_along_axis(ranks, order, np.broadcast_to(places, order.shape), axis=1)
    return ranks.astype(np.float32)
