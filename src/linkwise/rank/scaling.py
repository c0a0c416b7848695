"""Studies of what more data and a larger model are worth: rankers trained anew, judged by the same events."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from linkwise.errors import UsageError
from linkwise.rank.conditions import Found, Trained, paired, scores_of
from linkwise.rank.config import RankStudyConfig
from linkwise.rank.ranker import Ranker
from linkwise.rank.study import Asked
from linkwise.rank.surface import Surface, held_out

SHARES = (0.125, 0.25, 0.5, 1.0)  # of the members
SIZES = ("tiny", "small", "medium")
ANEW = ("data", "models")  # the studies that train


def may_train_anew(config: RankStudyConfig) -> None:
    """Raise `UsageError` where a study would train another kind of ranker than that of the run."""
    if config.study not in ANEW:
        return
    where = f"the study {config.study} of {config.run}"
    if config.teacher is not None:
        raise UsageError(
            f"{where}: this run learned from a teacher, {config.teacher}, which knows all members "
            "whatever the share or the size; study a run of linkwise rank train."
        )
    if config.study == "models" and (config.base not in SIZES or config.train != "full"):
        raise UsageError(
            f"{where}: this run began from {config.base}, with --train {config.train}, and the sizes are of "
            f"models that begin untrained; study a run with --base {', '.join(SIZES)} and --train full."
        )
    if (Path(config.base) / "model" / "ranker.json").is_file():
        raise UsageError(
            f"{where}: this run began from another, {config.base}, which knows more members than a share of "
            "them; study that one, or a run with another --base."
        )


def data(trained: Trained) -> Found:
    """AUC by the share of the members that were learned from."""
    taught = [surface for surface in trained.every if trained.trained_on(surface)]
    every_id = np.array(sorted({name for surface in taught for name in surface.members["id"]}))
    # The same members judge each training, and weigh answers and vectors, whatever the share.
    out = held_out(every_id.tolist())
    judging, ids = set(every_id[out].tolist()), every_id[~out].tolist()
    order = trained.context.rng("members learned from").permutation(len(ids))
    names = [f"{share:.1%} of the members" for share in SHARES]

    def scores(condition: str, every: Sequence[Asked]) -> list[Any]:
        n = round(SHARES[names.index(condition)] * len(ids))
        told = judging | {ids[place] for place in order[:n]}
        fewer = [_events_of(surface, told) for surface in taught]
        ranker = _trained_anew(trained, fewer)
        return scores_of(ranker, every, condition, trained.context)

    most = trained.config.sequences
    return paired(
        trained,
        "What more data is worth",
        "share of the members, %",
        names,
        [100 * share for share in SHARES],
        scores,
        names[0],
        (
            f"Trained anew on what each share of {len(ids):,} members did, all else as in the run: the "
            f"{len(judging):,} members held out, who judge the training, are the same. Nothing is learned "
            "of the others, nor of items that they alone met. The slope is of AUC per doubling.",
            *([f"No training learns from more than {most:,} sequences."] if most else []),
        ),
    )


def models(trained: Trained) -> Found:
    """AUC by the size of the model."""
    from linkwise.lm.small import small_model

    taught = [surface for surface in trained.every if trained.trained_on(surface)]
    sizes = []
    for size in SIZES:
        network = small_model(size, device="cpu").network
        words = network.get_input_embeddings().weight.numel()
        sizes.append(sum(p.numel() for p in network.parameters()) - words)

    def scores(condition: str, every: Sequence[Asked]) -> list[Any]:
        ranker = _trained_anew(trained, taught, base=condition)
        return scores_of(ranker, every, condition, trained.context)

    said = ", ".join(f"{name} {n:,}" for name, n in zip(SIZES, sizes, strict=True))
    return paired(
        trained,
        "What a larger model is worth",
        "weights beside the words' vectors",
        SIZES,
        [float(size) for size in sizes],
        scores,
        SIZES[0],
        (
            f"Trained anew in each size, all else as in the run. Weights beside the words' vectors: {said}. "
            "The slope is of AUC per doubling of the weights.",
        ),
    )


def _events_of(surface: Surface, ids: Collection[str]) -> Surface:
    """A surface with the events of some members only; the others stay members of it."""
    wanted = surface.members["id"].is_in(list(ids)).to_numpy()
    return surface.only(wanted[surface.member])


def _trained_anew(
    trained: Trained,
    surfaces: Sequence[Surface],
    **changes: Any,
) -> Ranker:
    """Another ranker of the run's own parameters, but for changes, learned from some surfaces."""
    config = trained.config.model_copy(update=changes)
    ranker = Ranker(config.ranker(trained.context.seed))
    return ranker.fit(surfaces, trained.until, trained.context)
