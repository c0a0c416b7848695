"""Every recommender keeps the contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests.tiny_models import masked

from linkwise.recommend.als import ALS, BPR, ALSConfig
from linkwise.recommend.base import Recommender
from linkwise.recommend.blend import Blend, BlendConfig
from linkwise.recommend.ease import EASE, EASEConfig
from linkwise.recommend.gru4rec import GRU4Rec, GRU4RecConfig
from linkwise.recommend.item_item import ItemItem
from linkwise.recommend.knn_text import KNNText
from linkwise.recommend.nmf import NMF, NMFConfig
from linkwise.recommend.popularity import Popularity, Random
from linkwise.recommend.sasrec import SASRec, SASRecConfig
from linkwise.recommend.segments import Segments, SegmentsConfig
from linkwise.recommend.svd import SVD, SVDConfig
from linkwise.recommend.title_lm import TitleLM, TitleLMConfig
from linkwise.testing import RecommenderContract


class TestRandom(RecommenderContract):
    cls = Random
    learns = False


class TestPopularity(RecommenderContract):
    cls = Popularity
    learns = False


class TestItemItem(RecommenderContract):
    cls = ItemItem


class TestEASE(RecommenderContract):
    cls = EASE

    @classmethod
    def make(cls, **options: Any) -> Recommender:
        return EASE(EASEConfig(ridge=10), **options)


class TestSVD(RecommenderContract):
    cls = SVD

    @classmethod
    def make(cls, **options: Any) -> Recommender:
        return SVD(SVDConfig(factors=4), **options)


class TestNMF(RecommenderContract):
    cls = NMF

    @classmethod
    def make(cls, **options: Any) -> Recommender:
        return NMF(NMFConfig(factors=4), **options)


class TestKNNText(RecommenderContract):
    cls = KNNText


class TestSegments(RecommenderContract):
    cls = Segments

    @classmethod
    def make(cls, **options: Any) -> Recommender:
        return Segments(SegmentsConfig(model="item-item", segments=3, factors=6), **options)


class TestALS(RecommenderContract):
    cls = ALS


@pytest.mark.slow
class TestALSOnSpark(RecommenderContract):
    cls = ALS
    exact = False

    @classmethod
    def make(cls, **options: Any) -> Recommender:
        return ALS(ALSConfig(factors=8, rounds=4, spark_master="local[1]"), **options)


class TestBPR(RecommenderContract):
    cls = BPR


class TestBlend(RecommenderContract):
    cls = Blend

    @classmethod
    def make(cls, **options: Any) -> Recommender:
        return Blend(
            BlendConfig(weights={"popularity": 0.02, "item-item": 0.38, "item-item+svd": 0.6}),
            **options,
        )


class TestGRU4Rec(RecommenderContract):
    cls = GRU4Rec

    @classmethod
    def make(cls, **options: Any) -> Recommender:
        config = GRU4RecConfig(epochs=20, batch_size=16, hidden_size=16, learning_rate=0.01)
        return GRU4Rec(config, **options)


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return masked(tmp_path_factory.mktemp("models") / "bert", scale=2)


@pytest.mark.slow
class TestTitleLM(RecommenderContract):
    """Learned over the catalogue by a tiny masked model that becomes a causal one."""

    cls = TitleLM
    options: ClassVar[dict[str, Any]] = {
        "prompt": "weak", "recent": 8, "epochs": 36, "patience": 99, "learning_rate": 0.003,
        "pieces": 120,
    }  # fmt: skip

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _place(cls, tiny_bert: Path) -> None:
        cls.options["lm"] = str(tiny_bert)

    @classmethod
    def make(cls, **options: Any) -> Recommender:
        return TitleLM(TitleLMConfig(**cls.options), **options)


class TestSASRec(RecommenderContract):
    cls = SASRec

    @classmethod
    def make(cls, **options: Any) -> Recommender:
        config = SASRecConfig(epochs=20, batch_size=16, embedding_size=16, learning_rate=0.01)
        return SASRec(config, **options)
