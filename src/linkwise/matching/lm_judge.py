"""A causal language model as a judge: the probability of Yes after a patent, a section and the question.

The patent stands first, so that it is run once for all sections after it (`lm/tree.py`); sections that begin
alike, as those under the same titles, share that beginning too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from linkwise.context import Context
from linkwise.errors import InputError, UsageError
from linkwise.lm.config import TrainConfig
from linkwise.lm.load import LanguageModel
from linkwise.matching.config import PairsConfig
from linkwise.matching.judges import Floats, Longs, Pairs
from linkwise.matching.sides import Side

PATENT, SECTION = "\ue000", "\ue001"  # where they stand in a chat's template: in no text
NODES = (
    384  # of a call: few enough that little of the mask is between strangers, more than a section
)


def instruction_of(config: PairsConfig) -> str:
    """What a model is told before the patent."""
    return f"{config.instruction.strip()} Only answer Yes or No."


class Prompt:
    """A patent's and a section's place in the prompt, as tokens: what stands before, between and behind.

    A model with a chat template is asked in its form, with the instruction as the system's turn.
    """

    def __init__(self, model: LanguageModel, config: PairsConfig) -> None:
        self.model, self.config = model, config
        asked = f"{config.patent_name}: {PATENT}\n\n{config.section_name}: {SECTION}\n\n{config.question}"
        instruction = instruction_of(config)
        if getattr(model.tokenizer, "chat_template", None):
            turns = [
                {"role": "system", "content": instruction},
                {"role": "user", "content": asked},
            ]
            try:
                whole = model.tokenizer.apply_chat_template(
                    turns, tokenize=False, add_generation_prompt=True
                )
            except Exception:  # templates without a system's turn raise errors of their own
                turns = [{"role": "user", "content": f"{instruction}\n\n{asked}"}]
                whole = model.tokenizer.apply_chat_template(
                    turns, tokenize=False, add_generation_prompt=True
                )
            whole = whole.removeprefix(model.tokenizer.bos_token or "")
            answers = ("Yes", "No")
        else:
            whole, answers = f"{instruction}\n\n{asked}\nAnswer:", (" Yes", " No")
        before, _, rest = whole.partition(PATENT)
        between, _, behind = rest.partition(SECTION)
        self.before = [*model.text_start(), *model.encode(before)]
        self.between = model.encode_after(between)
        self.behind = model.encode_after(behind)
        said = [model.encode_after(answer) for answer in answers]
        while all(said) and said[0][0] == said[1][0]:  # a space that is a token of its own
            self.behind.append(said[0][0])
            said = [tokens[1:] for tokens in said]
        if not all(said):
            raise InputError(f"{model.folder}: this tokenizer cannot tell Yes from No.")
        self.answers = [tokens[0] for tokens in said]
        own = len(self.before) + len(self.between) + len(self.behind) + 1
        room = model.positions
        self.room = (
            config.patent_tokens
            if room is None
            else min(config.patent_tokens, room - own - config.section_tokens)
        )
        if self.room < 8:
            raise UsageError(
                f"{model.folder} has room for {room} tokens, of which the question takes {own} and a "
                f"section {config.section_tokens}; lower --section-tokens."
            )

    def patent(self, text: str) -> list[int]:
        """The shared beginning of all questions about a patent."""
        own = self.model.encode_after(_plain(text))[: self.room]
        return [*self.before, *own, *self.between]

    def section(self, title: str, text: str) -> list[int]:
        """What follows it: a section, and the question."""
        own = self.model.encode_after(_plain(f"{title}. {text}"))[: self.config.section_tokens]
        return [*own, *self.behind]


def _plain(text: str) -> str:
    """A text without the marks of the prompt's own parts, and without line breaks: data, no turns."""
    return " ".join(text.replace(PATENT, " ").replace(SECTION, " ").split())


class LMJudge:
    """The log-odds of Yes against No after the question, of a model as it is or tuned on labelled pairs."""

    def __init__(
        self,
        load: Callable[[], tuple[LanguageModel, Any]],
        queries: Side,
        items: Side,
        config: PairsConfig,
        context: Context,
        name: str,
        *,
        tune: TrainConfig | None,
    ) -> None:
        self.queries, self.items, self.config, self.context = queries, items, config, context
        self.model, self.wrapped = load()
        self.prompt = Prompt(self.model, config)
        self.name, self.tune = name, tune
        self._sections: dict[int, list[int]] = {}

    def fit(self, pairs: Pairs, label: Floats, group: Longs, held_out: Any) -> tuple[Any, Floats]:
        """Tune on the pairs that are not held out; without tuning all pairs are ones not trained on."""
        if self.tune is None:
            return np.arange(len(pairs)), self.score(pairs)
        self._tune(pairs, label, held_out)
        rows = np.flatnonzero(held_out)
        return rows, self.score(pairs.at(rows))

    def _tune(self, pairs: Pairs, label: Floats, held_out: Any) -> None:
        import torch

        from linkwise.lm.fit import Loss, Task, fit
        from linkwise.lm.heads import logits_at, padded

        assert self.tune is not None
        rows = [
            [*self.prompt.patent(self.queries.texts[query]), *self._section(item)]
            for query, item in zip(pairs.query.tolist(), pairs.item.tolist(), strict=True)
        ]
        network = self.model.network
        two = torch.tensor(self.prompt.answers, device=network.device)

        def loss(chosen: Longs, rng: np.random.Generator) -> Loss:
            some = [rows[row] for row in chosen]
            ids, there = padded(some, self.model.tokenizer.pad_token_id or 0, network.device)
            last = torch.tensor([len(row) - 1 for row in some], device=network.device)
            at = torch.arange(len(some), device=network.device)
            logits = logits_at(network, ids, there, at, last)[:, two]  # (b, 2): Yes, No
            answer = torch.from_numpy((1 - label[chosen]).astype(np.int64)).to(network.device)
            total = torch.nn.functional.cross_entropy(logits, answer, reduction="sum")
            return Loss(total, len(some), ids.numel())

        task = Task(
            lengths=np.array([len(row) for row in rows], dtype=np.int64),
            train=np.flatnonzero(~held_out),
            held_out=np.flatnonzero(held_out),
            loss=loss,
        )
        fit(network, task, self.tune, self.context, f"tune {self.name}")

    def _section(self, item: int) -> list[int]:
        if item not in self._sections:
            self._sections[item] = self.prompt.section(
                self.items.titles[item], self.items.texts[item]
            )
        return self._sections[item]

    def score(self, pairs: Pairs) -> Floats:
        """log p(Yes) - log p(No) of each pair; the pairs of a patent together."""
        from linkwise.lm.tree import Contexts
        from linkwise.lm.trie import build_trie

        found = np.empty(len(pairs))
        order = np.argsort(pairs.query, kind="stable")
        bounds = np.flatnonzero(np.diff(pairs.query[order])) + 1
        for rows in np.split(order, bounds) if len(order) else []:
            context = self.prompt.patent(self.queries.texts[int(pairs.query[rows[0]])])
            asked = [self._section(int(item)) for item in pairs.item[rows]]
            trie = build_trie([[*own, answer] for own in asked for answer in self.prompt.answers])
            run = Contexts(self.model.network, [context], over="catalogue")
            (log_p,) = run.log_p(trie, group=NODES)
            yes, no = log_p[trie.end].reshape(len(rows), 2).T
            found[rows] = yes - no
        return found

    def save(self, folder: Path) -> Mapping[str, Any]:
        """The model that was tuned, whole or as an adapter; of one as it is, its name alone."""
        from linkwise.lm.adapt import Prepared, write

        if self.tune is None:
            return {"model": self.config.judge}
        prepared = Prepared(self.model, self.wrapped, self.config.judge, self.tune)
        write(
            prepared, folder / "judge", objective="judge", prompt=json.dumps(self.config.question)
        )
        return {"model": "judge"}
