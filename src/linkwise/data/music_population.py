"""The people of the simulated music app: how long they stay, what they like, what they do on a day.

The constants are set so that a window of 30 days shows the feature means and the churn rate published for a
real music app (58,432 users, 2017), at every cutoff of the log. Users leave at a constant rate and few
arrive, so the app shrinks by about 4 % a day while its mix of users stays the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from linkwise.data.music_catalogue import (
    FAVOURITES,
    TASTES,
    Bools,
    Catalogue,
    Floats,
    Ints,
    distinct_ids,
)

KINDS = ("steady", "fading", "leaves-at-once", "returning", "bot")
STEADY, FADING, AT_ONCE, RETURNING, BOT = range(len(KINDS))

# Lives. A user who is here on day 0, or arrives later, leaves on any day with the same small chance.
SHRINK_DAYS = 25.0  # arrivals fall to 1/e in this many days, as the app does
LEAVING_RATE = 0.0428  # chance per day that an ordinary user's life ends
LEAVING_SPREAD = 0.05  # by how much (log scale, per sd) the chance falls with satisfaction
PAID_LEAVING = 0.8  # paid users' chance relative to the others'
ARRIVALS = 0.0016  # users who arrive to stay on day 0, per user who is already there
ARRIVALS_AT_ONCE = 0.0011  # users who arrive on day 0 and are gone after it, per user already there
SIGNED_UP_BEFORE = 90.0  # mean age on day 0 of those already there, days
FADING_SHARE = 0.61  # of users: their activity falls over their last weeks
FADE_DAYS = (12.0, 42.0)  # length of that fading, days, uniform
FADE_TO = 0.2  # activity on the last day relative to before
RETURNING_SHARE = 0.10  # of users with at least RETURNING_NEEDS days in the log: silent for a while
RETURNING_NEEDS = 22  # days
SILENT_DAYS = (8, 18)  # length of the silence, days, uniform
PAID_SHARE = 0.05  # of users
BOT_SHARE = 0.0008  # of users: a bit less than one in a thousand
BOT_NEEDS = 10  # days of the log that a bot lives through at least, where it has as many
SECOND_DEVICE_SHARE = 0.08  # of users, who use it on some days
IP_SHARE = 0.14  # users whose first device is `ip`, the others' is `ar`

# Rates: medians and spreads (log scale, standard deviations) over users.
PRESENCE = (-0.45, 1.5)  # log-odds of being active on an ordinary day
PLAYS = (12.3, 1.15)  # plays on an active day
MOST_PLAYS = 100.0  # no person's mean is above this, plays on an active day
MOST_A_DAY = 160  # plays that fit into a person's day
SEARCHES = (1.44, 0.86)  # searches on an active day, of those who search
SEARCHERS = 0.70  # share of users who ever search
DOWNLOADS = (3.4, 0.8)  # songs on a day with downloads, of those who download
DOWNLOADERS = 0.465  # share of users who ever download
DOWNLOAD_DAYS = 0.95  # share of a downloader's active days with downloads
DAY_SHAPE = 2.0  # gamma shape of a user's ups and downs from day to day
BOT_PLAYS = (1000.0, 2200.0)  # a day, uniform over bots
BOT_OTHERS = 40.0  # searches, and songs downloaded, a day

# Satisfaction (uniform, hidden): the unsatisfied skip more, search and download less, and leave earlier.
SATISFIED_PRESENCE = 0.15  # change per sd of satisfaction, of the log-odds
SATISFIED_RATES = 0.10  # the same, of log searches and log downloads
SKIP_POWER = 1.6  # a user skips with probability uniform**this, half of the users by satisfaction
BETWEEN_MOST = 0.62  # a user's share of plays broken off between 20 % and 80 % is this * uniform**2
BETWEEN_SPLIT = (0.283, 0.588)  # cumulative: 20-40 %, 40-60 %, the rest 60-80 %
MOOD_FADING = 0.28  # how much of what was not skipped is skipped too on a fading user's last day
MOOD_STEADY = (0.12, 6.0)  # the same for others, and over how many last days it grows
SEARCH_FADE, DOWNLOAD_FADE = 1.0, 0.8  # searches and downloads ~ fade**this; plays ~ fade

# Weekly rhythm, Monday to Sunday, mean 1. The published ratio of searches in the last 3 and 7 days (a
# Wednesday to a Friday) sets the second one.
PLAY_WEEK = np.array([0.93, 0.92, 0.92, 0.93, 1.00, 1.18, 1.12])
SEARCH_WEEK = np.array([1.05, 0.97, 0.71, 0.69, 0.72, 1.46, 1.40])
# Share of sessions that begin before 0, 3, 6, ... 24 o'clock.
CLOCK = np.array([0.0, 0.05, 0.07, 0.15, 0.28, 0.42, 0.58, 0.83, 1.0])


@dataclass(frozen=True)
class Population:
    """All users, in order of their last day; every field has shape (users,). Days count from the start."""

    user_id: Ints
    kind: Ints  # position in KINDS
    taste: Ints  # position in TASTES
    paid: Bools
    first: Ints  # negative: before the log
    last: Ints  # may lie beyond the log
    silent_from: Ints  # first day of the silence, -1 without one
    silent_to: Ints  # day of the return
    sure: Ints  # a day of the log on which the user certainly plays; so on arrival and around a silence
    presence: Floats  # log-odds of being active on an ordinary day
    plays: Floats  # mean on an active day
    searches: Floats  # mean on an active day
    downloads: Floats  # mean on a day with downloads
    skip: Floats  # probability that a play is broken off before 20 %
    between: Floats  # probability that a play is broken off between 20 % and 80 %
    fade_days: Floats
    device: Ints  # 0 `ar`, 1 `ip`
    two_devices: Bools
    favourites: Ints  # (users, FAVOURITES) songs


def _even(rng: np.random.Generator, n: int, block: int = 64) -> Floats:
    """`n` uniform numbers, spread evenly within each run of `block` users.

    Users stand in order of their last day, so whoever is left at any cutoff is a fair mix, and small
    simulations show the shape of large ones.
    """
    blocks = -(-n // block)
    strata = np.argsort(rng.random((blocks, block)), axis=1, kind="stable").ravel()[:n]
    return (strata + rng.random(n)) / block


@dataclass(frozen=True)
class _Lives:
    """When users come, go and fall silent, in order of their last day; see `Population`."""

    kind: Ints
    satisfaction: Floats  # uniform
    paid: Bools
    first: Ints
    last: Ints
    silent_from: Ints
    silent_to: Ints
    sure: Ints


def _draw_lives(n: int, days: int, rng: np.random.Generator) -> _Lives:
    from scipy.special import ndtri

    # Who arrives within the log, out of all users in it: a sum over days with arrivals falling as the app.
    elapsed = SHRINK_DAYS * -np.expm1(-days / SHRINK_DAYS)
    weights = np.array([1.0, ARRIVALS * elapsed, ARRIVALS_AT_ONCE * elapsed])
    sort = np.searchsorted(np.cumsum(weights) / weights.sum(), _even(rng, n), side="right")
    satisfaction, paid = _even(rng, n), _even(rng, n) < PAID_SHARE
    rate = LEAVING_RATE * np.exp(-LEAVING_SPREAD * ndtri(satisfaction))
    rate = np.where(paid, rate * PAID_LEAVING, rate)
    left = np.floor(-np.log1p(-_even(rng, n)) / rate)  # days that follow the first one in the log
    arrived = np.floor(-SHRINK_DAYS * np.log1p(-_even(rng, n) * elapsed / SHRINK_DAYS))
    first = np.where(sort > 0, np.minimum(arrived, days - 1), 0)
    last = first + np.where(sort == 2, 0, left)
    order = np.argsort(last, kind="stable")
    sort, first, last = sort[order], first[order], last[order]

    kind = np.where(_even(rng, n) < FADING_SHARE, FADING, STEADY)
    kind[sort == 2] = AT_ONCE
    here = np.minimum(last, days - 1) - first + 1  # days of life within the log
    returning = (_even(rng, n) < RETURNING_SHARE) & (here >= RETURNING_NEEDS)
    kind[returning] = RETURNING
    silent_days = np.floor(SILENT_DAYS[0] + (SILENT_DAYS[1] - SILENT_DAYS[0]) * rng.random(n))
    silent_from = first + 2 + np.floor(rng.random(n) * (here - silent_days - 3))
    silent_from = np.where(returning, silent_from, -1)
    silent_to = np.where(returning, silent_from + silent_days, -1)
    # Somebody whose life ends in the log plays on its last day, others on any of their days.
    sure = np.where(last < days, last, first + np.floor(rng.random(n) * here))
    sure = np.where((silent_from <= sure) & (sure < silent_to), silent_to, sure)
    before = 1 + np.floor(-SIGNED_UP_BEFORE * np.log1p(-rng.random(n)))

    # Bots stand evenly among the users, so that few of them are left where few users are.
    able = np.flatnonzero((here >= min(BOT_NEEDS, days)) & (kind != RETURNING))
    bots = min(len(able), max(round(BOT_SHARE * n), int(n >= 100)))
    kind[able[((np.arange(bots) + 0.5) * len(able) / max(bots, 1)).astype(np.int64)]] = BOT
    return _Lives(
        kind=kind,
        satisfaction=satisfaction[order],
        paid=paid[order] & (kind != BOT),
        first=np.where(sort > 0, first, -before).astype(np.int64),
        last=last.astype(np.int64),
        silent_from=silent_from.astype(np.int64),
        silent_to=silent_to.astype(np.int64),
        sure=sure.astype(np.int64),
    )


def draw_population(
    n: int, days: int, catalogue: Catalogue, rng: np.random.Generator
) -> Population:
    """Draw the lives, tastes and rates of the `n` users of a log of `days` days."""
    from scipy.special import ndtri

    def normal() -> Floats:
        values: Floats = ndtri(_even(rng, n))
        return values

    def log_normal(median_spread: tuple[float, float]) -> Floats:
        return median_spread[0] * np.exp(median_spread[1] * normal())

    lives = _draw_lives(n, days, rng)
    bot = lives.kind == BOT
    satisfied = ndtri(lives.satisfaction)
    presence = PRESENCE[0] + PRESENCE[1] * normal() + SATISFIED_PRESENCE * satisfied
    plays = np.minimum(log_normal(PLAYS), MOST_PLAYS)
    liking = np.exp(SATISFIED_RATES * satisfied)
    searches = log_normal(SEARCHES) * liking * (_even(rng, n) < SEARCHERS)
    downloads = log_normal(DOWNLOADS) * liking * (_even(rng, n) < DOWNLOADERS)
    skip = np.where(_even(rng, n) < 0.5, 1 - lives.satisfaction, _even(rng, n)) ** SKIP_POWER
    # Every other bot plays songs to the end, the others nothing but beginnings.
    bot_skips = np.where(np.cumsum(bot) % 2 == 0, 0.98, 0.0)
    taste_shares = np.linspace(1.5, 0.5, len(TASTES))
    taste = np.searchsorted(
        np.cumsum(taste_shares) / taste_shares.sum(), _even(rng, n), side="right"
    ).astype(np.int64)
    favourites = catalogue.rank(
        np.repeat(taste, FAVOURITES), rng.random((n, FAVOURITES)).ravel()
    ).reshape(n, FAVOURITES)
    bot_plays = BOT_PLAYS[0] + (BOT_PLAYS[1] - BOT_PLAYS[0]) * rng.random(n)
    return Population(
        user_id=distinct_ids(rng, n, lowest=100_000_000, mean_gap=120),
        kind=lives.kind,
        taste=taste,
        paid=lives.paid,
        first=lives.first,
        last=lives.last,
        silent_from=lives.silent_from,
        silent_to=lives.silent_to,
        sure=lives.sure,
        presence=np.where(bot, 10.0, presence),
        plays=np.where(bot, bot_plays, plays),
        searches=np.where(bot, BOT_OTHERS, searches),
        downloads=np.where(bot, BOT_OTHERS, downloads),
        skip=np.where(bot, bot_skips, skip),
        between=np.where(bot, 0.0, BETWEEN_MOST * _even(rng, n) ** 2),
        fade_days=FADE_DAYS[0] + (FADE_DAYS[1] - FADE_DAYS[0]) * _even(rng, n),
        device=(_even(rng, n) < IP_SHARE).astype(np.int64),
        two_devices=rng.random(n) < SECOND_DEVICE_SHARE,
        favourites=favourites,
    )


@dataclass(frozen=True)
class DayOfUsers:
    """What the users who are active on one day do; every field has shape (active users,)."""

    user: Ints  # rows of Population
    plays: Ints
    searches: Ints
    downloads: Ints
    skip: Floats  # probability, with the day's mood
    device: Ints
    session: Floats  # when the day's session begins, seconds after midnight


def draw_day(users: Population, day: int, weekday: int, rng: np.random.Generator) -> DayOfUsers:
    """Who is active on a day, and how much. `weekday` is 0 on Mondays."""
    silent = (users.silent_from <= day) & (day < users.silent_to)
    user = np.flatnonzero((users.first <= day) & (day <= users.last) & ~silent)
    n = len(user)
    fading, bot = users.kind[user] == FADING, users.kind[user] == BOT
    to_go = users.last[user] - day
    progress = np.clip(1 - to_go / users.fade_days[user], 0, 1)
    fade = np.where(fading, 1 - (1 - FADE_TO) * progress, 1.0)
    # Fewer active days and fewer plays on each: the product falls as `fade`.
    odds = np.exp(-users.presence[user])
    chance = np.sqrt(fade) / (1 + odds) * PLAY_WEEK[weekday]
    sure = (users.sure[user] == day) | (users.first[user] == day)
    sure |= (users.silent_from[user] == day + 1) | (users.silent_to[user] == day)
    active = (rng.random(n) < chance) | sure
    ups = np.where(bot, 1.0, rng.standard_gamma(DAY_SHAPE, n) / DAY_SHAPE)
    plays = rng.poisson(users.plays[user] * np.sqrt(fade) * ups)
    plays = np.where(bot, plays, np.clip(plays, sure, MOST_A_DAY))
    search_week = SEARCH_WEEK[weekday] / PLAY_WEEK[weekday]
    search_fade = fade ** (SEARCH_FADE - 0.5)
    searches = rng.poisson(users.searches[user] * search_fade * search_week * ups)
    download_chance = np.where(bot, 1.0, DOWNLOAD_DAYS * fade ** (DOWNLOAD_FADE - 0.5))
    downloads = np.where(rng.random(n) < download_chance, rng.poisson(users.downloads[user]), 0)
    gloom = np.where(
        fading, MOOD_FADING * progress, MOOD_STEADY[0] * np.clip(1 - to_go / MOOD_STEADY[1], 0, 1)
    )
    gloom = np.where(bot, 0.0, gloom)
    second = users.two_devices[user] & (rng.random(n) < 0.3)
    session = np.interp(rng.random(n), CLOCK, np.linspace(0, 86_400, len(CLOCK)))
    return DayOfUsers(
        user=user[active],
        plays=plays[active],
        searches=searches[active],
        downloads=downloads[active],
        skip=(users.skip[user] + gloom * (1 - users.skip[user]))[active],
        device=np.where(second, 1 - users.device[user], users.device[user])[active],
        session=session[active],
    )
