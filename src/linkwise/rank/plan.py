"""What a training would take, computed without it: parameters, memory, sequences and updates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from linkwise.context import Context
from linkwise.errors import UsageError
from linkwise.lm.adapters import wrap_lora
from linkwise.lm.fit import n_updates
from linkwise.lm.load import LanguageModel, load_outline
from linkwise.lm.packing import layers_of
from linkwise.lm.small import SHAPES, small_model
from linkwise.rank.config import RankStudyConfig
from linkwise.rank.matching import BY_PAST, SEVERAL, first_layers, matched, matching_task
from linkwise.rank.ranker import check_training
from linkwise.rank.study import check_base, learned_from, times
from linkwise.rank.surface import read_surface, task_files
from linkwise.rank.task import read_task
from linkwise.rank.training import MATCHED, held_out_members, mixture
from linkwise.rank.verbalise import Verbaliser

GIB = 2**30
NUMBER = 4  # bytes of a number: weights, gradients and Adam's two averages are float32
BLOCK = 64  # numbers in 4 bits that share one in float32 (bitsandbytes)


def plan(
    paths: Sequence[str], config: RankStudyConfig, seed: int = 0, processes: int = 1
) -> dict[str, Any]:
    """What `study` would train, and what that takes; no weight is read, but of the sizes that are made anew.

    `parameters` in all and trained; `memory_gib` of one process that holds everything, with the terms that
    it is the sum of; `data`, what the answers are learned from, and `matching`, what comes before them:
    sequences (events), tokens and updates of an epoch, and updates in all, at most, since training stops
    early; `per_process`, the same memory in a team, `full_sharding_gib` not of a base in 4 bits, which
    cannot be divided. Activations are estimated (`activation_bytes`).

    Raises what `study` raises before it trains, and `UsageError` for less than one process.
    """
    if processes < 1:
        raise UsageError(f"--processes is {processes}; expected 1 or more.")
    ranker = config.ranker(seed)
    check_training(ranker)
    surfaces = [read_surface(read_task(path)) for path in task_files(paths)]
    trained = learned_from(surfaces, config)
    until, _ = times(surfaces, config)
    check_base(config, until, trained[0].clock)
    model = small_model(config.base, device="cpu") if config.base in SHAPES else outline(config)
    network = model.network
    weights = weight_bytes(network, config.four_bit)
    if config.train == "lora":
        wrap_lora(network, config.rank, config.dropout)
        weights += NUMBER * sum(p.numel() for p in network.parameters() if p.requires_grad)
    learned = sum(p.numel() for p in network.parameters() if p.requires_grad)

    verbalisers = [Verbaliser(model, surface) for surface in trained]
    context = Context(folder=Path(), seed=seed)
    held_out = held_out_members(trained)
    task = mixture(model, verbalisers, until, ranker, context, held_out).task
    rows = task.lengths[task.train]
    updates = math.ceil(len(rows) / config.batch_size)
    longest = int(task.lengths.max())
    found: dict[str, Any] = {
        "base": config.base,
        "train": config.train,
        "four_bit": config.four_bit,
        "tokenizer": model.about.get("tokenizer", config.base),
        "parameters": {
            "all": sum(p.numel() for p in network.parameters()),
            "trained": learned,
        },
        "data": {
            "sequences": len(rows),
            "held_out": len(task.held_out),
            "tokens": int(rows.sum()),
            "longest": longest,
            "epochs": config.epochs,
            "updates": updates,
            "updates_in_all": updates * config.epochs,
        },
    }
    of_event = 0.0
    if config.matching_epochs or config.matching:
        of_event = _tokens_of_event(verbalisers, until)
    matched_tokens = 0.0
    if config.matching_epochs:
        first = matching_task(model, verbalisers, until, held_out)
        n, updates = len(first.train), n_updates(first, config.matching_batch)
        matched_tokens = of_event * min(n, config.matching_batch)
        found["matching"] = {
            "events": n,
            "tokens": round(n * of_event),
            "epochs": config.matching_epochs,
            "updates": updates,
            "updates_in_all": updates * config.matching_epochs,
        }
    of_token = activation_bytes(network.config)
    layers = network.config.num_hidden_layers
    share: float = first_layers(layers) / layers

    def activations(team: int) -> float:
        """Bytes of the largest part that a process of a team runs at once."""
        sequences = math.ceil(config.batch_size / team)
        at_once = max(longest, min(config.part_tokens, sequences * longest))
        answers = at_once + (share * MATCHED * of_event if config.matching else 0)
        mask = NUMBER * at_once * longest
        # Batches of matching are never run in parts, but divided among the processes.
        return max(answers * of_token + mask, math.ceil(share * matched_tokens / team) * of_token)

    state = {"weights": weights, "gradients": NUMBER * learned, "optimiser": 2 * NUMBER * learned}
    found["memory_gib"] = _gib({**state, "activations": activations(1)}) | {
        "activations_of_a_sequence": config.max_tokens * of_token / GIB,
        "best_weights_on_the_cpu": NUMBER * learned / GIB,
    }
    run = {"activations": activations(processes)}
    found["processes"] = processes
    found["sequences_of_a_process"] = math.ceil(config.batch_size / processes)
    found["per_process"] = {"data_parallel_gib": _gib({**state, **run})}
    if not config.four_bit:
        shares = {name: value / processes for name, value in state.items()}
        gathered = {"gathered": gathered_bytes(network)}
        found["per_process"]["full_sharding_gib"] = _gib({**shares, **gathered, **run})
    return found


def outline(config: RankStudyConfig) -> LanguageModel:
    """The base without its weights; raises `InputError` where it looks both ways or is no causal model."""
    inside = Path(config.base) / "model" / "lm"  # of a finished run
    return load_outline(str(inside) if inside.is_dir() else config.base).must_look_back()


def _gib(parts: dict[str, float]) -> dict[str, float]:
    """Parts in bytes as GiB, with their sum."""
    found = {name: value / GIB for name, value in parts.items()}
    return {**found, "all": sum(found.values())}


def weight_bytes(module: nn.Module, four_bit: bool) -> int:
    """Bytes of a module's weights.

    In 4 bits are the matrices of linear layers but the head, with a float32 for each block of 64. Experts in
    one tensor (Mixtral's) are no linear layers, and stay in float32.
    """
    total = sum(NUMBER * p.numel() for p in module.parameters())
    if not four_bit:
        return total
    head = getattr(module, "get_output_embeddings", lambda: None)()
    for part in module.modules():
        if type(part) is nn.Linear and part is not head:
            n = part.weight.numel()
            total += math.ceil(n / 2) + NUMBER * math.ceil(n / BLOCK) - NUMBER * n
    return total


def gathered_bytes(network: Any) -> float:
    """Bytes of what full sharding holds whole at once, weights and gradients, at the most.

    What stands outside the layers (word vectors, head) is whole for as long as a loss is made; of the layers
    two are, that which is run and the next. In the end the outer gradients are copied to be divided.
    """
    inner = [_own_bytes(layer) for layer in layers_of(network.base_model)]
    weights, gradients = (
        whole - sum(sizes)
        for whole, sizes in zip(_own_bytes(network), zip(*inner, strict=True), strict=True)
    )
    return float(weights + gradients + max(gradients, 2 * max(map(sum, inner))))


def _own_bytes(module: nn.Module) -> tuple[int, int]:
    """Bytes of a module's weights, and of the gradients of those that are trained."""
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
    return NUMBER * sum(n for n, _ in sizes), NUMBER * sum(n for n, trained in sizes if trained)


def activation_bytes(config: Any) -> float:
    """Bytes that the backward pass needs of a token, estimated for layers of the Llama and Mixtral kinds.

    A layer keeps 6 states, queries and attention's output, keys and values, and 4 rows of the feed-forward
    part, of each expert that is run 2 states more. In float32, nothing computed anew, attention's weights
    not kept (PyTorch's fused kernels). With dropout or other layers it can be twice that; bfloat16 takes
    less.
    """
    size, heads = int(config.hidden_size), int(config.num_attention_heads)
    head = int(getattr(config, "head_dim", None) or size // heads)
    keys = head * int(getattr(config, "num_key_value_heads", None) or heads)
    inner = int(getattr(config, "intermediate_size", None) or 4 * size)
    experts = getattr(config, "num_experts_per_tok", None)
    forward = 4 * inner if experts is None else int(experts) * (4 * inner + 2 * size)
    layer = 6 * size + 2 * heads * head + 2 * keys + forward
    return float(NUMBER * (config.num_hidden_layers * layer + 2 * size))


def _tokens_of_event(verbalisers: Sequence[Verbaliser], until: int) -> float:
    """Tokens of an event that is matched, member and item, in the mean over at most 200 of each task."""
    sizes = []
    for verbaliser in filter(matched, verbalisers):
        surface = verbaliser.surface
        rows = np.flatnonzero((surface.time < until) & (verbaliser.labels == surface.yes))
        for event in np.random.default_rng(0).permutation(rows)[:200]:
            start = len(verbaliser.model.text_start())
            item = start + len(verbaliser.item(int(surface.item[event])))
            description = verbaliser.member(int(surface.member[event]))
            past = SEVERAL * item  # as long as the item that is to be found
            described = (1 - BY_PAST) * (start + len(description)) + BY_PAST * past
            sizes.append(item + (described if description else past))
    return float(np.mean(sizes)) if sizes else 0.0


def words_of(found: dict[str, Any]) -> list[str]:
    """A plan in plain lines."""
    data, memory = found["data"], found["memory_gib"]
    counts = found["parameters"]
    how = found["train"] + (", base in 4 bits" if found["four_bit"] else "")
    lines = [
        f"{found['base']} ({how}): {counts['all']:,} parameters, {counts['trained']:,} of them trained.",
        f"Answers: {data['sequences']:,} sequences of {data['tokens']:,} tokens (the longest "
        f"{data['longest']:,}) an epoch, {data['held_out']:,} held out; {_updates(data)}.",
    ]
    if "matching" in found:
        first = found["matching"]
        lines.append(
            f"Before them, matching: {first['events']:,} events of about {first['tokens']:,} tokens an "
            f"epoch; {_updates(first)}."
        )
    lines.append(f"Memory, GiB: {_sum(memory)}.")
    lines.append(
        "Activations are estimated, for layers of the Llama and Mixtral kinds in float32: "
        f"{memory['activations_of_a_sequence']:.3g} GiB for a sequence of --max-tokens."
    )
    if found["processes"] > 1:
        team = found["per_process"]
        lines += [
            f"Each of {found['processes']} processes, {found['sequences_of_a_process']} sequences of an "
            "update:",
            f"  data parallel, GiB: {_sum(team['data_parallel_gib'])}",
        ]
        if "full_sharding_gib" in team:
            lines.append(f"  full sharding (shard=True), GiB: {_sum(team['full_sharding_gib'])}")
        else:
            lines.append("  full sharding: not of a base in 4 bits")
    if found["tokenizer"] != found["base"]:
        lines.append("The base's tokenizer is not at hand: tokens are counted as MiniLM's.")
    return lines


def _sum(parts: dict[str, float]) -> str:
    terms = [
        f"{name} {parts[name]:.3g}"
        for name in ("weights", "gathered", "gradients", "optimiser", "activations")
        if name in parts
    ]
    return f"{' + '.join(terms)} = {parts['all']:.3g}"


def _updates(data: dict[str, Any]) -> str:
    return (
        f"{data['updates']:,} updates an epoch, at most {data['updates_in_all']:,} in all "
        f"(--{'matching-' if 'events' in data else ''}epochs {data['epochs']})"
    )
