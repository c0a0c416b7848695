"""The recommenders by name: one line for each, and what other packages add by entry points."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points

from linkwise.errors import UsageError
from linkwise.recommend.base import Recommender

MODELS = {
    "random": "linkwise.recommend.popularity:Random",
    "popularity": "linkwise.recommend.popularity:Popularity",
    "item-item": "linkwise.recommend.item_item:ItemItem",
    "nmf": "linkwise.recommend.nmf:NMF",
    "svd": "linkwise.recommend.svd:SVD",
    "ease": "linkwise.recommend.ease:EASE",
    "als": "linkwise.recommend.als:ALS",
    "bpr": "linkwise.recommend.als:BPR",
    "gru4rec": "linkwise.recommend.gru4rec:GRU4Rec",
    "sasrec": "linkwise.recommend.sasrec:SASRec",
    "knn-text": "linkwise.recommend.knn_text:KNNText",
    "title-lm": "linkwise.recommend.title_lm:TitleLM",
    "segments": "linkwise.recommend.segments:Segments",
    "blend": "linkwise.recommend.blend:Blend",
}
GROUP = "linkwise.recommenders"


def model_class(name: str) -> type[Recommender]:
    """The class of a recommender; raises `UsageError` listing the names where there is none."""
    if name in MODELS:
        module, _, attribute = MODELS[name].partition(":")
        found: type[Recommender] = getattr(import_module(module), attribute)
        return found
    for point in entry_points(group=GROUP):
        if point.name == name:
            added: type[Recommender] = point.load()
            return added
    raise UsageError(
        f'there is no recommender "{name}"; the recommenders are {", ".join(names())}.'
    )


def names() -> list[str]:
    """The names of all recommenders at hand."""
    return [*MODELS, *sorted(point.name for point in entry_points(group=GROUP))]
