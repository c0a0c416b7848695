"""What a recommend run depends on, but for the log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from cyclopts import Parameter
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from linkwise.data.interactions import InteractionsConfig
from linkwise.data.queries import parse_split
from linkwise.data.schema import parted
from linkwise.errors import UsageError
from linkwise.recommend.als import ALSConfig, BPRConfig
from linkwise.recommend.blend import BlendConfig
from linkwise.recommend.ease import EASEConfig
from linkwise.recommend.gru4rec import GRU4RecConfig
from linkwise.recommend.item_item import ItemItemConfig
from linkwise.recommend.knn_text import KNNTextConfig
from linkwise.recommend.nmf import NMFConfig
from linkwise.recommend.popularity import RandomConfig
from linkwise.recommend.sasrec import SASRecConfig
from linkwise.recommend.segments import SegmentsConfig
from linkwise.recommend.svd import SVDConfig
from linkwise.recommend.title_lm import TitleLMConfig

Hidden = Parameter(show=False, parse=False)


class RecommendConfig(BaseModel):
    """Which recommenders are compared, how, and their parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    models: Annotated[tuple[str, ...], BeforeValidator(parted)] = ("item-item", "ease", "svd")
    """Recommenders to compare, separated by commas; `popularity` is always among them, as the baseline."""
    split: str = "global-time:0.9"
    """How training and test are parted: global-time:Q (the last 1 - Q of the events are the test),
    leave-last-out, prefix:N (the first N events predict the next; 5), last:K (of a user's last K events the
    last is the target; 4) or random:S."""
    k: Annotated[tuple[int, ...], BeforeValidator(parted)] = (10, 20)
    """Lengths of the lists that are judged, separated by commas; with --run, the length of the list."""
    repeats: bool = False
    """Count a target that is in the history already, and let lists repeat it."""
    min_items: int | None = Field(None, ge=0)
    """Users with at most so many different items get the most popular, and are not learned from; 5 for
    Music Box logs, 0 for others."""
    refit: bool | None = None
    """Fit neural models anew with the validation's events, for as many epochs as were best; by default where
    the split is by time."""
    tune: int = Field(4, ge=1, le=20)
    """Settings tried for each model without a network, the given ones first, judged on the validation; 1
    tries no others. What is set by hand stays."""
    daytime: bool = False
    """Judge the best model once more with its lists re-ranked by the time of day (working hours, evening,
    other times), as learned from a log with clock times (Music Box logs have none)."""
    titles: str | None = None
    """Table of the items' titles (Parquet or CSV: id and title come first). MovieLens folders have one."""
    catalogue: Literal["log", "titles"] = "log"
    """What is ranked: the items chosen before the test, or every item of the table of titles as well."""
    users: int | None = Field(None, ge=1)
    """Judge on so many of the queries, drawn at random, as on the validation; by default on all of them."""
    bootstrap: int = Field(1000, ge=20, le=10000)
    """Resamples of the users behind each interval."""
    listed: int = Field(100, ge=1, le=100)
    """Items kept of each list in ranking.parquet."""
    interactions: Annotated[InteractionsConfig, Parameter(name="*")] = InteractionsConfig()
    """How events become ratings."""
    random: Annotated[RandomConfig, Hidden] = RandomConfig()
    """Settings of `random`."""
    item_item: Annotated[ItemItemConfig, Hidden] = ItemItemConfig()
    """Settings of `item-item`."""
    nmf: Annotated[NMFConfig, Hidden] = NMFConfig()
    """Settings of `nmf`."""
    svd: Annotated[SVDConfig, Hidden] = SVDConfig()
    """Settings of `svd`."""
    ease: Annotated[EASEConfig, Hidden] = EASEConfig()
    """Settings of `ease`."""
    als: Annotated[ALSConfig, Hidden] = ALSConfig()
    """Settings of `als`."""
    bpr: Annotated[BPRConfig, Hidden] = BPRConfig()
    """Settings of `bpr`."""
    gru4rec: Annotated[GRU4RecConfig, Hidden] = GRU4RecConfig()
    """Settings of `gru4rec`."""
    sasrec: Annotated[SASRecConfig, Hidden] = SASRecConfig()
    """Settings of `sasrec`."""
    knn_text: Annotated[KNNTextConfig, Hidden] = KNNTextConfig()
    """Settings of `knn-text`."""
    segments: Annotated[SegmentsConfig, Hidden] = SegmentsConfig()
    """Settings of `segments`."""
    title_lm: Annotated[TitleLMConfig, Hidden] = TitleLMConfig()
    """Settings of `title-lm`."""
    blend: Annotated[BlendConfig, Hidden] = BlendConfig()
    """Settings of `blend`."""

    @field_validator("models")
    @classmethod
    def _known(cls, models: tuple[str, ...]) -> tuple[str, ...]:
        from linkwise.recommend.registry import names

        for name in models:
            if name not in names():
                raise ValueError(
                    f'there is no recommender "{name}"; there are {", ".join(names())}'
                )
        if not models:
            raise ValueError("name at least one recommender")
        return models

    @field_validator("titles")
    @classmethod
    def _absolute(cls, path: str | None) -> str | None:
        # So that the run's config means the same table wherever it is repeated from.
        return None if path is None else str(Path(path).absolute())

    @field_validator("split")
    @classmethod
    def _split(cls, text: str) -> str:
        try:
            parse_split(text)
        except UsageError as error:
            raise ValueError(str(error).rstrip(".").partition("; ")[2]) from error
        return text

    @field_validator("segments")
    @classmethod
    def _whole(cls, segments: SegmentsConfig) -> SegmentsConfig:
        from linkwise.recommend.registry import names

        if segments.model == "segments" or segments.model not in names():
            raise ValueError(
                f'there is no recommender "{segments.model}" to give each segment; expected one of '
                f"{', '.join(name for name in names() if name != 'segments')}"
            )
        return segments

    @field_validator("k")
    @classmethod
    def _positive(cls, k: tuple[int, ...]) -> tuple[int, ...]:
        if not k or min(k) < 1 or max(k) > 100:
            raise ValueError("expected numbers from 1 to 100, such as 10,20")
        return tuple(sorted(set(k)))

    @model_validator(mode="after")
    def _blend(self) -> Self:
        from linkwise.recommend.registry import names

        if self.blend != BlendConfig() and "blend" not in self.models:
            raise ValueError(
                "blend is set, and the model blend is not among --models; name it there"
            )
        for name in self.blend.models:
            if name not in names() or name == "blend":
                there = ", ".join(known for known in names() if known != "blend")
                raise ValueError(f'blend has a part "{name}"; expected recommenders: {there}')
        return self

    @property
    def compared(self) -> tuple[str, ...]:
        """The names of all models of the run, the baseline first."""
        wanted = ["popularity", *self.models]
        if "segments" in self.models:
            # One model for all, to compare with; before it, so that its settings are known.
            wanted.insert(1, self.segments.model)
        # A blend comes last, when the settings of its parts have been chosen.
        wanted.sort(key=lambda name: name == "blend")
        return tuple(dict.fromkeys(wanted))

    def slow(self, name: str) -> bool:
        """Whether a model, or one that it is made of, takes seconds for a list."""
        from linkwise.recommend.registry import model_class

        return any(model_class(part).slow for part in (name, *self.parts(name)))

    def parts(self, name: str) -> tuple[str, ...]:
        """The recommenders that a model is made of, if it is made of others."""
        if name == "blend":
            return self.blend.models
        return (self.segments.model,) if name == "segments" else ()

    @property
    def fitted(self) -> set[str]:
        """The names of all models that a run fits, those within others too."""
        return {part for name in self.compared for part in (name, *self.parts(name))}

    @property
    def refits(self) -> bool:
        """Whether models are fitted anew with the validation's events."""
        return self.split.startswith("global-time") if self.refit is None else self.refit

    def of(self, name: str) -> Any:
        """The parameters of a model; None for one that has none here."""
        return getattr(self, name.replace("-", "_"), None)
