"""Vectors for texts: the mean of a model's last states, of length one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from linkwise.errors import InputError, UsageError, optional
from linkwise.lm.load import Device, load_model

Singles = np.ndarray[Any, np.dtype[np.float32]]
Longs = np.ndarray[Any, np.dtype[np.int64]]

CHUNK = 8192  # texts whose tokens are lists at a time: a list takes nine times the room of an array


def embed(
    texts: Sequence[str],
    model: str = "minilm",
    *,
    max_tokens: int = 256,
    threads: int | None = None,
) -> Singles:
    """Vectors of length one (n, size), one for each text: the mean of the model's last states.

    `model` is `minilm`, the folder of a model, or its name on the hub; a text is cut at `max_tokens`. A
    decoder is run with its causal mask, unless it was taught to look both ways. Who embeds often makes one
    `TextEncoder` and keeps it.

    Raises `InputError` where the model cannot be loaded or an entry is no text, `ResourceError` where a
    package is missing.
    """
    return TextEncoder(model, threads=threads).embed(texts, max_tokens=max_tokens)


class Encoder(ABC):
    """What makes vectors of texts: a tokenizer, and something that takes padded batches of its tokens."""

    tokenizer: Any
    size: int
    """Numbers in a vector."""
    positions: int | None
    """Tokens that the model has room for; None where it has no limit."""

    @abstractmethod
    def _vectors(self, ids: Longs, mask: Longs) -> Singles:
        """Vectors of length one (b, size) of padded tokens (b, width); `mask` is 0 where they are padding."""

    def embed(
        self,
        texts: Sequence[str],
        *,
        max_tokens: int = 256,
        batch_tokens: int = 8192,
        advance: Callable[[int], None] = lambda done: None,
    ) -> Singles:
        """Vectors of length one (n, size): the mean over the tokens of each text, cut at `max_tokens`.

        Texts of like length go together, the longest first, at most `batch_tokens` tokens with padding at a
        time; the order of the result is that of `texts`. A text without any token gets zeros.
        """
        check_texts(texts, max_tokens)
        tokens = self._tokens(texts, max_tokens)
        found = np.zeros((len(texts), self.size), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda row: -len(tokens[row]))
        pad = self.tokenizer.pad_token_id or 0
        start = 0
        while start < len(order):
            width = max(1, len(tokens[order[start]]))
            rows = order[start : start + max(1, batch_tokens // width)]
            ids = np.full((len(rows), width), pad, dtype=np.int64)
            mask = np.zeros((len(rows), width), dtype=np.int64)
            for at, row in enumerate(rows):
                ids[at, : len(tokens[row])] = tokens[row]
                mask[at, : len(tokens[row])] = 1
            found[rows] = self._vectors(ids, mask)
            start += len(rows)
            advance(start)
        return found

    def _tokens(self, texts: Sequence[str], max_tokens: int) -> list[np.ndarray[Any, Any]]:
        limit = min(self.tokenizer.model_max_length, max_tokens, self.positions or max_tokens)
        found = []
        for start in range(0, len(texts), CHUNK):
            chunk = list(texts[start : start + CHUNK])
            cut = self.tokenizer(
                chunk, truncation=True, max_length=limit, return_attention_mask=False
            )
            found += [np.array(ids, dtype=np.int32) for ids in cut["input_ids"]]
        return found


class TextEncoder(Encoder):
    """A model run by PyTorch: `minilm`, the folder of a model, or its name on the hub.

    An encoder, or a decoder: with its causal mask, or without it where its linkwise.json says that it was
    taught to look both ways.

    Raises `ResourceError` where a package is missing, `InputError` where the model cannot be loaded.
    """

    def __init__(
        self, model: str = "minilm", *, threads: int | None = None, device: Device = "auto"
    ) -> None:
        torch = optional("torch", "lm", "a text encoder")
        if threads is not None:
            torch.set_num_threads(threads)
        # float32 whatever the file holds: halves are slow on a CPU, and no two machines agree on them.
        self.model = load_model(model, "encoder", device=device)
        self.network, self.tokenizer = self.model.network, self.model.tokenizer
        if getattr(self.network.config, "is_encoder_decoder", False):
            raise InputError(
                f"{model}: this is a model of two halves ({self.network.config.model_type}); expected an "
                "encoder such as minilm, or a decoder."
            )
        self.network.config.use_cache = False  # a decoder's keys and values are of no use here
        self.size = int(self.network.config.hidden_size)
        self.positions = self.model.positions

    def _vectors(self, ids: Longs, mask: Longs) -> Singles:
        import torch

        device = self.network.device
        with torch.inference_mode():
            mean = mean_states(
                self.network,
                torch.from_numpy(ids).to(device),
                torch.from_numpy(mask).to(device),
                self.model.bidirectional,
            )
        found: Singles = mean.float().cpu().numpy()
        return found


def mean_states(network: Any, ids: Any, mask: Any, bidirectional: bool) -> Any:
    """The mean of the last states over the tokens, of length one (b, size), as a tensor.

    `ids` and `mask` are tensors (b, width). `bidirectional` lifts a decoder's causal mask: it takes a mask of
    four dimensions as it is, and this one hides the padding alone.
    """
    import torch

    seen = mask
    if bidirectional:
        b, width = mask.shape
        hidden = (1 - mask.to(network.dtype)) * torch.finfo(network.dtype).min
        seen = hidden[:, None, None, :].expand(b, 1, width, width)
    states = network(input_ids=ids, attention_mask=seen).last_hidden_state  # (b, width, size)
    weights = mask[:, :, None].to(states.dtype)
    mean = (states * weights).sum(1) / weights.sum(1).clamp(min=1)
    return torch.nn.functional.normalize(mean, dim=1)


def check_texts(texts: Sequence[str], max_tokens: int) -> None:
    """Raise `InputError` for an entry that is no text, `UsageError` for one string or too few tokens."""
    if isinstance(texts, str):
        raise UsageError("texts is one string; expected a list of texts.")
    if max_tokens < 2:  # a tokenizer that puts two of its own around a text would not cut at all
        raise UsageError(f"max_tokens is {max_tokens}; expected 2 or more.")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(
                f"text {row} is {text!r}, no string; put an empty text where there is none."
            )
