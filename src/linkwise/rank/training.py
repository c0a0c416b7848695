"""What a ranker learns from: members' events as answered questions, and texts alone.

A member's events stand one after the other in one sequence, each with its answer, and all answers are
learned at once (360Brew, equation 1): the model sees of each event what came before it. A prompt that shows
the past by action would show what came after, and teaches its last answer only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from linkwise.context import Context
from linkwise.errors import InputError
from linkwise.lm.fit import Loss, Task
from linkwise.lm.heads import first_position, head_parts
from linkwise.lm.load import LanguageModel
from linkwise.lm.objectives import next_token_loss, task_of
from linkwise.lm.packing import Packed, pack, packed_states
from linkwise.rank.config import RankConfig
from linkwise.rank.surface import Longs
from linkwise.rank.verbalise import Verbaliser

MOST_WEIGHT = 10.0  # of a rare answer
LISTED = 10  # candidates of a list that an order is learned from
RETRIEVED = 64  # events acted on, of a batch, that are looked for among its items
TEMPERATURE = 0.05
SIZES = (32, 64, 128)  # leading numbers of an embedding that are of use alone, beside all of them
MARGIN = 16  # tokens that an item and its answer take at the very least


@dataclass(frozen=True)
class Example:
    """A sequence with the places of its answers; of a text alone, none.

    `place` (n,) are the places of the deciding tokens, `label` (n,) the answers given, `task` which task's;
    `start` and `item` (n,), of events one after the other, where each begins and the row of its item.
    """

    tokens: tuple[int, ...]
    place: tuple[int, ...] = ()
    label: tuple[int, ...] = ()
    task: int = -1
    start: tuple[int, ...] = ()
    item: tuple[int, ...] = ()


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
                    tuple(found.start),
                    tuple(surface.item[found.event].tolist()),
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
            examples.append(Example(tokens, (len(tokens) - 1,), (label,), number))
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


def mixture(
    model: LanguageModel,
    verbalisers: Sequence[Verbaliser],
    until: int,
    config: RankConfig,
    context: Context,
) -> tuple[Task, Answered]:
    """The task of `lm.fit` over a mixture of surfaces, and what is known of its answers.

    Members are held out with all their events. Raises `InputError` where no surface has an event to learn
    from.
    """
    rng = context.rng("rank mixture")
    examples: list[Example] = []
    owners: list[str] = []
    for number, verbaliser in enumerate(verbalisers):
        told = len(verbaliser.instruction) + len(verbaliser.question)
        if told + MARGIN > config.max_tokens:
            raise InputError(
                f"task {verbaliser.task.name}: instruction and question take {told} tokens, and --max-tokens "
                f"is {config.max_tokens}, which leaves no room for an item; raise it, or shorten them."
            )
        if verbaliser.task.output == "order":
            some, names = order_examples(verbaliser, number, until, config, rng)
        elif verbaliser.task.history.group_by_action:
            some, names = grouped_examples(verbaliser, number, until, config, rng)
        else:
            some, names = joint_examples(verbaliser, number, until, config)
        examples += some
        owners += names
    if not examples:
        raise InputError("no member has an answered event before the end of the training time.")
    answered = _answered(verbalisers, examples, config)
    n_tokens = sum(len(example.tokens) for example in examples)
    texts = text_examples(verbalisers, config.text, n_tokens, until, rng)
    examples += texts
    owners += [f"text {number}" for number in range(len(texts))]
    weights = np.array([verbaliser.task.weight for verbaliser in verbalisers])

    def loss(chosen: Longs, rng: np.random.Generator) -> Loss:
        some = [examples[row] for row in chosen]
        return mixed_loss(model, some, answered, weights, verbalisers, config.retrieval, rng)

    owner = np.unique(np.array(owners), return_inverse=True)[1]
    return task_of([len(example.tokens) for example in examples], loss, of=owner), answered


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
    retrieval: float,
    rng: np.random.Generator,
) -> Loss:
    """Cross-entropy of the answers given, among those that their task allows, and of the words of texts.

    With `retrieval` so many times the loss of finding what was acted on among the batch's items is added.
    """
    asked = [example for example in examples if example.task >= 0]
    texts = [example for example in examples if example.task < 0]
    total = torch.zeros((), device=model.network.device)
    units = tokens = 0
    if asked:
        ran = run(model, asked)
        total, n = answer_loss(model, asked, answered, weights, ran)
        if retrieval:
            found, m = retrieval_loss(model, asked, verbalisers, ran, rng)
            total = total + found * (retrieval * n / max(1, m))
        units += n
        tokens += sum(len(example.tokens) for example in asked)
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


def answer_loss(
    model: LanguageModel,
    examples: Sequence[Example],
    answered: Answered,
    weights: Any,
    ran: tuple[Packed, Any] | None = None,
) -> tuple[Any, int]:
    """The weighted cross-entropy of all answers, summed, and how many there are."""
    network = model.network
    device = network.device
    packed, states = ran or run(model, examples)
    sizes = [len(example.place) for example in examples]
    of = np.repeat(np.arange(len(examples)), sizes)
    place = np.concatenate([example.place for example in examples]).astype(np.int64)
    label = np.concatenate([example.label for example in examples]).astype(np.int64)
    task = np.array([example.task for example in examples])[of]
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
    logits = logits.masked_fill(options < 0, -torch.inf)
    loss = torch.nn.functional.cross_entropy(
        logits, torch.from_numpy(label).to(device), reduction="none"
    )
    weight = torch.from_numpy(answered.weight[task, label] * weights[task]).to(loss)
    return (loss * weight).sum(), len(label)


def retrieval_loss(
    model: LanguageModel,
    examples: Sequence[Example],
    verbalisers: Sequence[Verbaliser],
    ran: tuple[Packed, Any],
    rng: np.random.Generator,
) -> tuple[Any, int]:
    """Cross-entropy of the item that was acted on among those of the batch and task, and how often.

    The member is the state before the event, as `embed` reads it, the item the state at its own end; cosine
    over a temperature of .05, of all numbers and of their leading ones (Kusupati et al. 2022).
    """
    packed, states = ran
    asked = [
        (number, place, example.task, example.item[place])
        for number, example in enumerate(examples)
        for place in range(len(example.start))
        if example.label[place] == verbalisers[example.task].surface.yes
    ]
    if len(asked) > RETRIEVED:
        asked = [asked[at] for at in np.sort(rng.choice(len(asked), RETRIEVED, replace=False))]
    items = list(dict.fromkeys((task, item) for _, _, task, item in asked))
    if len(items) < 2:
        return torch.zeros((), device=states.device), 0
    first = model.text_start()
    keys = item_states(model, [[*first, *verbalisers[task].item(item)] for task, item in items])
    row = torch.tensor([int(packed.row[number]) for number, *_ in asked])
    at = torch.tensor(
        [
            int(packed.offset[number]) + examples[number].start[place] - 1
            for number, place, *_ in asked
        ]
    )
    members = states[row, at]  # (n, size)
    of_task = torch.tensor([task for task, _ in items])
    other = torch.tensor([task for _, _, task, _ in asked])[:, None] != of_task[None, :]
    answer = torch.tensor([items.index((task, item)) for _, _, task, item in asked])
    total = torch.zeros((), device=states.device)
    sizes = [size for size in SIZES if size < states.shape[-1]] + [states.shape[-1]]
    for size in sizes:
        alike = leading(members, size) @ leading(keys, size).T / TEMPERATURE
        alike = alike.float().masked_fill(other.to(alike.device), -torch.inf)
        total = total + torch.nn.functional.cross_entropy(
            alike, answer.to(alike.device), reduction="sum"
        )
    return total / len(sizes), len(asked)


def item_states(model: LanguageModel, rows: Sequence[Sequence[int]]) -> Any:
    """The last state of each token row (n, size)."""
    network = model.network
    packed = pack(
        rows,
        model.tokenizer.pad_token_id or 0,
        network.device,
        network.dtype,
        first_position(network),
    )
    ends = packed.offset + np.array([len(row) for row in rows]) - 1
    found = packed_states(network, packed)
    return found[torch.from_numpy(packed.row), torch.from_numpy(ends)]


def leading(vectors: Any, size: int) -> Any:
    """The first numbers of vectors, made of length one (n, size)."""
    return torch.nn.functional.normalize(vectors[:, :size], dim=1)
