"""What tuning a language model as judge, and judging by it, would take, computed without it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from linkwise.data.documents import DocumentsConfig, read_documents
from linkwise.data.sections import read_sections
from linkwise.errors import UsageError
from linkwise.lm.adapters import wrap_lora
from linkwise.lm.load import load_outline
from linkwise.lm.memory import GIB, NUMBER, activation_bytes, gib, weight_bytes
from linkwise.matching.config import PairsConfig
from linkwise.matching.labels import read_pairs
from linkwise.matching.lm_judge import Prompt
from linkwise.matching.load_judge import BATCH, PART_TOKENS, RANK
from linkwise.matching.sides import side_of_documents, side_of_sections

NOT_MODELS = ("weighed", "cross-encoder", "server")
MOST = 200  # patents, and sections, whose tokens are counted for the mean


def plan(
    paths: Sequence[str], documents: DocumentsConfig, config: PairsConfig, seed: int = 0
) -> dict[str, Any]:
    """What `study` would do with a language model as judge; no weight is read.

    `parameters` in all and trained; `memory_gib` of tuning, with the terms that it is the sum of (where there
    are labels and epochs), or of the weights alone; `tuning`: pairs, tokens, updates and how many trainings
    (one for each fold, and one for use); `judging`: pairs, and the tokens that are run with shared beginnings
    and one by one. Activations are estimated (`activation_bytes`).

    Raises what `study` raises of its files, and `UsageError` for a judge that is no language model.
    """
    if config.judge in NOT_MODELS:
        raise UsageError(
            f"--dry-run tells what a language model as judge takes; --judge is {config.judge}."
        )
    model = load_outline(config.judge).must_look_back()
    queries = side_of_documents(read_documents(paths[0], documents, codes=False), documents.text[0])
    items = side_of_sections(read_sections(list(paths[1:]), config.section_id))
    prompt = Prompt(model, config)
    network = model.network
    tuned = config.labels is not None and config.epochs > 0
    weights = weight_bytes(network, config.four_bit)
    if tuned and config.train == "lora":
        wrap_lora(network, RANK, None)
        weights += NUMBER * sum(p.numel() for p in network.parameters() if p.requires_grad)
    learned = sum(p.numel() for p in network.parameters() if p.requires_grad) if tuned else 0
    rng = np.random.default_rng(seed)
    some = (
        rng.permutation(len(queries))[:MOST].tolist(),
        rng.permutation(len(items))[:MOST].tolist(),
    )
    patent = float(np.mean([len(prompt.patent(queries.texts[row])) for row in some[0]]))
    section = float(
        np.mean([len(prompt.section(items.titles[row], items.texts[row])) for row in some[1]])
    )
    asked = min(config.retrieve, len(items))
    found: dict[str, Any] = {
        "judge": config.judge,
        "train": config.train if tuned else "as it is",
        "four_bit": config.four_bit,
        "tokenizer": model.about.get("tokenizer", config.judge),
        "parameters": {"all": sum(p.numel() for p in network.parameters()), "trained": learned},
        "judging": {
            "pairs": len(queries) * asked,
            "tokens_shared": round(len(queries) * (patent + asked * section)),
            "tokens_one_by_one": round(len(queries) * asked * (patent + section)),
        },
    }
    if not tuned:
        found["memory_gib"] = gib({"weights": weights})
        return found
    columns = config.patent_column, config.section_column, config.label_column
    assert config.labels is not None
    labelled = read_pairs(config.labels, queries, items, columns)
    shares = (config.folds - 2) / config.folds, (config.folds - 1) / config.folds
    pairs = [round(len(labelled) * shares[0])] * config.folds + [round(len(labelled) * shares[1])]
    updates = [math.ceil(n / BATCH) * config.epochs for n in pairs]
    longest = len(prompt.before) + prompt.room + len(prompt.between)
    longest += config.section_tokens + len(prompt.behind)
    at_once = max(longest, min(PART_TOKENS, BATCH * longest))
    of_token = activation_bytes(network.config)
    found["tuning"] = {
        "pairs": len(labelled),
        "trainings": len(pairs),
        "tokens_of_an_epoch": round(pairs[-1] * (patent + section)),
        "epochs": config.epochs,
        "updates_in_all": sum(updates),
    }
    found["memory_gib"] = gib(
        {
            "weights": weights,
            "gradients": NUMBER * learned,
            "optimiser": 2 * NUMBER * learned,
            "activations": at_once * of_token + NUMBER * at_once * longest,
        }
    ) | {"activations_of_a_pair": longest * of_token / GIB}
    return found


def words_of(found: dict[str, Any]) -> list[str]:
    """A plan in plain lines."""
    counts, memory, judging = found["parameters"], found["memory_gib"], found["judging"]
    how = found["train"] + (", base in 4 bits" if found["four_bit"] else "")
    lines = [
        f"{found['judge']} ({how}): {counts['all']:,} parameters, {counts['trained']:,} of them trained."
    ]
    if "tuning" in found:
        tuning = found["tuning"]
        lines.append(
            f"Tuning: {tuning['pairs']:,} labelled pairs, {tuning['trainings']} trainings (one a fold, "
            f"and one for use) of up to {tuning['tokens_of_an_epoch']:,} tokens an epoch, at most "
            f"{tuning['updates_in_all']:,} updates in all (--epochs {tuning['epochs']})."
        )
    terms = [
        f"{name} {memory[name]:.3g}"
        for name in ("weights", "gradients", "optimiser", "activations")
        if name in memory
    ]
    lines.append(f"Memory, GiB: {' + '.join(terms)} = {memory['all']:.3g}.")
    if "tuning" in found:
        lines.append(
            "Activations are estimated, for layers of the Llama and Mixtral kinds in float32: "
            f"{memory['activations_of_a_pair']:.3g} GiB for a pair of the greatest length."
        )
    lines.append(
        f"Judging: {judging['pairs']:,} pairs, {judging['tokens_shared']:,} tokens with shared beginnings "
        f"({judging['tokens_one_by_one']:,} one by one)."
    )
    if found["tokenizer"] != found["judge"]:
        lines.append("The model's tokenizer is not at hand: tokens are counted as MiniLM's.")
    return lines
