"""Small trained parts on a frozen base: LoRA and soft prompts, by peft, and in peft's own file format."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from linkwise.errors import InputError, UsageError, optional
from linkwise.lm.load import (
    Device,
    DType,
    Head,
    LanguageModel,
    fingerprint,
    is_causal_model,
    load_model,
    quiet,
    read_about,
    write_about,
)

PURPOSE = "LoRA and soft prompts"


class SoftEmbedding(nn.Module):
    """Word vectors with some more behind them: those of a soft prompt, under the token numbers that follow.

    Only what goes in knows of them; the vocabulary that comes out stays what it was.
    """

    def __init__(self, words: nn.Embedding, prompt: nn.Parameter) -> None:
        super().__init__()
        self.words, self.prompt = words, prompt  # (vocabulary, size), (n, size)

    @property
    def weight(self) -> nn.Parameter:
        """The word vectors, which an output head may share."""
        return cast(nn.Parameter, self.words.weight)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Vectors of token numbers (..., size)."""
        n = len(self.words.weight)
        soft = ids >= n
        vectors: torch.Tensor = self.words(ids.masked_fill(soft, 0))
        if soft.any():
            vectors = vectors.clone()
            vectors[soft] = self.prompt[ids[soft] - n].to(vectors.dtype)
        return vectors


def attach_lora(model: LanguageModel, rank: int, dropout: float | None) -> Any:
    """Put trainable low-rank matrices beside every linear layer but the head; the rest is frozen.

    Hu et al. 2021, with alpha = 2 rank. Returns peft's model, for `save_adapter`. Raises what `wrap_lora`
    does.
    """
    base = fingerprint(model.folder)
    wrapped = wrap_lora(model.network, rank, dropout)
    # Replaced in place: the network itself now runs with the adapter.
    model.network = wrapped.base_model.model
    model.about = {**model.about, "base": base}
    return wrapped


def wrap_lora(network: Any, rank: int, dropout: float | None) -> Any:
    """peft's model around a network, which is changed in place.

    By default dropout is .05, and 0 where a layer's experts are one tensor (Mixtral), beside which peft knows
    none. Raises `UsageError` where it is demanded there.
    """
    peft = optional("peft", "lm", PURPOSE)
    experts = any(p.dim() == 3 for p in network.parameters())
    if experts and dropout:
        raise UsageError(
            f"--dropout is {dropout}; beside experts that are one tensor LoRA knows no dropout: use 0."
        )
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=(0.0 if experts else 0.05) if dropout is None else dropout,
        target_modules="all-linear",
    )
    with _no_warnings():
        return peft.get_peft_model(network, config)


def attach_soft_prompt(model: LanguageModel, n: int) -> Any:
    """Put `n` trainable vectors before every text; all else is frozen (Lester et al. 2021).

    They begin as the vectors of common tokens. Returns peft's model, for `save_adapter`.
    """
    peft = optional("peft", "lm", PURPOSE)
    base = fingerprint(model.folder)
    words = model.network.get_input_embeddings()
    config = peft.PromptTuningConfig(
        task_type="CAUSAL_LM",
        num_virtual_tokens=n,
        token_dim=words.weight.shape[1],
        num_layers=1,
        num_attention_heads=1,
    )
    network = model.network
    with _no_warnings():
        wrapped = peft.get_peft_model(network, config)
    prompt = wrapped.prompt_encoder["default"].embedding.weight
    with torch.no_grad():
        first = min(1000, len(words.weight) - n)
        prompt.copy_(words.weight[first : first + n])
    model.network = network
    _put_before(model, prompt)
    model.about = {**model.about, "base": base}
    return wrapped


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Without what peft and transformers tell each other about their next versions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _put_before(model: LanguageModel, prompt: Any) -> None:
    words = model.network.get_input_embeddings()
    n = len(words.weight)
    model.network.set_input_embeddings(SoftEmbedding(words, prompt))
    model.prefix = list(range(n, n + len(prompt)))


def save_adapter(wrapped: Any, model: LanguageModel, base: str, folder: Path) -> None:
    """Write an adapter, in peft's format, and the fingerprint of the base that it belongs to."""
    transformers = optional("transformers", "lm", PURPOSE)
    folder.mkdir(parents=True, exist_ok=True)
    given = Path(base)
    for config in wrapped.peft_config.values():
        config.base_model_name_or_path = str(given.absolute()) if given.is_dir() else base
    with quiet(transformers):
        words = model.network.get_input_embeddings()
        if isinstance(words, SoftEmbedding):
            model.network.set_input_embeddings(words.words)
        wrapped.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
        if isinstance(words, SoftEmbedding):
            model.network.set_input_embeddings(words)
        model.tokenizer.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)  # peft's form, empty
    write_about(folder, model.about)


def load_adapted(
    folder: Path, head: Head, *, as_causal: bool, dtype: DType, device: Device
) -> LanguageModel:
    """Load the base that an adapter names, and put the adapter on it: LoRA merged, a soft prompt before.

    Raises `InputError` where the base is not the one that the adapter was trained on.
    """
    try:
        config = json.loads((folder / "adapter_config.json").read_text())
        kind, base = config["peft_type"], config["base_model_name_or_path"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder}: adapter_config.json cannot be used ({error}).") from error
    about = read_about(folder)
    as_causal = as_causal or bool(about.get("as_causal"))
    # An adapter's matrices are named after the network that it was trained in, head and all.
    trained_in: Head = head
    if head == "encoder" and (as_causal or is_causal_model(base)):
        trained_in = "causal"
    elif head == "encoder" and about.get("objective") != "contrastive":
        trained_in = "masked"
    model = load_model(base, trained_in, as_causal=as_causal, dtype=dtype, device=device)
    if "base" in about and fingerprint(model.folder) != about["base"]:
        raise InputError(
            f"{folder}: this adapter was trained on another base than {base}, whose weights have changed "
            "since; give it the model that it was trained on."
        )
    if kind == "PROMPT_TUNING":
        from safetensors.torch import load_file

        prompt = load_file(folder / "adapter_model.safetensors")["prompt_embeddings"]
        _put_before(model, nn.Parameter(prompt.to(model.network.device), requires_grad=False))
    elif kind == "LORA":
        peft = optional("peft", "lm", PURPOSE)
        try:
            with _no_warnings():
                wrapped = peft.PeftModel.from_pretrained(model.network, str(folder))
                model.network = wrapped.merge_and_unload()
        except Exception as error:  # peft raises what its parts raise
            first = " ".join(str(error).split())[:200]
            raise InputError(
                f"{folder}: the adapter does not fit its base {base} ({first})."
            ) from error
    else:
        raise UsageError(
            f"{folder}: adapters of the kind {kind} are not read; LORA and PROMPT_TUNING are."
        )
    if head == "encoder" and trained_in != "encoder":
        model.network = model.network.base_model
    model.network.eval()
    model.folder, model.about = folder, {**model.about, **about}
    return model
