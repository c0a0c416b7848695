"""Continued pre-training on texts, and tuning on prompts with answers: one path from a model to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from linkwise.context import Context
from linkwise.errors import InputError, UsageError
from linkwise.lm import objectives
from linkwise.lm.adapters import attach_lora, attach_soft_prompt, save_adapter
from linkwise.lm.config import AdaptConfig, TrainConfig
from linkwise.lm.fit import Fitted, Loss, Task, fit
from linkwise.lm.load import Head, LanguageModel, is_causal_model, load_model, save_model
from linkwise.lm.team import Team
from linkwise.lm.titles import ended_titles, path_loss, read_titles, steps_of

HEADS: dict[str, Head] = {
    "mlm": "masked",
    "mlm-hybrid": "masked",
    "clm": "causal",
    "mntp": "causal",
}


def head_for(objective: str, name: str) -> Head:
    """The head that an objective needs; for `contrastive`, the causal one of a decoder, else none."""
    if objective in HEADS:
        return HEADS[objective]
    return "causal" if is_causal_model(name) else "encoder"


def adapt(
    model: LanguageModel,
    texts: Sequence[str],
    config: AdaptConfig,
    context: Context,
    *,
    titles: Sequence[str] | None = None,
    team: Team | None = None,
) -> Fitted:
    """Train a model on texts, in place; `titles` (one for each text) are what `mlm-hybrid` hides.

    Raises `InputError` where the texts are too few or a title is missing.
    """
    limit = model.at_most(config.max_tokens)
    task: Task
    if config.objective == "mlm-hybrid":
        if titles is None:
            raise UsageError(
                "the objective mlm-hybrid hides titles; name their column with --title-column."
            )
        task = objectives.mlm_hybrid(model, texts, titles, limit)
    else:
        task = getattr(objectives, config.objective)(model, texts, limit)
    if config.objective == "mntp":
        model.about["attention"] = "bidirectional"
    return fit(model.network, task, config, context, f"adapt {config.objective}", team=team)


def instruct_task(
    model: LanguageModel, prompts: Sequence[str], answers: Sequence[str], max_tokens: int
) -> Task:
    """Answers after their prompts, the loss on the answers only; long prompts lose their beginning.

    A space stands before an answer whose prompt does not end in white space.
    """
    max_tokens = model.at_most(max_tokens)
    start, end = model.text_start(), model.text_end()
    rows, first = [], []
    for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        lead = "" if not prompt or prompt[-1].isspace() else " "
        said = [*(model.encode_after(lead + answer) if answer.strip() else []), *end]
        room = max_tokens - len(start) - len(said)
        if room < 1 or len(said) == len(end):
            raise InputError(
                f"row {number + 1} of those with both: the answer has {len(said) - len(end)} tokens; "
                f"expected 1 to {max_tokens - len(start) - len(end) - 1} with --max-tokens {max_tokens}."
            )
        asked = model.encode(prompt)[-room:]
        rows.append([*start, *asked, *said])
        first.append(len(start) + len(asked))

    def loss(chosen: Any, rng: Any) -> Any:
        return objectives.next_token_loss(
            model, [rows[row] for row in chosen], [first[row] for row in chosen]
        )

    return objectives.task_of([len(row) for row in rows], loss)


def catalogue_task(
    model: LanguageModel, prompts: Sequence[str], answers: Sequence[str], max_tokens: int
) -> Task:
    """The right one of all different answers, after each prompt: cross-entropy over the whole catalogue.

    Exact at the cost of the right answer's path through the trie of answers, and its siblings.
    """
    max_tokens = model.at_most(max_tokens)
    start = model.text_start()
    end = model.encode_after(".")[:1]  # as title-lm and lm score end theirs
    names = sorted(set(answers))
    number = {name: row for row, name in enumerate(names)}
    titles = read_titles(model, names, most=max_tokens)
    if len(titles.named) < len(names):
        bad = names[int(np.flatnonzero(titles.lengths == 0)[0])]
        raise InputError(f'the answer "{bad}" has no tokens.')
    steps = steps_of(ended_titles(titles, end), len(titles))
    rows, targets = [], []
    for prompt, answer in zip(prompts, answers, strict=True):
        title = number[answer]
        tokens = titles.tokens[title]
        room = max_tokens - len(start) - len(tokens)
        if room < 1:
            raise InputError(
                f'the answer "{answer[:40]}" has {len(tokens)} tokens, which --max-tokens {max_tokens} '
                "has no room for."
            )
        before = [*start, *model.encode(prompt.rstrip())[-room:]]
        rows.append([*before, *tokens])
        targets.append([(len(before), title)])

    def loss(chosen: Any, rng: Any) -> Any:
        some = [rows[row] for row in chosen]
        found = path_loss(model, some, [targets[row] for row in chosen], steps)
        return Loss(found, len(chosen), sum(len(row) for row in some))

    return objectives.task_of([len(row) for row in rows], loss)


@dataclass
class Prepared:
    """A model ready to be trained: its name, and peft's model around it where it is trained in part."""

    model: LanguageModel
    wrapped: Any
    name: str
    config: TrainConfig


def prepare(
    name: str,
    head: Head,
    config: TrainConfig,
    *,
    as_causal: bool = False,
    device: Any = "auto",
) -> Prepared:
    """A model ready to be trained, with what of it is to be trained.

    Raises `UsageError` for a combination that cannot be trained.
    """
    if config.train == "soft-prompt" and head != "causal":
        raise UsageError(
            "--train soft-prompt goes with causal models: objectives clm and those of tune."
        )
    model = load_model(name, head, as_causal=as_causal, four_bit=config.four_bit, device=device)
    if model.prefix and (config.train != "lora" or config.merge):
        raise UsageError(
            f"{name}: this model has a soft prompt, which only LoRA (without --merge) can be trained upon; "
            "train its base instead."
        )
    if as_causal and not is_causal_model(str(model.folder)):
        model.about["as_causal"] = True
    if config.dropout is not None:
        objectives.set_dropout(model.network, config.dropout)
    wrapped = None
    torch.manual_seed(0)  # the adapter's first weights
    if config.train == "lora":
        wrapped = attach_lora(model, config.rank, config.dropout)
    elif config.train == "soft-prompt":
        wrapped = attach_soft_prompt(model, config.prompt_tokens)
    return Prepared(model, wrapped, name, config)


def note_until(about: dict[str, Any], until: int | None) -> None:
    """Note the last year that a model may know of, tuned on texts up to `until` from one with `about`.

    Nothing is noted where it is not known. A base that was not tuned here does not count: what it was
    pre-trained on has no year.
    """
    before = about.pop("until", None)
    if "objective" in about and until is not None:
        until = None if before is None else max(before, until)
    if until is not None:
        about["until"] = until


def write(prepared: Prepared, folder: Path, **about: Any) -> None:
    """Write what was trained: a whole model, or an adapter beside the name of its base."""
    model, wrapped = prepared.model, prepared.wrapped
    model.about.update(about)
    if wrapped is None:
        save_model(model, folder)
    elif prepared.config.merge:
        model.about.pop("base", None)
        model.network = wrapped.merge_and_unload()
        save_model(model, folder)
    else:
        save_adapter(wrapped, model, prepared.name, folder)
