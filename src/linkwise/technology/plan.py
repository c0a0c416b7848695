"""The windows of a forecast: whose patents make the vectors, and whose tell what came of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from linkwise.errors import InputError
from linkwise.technology.config import ForecastConfig, window
from linkwise.technology.corpus import Corpus, Years

SPAN = 5  # years of a window that is not given


@dataclass(frozen=True)
class Plan:
    """The windows: patents of `embed` make the vectors, those of `forecast` tell what came true."""

    embed: Years
    forecast: Years
    judged: bool
    """Whether there are patents of the forecast years."""

    @property
    def gap(self) -> Years | None:
        """The years between the windows, whose patents make no vector and tell nothing."""
        if self.forecast.first == self.embed.last + 1:
            return None
        return Years(self.embed.last + 1, self.forecast.first - 1)

    @property
    def learn_embed(self) -> Years:
        """The window whose vectors the learned scorer learns from, as far before the years that it learns to
        forecast as the real one is."""
        return self.embed.before(self.forecast.first - self.embed.last - 1 + self.forecast.length)

    @property
    def learn_forecast(self) -> Years:
        """The window that it learns to forecast; it ends before the real one begins."""
        return self.forecast.before(
            self.forecast.first - self.embed.last - 1 + self.forecast.length
        )


def plan_of(corpus: Corpus, config: ForecastConfig) -> Plan:
    """The windows, those not given by default; raises where one does not fit the patents."""
    first, last = int(corpus.year.min()), int(corpus.year.max())
    forecast, embed = window(config.forecast, "--forecast"), window(config.embed, "--embed")
    if forecast is None:
        begin = last - SPAN + 1 if embed is None else embed.last + 1
        forecast = Years(begin, max(last, begin))
    if embed is None:
        embed = Years(forecast.first - SPAN, forecast.first - 1)
    with_codes = np.zeros(len(corpus.year), dtype=np.bool_)
    with_codes[corpus.patent] = True
    if not (corpus.within(embed) & with_codes).any():
        raise InputError(
            f"no patent with codes is of the years {embed} (--embed); the patents are of {first} to {last}."
        )
    judged = forecast.first <= last
    if judged and not (corpus.within(forecast) & with_codes).any():
        raise InputError(
            f"no patent with codes is of the years {forecast} (--forecast); the patents are of {first} to "
            f"{last}."
        )
    return Plan(embed, forecast, judged)


def last_judged(corpus: Corpus, plan: Plan) -> Plan | None:
    """Of a forecast not to be judged yet the same windows, moved back to where the patents end; or None."""
    if plan.judged:
        return None
    back = plan.forecast.last - int(corpus.year.max())
    earlier = Plan(plan.embed.before(back), plan.forecast.before(back), True)
    sizes = [
        corpus.degrees(corpus.within(years)).sum() for years in (earlier.embed, earlier.forecast)
    ]
    return earlier if min(sizes) > 0 else None


def years_read(corpus: Corpus, plan: Plan, config: ForecastConfig) -> Years:
    """The years whose texts are read: back to the trends of the earliest window that is learned from."""
    earliest = last_judged(corpus, plan) or plan
    first = earliest.embed.before(plan.embed.length).first
    if config.learned:
        first = earliest.learn_embed.before(plan.embed.length).first
    return Years(max(first, int(corpus.year.min())), plan.embed.last)
