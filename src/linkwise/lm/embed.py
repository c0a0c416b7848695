"""Vectors for texts: the mean of an encoder's last states, of length one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError

from linkwise.errors import InputError, optional
from linkwise.lm.minilm import packaged_minilm

Singles = np.ndarray[Any, np.dtype[np.float32]]


class TextEncoder:
    """A transformer encoder: `minilm` (the packaged one), or the folder of another.

    Raises `ResourceError` where a package is missing, `InputError` where the folder holds no encoder.
    """

    def __init__(self, model: str = "minilm", *, threads: int | None = None) -> None:
        torch = optional("torch", "lm", "a text encoder")
        transformers = optional("transformers", "lm", "a text encoder")
        folder = packaged_minilm() if model == "minilm" else Path(model)
        if not (folder / "config.json").is_file():
            raise InputError(
                f'"{model}": this is neither "minilm" nor the folder of a model (config.json is missing).'
            )
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
            # float32 whatever the file holds: halves are slow on a CPU, and no two machines agree on them.
            with _no_bars(transformers):
                self.network = transformers.AutoModel.from_pretrained(
                    folder, use_safetensors=True, dtype=torch.float32
                )
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise InputError(f"{folder}: the encoder cannot be loaded ({error}).") from error
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.network.eval().to(self.device)

    def embed(
        self,
        texts: Sequence[str],
        *,
        max_tokens: int = 256,
        batch_tokens: int = 8192,
        advance: Callable[[int], None] = lambda done: None,
    ) -> Singles:
        """Vectors of length one (n, size): the mean over the tokens of each text, cut at `max_tokens`.

        Texts of like length go together, at most `batch_tokens` tokens with padding at a time; the order of
        the result is that of `texts`.
        """
        import torch

        longest = min(self.tokenizer.model_max_length, max_tokens)
        limit = min(longest, getattr(self.network.config, "max_position_embeddings", longest))
        found = np.zeros((len(texts), int(self.network.config.hidden_size)), dtype=np.float32)
        if not len(texts):
            return found
        tokens = self.tokenizer(
            list(texts), truncation=True, max_length=limit, return_attention_mask=False
        )["input_ids"]
        order = sorted(range(len(texts)), key=lambda row: len(tokens[row]))
        pad = self.tokenizer.pad_token_id or 0
        done, start = 0, 0
        while start < len(order):
            stop = start + 1
            while (
                stop < len(order) and len(tokens[order[stop]]) * (stop + 1 - start) <= batch_tokens
            ):
                stop += 1
            rows = order[start:stop]
            width = max(1, len(tokens[rows[-1]]))
            ids = torch.full((len(rows), width), pad)
            mask = torch.zeros((len(rows), width), dtype=torch.long)
            for at, row in enumerate(rows):
                ids[at, : len(tokens[row])] = torch.tensor(tokens[row], dtype=torch.long)
                mask[at, : len(tokens[row])] = 1
            with torch.inference_mode():
                states = self.network(
                    input_ids=ids.to(self.device), attention_mask=mask.to(self.device)
                ).last_hidden_state  # (b, width, size)
                weights = mask.to(self.device)[:, :, None].to(states.dtype)
                mean = (states * weights).sum(1) / weights.sum(1).clamp(min=1)
                found[rows] = torch.nn.functional.normalize(mean, dim=1).float().cpu().numpy()
            done, start = done + len(rows), stop
            advance(done)
        return found


@contextmanager
def _no_bars(transformers: Any) -> Iterator[None]:
    """Without the library's progress bars, which would stand in the output of every command."""
    logging = transformers.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
