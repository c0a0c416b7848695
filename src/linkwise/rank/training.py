"""What a ranker learns from: members' events as answered questions, and texts alone.

A member's events stand one after the other in one sequence, each with its answer, and all answers are
learned at once (360Brew, equation 1): the model sees of each event what came before it. A prompt that shows
the past by action would show what came after, and teaches its last answer only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch

from linkwise.context import Context
from linkwise.errors import InputError
from linkwise.lm.fit import Loss, Task
from linkwise.lm.heads import first_position, head_parts
from linkwise.lm.load import LanguageModel
from linkwise.lm.objectives import MOST_HELD_OUT, next_token_loss
from linkwise.lm.packing import Packed, pack, packed_states
from linkwise.rank.config import RankConfig
from linkwise.rank.matching import matched, matching_loss
from linkwise.rank.surface import Longs, Surface, held_out
from linkwise.rank.verbalise import Verbaliser

if TYPE_CHECKING:
    from linkwise.rank.distil import Teacher

MOST_WEIGHT = 10.0  # of a rare answer
LISTED = 10  # candidates of a list that an order is learned from
MATCHED = 32  # events acted on, of a batch, whose items are also to be found among the batch's
MARGIN = 16  # tokens that an item and its answer take at the very least


@dataclass(frozen=True)
class Example:
    """A sequence with the places of its answers; of a text alone, none.

    `place` (n,) are the places of the deciding tokens, `label` (n,) the answers given, `task` which task's,
    `event` (n,) the rows of the events; none of a list that is put in order. `target` (n, n_answers) are the
    shares of the answers that are learned where they are not the one given.
    """

    tokens: tuple[int, ...]
    place: tuple[int, ...] = ()
    label: tuple[int, ...] = ()
    task: int = -1
    event: tuple[int, ...] = ()
    target: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True)
class Answered:
    """The tasks of a mixture: the tokens of their answers (n_tasks, most), -1 behind the last, and weights.

    `prior` (n_tasks, most) are the answers' shares in training, `weight` (n_tasks, most) what each counts.
    """

    tokens: Longs
    prior: np.ndarray[Any, np.dtype[np.float64]]
    weight: np.ndarray[Any, np.dtype[np.float64]]


def joint_examples(
    verbaliser: Verbaliser, number: int, until: int, config: RankConfig
) -> tuple[list[Example], list[str]]:
    """Every member's events before `until`, in as many sequences as they need; and the member of each."""
    surface = verbaliser.surface
    examples, owners = [], []
    for member, name in enumerate(surface.members["id"]):
        events = surface.events(member, until)
        while len(events):
            found = verbaliser.sequence(member, events, config.max_tokens)
            if found is None:
                break
            examples.append(
                Example(
                    tuple(found.tokens),
                    tuple(found.place),
                    tuple(found.label),
                    number,
                    tuple(found.event),
                )
            )
            owners.append(name)
            events = events[: int(np.searchsorted(events, found.event[0]))]
    return examples, owners


def grouped_examples(
    verbaliser: Verbaliser, number: int, until: int, config: RankConfig, rng: np.random.Generator
) -> tuple[list[Example], list[str]]:
    """Some of each member's events before `until`, each behind a prompt of what came before it."""
    surface = verbaliser.surface
    examples, owners = [], []
    for member, name in enumerate(surface.members["id"]):
        events = surface.events(member, until)
        events = events[verbaliser.labels[events] >= 0]
        for event in rng.permutation(events)[: config.grouped]:
            asked = verbaliser.candidate(int(surface.item[event]))
            room = config.max_tokens - len(asked) - 1
            before = verbaliser.prompt(member, int(surface.time[event]), room).tokens
            label = int(verbaliser.labels[event])
            tokens = (*before, *asked, verbaliser.answers.tokens[label])
            place = (len(tokens) - 1,)
            examples.append(Example(tokens, place, (label,), number, (int(event),)))
            owners.append(name)
    return examples, owners


def order_examples(
    verbaliser: Verbaliser, number: int, until: int, config: RankConfig, rng: np.random.Generator
) -> tuple[list[Example], list[str]]:
    """Each member's events before `until` in lists of ten, in any order; an item that was acted on is named.

    Lists without such an item, or with nothing else, teach no order.
    """
    surface = verbaliser.surface
    examples, owners = [], []
    for member, name in enumerate(surface.members["id"]):
        events = surface.events(member, until)
        for start in range(0, len(events), LISTED):
            some = rng.permutation(events[start : start + LISTED])
            acted = np.flatnonzero(verbaliser.labels[some] == surface.yes)
            if not 0 < len(acted) < len(some):
                continue
            asked = verbaliser.listing([int(item) for item in surface.item[some]])
            room = config.max_tokens - len(asked) - 1
            before = verbaliser.prompt(member, int(surface.time[some].min()), room).tokens
            label = int(rng.choice(acted))
            tokens = (*before, *asked, verbaliser.answers.tokens[label])
            examples.append(Example(tokens, (len(tokens) - 1,), (label,), number))
            owners.append(name)
    return examples, owners


def text_examples(
    verbalisers: Sequence[Verbaliser],
    share: float,
    tokens: int,
    until: int,
    rng: np.random.Generator,
) -> list[Example]:
    """Descriptions of members and items met before `until`, drawn until they are a share of `tokens`."""
    found: list[Example] = []
    room = share * tokens
    start = verbalisers[0].model.text_start()
    met = [np.flatnonzero(v.surface.time < until) for v in verbalisers]
    some = [number for number, rows in enumerate(met) if len(rows)]
    while room > 0 and some:
        number = some[int(rng.integers(len(some)))]
        verbaliser, event = verbalisers[number], int(rng.choice(met[number]))
        surface = verbaliser.surface
        if verbaliser.task.member.template and rng.random() < 0.3:
            said = verbaliser.member(int(surface.member[event]))
        else:
            said = verbaliser.item(int(surface.item[event]))
        found.append(Example((*start, *said)))
        room -= len(found[-1].tokens)
    return found


@dataclass(frozen=True)
class Mixture:
    """The task of `lm.fit` over a mixture of surfaces, what is known of its answers, what is held out.

    `learned` counts, by task, members with answered events in the training time (`known`), those whose
    description leaves no room for one (`no_room`), and those whose answers are learned (`learned`).
    """

    task: Task
    answered: Answered
    held_out: list[Example]
    learned: dict[str, dict[str, int]]


def held_out_members(surfaces: Iterable[Surface]) -> frozenset[str]:
    """The ids of `surface.held_out` among the members of some surfaces."""
    found: set[str] = set()
    for surface in surfaces:
        ids = surface.members["id"]
        found.update(ids.filter(pl.Series(held_out(ids))))
    return frozenset(found)


def mixture(
    model: LanguageModel,
    verbalisers: Sequence[Verbaliser],
    until: int,
    config: RankConfig,
    context: Context,
    held_out: frozenset[str] = frozenset(),
    teacher: Teacher | None = None,
) -> Mixture:
    """What is learned from a mixture of surfaces; the members of `held_out` judge, with all their events.

    Of many, so many sequences as `MOST_HELD_OUT`: an evaluation is not to take longer than the training.

    With a `teacher`, its probabilities are learned beside the answers given, and judge beside them.

    Raises `InputError` where a task has nothing to learn from: it would count as trained on.
    """
    rng = context.rng("rank mixture")
    examples: list[Example] = []
    owners: list[str] = []
    learned: dict[str, dict[str, int]] = {}
    for number, verbaliser in enumerate(verbalisers):
        told = len(verbaliser.instruction) + len(verbaliser.question)
        if told + MARGIN > config.max_tokens:
            raise InputError(
                f"task {verbaliser.task.name}: instruction and question take {told} tokens, and --max-tokens "
                f"is {config.max_tokens}, which leaves no room for an item; raise it, or shorten them."
            )
        surface, cut = verbaliser.surface, 0
        known = np.unique(surface.member[(surface.time < until) & (verbaliser.labels >= 0)])
        if verbaliser.task.output == "order":
            some, names = order_examples(verbaliser, number, until, config, rng)
        elif not verbaliser.task.history.joint:
            some, names = grouped_examples(verbaliser, number, until, config, rng)
        else:
            some, names = joint_examples(verbaliser, number, until, config)
            cut = len(known) - len(set(names))
            if cut:
                context.progress.say(
                    f"{verbaliser.task.name}: {cut:,} of {len(known):,} members are not learned from: their "
                    f"description leaves no room for an event in {config.max_tokens} tokens (--max-tokens)."
                )
        if not set(names) - held_out:
            raise InputError(_nothing_of(verbaliser, len(known), len(names), config))
        learned[verbaliser.task.name] = {"known": len(known), "no_room": cut}
        examples += some
        owners += names
    answered = _answered(verbalisers, examples, config)
    taught = [row for row, name in enumerate(owners) if name not in held_out]
    judging = [row for row, name in enumerate(owners) if name in held_out]
    if config.sequences is not None and len(taught) > config.sequences:
        taught = rng.choice(taught, config.sequences, replace=False).tolist()
    if len(judging) > MOST_HELD_OUT:
        # The same ones whatever is learned, so that trainings on more and less are judged alike.
        judging = np.random.default_rng(0).permutation(judging)[:MOST_HELD_OUT].tolist()
    chosen = sorted([*taught, *judging])
    examples, owners = [examples[row] for row in chosen], [owners[row] for row in chosen]
    for number, verbaliser in enumerate(verbalisers):
        name = verbaliser.task.name
        told_of = {
            owner for e, owner in zip(examples, owners, strict=True) if e.task == number
        } - held_out
        if not told_of:
            raise InputError(
                f"task {name}: none of the {config.sequences} sequences drawn is of it; raise --sequences, "
                f"or hold the task out (--held-out {name})."
            )
        learned[name]["learned"] = len(told_of)
    n_tokens = sum(
        len(example.tokens)
        for example, name in zip(examples, owners, strict=True)
        if name not in held_out
    )
    texts = text_examples(verbalisers, config.text, n_tokens, until, rng)
    out = np.array([name in held_out for name in owners] + [False] * len(texts), dtype=np.bool_)
    surfaces = [verbaliser.surface for verbaliser in verbalisers]
    if teacher is not None:
        examples = teacher.teach(examples, surfaces, until, context)
    examples += texts
    weights = np.array([verbaliser.task.weight for verbaliser in verbalisers])

    def loss(chosen: Longs, rng: np.random.Generator) -> Loss:
        some = [examples[row] for row in chosen]
        # What is held out is judged by its answers alone.
        matching = config.matching if model.network.training else 0.0
        return mixed_loss(model, some, answered, weights, verbalisers, matching, rng)

    lengths = np.array([len(example.tokens) for example in examples], dtype=np.int64)
    task = Task(lengths, np.flatnonzero(~out), np.flatnonzero(out), loss)
    return Mixture(task, answered, [examples[row] for row in np.flatnonzero(out)], learned)


def _nothing_of(verbaliser: Verbaliser, known: int, sequences: int, config: RankConfig) -> str:
    """Why nothing is learned of a task, of `known` members with events, who made so many sequences."""
    name = verbaliser.task.name
    if not known:
        why = "no member has an answered event before the end of the training time; choose a later one"
    elif sequences:
        why = f"all of its {known} members with events are held out to judge; give it more members"
    elif verbaliser.task.output == "order":
        why = "no list of what was shown has an item acted on beside one that was not"
    else:
        why = (
            f"no member's description leaves room for an event in {config.max_tokens} tokens; raise "
            "--max-tokens, or shorten the instruction or the member's template"
        )
    return f"task {name}: {why}, or hold the task out (--held-out {name})."


def _answered(
    verbalisers: Sequence[Verbaliser], examples: Sequence[Example], config: RankConfig
) -> Answered:
    most = max(len(verbaliser.answers.tokens) for verbaliser in verbalisers)
    tokens = np.full((len(verbalisers), most), -1, dtype=np.int64)
    counts = np.zeros((len(verbalisers), most))
    for number, verbaliser in enumerate(verbalisers):
        tokens[number, : len(verbaliser.answers.tokens)] = verbaliser.answers.tokens
    for example in examples:
        np.add.at(counts[example.task], list(example.label), 1)
    counts += 0.5 * (tokens >= 0)  # an answer that was never given is rare, not impossible
    prior = counts / counts.sum(axis=1, keepdims=True)
    n = (tokens >= 0).sum(axis=1, keepdims=True)
    weight = np.ones_like(prior)
    orders = [verbaliser.task.output == "order" for verbaliser in verbalisers]
    if config.balance:
        weight = balanced(np.where(prior > 0, prior, 1), n)
    weight[orders] = 1.0  # a letter is a place in the list, not an answer
    return Answered(tokens, prior, weight)


def balanced(shares: Any, n: Any) -> Any:
    """What each of `n` answers counts in training, so that all count the same whatever their shares."""
    return np.minimum(1 / (n * shares), MOST_WEIGHT)


def mixed_loss(
    model: LanguageModel,
    examples: Sequence[Example],
    answered: Answered,
    weights: Any,
    verbalisers: Sequence[Verbaliser],
    matching: float,
    rng: np.random.Generator,
) -> Loss:
    """Cross-entropy of the answers given, among those that their task allows, and of the words of texts.

    `matching` times the loss of finding what was acted on among the batch's items is added.
    """
    asked = [example for example in examples if example.task >= 0]
    texts = [example for example in examples if example.task < 0]
    total = torch.zeros((), device=model.network.device)
    units = tokens = 0
    if asked:
        total, n = answer_loss(model, asked, answered, weights)
        units += n
        tokens += sum(len(example.tokens) for example in asked)
        if matching:
            found = _matched(model, asked, verbalisers, rng)
            total = total + found.total * (matching * n / max(1, found.units))
            tokens += found.tokens
    if texts:
        found = next_token_loss(model, [e.tokens for e in texts], [1] * len(texts))
        # As many units as examples: a text is to count about as much as an answer, not as all its words.
        total = total + found.total * (len(texts) / max(1, found.units))
        units += len(texts)
        tokens += sum(len(example.tokens) for example in texts)
    return Loss(total, units, tokens)


def run(model: LanguageModel, examples: Sequence[Example]) -> tuple[Packed, Any]:
    """Sequences in packed rows, and the last states of all their tokens (b, w, size)."""
    network = model.network
    packed = pack(
        [example.tokens for example in examples],
        model.tokenizer.pad_token_id or 0,
        network.device,
        network.dtype,
        first_position(network),
    )
    return packed, packed_states(network, packed)


def _matched(
    model: LanguageModel,
    examples: Sequence[Example],
    verbalisers: Sequence[Verbaliser],
    rng: np.random.Generator,
) -> Loss:
    """`matching_loss` of some of the events that were acted on."""
    acted = [
        (example.task, event)
        for example in examples
        for event, label in zip(example.event, example.label, strict=False)
        if label == verbalisers[example.task].surface.yes and matched(verbalisers[example.task])
    ]
    if len(acted) > MATCHED:
        acted = [acted[at] for at in np.sort(rng.choice(len(acted), MATCHED, replace=False))]
    if len(acted) < 2:
        return Loss(torch.zeros((), device=model.network.device), 0, 0)
    of, events = np.array(acted, dtype=np.int64).T
    return matching_loss(model, verbalisers, of, events, rng)


def answer_loss(
    model: LanguageModel, examples: Sequence[Example], answered: Answered, weights: Any
) -> tuple[Any, int]:
    """The weighted cross-entropy of all answers, summed, and how many there are.

    - sum over events and answers of target * weight * log p. Each answer has its own weight also where a
    target is soft: it is the mean of the loss over answers drawn from the target. The least loss is at
    p ~ target * weight, from which `Ranker.probabilities` takes the weights out again: of a student that
    fits its teacher, calibrated probabilities are the teacher's, balanced or not.
    """
    logits, task, label = answer_logits(model, examples, answered)
    target = np.zeros(logits.shape)
    target[np.arange(len(label)), label] = 1
    start = 0
    for example in examples:
        if example.target:
            shares = np.array(example.target)
            target[start : start + len(shares), : shares.shape[1]] = shares
        start += len(example.place)
    counts = target * answered.weight[task] * weights[task][:, None]  # (n, most)
    # Behind a task's last answer log p is -inf, and its share 0.
    log_p = logits.log_softmax(dim=1).masked_fill(logits == -torch.inf, 0)
    return -(torch.from_numpy(counts).to(log_p) * log_p).sum(), len(label)


def answer_logits(
    model: LanguageModel, examples: Sequence[Example], answered: Answered
) -> tuple[Any, Longs, Longs]:
    """The logits of what may be answered at each deciding place (n, most), its task and its label (n,)."""
    network = model.network
    device = network.device
    packed, states = run(model, examples)
    sizes = [len(example.place) for example in examples]
    of = np.repeat(np.arange(len(examples)), sizes)
    place = np.concatenate([example.place for example in examples]).astype(np.int64)
    label = np.concatenate([example.label for example in examples]).astype(np.int64)
    task = np.array([example.task for example in examples], dtype=np.int64)[of]
    row = torch.from_numpy(packed.row[of]).to(device)
    at = torch.from_numpy(packed.offset[of] + place - 1).to(device)
    options = torch.from_numpy(answered.tokens[task]).to(device)  # (n, most)
    parts = head_parts(network)
    if parts is not None:
        before, linear = parts
        there = before(states[row, at])  # (n, size)
        logits = torch.einsum("ns,nas->na", there, linear.weight[options.clamp(min=0)]).float()
        if linear.bias is not None:
            logits = logits + linear.bias[options.clamp(min=0)].float()
    else:
        whole = network(
            input_ids=packed.ids, attention_mask=packed.mask, position_ids=packed.position
        ).logits[row, at]
        logits = whole.float().gather(1, options.clamp(min=0))
    return logits.masked_fill(options < 0, -torch.inf), task, label
