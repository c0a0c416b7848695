"""One model of a study: its settings chosen on the validation, then fitted anew with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from linkwise.context import Context
from linkwise.data.queries import Queries, Split, some_queries
from linkwise.metrics.ranking import per_query
from linkwise.recommend.base import ModelConfig, Recommender
from linkwise.recommend.config import RecommendConfig
from linkwise.recommend.daytime import WEIGHTS, DayTime
from linkwise.recommend.evaluate import judge
from linkwise.recommend.registry import model_class

OWN_TRIALS_K = 10  # what a model tries while it is fitted is judged by NDCG@10
SLOW_QUERIES = 50  # of the validation, that a model which takes seconds for a list is judged on


@dataclass(frozen=True)
class Fitted:
    """A model, and how it did on the validation before that entered its training."""

    model: Recommender
    validated: float
    """NDCG on the validation queries; 0 where there are none."""
    trials: tuple[tuple[str, float], ...]
    """Each setting that was tried, in words, and its NDCG; empty where nothing was to choose."""
    setting: ModelConfig
    """The settings of the model, with what the validation decided."""
    queries: int
    """Validation queries behind `validated` and the trials."""
    trials_k: int
    """Length of the lists that the trials were judged by."""
    daytime: float
    """How much the time of day should weigh, by the validation; 0 where it is of no use or unknown."""


def fit_model(
    name: str,
    parts: Split,
    min_items: int,
    config: RecommendConfig,
    tuned: Mapping[str, ModelConfig],
    context: Context,
) -> Fitted:
    """Fit a model with the best of a few settings; `tuned` are those of the models before it."""
    cls = model_class(name)
    given = config.of(name) or cls.Config()
    within = {part: config.of(part) for part in config.parts(name) if config.of(part) is not None}
    settings = [given, *candidates(given, config.tune)] if len(parts.validation) else [given]
    best: tuple[float, Recommender] | None = None
    trials = []
    for setting in settings:
        with context.step(f"fit {name}" + (f" ({changed(setting)})" if setting != given else "")):
            model = cls(setting, min_items=min_items)
            model.use_settings({**within, **tuned})
            model.fit(parts.train, validation=parts.validation, context=context)
            quality = validate(model, parts, config)
        trials.append((changed(setting) or "as given", quality))
        if best is None or quality > best[0]:
            best = quality, model
    assert best is not None
    quality, model = best
    weight = 0.0
    if config.daytime and len(parts.validation):
        daytime = DayTime().fit(parts.train)
        weight = daytime.best_weight(model, validated_by(parts, config), WEIGHTS, config.k[0])
    own = model.tried_  # a blend's weights, a calibration's
    trials = own or trials
    setting = model.settled()
    if config.refits:
        with context.step(f"refit {name}"):
            model = cls(setting, min_items=min_items)
            model.use_settings({**within, **tuned})
            model.fit(parts.refit, context=context)
    return Fitted(
        model,
        quality,
        tuple(trials) if len(trials) > 1 else (),
        setting,
        queries=len(validated_by(parts, config)),
        trials_k=OWN_TRIALS_K if own else config.k[0],
        daytime=weight,
    )


def validate(model: Recommender, parts: Split, config: RecommendConfig) -> float:
    """NDCG of the first length of lists on the validation; 0 where there is none."""
    if not len(parts.validation):
        return 0.0
    queries = validated_by(parts, config)
    found = judge(model, queries)
    offsets = queries.targets.offsets
    return float(per_query(found.ranks, offsets, config.k[0])["ndcg"].mean())


def validated_by(parts: Split, config: RecommendConfig) -> Queries:
    """The validation queries: the same for all models, few where one of them takes seconds for a list."""
    if any(config.slow(name) for name in config.compared):
        return some_queries(parts.validation, SLOW_QUERIES, np.random.default_rng(0))
    return parts.validation


def candidates(given: ModelConfig, budget: int) -> list[ModelConfig]:
    """At most `budget` - 1 other settings to try; what was set to other than the default stays."""
    default = type(given)()
    chosen = {name for name, value in given if getattr(default, name) != value}
    found = [
        given.model_copy(update=change)
        for change in given.candidates
        if not chosen.intersection(change)
    ]
    return found[: budget - 1]


def changed(setting: ModelConfig) -> str:
    """What of a setting is not the default, such as `factors 100`."""
    default = type(setting)()
    parts: list[Any] = [
        f"{name} {value}" for name, value in setting if getattr(default, name) != value
    ]
    return ", ".join(parts)
