"""A dry run says what is really made and trained: counts of the networks, sequences and updates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import peft
import pytest
import torch
from tests.rank.network import write_surface
from tests.rank.test_ranker import planted
from tests.tiny_models import causal
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, MixtralConfig

from linkwise.cli import main
from linkwise.context import Context
from linkwise.errors import InputError, UsageError
from linkwise.lm.adapters import wrap_lora
from linkwise.lm.load import load_model
from linkwise.lm.memory import activation_bytes
from linkwise.rank.config import RankConfig, RankStudyConfig
from linkwise.rank.plan import plan
from linkwise.rank.ranker import Ranker
from linkwise.rank.study import times
from linkwise.rank.surface import read_surface
from linkwise.rank.task import read_task

JOINT = {"group_by_action": False, "budget_tokens": 600}
GIB = 2**30


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return causal(tmp_path_factory.mktemp("lm") / "llama", "llama", positions=800)


@pytest.fixture(scope="module")
def mixtral(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config and a tokenizer, and no weights."""
    folder = tmp_path_factory.mktemp("lm") / "mixtral"
    tokenizer = AutoTokenizer.from_pretrained(llama)
    MixtralConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2,
        max_position_embeddings=800, architectures=["MixtralForCausalLM"],
    ).save_pretrained(folder)  # fmt: skip
    tokenizer.save_pretrained(folder)
    return folder


def made(folder: Path) -> Any:
    """The network that the config describes, with weights."""
    return AutoModelForCausalLM.from_config(MixtralConfig.from_pretrained(folder))


def numbers(network: Any, trained: bool = False) -> int:
    return sum(p.numel() for p in network.parameters() if p.requires_grad or not trained)


def options(base: Path, **changes: Any) -> RankStudyConfig:
    values = {"base": str(base), "max_tokens": 700, "train_until": "2026-01-04", **changes}
    return RankStudyConfig(**values)


def test_a_finished_run_as_the_base(
    run: Path, base: Path, net: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    until = str(
        np.datetime64(json.loads((run / "model" / "study.json").read_text())["until"], "us")
    )
    words = ["rank", "train", str(net / "tasks" / "enrol.toml"), "--max-tokens", "400"]
    words += ["--dry-run", "--json", "--base", str(run), "--train-until"]
    assert main([*words, until]) == 0
    found = json.loads(capsys.readouterr().out)
    n = numbers(load_model(str(base), "causal").network)
    assert found["parameters"] == {"all": n, "trained": n}
    assert found["tokenizer"] == found["base"] == str(run)
    # What the training would refuse is refused before it.
    assert main([*words, "2026-01-02"]) == 2
    assert "what it knows may be what is judged" in " ".join(capsys.readouterr().err.split())


def test_the_counts_are_those_of_the_network(mixtral: Path, tmp_path: Path) -> None:
    task = str(write_surface(tmp_path, history=JOINT))
    found = plan([task], options(mixtral))
    n = numbers(made(mixtral))
    assert found["parameters"] == {"all": n, "trained": n}
    memory = found["memory_gib"]
    assert memory["weights"] == memory["gradients"] == pytest.approx(4 * n / GIB)
    assert memory["optimiser"] == pytest.approx(8 * n / GIB)
    terms = ("weights", "gradients", "optimiser", "activations")
    assert memory["all"] == pytest.approx(sum(memory[name] for name in terms))
    assert not list(mixtral.glob("*.safetensors"))


def test_lora_counts_are_peft_s(mixtral: Path, llama: Path, tmp_path: Path) -> None:
    task = str(write_surface(tmp_path, history=JOINT))
    for base, dropout in ((mixtral, 0.0), (llama, 0.05)):
        found = plan([task], options(base, train="lora", rank=4))
        network = made(base) if base == mixtral else AutoModelForCausalLM.from_pretrained(str(base))
        config = peft.LoraConfig(r=4, lora_dropout=dropout, target_modules="all-linear")
        trained, every = peft.get_peft_model(network, config).get_nb_trainable_parameters()
        assert found["parameters"] == {"all": every, "trained": trained}
    with pytest.raises(UsageError, match=r"--dropout is 0\.1; beside experts"):
        plan([task], options(mixtral, train="lora", dropout=0.1))


@pytest.mark.parametrize("kind", ["mixtral", "llama"])
def test_four_bits_take_what_bitsandbytes_takes(
    kind: str, mixtral: Path, llama: Path, tmp_path: Path
) -> None:
    """Mixtral's experts are one tensor, which it leaves in float32."""
    pytest.importorskip("bitsandbytes")
    task = str(write_surface(tmp_path / "net", history=JOINT))
    base = llama
    if kind == "mixtral":
        base = tmp_path / "whole"
        made(mixtral).save_pretrained(base)
        AutoTokenizer.from_pretrained(mixtral).save_pretrained(base)
    found = plan([task], options(base, train="lora", four_bit=True, rank=4))
    network = load_model(str(base), "causal", four_bit=True, device="cpu").network
    scales = [
        p.quant_state.absmax.nbytes for p in network.parameters() if hasattr(p, "quant_state")
    ]
    assert len(scales) == 2 * (4 if kind == "mixtral" else 7)
    wrap_lora(network, 4, None)
    expected = sum(p.nbytes for p in network.parameters()) + sum(scales)
    assert found["memory_gib"]["weights"] == pytest.approx(expected / GIB)
    assert found["parameters"]["trained"] == numbers(network, trained=True)


@pytest.mark.parametrize("grouped", [True, False])
def test_sequences_and_updates_are_those_of_the_training(
    grouped: bool, llama: Path, tmp_path: Path
) -> None:
    path = planted(tmp_path)
    text = path.read_text().replace(
        "group_by_action = false", f"group_by_action = {str(grouped).lower()}"
    )
    path.write_text(text)
    surface = read_surface(read_task(path))
    config = options(
        llama, epochs=2, matching_epochs=1, batch_size=7, matching_batch=16, evaluations=1, patience=99
    )  # fmt: skip
    found = plan([str(path)], config, seed=3)
    until, _ = times([surface], config)
    ranker = Ranker(config.ranker(3))
    said: list[str] = []

    class Listening(Context):
        def step(self, name: str, total: int | None = None) -> Any:
            said.append(f"{name}: {total}")
            return super().step(name, total)

    ranker.fit([surface], until, Listening(folder=Path(), seed=3))
    assert ranker.history_[-1]["step"] == found["data"]["updates_in_all"]
    assert found["data"]["updates_in_all"] == 2 * found["data"]["updates"]
    assert f"train the ranker: {found['data']['updates_in_all']}" in said
    assert f"match members and items: {found['matching']['updates_in_all']}" in said
    assert found["data"]["held_out"] > 0
    if not grouped:  # every event once, of all members but those that judge, and some texts
        assert found["data"]["sequences"] >= 57


def test_activations_are_about_what_autograd_keeps() -> None:
    small = {"vocab_size": 100, "num_hidden_layers": 4, "max_position_embeddings": 256}
    configs = [
        LlamaConfig(hidden_size=128, intermediate_size=384, num_attention_heads=4, **small),
        LlamaConfig(
            hidden_size=128, intermediate_size=256, num_attention_heads=8, num_key_value_heads=2, **small
        ),
        MixtralConfig(
            hidden_size=64, intermediate_size=128, num_attention_heads=4, num_key_value_heads=2,
            num_local_experts=4, num_experts_per_tok=2, **small,
        ),
    ]  # fmt: skip
    for config in configs:
        network = AutoModelForCausalLM.from_config(config).train()
        own = {p.untyped_storage().data_ptr() for p in network.parameters()}
        kept: dict[int, Any] = {}

        def keep(tensor: Any, own: Any = own, kept: Any = kept) -> Any:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            ids = torch.randint(0, 100, (3, 128))
            state = network.base_model(input_ids=ids, use_cache=False).last_hidden_state
        assert state.requires_grad
        found = sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) / (3 * 128)
        assert activation_bytes(config) == pytest.approx(found, rel=0.1)


def test_processes_divide_it(llama: Path, tmp_path: Path) -> None:
    task = str(write_surface(tmp_path, history=JOINT))
    found = plan([task], options(llama, batch_size=10, matching_epochs=0), processes=4)
    memory, team = found["memory_gib"], found["per_process"]
    assert "matching" not in found
    assert found["sequences_of_a_process"] == 3
    whole, sharded = team["data_parallel_gib"], team["full_sharding_gib"]
    # 3 of 10 sequences are run at once, where one process runs them all: fewer than --part-tokens.
    assert 0 < whole["activations"] < memory["activations"]
    assert whole["activations"] == sharded["activations"]
    for name in ("weights", "gradients", "optimiser"):
        assert whole[name] == memory[name]
        assert sharded[name] == pytest.approx(memory[name] / 4)
    network = AutoModelForCausalLM.from_pretrained(str(llama))
    layer = numbers(network.model.layers[0])
    outside = numbers(network) - 2 * layer  # two layers are all that it has
    # Each with its gradients, and those outside once more, or two layers, whichever is more.
    assert sharded["gathered"] == pytest.approx(
        4 * (2 * outside + max(outside, 4 * layer)) / GIB, rel=1e-9
    )
    lora = plan([task], options(llama, train="lora", rank=2, matching_epochs=0), processes=4)
    frozen = lora["per_process"]["full_sharding_gib"]["gathered"]
    assert 4 * (outside + 2 * layer) / GIB < frozen < sharded["gathered"]
    packed = plan([task], options(llama, train="lora", four_bit=True), processes=4)
    assert set(packed["per_process"]) == {"data_parallel_gib"}
    with pytest.raises(UsageError, match="--processes is 0"):
        plan([task], options(llama), processes=0)


def test_from_the_command_line(
    mixtral: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    task = str(write_surface(tmp_path / "net", history=JOINT))
    words = ["rank", "train", task, "--base", str(mixtral), "--dry-run", "--max-tokens", "700"]
    assert main([*words, "--train", "lora", "--processes", "2"]) == 0
    out = capsys.readouterr().out
    assert "parameters, " in out
    assert "Each of 2 processes, 8 sequences of an update:" in out
    assert "full sharding (shard=True), GiB: weights" in out
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["processes"] == 8
    assert found["tokenizer"] == str(mixtral)
    assert found == plan([task], RankStudyConfig(base=str(mixtral), max_tokens=700), processes=8)
    # With a config alone tokens are MiniLM's.
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.json").write_text((mixtral / "config.json").read_text())
    assert main(["rank", "train", task, "--base", str(bare), "--dry-run"]) == 0
    assert "tokens are counted as MiniLM's" in capsys.readouterr().out
    for more, message in (
        (["--base", "tiny", "--train", "lora", "--dry-run"], "train all of it"),
        (["--base", "tiny", "--processes", "2", "--out", "x"], "--processes goes with --dry-run"),
        (["--base", "tiny"], "--out is missing"),
        (["--base", str(mixtral), "--train", "soft-prompt", "--dry-run"], "no soft prompt"),
    ):
        assert main(["rank", "train", task, *more]) == 2
        assert message in " ".join(capsys.readouterr().err.split())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bare", "net"]


def test_no_weights_are_fetched_of_a_model_of_the_hub(
    mixtral: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def fetch(name: str, *, allow_patterns: list[str], local_files_only: bool = False) -> str:
        asked.append(allow_patterns)
        if local_files_only:
            raise huggingface_hub.errors.LocalEntryNotFoundError("not in the cache")
        return str(mixtral)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    task = str(write_surface(tmp_path, history=JOINT))
    assert plan([task], options(Path("some/model")))["parameters"]["all"] == numbers(made(mixtral))
    assert len(asked) == 2
    assert not any("*.safetensors" in patterns for patterns in asked)
    assert all("*.json" in patterns for patterns in asked)


def test_a_masked_base_is_refused(bert: Path, tmp_path: Path) -> None:
    task = str(write_surface(tmp_path, history=JOINT))
    with pytest.raises(InputError, match="this is a masked model"):
        plan([task], options(bert))


@pytest.mark.parametrize("kind", ["mixtral", "four bits"])
def test_what_is_planned_is_trained_and_saved(
    kind: str, mixtral: Path, llama: Path, tmp_path: Path
) -> None:
    """LoRA beside Mixtral's experts, merged; and upon 4 bits, an adapter that goes on its base."""
    base = llama
    if kind == "mixtral":
        base = tmp_path / "whole"
        made(mixtral).save_pretrained(base)
        AutoTokenizer.from_pretrained(mixtral).save_pretrained(base)
    else:
        pytest.importorskip("bitsandbytes")
    surface = read_surface(read_task(planted(tmp_path / "net", rows=12)))
    config = RankConfig(
        base=str(base), train="lora", rank=4, four_bit=kind != "mixtral", max_tokens=700,
        learning_rate=1e-2, matching_epochs=1,
    )  # fmt: skip
    ranker = Ranker(config).fit([surface], 2**60, Context(folder=Path()))
    before = ranker.scores(ranker.verbaliser(surface), 3, [0, 1])
    ranker.save(tmp_path / "run")
    adapter = (tmp_path / "run" / "lm" / "adapter_config.json").is_file()
    assert adapter == (kind != "mixtral")
    again = Ranker.load(tmp_path / "run")
    after = again.scores(again.verbaliser(surface), 3, [0, 1])
    plain = Ranker(RankConfig(base=str(base)))
    untrained = plain.scores(plain.verbaliser(surface), 3, [0, 1])
    if adapter:  # 4 bits are not the base's own, nor the same on every processor
        assert np.abs(after - before).max() < np.abs(after - untrained).max()
    else:
        np.testing.assert_allclose(after, before, atol=1e-5)
        assert np.abs(after - untrained).max() > 1e-3
