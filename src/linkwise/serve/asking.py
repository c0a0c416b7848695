"""The routes that ask a run's models: lists, risks, ranks, forecasts, strangeness."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from linkwise.errors import UsageError
from linkwise.serve.catalogue import Catalogue, Entry, NoRunError
from linkwise.serve.config import ServeConfig
from linkwise.serve.models import Models

router = APIRouter(prefix="/v1", tags=["models"])
RunName = Annotated[
    str | None, Query(description="Name of the run; by default the latest that answers this.")
]


class Body(BaseModel):
    """What every request may say."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    run: str | None = None
    """Name of the run; by default the latest that answers this."""


def find(request: Request, verb: str, run: str | None) -> Entry:
    """The run that is asked.

    Raises `NoRunError` where there is none that answers this.
    """
    catalogue: Catalogue = request.app.state.catalogue
    if run is None:
        for entry in catalogue.entries():
            if verb in entry.asks:
                return entry
        raise NoRunError(f"there is no run that answers {verb}; make one, and it is found here.")
    entry = catalogue.get(run)
    if verb not in entry.asks:
        raise NoRunError(
            f"the run {entry.id} does not answer {verb}; it answers {', '.join(entry.asks)}."
        )
    return entry


async def asked(request: Request, entry: Entry, name: str, load: Any, what: Any) -> Any:
    """The answer of a run's model, within the time that answers may take.

    Raises what answering raised, `BusyError` where too many wait, `TimeoutError`.
    """
    models: Models = request.app.state.models
    config: ServeConfig = request.app.state.config
    async with asyncio.timeout(config.answer_seconds):
        return await models.batcher(entry, name, load).ask(what)


async def held(request: Request, entry: Entry, name: str, load: Any, use: Any) -> Any:
    """What `use` makes of something loaded, in a thread: for what is looked up and not computed."""
    models: Models = request.app.state.models
    return await run_in_threadpool(lambda: use(models.kept(entry, name, load)))


def at_most(request: Request, name: str, n: int, limit: str) -> None:
    """Raise `UsageError` where a request asks for more than the service allows."""
    most = getattr(request.app.state.config, limit)
    if n > most:
        raise UsageError(f"{name} is {n:,}; expected {most:,} (--{limit}) at most.")


# ------------------------------------------------------------------------------------------------ recommend


class RecommendBody(Body):
    """A list for a user of the run's log, or after a history."""

    user: str | None = None
    """A user of the run's log, whose list is read as the run made it."""
    history: list[str] | None = None
    """Ids of items, the oldest first; an empty history gets the most popular."""
    dislikes: list[str] = []
    """Items that were turned down: not listed, and what is similar moves down."""
    exclude: list[str] = []
    """Items to be left out, for example because they are sold out."""
    k: int = Field(10, ge=1)
    """Length of the list."""
    model: str | None = None
    """One of the run's models; by default the one that it chose."""
    at: datetime | None = None
    """The time at which the list is to be shown, of a run with --daytime."""


class Listed(BaseModel):
    """A list of items."""

    run: str
    model: str
    items: list[dict[str, Any]]
    """`item, title, score, rank, reason`."""
    unknown: list[str]
    """Ids of the request that the catalogue does not have, and that were passed over."""


@router.post("/recommend")
async def recommend(request: Request, body: RecommendBody) -> Listed:
    """Items for a user or after a history."""
    from linkwise.recommend.serving import Wish, list_for
    from linkwise.serve.tables import plain

    entry = find(request, "recommend", body.run)
    if (body.user is None) == (body.history is None):
        raise UsageError("give user or history, one of the two.")
    at_most(request, "k", body.k, "candidates")
    if body.user is not None:
        user, k = body.user, body.k
        read = await run_in_threadpool(
            lambda: list_for(
                entry.run, user=user, dislikes=body.dislikes, model=body.model, k=k, at=body.at
            )
        )
        gone = [str(item) for item in body.exclude]
        rows = [row for row in plain(read) if str(row["item"]) not in gone]
        return Listed(run=entry.id, model=_chosen(entry), items=rows, unknown=[])
    history = body.history or []
    for name, ids in (
        ("history", history),
        ("dislikes", body.dislikes),
        ("exclude", body.exclude),
    ):
        at_most(request, f"the length of {name}", len(ids), "history")
    model = body.model or _chosen(entry)
    load = _lists(entry, model)
    wish = Wish(tuple(history), tuple(body.dislikes), tuple(body.exclude), body.k, body.at)
    table = await asked(request, entry, f"recommend:{model}", load, wish)
    unknown = await held(
        request,
        entry,
        f"recommend:{model}",
        load,
        lambda lists: lists.unknown([*history, *body.dislikes]),
    )
    return Listed(run=entry.id, model=model, items=plain(table), unknown=unknown)


def _chosen(entry: Entry) -> str:
    from linkwise.recommend.serving import model_names

    return model_names(entry.folder)[0]


def _lists(entry: Entry, model: str) -> Any:
    from linkwise.recommend.serving import Lists

    return lambda: Lists(entry.folder, model)


class ModelNames(BaseModel):
    """The models of a run."""

    run: str
    chosen: str
    models: list[str]


@router.get("/recommend/models")
def recommend_models(request: Request, run: RunName = None) -> ModelNames:
    """The models of a recommend run, and the one that it chose."""
    from linkwise.recommend.serving import model_names

    entry = find(request, "recommend", run)
    chosen, *others = model_names(entry.folder)
    return ModelNames(run=entry.id, chosen=chosen, models=[chosen, *others])


class Found(BaseModel):
    """What a search found."""

    run: str
    rows: list[dict[str, Any]]


@router.get("/recommend/items")
async def recommend_items(
    request: Request,
    run: RunName = None,
    q: Annotated[str, Query(max_length=200, description="Words of a title, or an id.")] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
) -> Found:
    """Items of the catalogue by the beginnings of words, the most chosen first: `item, title, popularity`."""
    entry = find(request, "recommend", run)
    model = _chosen(entry)
    rows = await held(
        request,
        entry,
        f"recommend:{model}",
        _lists(entry, model),
        lambda lists: lists.find(q, limit),
    )
    return Found(run=entry.id, rows=rows)


# ---------------------------------------------------------------------------------------------------- churn


class ChurnEvent(BaseModel):
    """One event of a user."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    time: str = Field(max_length=40)
    """Date or time by the log's own clock, 2026-04-20T18:05:00."""
    event: str | None = None
    """Kind of event, such as play."""
    item: str | None = None
    duration: float | None = Field(None, ge=-1e9, le=1e9)
    """Time spent, seconds."""
    length: float | None = Field(None, ge=-1e9, le=1e9)
    """The item's own length, seconds."""
    value: float | None = Field(None, ge=-1e12, le=1e12)
    """Amount, such as a price."""
    device: str | None = None
    paid: bool | None = None


class ChurnBody(Body):
    """The events of one user."""

    events: list[ChurnEvent] = Field(min_length=1)
    at: date | None = None
    """The day on which the risk is asked for; its events are not read. By default today."""


class Risk(BaseModel):
    """A user's risk of being gone after the run's label window."""

    run: str
    at: date
    probability: float
    low: float
    high: float
    score: float
    reasons: list[str]
    action: str
    bot: bool


@router.post("/churn/score")
async def churn_score(request: Request, body: ChurnBody) -> Risk:
    """The risk of one user, from the user's own events, with its reasons."""
    from linkwise.churn.serving import Asked, Risks

    entry = find(request, "churn", body.run)
    at_most(request, "the number of events", len(body.events), "history")
    what = Asked([event.model_dump() for event in body.events], body.at or datetime.now(UTC).date())
    config = entry.run.config

    def load() -> Risks:
        return Risks(entry.folder, config.churn, config.seed)

    found = await asked(request, entry, "churn", load, what)
    reasons = found.pop("reason").split("; ")
    return Risk(run=entry.id, reasons=reasons, **found)


# ----------------------------------------------------------------------------------------------------- rank


class RankBody(Body):
    """Candidates for a member of one of the run's surfaces."""

    task: str
    """Name of the task."""
    member: str
    """Id of the member."""
    candidates: list[str] = []
    """Ids of items; by default all of the surface."""
    k: int = Field(10, ge=1)
    new: bool = False
    """Leave out what the member has acted on."""
    retrieve: int | None = Field(None, ge=1)
    """Score only so many, those nearest to the member by the model's vectors."""
    at: str | None = Field(None, max_length=40)
    """Time, or position; nothing of then or later is shown."""


class RankedList(BaseModel):
    """Candidates, ranked."""

    run: str
    task: str
    member: str
    items: list[dict[str, Any]]
    """`rank, item, score, text, before` (what the member did with it before), `why`."""


def _surfaces(entry: Entry) -> Any:
    from linkwise.rank.serving import Surfaces

    return lambda: Surfaces(entry.folder, entry.run.config.paths)


@router.post("/rank")
async def rank(request: Request, body: RankBody) -> RankedList:
    """Candidates ranked for a member."""
    from linkwise.rank.serving import Asked

    entry = find(request, "rank", body.run)
    at_most(request, "k", body.k, "candidates")
    at_most(request, "the number of candidates", len(body.candidates), "candidates")
    what = Asked(
        body.task,
        body.member,
        tuple(body.candidates),
        body.k,
        body.new,
        body.retrieve,
        body.at,
    )
    items = await asked(request, entry, "rank", _surfaces(entry), what)
    return RankedList(run=entry.id, task=body.task, member=body.member, items=items)


class PromptBody(Body):
    """A member and a candidate."""

    task: str
    member: str
    candidate: str | None = None
    """Id of an item; by default the surface's first."""
    at: str | None = Field(None, max_length=40)


class Prompt(BaseModel):
    """What the model sees."""

    run: str
    parts: list[dict[str, Any]]
    """`name, text, tokens`, in their order."""
    tokens: int
    shown: int
    """Past events that are in it."""
    left_out: int
    """Past events that had no room."""


@router.post("/rank/prompt")
async def rank_prompt(request: Request, body: PromptBody) -> Prompt:
    """The exact prompt of a member and a candidate, part by part."""
    entry = find(request, "rank", body.run)
    found = await held(
        request,
        entry,
        "rank",
        _surfaces(entry),
        lambda surfaces: surfaces.prompt(body.task, body.member, body.candidate, body.at),
    )
    return Prompt(run=entry.id, **found)


@router.get("/rank/tasks")
async def rank_tasks(request: Request, run: RunName = None) -> Found:
    """The tasks of a rank run: `name, noun, output, trained`."""
    entry = find(request, "rank", run)
    rows = await held(request, entry, "rank", _surfaces(entry), lambda surfaces: surfaces.tasks())
    return Found(run=entry.id, rows=rows)


@router.get("/rank/{table}")
async def rank_records(
    request: Request,
    table: str,
    task: str,
    run: RunName = None,
    q: Annotated[str, Query(max_length=200, description="Words of the text, or an id.")] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
) -> Found:
    """Members or items of a surface that have some words: `id, text`."""
    if table not in ("members", "items"):
        raise NoRunError(
            f'there is no table "{table[:40]}" of a surface; expected members or items.'
        )
    entry = find(request, "rank", run)
    rows = await held(
        request,
        entry,
        "rank",
        _surfaces(entry),
        lambda surfaces: surfaces.find(task, table, q, limit),
    )
    return Found(run=entry.id, rows=rows)


# ------------------------------------------------------------------------------------------------- forecast


class PairsBody(Body):
    """Codes whose pairs are wanted."""

    codes: list[str] = Field([], max_length=2)
    """None: the first pairs of all; one: those with it; two: that pair."""
    k: int = Field(20, ge=1, le=1000)


class CodePairs(BaseModel):
    """Pairs of codes."""

    run: str
    pairs: list[dict[str, Any]]
    """As in `pairs.parquet`; of a pair further down `model, score, rank, label` alone."""


def _forecast(entry: Entry) -> Any:
    from linkwise.technology.serving import Forecast

    return lambda: Forecast(entry.folder)


@router.post("/forecast/pairs")
async def forecast_pairs(request: Request, body: PairsBody) -> CodePairs:
    """Pairs of codes that were never combined, with what speaks for them."""
    from linkwise.serve.tables import plain_rows

    entry = find(request, "forecast", body.run)
    found = await held(
        request, entry, "forecast", _forecast(entry), lambda all_: all_.pairs(body.codes, body.k)
    )
    return CodePairs(run=entry.id, pairs=plain_rows(found))


class NeighboursBody(Body):
    """A code."""

    code: str
    k: int = Field(10, ge=1, le=200)


class Neighbours(BaseModel):
    """The codes nearest to one."""

    run: str
    code: str
    vectors: str
    """What the vectors are of."""
    neighbours: list[dict[str, Any]]
    """`code, title, cosine`."""


@router.post("/forecast/neighbours")
async def forecast_neighbours(request: Request, body: NeighboursBody) -> Neighbours:
    """The codes nearest to one, by the cosine of their vectors."""
    entry = find(request, "forecast", body.run)
    name, rows = await held(
        request,
        entry,
        "forecast",
        _forecast(entry),
        lambda all_: all_.neighbours(body.code, body.k),
    )
    return Neighbours(run=entry.id, code=body.code, vectors=name, neighbours=rows)


# ---------------------------------------------------------------------------------------------------- match


class MatchBody(Body):
    """A text to be matched."""

    text: str = Field(min_length=1)
    title: str = Field("", max_length=2000)
    k: int = Field(10, ge=1)


class Matched(BaseModel):
    """Sections that a text was matched with."""

    run: str
    items: list[dict[str, Any]]
    """`rank, item, title, score, probability, yes, query_part, item_part`."""


@router.post("/match")
async def match(request: Request, body: MatchBody) -> Matched:
    """The sections of the run's reference works that go with a text, and the sentences that say so."""
    from linkwise.matching.serving import Asked, Matcher

    entry = find(request, "match", body.run)
    at_most(request, "k", body.k, "candidates")
    config = entry.run.config
    items = await asked(
        request,
        entry,
        "match",
        lambda: Matcher(entry.folder, config.pairs),
        Asked(body.text, body.title, body.k),
    )
    return Matched(run=entry.id, items=items)


# --------------------------------------------------------------------------------------------------- detect


class DetectBody(Body):
    """A graph as a list of edges."""

    edges: list[tuple[str, str]] = []
    """Edges between nodes by name, each once, in any direction."""
    nodes: list[str] = []
    """Nodes without an edge."""
    labels: dict[str, str] = {}
    """The kind of each node, such as an element, where the run has learned from kinds."""
    false_alarms: float = Field(0.05, gt=0, lt=1)
    """A p-value of this or less is called strange: of normal graphs so large a share at most."""


class Strange(BaseModel):
    """How strange a graph is to the family that the run has learned."""

    run: str
    score: float
    p_value: float
    p_value_by_size: float
    flagged: bool
    n_nodes: int
    n_edges: int
    reason: str
    picture: dict[str, Any]
    """Places of the nodes, and how much nodes and edges weigh."""


@router.post("/detect")
async def detect(request: Request, body: DetectBody) -> Strange:
    """How strange a graph is, and the edges and nodes that make it so."""
    from linkwise.anomaly.score import Asked, Strangeness

    entry = find(request, "detect", body.run)
    at_most(request, "the number of edges", len(body.edges), "edges")
    at_most(request, "the number of nodes", len(body.nodes), "edges")
    found = await asked(
        request,
        entry,
        "detect",
        lambda: Strangeness(entry.folder / "model"),
        Asked(body.edges, body.nodes, body.labels),
    )
    flagged = found["p_value"] <= body.false_alarms
    return Strange(run=entry.id, flagged=flagged, **found)
