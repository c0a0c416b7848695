"""The parameters of a forecast."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from linkwise.data.codes import LEVELS, Level
from linkwise.data.schema import parted
from linkwise.errors import UsageError
from linkwise.technology.anchors import RULES
from linkwise.technology.corpus import Years

LEARNED = "learned"
LOOSE = 0.05  # unadjusted p-value that is the label where too few pairs pass Benjamini-Hochberg
WITHOUT_TEXT = ("PPMI vectors", "word2vec", "random walks", *RULES)
TEXT_KINDS = ("text", "hidden tokens", "tokens", "token rows")


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
    list_by: str | None = None
    """Model that the list is by: a name of the report, such as learned or Adamic-Adar, or text for the first
    language model; by default the first that is there of learned, hidden tokens, text and PPMI vectors."""
    min_patents: int = Field(1, ge=1)
    """Patents of the embedding years that both codes of a listed pair have at least; all pairs are
    judged."""
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
        if self.list_by is not None:
            self._check_list_by(self.list_by)
        embed, forecast = window(self.embed, "--embed"), window(self.forecast, "--forecast")
        if embed and forecast and forecast.first <= embed.last:
            raise UsageError(
                f"--forecast {forecast} begins before --embed {embed} has ended; it must come after."
            )
        return self

    def _check_list_by(self, name: str) -> None:
        """Raise `UsageError` for a model that this run cannot have, before any work."""
        kind = name.partition(": ")[0]
        known = [LEARNED] * self.learned + [*WITHOUT_TEXT]
        if self.lm:
            known += TEXT_KINDS
        if name not in known and not (self.lm and kind in TEXT_KINDS):
            why = (
                "" if self.lm or kind not in TEXT_KINDS else ", which needs a language model (--lm)"
            )
            raise UsageError(f'--list-by is "{name}"{why}; expected one of {", ".join(known)}.')


def check_levels(level: Level | None, also: Sequence[Level]) -> None:
    """Raise `UsageError` where a level to judge at, too, is no coarser than that of the codes."""
    for other in also:
        if level is not None and LEVELS.index(other) >= LEVELS.index(level):
            coarser = ", ".join(LEVELS[: LEVELS.index(level)])
            raise UsageError(
                f"--also-level {other} is no coarser than --level {level}; expected "
                f"{f'one of {coarser}' if coarser else 'none, or a deeper --level'}."
            )
