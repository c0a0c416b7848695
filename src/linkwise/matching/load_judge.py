"""A judge as it is begun from a config, written beside a run, and read again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from linkwise.context import Context
from linkwise.errors import InputError, LinkwiseError
from linkwise.matching.config import PairsConfig
from linkwise.matching.judge import WeighedJudge
from linkwise.matching.judges import WEIGHED, FeatureJudge, Fitted, Judge
from linkwise.matching.sides import Side

FILE = "judge.json"
FORMAT = 1
BATCH, PART_TOKENS, RANK = 16, 4096, 16  # of an update, run at once, of LoRA matrices
# What of a config a judge was learned with, and must be asked with.
KEPT = (
    "patent_tokens", "section_tokens", "instruction", "question", "patent_name", "section_name",
    "examples", "chain_of_thought",
)  # fmt: skip


def begin_judge(
    config: PairsConfig, queries: Side, items: Side, context: Context, name: str
) -> Judge:
    """The judge that a config names, before it has learned from any pair.

    Raises `UsageError` or `InputError` where a model cannot be used so.
    """
    if config.judge == WEIGHED:
        return FeatureJudge()
    if config.judge == "server":
        from linkwise.lm.budget import Budget
        from linkwise.lm.replies import Cache
        from linkwise.lm.server import Server
        from linkwise.matching.served import ServedJudge

        server = Server(
            str(config.server),
            str(config.model),
            key_variable=config.key_variable,
            budget=Budget(requests=config.requests),
            cache=Cache(context.work / "replies.jsonl"),
        )
        return ServedJudge(server, queries, items, config, context)
    from linkwise.lm.adapt import prepare
    from linkwise.lm.config import TrainConfig
    from linkwise.lm.load import is_causal_model, load_model

    tune = None
    if config.epochs:
        tune = TrainConfig(
            epochs=config.epochs,
            learning_rate=config.learning_rate,
            batch_size=BATCH,
            part_tokens=PART_TOKENS,
            rank=RANK,
            train="full" if config.judge == "cross-encoder" else config.train,
            four_bit=config.four_bit,
        )
    if config.judge == "cross-encoder":
        from linkwise.matching.cross_encoder import CrossEncoder, encoder_of

        assert tune is not None
        encoder = encoder_of(config.lm)
        return CrossEncoder(encoder, queries, items, config, context, name, tune)
    from linkwise.matching.lm_judge import LMJudge

    def load() -> tuple[Any, Any]:
        as_causal = not is_causal_model(config.judge)
        if tune is None:
            return load_model(config.judge, "causal").must_look_back(), None
        prepared = prepare(config.judge, "causal", tune, as_causal=as_causal)
        prepared.model.must_look_back()
        return prepared.model, prepared.wrapped

    return LMJudge(load, queries, items, config, context, name, tune=tune)


def check_judge(config: PairsConfig) -> None:
    """Raise what `begin_judge` would of a model that is not there, or of another kind: before any work."""
    from linkwise.lm.load import load_outline, locate

    if config.judge in (WEIGHED, "server") or folder_of_judge(config) is not None:
        return
    if config.judge == "cross-encoder":
        locate(config.lm)
        return
    try:
        if config.epochs and config.labels is not None:
            locate(config.judge)  # a masked model becomes a causal one when it is tuned
        else:
            load_outline(config.judge).must_look_back()
    except LinkwiseError as error:  # perhaps a slip of the pen
        raise type(error)(
            f"{error} Other judges are weighed, cross-encoder, server and the folder of a run (--judge)."
        ) from error


def write_judge(use: Fitted, config: PairsConfig, folder: Path) -> None:
    """Write a judge to judge.json, and what it needs beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    kind = config.judge if config.judge in (WEIGHED, "cross-encoder", "server") else "lm"
    about = {
        "format_version": FORMAT,
        "kind": kind,
        "config": {name: getattr(config, name) for name in KEPT},
        "line": use.line.as_dict(),
        "threshold": use.threshold,
        "own": use.judge.save(folder),
    }
    (folder / FILE).write_text(json.dumps(about, indent=1))


def folder_of_judge(config: PairsConfig) -> Path | None:
    """The folder of the judge of a finished run, where the config names a run."""
    path = Path(config.judge)
    return next((p for p in (path / "model", path) if (p / FILE).is_file()), None)


def load_judge(
    folder: Path, config: PairsConfig, queries: Side, items: Side, context: Context
) -> Fitted:
    """The judge that another run learned, ready for other texts.

    Raises `InputError` where judge.json is damaged or that of another study.
    """
    path = folder / FILE
    try:
        about = json.loads(path.read_text())
        kind, own = about["kind"], about["own"]
        line, threshold = WeighedJudge.of(about["line"]), float(about["threshold"])
        config = config.model_copy(update={name: about["config"][name] for name in KEPT})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: this is no judge of pairs ({error!r}); name the folder of a run of linkwise match with "
            "--labels."
        ) from error
    judge: Judge
    if kind == WEIGHED:
        return Fitted(FeatureJudge.of(own), line, threshold, known=True)
    if kind == "server":
        values = {"judge": "server", "server": own["server"], "model": own["model"]}
        values |= {"key_variable": own["key_variable"], "labels": config.labels or "-"}
        served = begin_judge(config.model_copy(update=values), queries, items, context, "")
        served.examples = [(q, a) for q, a in own["examples"]]  # type: ignore[attr-defined]
        return Fitted(served, line, threshold, known=True)
    model = str(folder / own["model"]) if own["model"] == "judge" else own["model"]
    if kind == "cross-encoder":
        from linkwise.lm.config import FitConfig
        from linkwise.matching.cross_encoder import CrossEncoder, encoder_of

        judge = CrossEncoder(encoder_of(model), queries, items, config, context, "", FitConfig())
        judge.load_head(Path(model))
    else:
        bare = config.model_copy(update={"judge": model, "epochs": 0})
        judge = begin_judge(bare, queries, items, context, "")
    return Fitted(judge, line, threshold, known=True)
