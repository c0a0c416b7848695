"""Contract tests that every model must pass, as public API: subclass one, name the model, run pytest."""

from linkwise.testing.recommender import RecommenderContract
from linkwise.testing.scorer import ScorerContract

__all__ = ["RecommenderContract", "ScorerContract"]
