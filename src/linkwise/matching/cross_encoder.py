"""A cross-encoder: both texts read together by an encoder, and yes or no from its states."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from linkwise.context import Context
from linkwise.errors import InputError, UsageError, optional
from linkwise.lm.config import FitConfig
from linkwise.lm.load import LanguageModel, load_model, save_model
from linkwise.matching.config import PairsConfig
from linkwise.matching.judge import calibrated
from linkwise.matching.judges import Floats, Longs, Pairs
from linkwise.matching.sides import Side

HEAD = "head.json"
BATCH_TOKENS = 8192
OWN = 3  # [CLS] and two [SEP]


class CrossEncoder:
    """The log-odds of yes of two texts that an encoder reads as one (Nogueira and Cho 2019).

    A linear head on the mean of the last states and on the cosine of both texts' own means, over the weights
    of a text encoder, all trained on labelled pairs. At first it is the logistic regression on the cosine
    alone, which such an encoder knows already; a head of zeros stays at chance for some hundreds of pairs.
    """

    def __init__(
        self,
        model: LanguageModel,
        queries: Side,
        items: Side,
        config: PairsConfig,
        context: Context,
        name: str,
        fit_config: FitConfig,
    ) -> None:
        torch = optional("torch", "lm", "a cross-encoder")
        if model.tokenizer.sep_token_id is None:
            raise UsageError(
                f"{model.folder}: the tokenizer has no token that parts two texts ([SEP]); a cross-encoder "
                "is made of an encoder such as minilm."
            )
        self.model, self.config, self.context = model, config, context
        self.queries, self.items, self.name, self.fit_config = queries, items, name, fit_config
        size = int(model.network.config.hidden_size)
        self.network = torch.nn.Module()
        self.network.body, self.network.head = model.network, torch.nn.Linear(size + 1, 1)
        torch.nn.init.zeros_(self.network.head.weight)
        torch.nn.init.zeros_(self.network.head.bias)
        self.network.to(model.network.device)
        room = model.at_most(config.patent_tokens + config.section_tokens + OWN) - OWN
        self.room = max(1, room - config.section_tokens), config.section_tokens
        self._read: dict[tuple[int, int], list[int]] = {}

    def fit(self, pairs: Pairs, label: Floats, group: Longs, held_out: Any) -> tuple[Any, Floats]:
        """Train on the pairs that are not held out, and keep what was best by those that are.

        It may be what training began with: few documents, and it learns those and not what a pair is.
        """
        import torch

        from linkwise.lm.fit import Loss, Task, fit, held_out_loss

        own = self._pairs(pairs)
        answers = torch.from_numpy(label.astype(np.float32))
        self._begin(pairs.at(~held_out), label[~held_out])

        def loss(chosen: Longs, rng: np.random.Generator) -> Loss:
            raw, tokens = self._log_odds([own[row] for row in chosen])
            answer = answers[torch.from_numpy(chosen)].to(raw.device)
            total = torch.nn.functional.binary_cross_entropy_with_logits(
                raw, answer, reduction="sum"
            )
            return Loss(total, len(chosen), tokens)

        task = Task(
            lengths=np.array([len(self._tokens(*pair)[0]) for pair in own], dtype=np.int64),
            train=np.flatnonzero(~held_out),
            held_out=np.flatnonzero(held_out),
            loss=loss,
        )
        first = {name: p.detach().clone() for name, p in self.network.named_parameters()}
        self.network.eval()
        before = held_out_loss(task, self.fit_config)
        trained = fit(self.network, task, self.fit_config, self.context, f"train {self.name}")
        if trained.history[trained.best]["held_out"] >= before:
            self.network.load_state_dict(first, strict=False)
            self.context.progress.say(
                f"{self.name}: training was no gain on the pairs held out (loss {before:.3f} before, "
                f"{trained.history[trained.best]['held_out']:.3f} after); it is left as it began"
            )
        kept = np.flatnonzero(held_out)
        return kept, self.score(pairs.at(kept))

    def _begin(self, pairs: Pairs, label: Floats) -> None:
        """Set the head to the logistic regression on the cosine (nothing where one label is all there is)."""
        import torch

        if label.all() or not label.any():
            return
        with torch.no_grad():
            self.network.head.weight.zero_()
            self.network.head.bias.zero_()
            self.network.head.weight[0, -1] = 1.0
            line = calibrated(self.score(pairs), label)
            slope = line.weights[0] / line.scale[0]
            self.network.head.weight[0, -1] = slope
            self.network.head.bias[0] = line.offset - slope * line.mean[0]

    def _pairs(self, pairs: Pairs) -> list[tuple[int, int]]:
        return list(zip(pairs.query.tolist(), pairs.item.tolist(), strict=True))

    def _tokens(self, query: int, item: int) -> tuple[list[int], int]:
        """[CLS] the document [SEP] the section under its titles [SEP], and where the section begins."""
        tokenizer = self.model.tokenizer
        first, second = self._own(0, query), self._own(1, item)
        start, sep = self.model.text_start(), int(tokenizer.sep_token_id)
        return [*start, *first, sep, *second, sep], len(start) + len(first) + 1

    def _own(self, side: int, row: int) -> list[int]:
        if (side, row) not in self._read:
            text = (
                self.queries.texts[row]
                if side == 0
                else f"{self.items.titles[row]}. {self.items.texts[row]}"
            )
            self._read[side, row] = self.model.encode(text)[: self.room[side]]
        return self._read[side, row]

    def _log_odds(self, pairs: list[tuple[int, int]]) -> tuple[Any, int]:
        """The log-odds (b,) of some pairs, with gradients, and how many tokens were run."""
        import torch

        from linkwise.lm.heads import padded, states
        from linkwise.lm.objectives import mean_state

        device = self.network.head.weight.device
        rows, parts = zip(*(self._tokens(*pair) for pair in pairs), strict=True)
        ids, there = padded(rows, self.model.tokenizer.pad_token_id or 0, device)
        second = (
            torch.arange(ids.shape[1], device=device) >= torch.tensor(parts, device=device)[:, None]
        )
        found = states(self.network.body, ids, there)
        both = mean_state(found, ~second), mean_state(found, second & there)
        cosine = torch.nn.functional.cosine_similarity(*both)
        raw = self.network.head(torch.cat([mean_state(found, there), cosine[:, None]], 1))[:, 0]
        return raw.to(torch.float32), ids.numel()

    def score(self, pairs: Pairs) -> Floats:
        """The log-odds of yes of each pair, those of like length together."""
        import torch

        self.network.eval()
        own = self._pairs(pairs)
        lengths = np.array([len(self._own(0, q)) + len(self._own(1, i)) for q, i in own])
        found = np.empty(len(own))
        order = np.argsort(-lengths, kind="stable")
        start = 0
        with torch.inference_mode():
            while start < len(order):
                width = int(lengths[order[start]]) + OWN
                rows = order[start : start + max(1, BATCH_TOKENS // width)]
                raw, _ = self._log_odds([own[row] for row in rows.tolist()])
                found[rows] = raw.double().cpu().numpy()
                start += len(rows)
        return found

    def save(self, folder: Path) -> Mapping[str, Any]:
        """The encoder as a model of its own, with the head beside it."""
        save_model(self.model, folder / "judge")
        head = self.network.head
        values = {"weight": head.weight[0].tolist(), "bias": head.bias[0].item()}
        (folder / "judge" / HEAD).write_text(json.dumps(values))
        return {"model": "judge"}

    def load_head(self, folder: Path) -> None:
        """Take the head that was saved.

        Raises `InputError` where there is none, or of another size.
        """
        import torch

        try:
            values = json.loads((folder / HEAD).read_text())
            weight = torch.tensor(values["weight"], dtype=torch.float32)[None]
            bias = torch.tensor([values["bias"]], dtype=torch.float32)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{folder / HEAD}: the cross-encoder's head cannot be read."
            ) from error
        head = self.network.head
        if weight.shape != head.weight.shape:
            raise InputError(
                f"{folder / HEAD}: a head of {weight.shape[1]} numbers, and the encoder has "
                f"{head.weight.shape[1]}."
            )
        with torch.no_grad():
            head.weight.copy_(weight)
            head.bias.copy_(bias)


def encoder_of(name: str) -> LanguageModel:
    """A text encoder, to be trained further."""
    return load_model(name, "encoder")
