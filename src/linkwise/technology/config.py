"""The parameters of a forecast."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from linkwise.data.codes import Level
from linkwise.data.schema import parted
from linkwise.errors import UsageError
from linkwise.technology.corpus import Years


def window(value: str | None, option: str) -> Years | None:
    """`2006-2010`, or one year, as a window; raises `UsageError` for anything else."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d{4})(?:\s*-\s*(\d{4}))?", value.strip())
    years = found and Years(int(found[1]), int(found[2] or found[1]))
    if not years or years.last < years.first:
        raise UsageError(f'{option} is "{value}"; expected years, such as 2006-2010.')
    return years


class ForecastConfig(BaseModel):
    """What is forecast, from when, by what, and how it is judged."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    embed: str | None = None
    """Years whose patents the codes' vectors are made of, 2006-2010; by default the five before
    --forecast."""
    forecast: str | None = None
    """Years to forecast, 2011-2015; by default the last five. Where no patent is of these years, the forecast
    is listed and not judged."""
    lm: Annotated[tuple[str, ...], BeforeValidator(parted)] = ()
    """Language models, separated by commas: minilm, the folder of a model, its name on the hub."""
    tuned_until: int | None = None
    """Last year that the language models were tuned on, where they do not say it themselves."""
    also_level: Annotated[tuple[Level, ...], BeforeValidator(parted)] = ()
    """Coarser levels at which the same vectors are judged, too, separated by commas."""
    method: Literal["poisson", "poisson-binomial"] = "poisson"
    """Law of how often chance puts two codes on one patent."""
    alpha: float = Field(0.05, gt=0, lt=1)
    """False discovery rate (Benjamini-Hochberg) at which a pair stands above chance."""
    learned: bool = True
    """Learn to weigh all signals on earlier windows, where the patents reach back far enough."""
    max_tokens: int = Field(192, ge=16)
    """Tokens at which a text is cut."""
    top: int = Field(200, ge=1, le=100_000)
    """Pairs that are listed with their reasons."""
    bootstrap: int = Field(1000, ge=20, le=10000)
    """Resamples of the codes behind each interval; at most 200 from a million pairs on."""
    code_titles: str | None = None
    """Table of the codes' titles: columns code and title."""
    map: bool = False
    """Draw the map of patents and codes by the first language model's vectors."""

    @model_validator(mode="before")
    @classmethod
    def _years(cls, values: Any) -> Any:
        # --embed 2010 is a number in TOML.
        if isinstance(values, dict):
            return {
                k: str(v) if k in ("embed", "forecast") and isinstance(v, int) else v
                for k, v in values.items()
            }
        return values

    @model_validator(mode="after")
    def _windows(self) -> Self:
        if self.map and not self.lm:
            raise UsageError("--map draws the vectors of a language model; name one with --lm.")
        embed, forecast = window(self.embed, "--embed"), window(self.forecast, "--forecast")
        if embed and forecast and forecast.first <= embed.last:
            raise UsageError(
                f"--forecast {forecast} begins before --embed {embed} has ended; it must come after."
            )
        return self
