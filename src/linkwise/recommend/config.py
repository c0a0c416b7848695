"""What a recommend run depends on, but for the log."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from linkwise.data.interactions import InteractionsConfig
from linkwise.data.queries import parse_split
from linkwise.errors import UsageError
from linkwise.recommend.als import ALSConfig, BPRConfig
from linkwise.recommend.blend import BlendConfig
from linkwise.recommend.ease import EASEConfig
from linkwise.recommend.gru4rec import GRU4RecConfig
from linkwise.recommend.item_item import ItemItemConfig
from linkwise.recommend.nmf import NMFConfig
from linkwise.recommend.popularity import RandomConfig
from linkwise.recommend.sasrec import SASRecConfig
from linkwise.recommend.svd import SVDConfig

Hidden = Parameter(show=False, parse=False)


def _parted(value: Any) -> Any:
    """`a,b` and (`a,b`, `c`) as separate values."""
    if isinstance(value, str):
        value = (value,)
    if not isinstance(value, list | tuple):
        return value
    return tuple(part.strip() for item in value for part in str(item).split(",") if part.strip())


class RecommendConfig(BaseModel):
    """Which recommenders are compared, how, and their parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    models: Annotated[tuple[str, ...], BeforeValidator(_parted)] = ("item-item", "ease", "svd")
    """Recommenders to compare, separated by commas; `popularity` is always among them, as the baseline."""
    split: str = "global-time:0.9"
    """How training and test are parted: global-time:Q (the last 1 - Q of the events are the test),
    leave-last-out, prefix:N (the first N events predict the next), last:K (of a user's last K events the
    last is the target) or random:S."""
    k: Annotated[tuple[int, ...], BeforeValidator(_parted)] = (10, 20)
    """Lengths of the lists that are judged, separated by commas."""
    repeats: bool = False
    """Count a target that is in the history already, and let lists repeat it."""
    min_items: int | None = Field(None, ge=0)
    """Users with at most so many different items get the most popular, and are not learned from; 5 for
    Music Box logs, 0 for others."""
    refit: bool | None = None
    """Fit neural models anew with the validation's events, for as many epochs as were best; by default where
    the split is by time."""
    titles: str | None = None
    """Table of the items' titles (Parquet or CSV: id and title come first). MovieLens folders have one."""
    bootstrap: int = Field(1000, ge=20, le=10000)
    """Resamples of the users behind each interval."""
    listed: int = Field(100, ge=1, le=1000)
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

    @field_validator("split")
    @classmethod
    def _split(cls, text: str) -> str:
        try:
            parse_split(text)
        except UsageError as error:
            raise ValueError(str(error).rstrip(".")) from error
        return text

    @field_validator("k")
    @classmethod
    def _positive(cls, k: tuple[int, ...]) -> tuple[int, ...]:
        if not k or min(k) < 1 or max(k) > 100:
            raise ValueError("expected numbers from 1 to 100, such as 10,20")
        return tuple(sorted(set(k)))

    @property
    def compared(self) -> tuple[str, ...]:
        """The names of all models of the run, the baseline first."""
        return (
            "popularity",
            *(name for name in dict.fromkeys(self.models) if name != "popularity"),
        )

    def of(self, name: str) -> Any:
        """The parameters of a model; None for one that has none here."""
        return getattr(self, name.replace("-", "_"), None)
