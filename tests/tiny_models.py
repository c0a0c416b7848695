"""Models of a few thousand random weights, with the tokenizers and files of real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertTokenizerFast,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

LINES = (
    "a user watched now the may want to watch movie movies this is toy story alien aliens matrix",
    "heat ran gandhi star wars ghost ##busters ##s ii , . : song of group one two three plot about",
    "toys that live and cat dog says woof meow play played",
    "0 1 2 3 4 5 6 7 8 9 ##0 ##1 ##2 ##3 ##4 ##5 ##6 ##7 ##8 ##9",
)
WORDS = [word for line in LINES for word in line.split()]
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:_-'[]()<>|/"
PIECES = ("Ġthe", "Ġa", "Ġmovie", "Ġwatched", "Ġuser", "Ġsong", "to", "Ġto", "Ġalien")


def masked(folder: Path, seed: int = 1, scale: float = 4) -> Path:
    """A BERT with word pieces."""
    folder.mkdir(parents=True)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    vocabulary = [*special, *dict.fromkeys([*WORDS, *"abcdefghijklmnopqrstuvwxyz", *pieces])]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=48, max_position_embeddings=96,
    )  # fmt: skip
    return _save(
        BertForMaskedLM(config), BertTokenizerFast(str(folder / "vocab.txt")), folder, scale
    )


def causal(
    folder: Path, shape: str = "gpt2", seed: int = 1, positions: int = 96, layers: int = 2
) -> Path:
    """A GPT-2 or Llama with byte-level pieces."""
    folder.mkdir(parents=True)
    vocabulary = ["<|endoftext|>", "Ġ", *LETTERS, *PIECES]
    merges = [("Ġ", "t"), ("Ġt", "h"), ("Ġth", "e"), ("t", "o"), ("Ġ", "a"), ("Ġt", "o")]
    pieces = dict.fromkeys([*vocabulary, *("".join(pair) for pair in merges)])
    tokenizer = Tokenizer(models.BPE({piece: at for at, piece in enumerate(pieces)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", bos_token="<|endoftext|>"
    )
    torch.manual_seed(seed)
    network: Any
    if shape == "gpt2":
        network = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=len(pieces), n_positions=positions, n_embd=32, n_layer=layers, n_head=4
            )
        )
    else:
        network = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(pieces), hidden_size=32, intermediate_size=48, num_hidden_layers=layers,
                num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=positions,
            )
        )  # fmt: skip
    return _save(network, fast, folder)


def _save(network: Any, tokenizer: Any, folder: Path, scale: float = 4) -> Path:
    for weight in network.parameters():  # far from uniform, so that errors show
        weight.data.mul_(scale) if weight.dim() > 1 else None
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
