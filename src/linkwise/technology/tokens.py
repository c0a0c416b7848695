"""Technology tokens: codes as words of a language model, learned where they stand before a patent's text.

The vocabulary gets one token per code and a separator, `[CLS] TT_1 .. TT_n [TT_SEP] text [SEP]`. Some of a
patent's codes are hidden, and told from the text and the codes that are left (TechTokenBERT, Patent Embedders
2024). A code's vector is the mean of its token's last states over its patents, or the row itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from linkwise.errors import InputError, UsageError
from linkwise.lm.adapters import SoftEmbedding, wrap_lora
from linkwise.lm.fit import Loss, Task
from linkwise.lm.heads import padded, states
from linkwise.lm.load import LanguageModel
from linkwise.lm.objectives import task_of

Longs = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]
Singles = np.ndarray[Any, np.dtype[np.float32]]
Layout = Literal["before", "after"]
Part = Literal["new", "lora", "full"]

ALL_HIDDEN = (
    0.5  # share of the patents whose codes are all hidden, so that the text alone tells them
)
HIDDEN = 0.5  # of the others the share of codes that are hidden; at least one always is
KEPT = 0.1  # share of the hidden ones that stay to be seen, as in Devlin et al. 2019
MOST_CODES = 16  # of one patent that stand before its text; others are left out, at random
SEPARATOR = "[TT_SEP]"


@dataclass(frozen=True)
class Row:
    """A patent as a model reads it: the numbers of its codes, and the tokens of its text."""

    codes: Longs
    text: list[int]


class TechnologyTokens(nn.Module):
    """New rows of a vocabulary, one for each code and the last for the separator, beside a masked model.

    While they are learned they stand apart from the old rows, which thus cannot move; `settle` puts them into
    the model. Raises `InputError` for a model whose head has no place for new words.
    """

    def __init__(
        self,
        model: LanguageModel,
        codes: Sequence[str],
        titles: Mapping[str, str],
        part: Part,
        *,
        layout: Layout = "before",
        rank: int = 16,
        dropout: float | None = None,
    ) -> None:
        super().__init__()
        if len(set(codes)) < 2:
            raise InputError("technology tokens need at least two codes.")
        self.model, self.codes, self.layout = model, tuple(codes), layout
        network = model.network
        words = network.get_input_embeddings()
        self.first = len(words.weight)  # the token number of the first code
        old = words.weight.detach()
        rows = [_mean_row(model, old, titles.get(code, "")) for code in codes]
        rows.append(old[model.text_end()[0]] if model.text_end() else old.mean(dim=0))
        self.rows = nn.Parameter(torch.stack(rows).clone())  # (n_codes + 1, size)
        self.bias = nn.Parameter(torch.zeros(len(codes), device=old.device))
        self.transform = head_of(network)
        for p in network.parameters():
            p.requires_grad_(part == "full")
        self.wrapped = wrap_lora(network, rank, dropout) if part == "lora" else None
        if self.wrapped is not None:
            model.network = network = self.wrapped.base_model.model
        network.set_input_embeddings(SoftEmbedding(words, self.rows))
        self.network = network
        self.mask = int(model.tokenizer.mask_token_id)

    @property
    def device(self) -> Any:
        """Where the network is."""
        return self.rows.device

    def line(self, codes: Sequence[int] | Longs, text: list[int]) -> tuple[list[int], int]:
        """The tokens of a patent whose codes have these token numbers, and the place of the first code."""
        start, end = self.model.text_start(), self.model.text_end()
        separator = self.first + len(self.codes)
        if self.layout == "before":
            return [*start, *map(int, codes), separator, *text, *end], len(start)
        return [*start, *text, separator, *map(int, codes), *end], len(start) + len(text) + 1

    def rows_of(
        self, texts: Sequence[str], codes: Sequence[Sequence[str]], max_tokens: int
    ) -> list[Row]:
        """Patents as rows: texts cut so that a patent's codes have room."""
        number = {code: at for at, code in enumerate(self.codes)}
        own = [np.array([number[c] for c in some if c in number], dtype=np.int64) for some in codes]
        return _rows(self.model, texts, own, max_tokens)

    def task(self, rows: Sequence[Row]) -> Task:
        """Hidden codes, told among all codes; the order of codes is drawn anew every time."""
        rows = [row for row in rows if len(row.codes)]

        def loss(chosen: Longs, rng: np.random.Generator) -> Loss:
            lines, at, answers = [], [], []
            for k, number in enumerate(chosen):
                row = rows[number]
                codes = rng.permutation(row.codes)[:MOST_CODES]
                hidden = rng.random(len(codes)) < (1 if rng.random() < ALL_HIDDEN else HIDDEN)
                if not hidden.any():
                    hidden[rng.integers(len(codes))] = True
                shown = codes + self.first
                shown[hidden & (rng.random(len(codes)) >= KEPT)] = self.mask
                tokens, first = self.line(shown, row.text)
                lines.append(tokens)
                at += [(k, first + int(place)) for place in np.flatnonzero(hidden)]
                answers += codes[hidden].tolist()
            logits, n = self._logits(lines, at)
            target = torch.tensor(answers, device=self.device)
            return Loss(functional.cross_entropy(logits, target, reduction="sum"), len(at), n)

        lengths = [len(row.text) + min(len(row.codes), MOST_CODES) + 3 for row in rows]
        return task_of(lengths, loss)

    def _logits(self, lines: list[list[int]], at: list[tuple[int, int]]) -> tuple[Any, int]:
        """Logits over all codes at some places (n, n_codes), and how many tokens were run."""
        ids, there = padded(lines, self.model.tokenizer.pad_token_id or 0, self.device)
        found = states(self.network, ids, there)
        which = torch.tensor(at, device=self.device)
        seen = self.transform(found[which[:, 0], which[:, 1]])
        logits = seen @ self.rows[:-1].T.to(seen.dtype) + self.bias
        return logits.float(), ids.numel()

    def settle(self, about: Mapping[str, Any]) -> None:
        """Put the new rows into the model, which is then one like any other, and say so in its `about`."""
        network, tokenizer = self.network, self.model.tokenizer
        network.set_input_embeddings(network.get_input_embeddings().words)
        if self.wrapped is not None:
            network = self.wrapped.merge_and_unload()
        names = [token_of(code) for code in self.codes] + [SEPARATOR]
        first = len(tokenizer)
        if tokenizer.add_tokens(names, special_tokens=True) != len(names):
            raise UsageError(
                "the model has technology tokens already; begin from the model that they were learned on."
            )
        size = max(len(tokenizer), self.first)
        network.resize_token_embeddings(size, mean_resizing=False)
        with torch.no_grad():
            network.get_input_embeddings().weight[first : first + len(names)] = self.rows
            bias = getattr(network.get_output_embeddings(), "bias", None)
            if bias is not None:
                bias[first : first + len(self.codes)] = self.bias
        network.eval()
        self.model.network = network
        self.model.about |= {
            **about,
            "technology_tokens": {"codes": list(self.codes), "layout": self.layout},
        }


def token_of(code: str) -> str:
    """How a code's token is written."""
    return f"[TT:{code}]"


def known_codes(about: Mapping[str, Any]) -> tuple[str, ...]:
    """The codes that a model has tokens for, by what stands beside it; none for other models."""
    return tuple(about.get("technology_tokens", {}).get("codes", ()))


@dataclass(frozen=True)
class TokenReader:
    """A model with technology tokens, loaded as an encoder: the states of codes in patents."""

    model: LanguageModel

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes that it has tokens for."""
        return known_codes(self.model.about)

    @property
    def static(self) -> Floats:
        """The rows of the codes themselves (n_codes, size)."""
        first = self._first()
        weight = self.model.network.get_input_embeddings().weight
        found = weight[first : first + len(self.codes)].detach().double().cpu().numpy()
        return cast(Floats, found)

    def _first(self) -> int:
        """The token number of the first code."""
        return int(self.model.tokenizer.convert_tokens_to_ids(token_of(self.codes[0])))

    def hidden(
        self,
        texts: Sequence[str],
        max_tokens: int,
        *,
        unit: bool = True,
        batch_tokens: int = 8192,
        advance: Callable[[int], None] = lambda done: None,
    ) -> Singles:
        """What a text says of its codes: the states where a hidden code stands (n, size), `unit` long.

        The model is shown the text alone, and one hidden code. A code that is shown says first of all which
        code it is, which two codes never have in common; hidden, it says what the patent is about.
        """
        mask = int(self.model.tokenizer.mask_token_id)
        separator = self._first() + len(self.codes)
        start, end = self.model.text_start(), self.model.text_end()
        none = np.zeros(0, dtype=np.int64)
        limit = self.model.at_most(max_tokens) - 1  # the hidden code
        rows = _rows(self.model, texts, [none] * len(texts), limit)
        if self._before:
            lines = [[*start, mask, separator, *row.text, *end] for row in rows]
        else:
            lines = [[*start, *row.text, separator, mask, *end] for row in rows]
        found = np.zeros((len(texts), self.model.network.config.hidden_size), dtype=np.float32)
        order = sorted(range(len(lines)), key=lambda k: -len(lines[k]))
        device = self.model.network.device
        done = 0
        while done < len(order):
            some = order[done : done + max(1, batch_tokens // len(lines[order[done]]))]
            ids, there = padded(
                [lines[k] for k in some], self.model.tokenizer.pad_token_id or 0, device
            )
            places = [len(start) if self._before else len(lines[k]) - len(end) - 1 for k in some]
            with torch.inference_mode():
                seen = states(self.model.network, ids, there)
                at = seen[torch.arange(len(some)), torch.tensor(places)]
                at = functional.normalize(at.float(), dim=1) if unit else at.float()
                found[some] = at.cpu().numpy()
            done += len(some)
            advance(done)
        return found

    def _within(self, row: Row) -> Row:
        """A row that the model has positions for: its codes, the separator and both ends, then its text."""
        if self.model.positions is None:
            return row
        codes = row.codes[: self.model.positions - 4]
        return Row(codes, row.text[: self.model.positions - 3 - len(codes)])

    @property
    def _before(self) -> bool:
        """Whether codes stand before the text."""
        return bool(self.model.about["technology_tokens"]["layout"] == "before")

    def each(
        self,
        texts: Sequence[str],
        codes: Sequence[Longs],
        max_tokens: int,
        take: Callable[[Longs, Longs, Floats], None],
        *,
        batch_tokens: int = 8192,
        advance: Callable[[int], None] = lambda done: None,
    ) -> None:
        """Run patents, and hand on the last state of every code's token.

        `codes` are numbers among `self.codes`. `take(patent, code, state)` gets (n,), (n,), (n, size) of some
        patents at a time. Patents without codes are passed over. All codes of a patent are read, be they more
        than stood there in training; the text gives way where the model has no more positions, and codes
        where they fill all of them.
        """
        first = self._first()
        separator = first + len(self.codes)
        rows = [self._within(row) for row in _rows(self.model, texts, codes, max_tokens)]
        start, end = self.model.text_start(), self.model.text_end()
        lengths = np.array([len(row.text) + len(row.codes) + 3 for row in rows])
        order = np.argsort(-lengths, kind="stable")
        order = order[[len(rows[k].codes) > 0 for k in order]]
        done = 0
        while done < len(order):
            some = order[done : done + max(1, batch_tokens // int(lengths[order[done]]))]
            lines, at = [], []
            for k, number in enumerate(some):
                row = rows[number]
                shown = (row.codes + first).tolist()
                if self._before:
                    lines.append([*start, *shown, separator, *row.text, *end])
                    place = len(start)
                else:
                    lines.append([*start, *row.text, separator, *shown, *end])
                    place = len(start) + len(row.text) + 1
                at += [(k, place + j) for j in range(len(shown))]
            which = torch.tensor(at)
            device = self.model.network.device
            ids, there = padded(lines, self.model.tokenizer.pad_token_id or 0, device)
            with torch.inference_mode():
                found = states(self.model.network, ids, there)[which[:, 0], which[:, 1]]
            take(
                some[which[:, 0].numpy()],
                np.concatenate([rows[number].codes for number in some]),
                found.double().cpu().numpy(),
            )
            done += len(some)
            advance(done)


def _rows(
    model: LanguageModel, texts: Sequence[str], codes: Sequence[Longs], max_tokens: int
) -> list[Row]:
    limit = model.at_most(max_tokens)
    found: list[Row] = []
    for begin in range(0, len(texts), 1000):
        part = list(texts[begin : begin + 1000])
        encoded = model.tokenizer(part, add_special_tokens=False)["input_ids"] if part else []
        for tokens, own in zip(encoded, codes[begin : begin + 1000], strict=True):
            room = limit - min(len(own), MOST_CODES) - 3
            if room < 1:
                raise InputError(
                    f"--max-tokens is {max_tokens}, which leaves no room for a text behind "
                    f"{min(len(own), MOST_CODES)} codes; use at least {MOST_CODES + 20}."
                )
            found.append(Row(own, tokens[:room]))
    return found


def _mean_row(model: LanguageModel, old: Any, title: str) -> Any:
    """The mean vector of a title's tokens; of all words where there is no title."""
    tokens = model.encode(title) if title.strip() else []
    return old[tokens].mean(dim=0) if tokens else old.mean(dim=0)


def head_of(network: Any) -> Callable[[Any], Any]:
    """What a masked model's head does before its last layer, the words."""
    head = getattr(getattr(network, "cls", None), "predictions", None)
    if head is not None:  # BERT
        return cast(Callable[[Any], Any], head.transform)
    head = getattr(network, "lm_head", None)
    if head is not None and hasattr(head, "dense") and hasattr(head, "layer_norm"):  # RoBERTa
        return lambda seen: head.layer_norm(functional.gelu(head.dense(seen)))
    raise InputError(
        f"{network.config.model_type}: technology tokens are learned in BERT-like and RoBERTa-like models; "
        "use minilm, BERT for Patents or their like."
    )
