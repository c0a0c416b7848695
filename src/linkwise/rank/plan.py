"""What a training would take, computed without it: parameters, memory, sequences and updates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from linkwise.context import Context
from linkwise.errors import UsageError
from linkwise.lm.adapters import wrap_lora
from linkwise.lm.fit import n_updates
from linkwise.lm.load import LanguageModel, load_outline
from linkwise.lm.memory import GIB, NUMBER, activation_bytes, gathered_bytes, gib, weight_bytes
from linkwise.lm.small import SHAPES, small_model
from linkwise.rank.config import RankStudyConfig
from linkwise.rank.matching import BY_PAST, SEVERAL, first_layers, matched, matching_task
from linkwise.rank.ranker import check_training
from linkwise.rank.study import check_base, learned_from, times
from linkwise.rank.surface import read_surface, task_files
from linkwise.rank.task import read_task
from linkwise.rank.training import MATCHED, held_out_members, mixture
from linkwise.rank.verbalise import Verbaliser


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
    found["memory_gib"] = gib({**state, "activations": activations(1)}) | {
        "activations_of_a_sequence": config.max_tokens * of_token / GIB,
        "best_weights_on_the_cpu": NUMBER * learned / GIB,
    }
    run = {"activations": activations(processes)}
    found["processes"] = processes
    found["sequences_of_a_process"] = math.ceil(config.batch_size / processes)
    found["per_process"] = {"data_parallel_gib": gib({**state, **run})}
    if not config.four_bit:
        shares = {name: value / processes for name, value in state.items()}
        gathered = {"gathered": gathered_bytes(network)}
        found["per_process"]["full_sharding_gib"] = gib({**shares, **gathered, **run})
    return found


def outline(config: RankStudyConfig) -> LanguageModel:
    """The base without its weights; raises `InputError` where it looks both ways or is no causal model."""
    inside = Path(config.base) / "model" / "lm"  # of a finished run
    return load_outline(str(inside) if inside.is_dir() else config.base).must_look_back()


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
