"""`title-lm` tuned on a log: cross-entropy of the item that was chosen, under each inference."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from linkwise.context import Context
from linkwise.data.interactions import Interactions, Longs
from linkwise.errors import InputError, UsageError
from linkwise.lm.config import FitConfig
from linkwise.lm.fit import Loss, fit
from linkwise.lm.heads import logits_at, padded
from linkwise.lm.load import choose_device
from linkwise.lm.objectives import task_of
from linkwise.lm.titles import gap_values, path_loss, steps_of
from linkwise.recommend.title_prompt import context as prompt_tokens
from linkwise.recommend.title_prompt import end_tokens, gap


def tune(model: Any, log: Interactions, context: Context) -> list[dict[str, float]]:
    """Train a `TitleLM`'s network on the histories of a log; gives what each evaluation found.

    A prompt whose history stands as the asked title does (`weak`) learns from every title of a piece of a
    history at once; others from one title of each piece, another in every epoch. Of the users, one in
    twenty is held out to stop by.
    """
    config = model.config
    language = model.model
    if config.dtype != "float32":
        raise UsageError(
            f"title_lm.dtype={config.dtype} is for ranking; tune in float32, and rank with what that wrote."
        )
    if language.prefix:
        raise UsageError(
            f"{config.lm}: a model with a soft prompt is not tuned further; tune its base."
        )
    torch.manual_seed(config.seed)  # the adapter's first weights
    network = language.network.to(choose_device("auto"))
    wrapped = None
    if config.train == "lora":
        from linkwise.lm.adapters import attach_lora

        wrapped = attach_lora(language, 16, 0.05)
        network = language.network
    pieces, users = _pieces(log, config.window)
    if not pieces:
        raise InputError(
            "no user of the training log has two items with titles, which title-lm is tuned on; "
            "use --set title_lm.tune=none with a trained model."
        )
    if config.pieces is not None and config.pieces < len(pieces):
        some = np.random.default_rng(config.seed + 5).choice(
            len(pieces), config.pieces, replace=False
        )
        pieces, users = [pieces[row] for row in some], users[some]
    dense = model.prompt.dense and config.inference == "autoregressive"
    loss = _dense_loss(model, pieces) if dense else _single_loss(model, pieces)
    lengths = _lengths(model, pieces, dense)
    task = task_of(lengths, loss, of=users)
    settings = FitConfig(
        epochs=config.epochs,
        learning_rate=config.learning_rate,
        batch_size=config.batch_size,
        part_tokens=4096,
        evaluations=2,
        patience=config.patience,
    )
    fitted = fit(
        network, task, settings, _named(context, config.seed), f"tune title-lm {model.tune_}"
    )
    if wrapped is not None:
        language.network = wrapped.merge_and_unload()
    return fitted.history


def _named(context: Context, seed: int) -> Context:
    """The run's context with the model's own seed."""
    if seed == 0 or context.folder == Path():
        return context
    return Context(
        context.folder, context.seed + seed, context.threads, context.progress, context.cancelled
    )


def _pieces(log: Interactions, window: int) -> tuple[list[Longs], Longs]:
    """Histories in pieces of at most `window` items that have titles, and the user of each piece.

    A piece begins where the one before ended, with its last item again, so that every item but the first
    is once one that is asked for.
    """
    there = log.catalogue.titles.is_not_null().to_numpy()
    pieces, users = [], []
    for user in range(len(log.histories)):
        items = log.histories[user]
        items = items[there[items]].astype(np.int64)
        for start in range(0, len(items) - 1, window - 1):
            pieces.append(items[start : start + window])
            users.append(user)
    return pieces, np.array(users, dtype=np.int64)


def _lengths(model: Any, pieces: list[Longs], dense: bool) -> Longs:
    """Roughly how many tokens an example has."""
    sizes = model.titles.lengths + 1
    most = None if dense else model.config.recent + 1
    return np.array([int(sizes[piece[-most if most else 0 :]].sum()) + 8 for piece in pieces])


def _dense_loss(model: Any, pieces: list[Longs]) -> Any:
    """Every title of a piece after the first is a target, after all those before it."""
    language, titles, names = model.model, model.titles, model.names
    end = end_tokens(language, model.prompt)
    start = language.text_start()
    comma = language.encode_after(",")
    steps = steps_of(model.ended, len(titles)) if model.tune_ == "catalogue" else None

    @cache
    def first_tokens(item: int) -> list[int]:
        found: list[int] = language.encode(names[item])[: model.config.title_tokens]
        return found

    def loss(chosen: Longs, rng: np.random.Generator) -> Loss:
        rows: list[list[int]] = []
        targets: list[list[tuple[int, int]]] = []
        for number in chosen:
            row: list[int] = [*start]
            asked = []
            for place, item in enumerate(pieces[number]):
                if place:
                    row += comma
                    asked.append((len(row), int(item)))
                    row += titles.tokens[item]
                else:  # as a prompt begins: without a space
                    row += first_tokens(int(item))
            limit = language.positions or 2**20
            rows.append(row[:limit])
            targets.append([(at, item) for at, item in asked if at + titles.lengths[item] <= limit])
        units = sum(len(pairs) for pairs in targets)
        tokens = sum(len(row) for row in rows)
        if steps is not None:
            return Loss(path_loss(language, rows, targets, steps), units, tokens)
        return Loss(_vocabulary_loss(language, rows, targets, titles, end), units, tokens)

    return loss


def _single_loss(model: Any, pieces: list[Longs]) -> Any:
    """One title of each piece, drawn anew in every epoch, after at most `recent` others in the prompt."""
    language, titles, names = model.model, model.titles, model.names
    prompt, recent, room = model.prompt, model.config.recent, model.room()
    end = end_tokens(language, prompt)
    masked = model.config.inference != "autoregressive"
    steps = steps_of(model.ended, len(titles)) if model.tune_ == "catalogue" else None
    divisor = torch.from_numpy(titles.divisor(model.normalise)).float()

    def loss(chosen: Longs, rng: np.random.Generator) -> Loss:
        rows, targets, gaps, answers = [], [], [], []
        for number in chosen:
            piece = pieces[number]
            at = int(rng.integers(1, len(piece)))
            history = [names[item] for item in piece[max(0, at - recent) : at]]
            target = int(piece[at])
            if not titles.lengths[target]:
                continue
            answers.append(target)
            if masked:
                gaps.append(gap(language, prompt, history, room)[0])
                continue
            tokens, _ = prompt_tokens(language, prompt, history, room)
            rows.append([*tokens, *titles.tokens[target]])
            targets.append([(len(tokens), target)])
        device = language.network.device
        if not answers:
            return Loss(torch.zeros((), device=device), 0, 0)
        if masked:
            values = gap_values(language, gaps, titles, model.config.inference) / divisor.to(device)
            values[:, torch.from_numpy(titles.lengths == 0).to(device)] = -torch.inf
            total = torch.nn.functional.cross_entropy(
                values, torch.tensor(answers, device=device), reduction="sum"
            )
            return Loss(total, len(answers), sum(len(g.before) + len(g.after) for g in gaps))
        tokens_run = sum(len(row) for row in rows)
        if steps is not None:
            return Loss(path_loss(language, rows, targets, steps), len(answers), tokens_run)
        found = _vocabulary_loss(language, rows, targets, titles, end)
        return Loss(found, len(answers), tokens_run)

    return loss


def _vocabulary_loss(language: Any, rows: Any, targets: Any, titles: Any, end: list[int]) -> Any:
    """-log p of titles and the token that ends each, over the whole vocabulary, summed."""
    device = language.network.device
    ids, there = padded(rows, language.tokenizer.pad_token_id or 0, device)
    row: list[int] = []
    place: list[int] = []
    answer: list[int] = []
    for at, pairs in enumerate(targets):
        for begin, title in pairs:
            tokens = [*titles.tokens[title], *end]
            row += [at] * len(tokens)
            place += range(begin - 1, begin - 1 + len(tokens))
            answer += tokens
    at_row, at_place, wanted = (
        torch.tensor(x, dtype=torch.long, device=device) for x in (row, place, answer)
    )
    logits = logits_at(language.network, ids, there, at_row, at_place)
    return torch.nn.functional.cross_entropy(logits, wanted, reduction="sum")
