"""Small decoders with rotary positions, begun from MiniLM's words: trained on a laptop, with long contexts.

MiniLM itself ends at 512 positions. These have its tokenizer and its word vectors, reduced to their leading
directions where the model is narrower, and layers of the Llama kind that begin untrained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from linkwise.errors import UsageError, optional
from linkwise.lm.load import LanguageModel, choose_device, locate, quiet

POSITIONS = 8192
ROPE_THETA = 1e6  # slow enough that much of what a token is does not turn with where it stands


@dataclass(frozen=True)
class Shape:
    """Width of the states, layers, attention heads and width of the feed-forward part."""

    width: int
    layers: int
    heads: int
    inner: int


SHAPES = {
    "tiny": Shape(128, 3, 4, 384),
    "small": Shape(256, 4, 8, 768),
    "medium": Shape(384, 8, 12, 1152),
}


def small_model(size: str, *, seed: int = 0, device: Any = "auto") -> LanguageModel:
    """A new decoder of one of `SHAPES`, with MiniLM's tokenizer and words; its layers are untrained.

    Raises `UsageError` where there is no such size, `ResourceError` where MiniLM is not at hand.
    """
    torch = optional("torch", "lm", "a language model")
    transformers = optional("transformers", "lm", "a language model")
    if size not in SHAPES:
        raise UsageError(f'there is no size "{size}"; the sizes are {", ".join(SHAPES)}.')
    from safetensors.torch import load_file

    shape, folder = SHAPES[size], locate("minilm")
    with quiet(transformers):
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    weights = load_file(folder / "model.safetensors")
    (name,) = [key for key in weights if key.endswith("embeddings.word_embeddings.weight")]
    words = weights[name].float()  # (vocabulary, 384)
    config = transformers.LlamaConfig(
        vocab_size=len(words),
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        intermediate_size=shape.inner,
        max_position_embeddings=POSITIONS,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        tie_word_embeddings=True,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    generator = torch.get_rng_state()
    torch.manual_seed(seed)
    network = transformers.LlamaForCausalLM(config)
    torch.set_rng_state(generator)
    with torch.no_grad():
        network.get_input_embeddings().weight.copy_(_leading(words, shape.width))
        _look_for_like_words(network, shape)
    tokenizer.model_max_length = POSITIONS
    network.eval().to(choose_device(device))
    return LanguageModel(network, tokenizer, folder, {"small": size})


def _look_for_like_words(network: Any, shape: Shape) -> None:
    """Begin half of the heads so that a token attends to tokens like it, wherever they stand.

    From noise, a model of this size takes millions of tokens to find that an item's words stand in the
    member's description; begun so, it only has to learn what that means.
    """
    import torch

    size = shape.width // shape.heads
    like = torch.eye(shape.width)
    for layer in network.model.layers:
        for projection in (layer.self_attn.q_proj, layer.self_attn.k_proj):
            for head in range(0, shape.heads, 2):
                rows = slice(head * size, (head + 1) * size)
                projection.weight[rows] += like[rows]


def _leading(words: Any, width: int) -> Any:
    """Word vectors in their leading directions, of a mean square length that suits an embedding."""
    import torch

    centred = words - words.mean(0)
    if width < words.shape[1]:
        _, _, directions = torch.linalg.svd(centred.T @ centred)
        centred = centred @ directions[:width].T
    return centred * (0.02 * width**0.5 / centred.norm(dim=1).mean())
