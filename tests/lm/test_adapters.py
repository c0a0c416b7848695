"""LoRA and soft prompts: what is saved is what was trained, and only for its own base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from tests.tiny_models import causal, masked

from linkwise.context import Context
from linkwise.errors import InputError, UsageError
from linkwise.lm.adapt import catalogue_task, instruct_task, prepare, write
from linkwise.lm.config import TrainConfig
from linkwise.lm.fit import fit
from linkwise.lm.load import is_causal_model, load_model
from linkwise.lm.objectives import clm
from linkwise.lm.tree import score

PROMPTS = ["a cat says", "the dog says", "a song of", "the toy", "a user watched"] * 6
ANSWERS = ["meow", "woof", "two", "story", "alien"] * 6
TITLES = [[20, 21, 22], [20, 21], [30], [40, 41, 42, 43]]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return causal(tmp_path_factory.mktemp("lm") / "llama", "llama")


def trained(base: Path, kind: Any, folder: Path, **options: Any) -> Any:
    """Scores right after a short training, and the folder that was written."""
    rate = {"full": 1e-3, "lora": 1e-2, "soft-prompt": 0.1}[kind]
    config = TrainConfig(
        train=kind, rank=4, prompt_tokens=5, epochs=2, learning_rate=rate, batch_size=8,
        max_tokens=40, **options,
    )  # fmt: skip
    prepared = prepare(str(base), "causal", config)
    model = prepared.model
    before = {n: p.detach().clone() for n, p in model.network.named_parameters()}
    fit(
        model.network,
        instruct_task(model, PROMPTS, ANSWERS, 40),
        config,
        Context(folder=Path()),
        "test",
    )
    frozen = [n for n, p in model.network.named_parameters() if not p.requires_grad]
    after = dict(model.network.named_parameters())
    for name in frozen:  # what is frozen does not move by a bit
        torch.testing.assert_close(after[name].detach(), before[name], rtol=0, atol=0)
    context = [*model.text_start(), 5, 6]
    found = score(model.network, context, TITLES)
    write(prepared, folder)
    return found, len(frozen)


@pytest.mark.parametrize("kind", ["full", "lora", "soft-prompt"])
def test_saved_and_loaded_scores_are_the_same(kind: str, base: Path, tmp_path: Path) -> None:
    found, frozen = trained(base, kind, tmp_path / "out")
    assert (frozen > 0) == (kind != "full")
    plain = load_model(str(base), "causal")
    again = load_model(str(tmp_path / "out"), "causal")
    context = [5, 6]
    np.testing.assert_allclose(
        score(again.network, [*again.text_start(), *context], TITLES), found, atol=1e-4
    )
    unlike = score(plain.network, [*plain.text_start(), *context], TITLES)
    assert np.abs(unlike - found).max() > 0.01


def test_a_merged_model_needs_no_adapter(base: Path, tmp_path: Path) -> None:
    found, _ = trained(base, "lora", tmp_path / "out", merge=True)
    assert not (tmp_path / "out" / "adapter_config.json").exists()
    again = load_model(str(tmp_path / "out"), "causal")
    np.testing.assert_allclose(
        score(again.network, [*again.text_start(), 5, 6], TITLES), found, atol=1e-4
    )


@pytest.mark.parametrize("kind", ["lora", "soft-prompt"])
def test_peft_reads_what_was_written(kind: str, base: Path, tmp_path: Path) -> None:
    """And computes the same: its own forward pass is the oracle."""
    trained(base, kind, tmp_path / "out")
    ours = load_model(str(tmp_path / "out"), "causal")
    theirs = peft.PeftModel.from_pretrained(
        load_model(str(base), "causal").network, str(tmp_path / "out")
    ).eval()
    ids = [0, 5, 6, 20]
    start = ours.prefix
    assert len(start) == (5 if kind == "soft-prompt" else 0)
    with torch.inference_mode():
        a = ours.network(torch.tensor([[*start, *ids]])).logits[0, -4:]
        b = theirs(torch.tensor([ids])).logits[0, -4:]
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["lora", "soft-prompt"])
def test_an_adapter_of_another_base_is_refused(kind: str, base: Path, tmp_path: Path) -> None:
    other = causal(tmp_path / "base", "llama", seed=1)
    trained(other, kind, tmp_path / "out")
    (tmp_path / "base").rename(tmp_path / "gone")
    causal(tmp_path / "base", "llama", seed=2)
    with pytest.raises(InputError, match="trained on another base"):
        load_model(str(tmp_path / "out"), "causal")


def test_an_adapter_embeds_and_goes_on_to_learn(base: Path, tmp_path: Path) -> None:
    """Whatever head is asked for; a soft prompt is not trained over."""
    trained(base, "lora", tmp_path / "lora")
    assert load_model(str(tmp_path / "lora"), "encoder").network is not None
    assert is_causal_model(str(tmp_path / "lora"))
    trained(base, "soft-prompt", tmp_path / "soft")
    with pytest.raises(UsageError, match="this model has a soft prompt"):
        prepare(str(tmp_path / "soft"), "causal", TrainConfig())
    model = load_model(str(tmp_path / "soft"), "causal")
    task = clm(model, ["the cat says meow"] * 30, 40)
    with torch.inference_mode():  # nothing is asked of the prompt's own places
        assert np.isfinite(float(task.loss(np.arange(4), np.random.default_rng(0)).total))


def test_what_cannot_be_trained_is_said_at_once(base: Path, tmp_path: Path) -> None:
    bert = masked(tmp_path / "bert")
    with pytest.raises(UsageError, match="soft-prompt goes with causal"):
        prepare(str(bert), "masked", TrainConfig(train="soft-prompt"))
    with pytest.raises(UsageError, match="--merge goes with"):
        TrainConfig(merge=True)
    with pytest.raises(UsageError, match="use --four-bit with --train lora"):
        TrainConfig(four_bit=True)
    model = load_model(str(base), "causal")
    with pytest.raises(InputError, match=r"row 2 .* the answer has 0 tokens"):
        instruct_task(model, ["a", "b"], ["c", ""], 20)


@pytest.mark.parametrize("make", [instruct_task, catalogue_task])
def test_tuning_learns_the_answers(make: Any, base: Path) -> None:
    """After it the right answer is the likeliest of all after its prompt."""
    config = TrainConfig(epochs=12, learning_rate=3e-3, batch_size=8, patience=12)
    model = prepare(str(base), "causal", config).model
    fit(model.network, make(model, PROMPTS, ANSWERS, 40), config, Context(folder=Path()), "tune")
    end = model.text_end() if make is instruct_task else model.encode(".")[:1]
    over: Any = "vocabulary" if make is instruct_task else "catalogue"
    answers = [[*model.encode(f" {answer}"), *end] for answer in ANSWERS[:5]]
    right = 0
    for row, prompt in enumerate(PROMPTS[:5]):
        context = [*model.text_start(), *model.encode(prompt)]
        right += int(score(model.network, context, answers, over=over).argmax()) == row
    assert right == 5


def test_a_base_in_four_bits_is_trained_by_lora(base: Path, tmp_path: Path) -> None:
    """Its matrices are held in 4 bits, the adapter learns, and is an adapter of the base as it was."""
    bitsandbytes = pytest.importorskip("bitsandbytes")
    config = TrainConfig(
        train="lora", four_bit=True, rank=4, epochs=4, learning_rate=1e-2, batch_size=8, patience=4
    )
    prepared = prepare(str(base), "causal", config, device="cpu")
    model = prepared.model
    held = [m for m in model.network.modules() if isinstance(m, bitsandbytes.nn.Linear4bit)]
    assert len(held) == 2 * 7  # of each of the two layers
    before = [m.weight.detach().clone() for m in held]
    task = instruct_task(model, PROMPTS, ANSWERS, 40)
    history = fit(model.network, task, config, Context(folder=Path()), "test").history
    assert history[-1]["loss"] < 0.9 * history[0]["loss"]
    for module, bits in zip(held, before, strict=True):
        assert torch.equal(module.weight, bits)
    write(prepared, tmp_path / "out")
    # The same in float32: the base's matrices as the 4 bits say them, the adapter beside them.
    names = [n for n, m in load_model(str(base), "causal").network.named_modules() if n]
    plain = load_model(str(base), "causal", device="cpu")
    matrices = [n for n in names if n.endswith("_proj")]
    with torch.no_grad():
        for name, module in zip(matrices, held, strict=True):
            bits = module.weight
            whole = bitsandbytes.functional.dequantize_4bit(bits.data, bits.quant_state)
            plain.network.get_submodule(name).weight.copy_(whole)
    theirs = peft.PeftModel.from_pretrained(plain.network, str(tmp_path / "out")).eval()
    ids = torch.tensor([[*model.text_start(), 5, 6, 20]])
    with torch.inference_mode():
        torch.testing.assert_close(
            model.network(ids).logits, theirs(ids).logits, atol=1e-2, rtol=1e-2
        )
