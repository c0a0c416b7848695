"""`Ranker`: one decoder that says how likely a member is to act on an item, on any surface."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from linkwise.context import Context
from linkwise.errors import InputError, ResourceError, UsageError, optional
from linkwise.lm.config import FitConfig
from linkwise.rank.config import RankConfig
from linkwise.rank.evidence import Evidence
from linkwise.rank.space import Space
from linkwise.rank.surface import Surface
from linkwise.rank.task import Task
from linkwise.rank.verbalise import Verbaliser

if TYPE_CHECKING:
    from linkwise.rank.distil import Teacher
    from linkwise.rank.training import Mixture

Floats = np.ndarray[Any, np.dtype[np.float64]]
KEPT = 8  # prompts whose keys and values are kept between requests
WEIGHED = 20_000  # events of members held out by which answers and vectors are weighed
UNWEIGHED = (
    1.0,
    1.0,
    0.0,
)  # of description, items acted on and passed by, where nothing was weighed
FORMAT_VERSION = 4


def check_training(config: RankConfig) -> None:
    """Raise `UsageError` where a base cannot be trained so."""
    from linkwise.lm.small import SHAPES

    if config.base in SHAPES and config.train != "full":
        raise UsageError(
            f"the base {config.base} begins untrained; train all of it (--train full)."
        )
    if config.train == "soft-prompt":
        raise UsageError("a ranker has no soft prompt; train it with --train full or lora.")


def _among_themselves(log_p: Floats) -> Floats:
    """log p of answers (..., n_answers), normalised over them.

    Where candidates go on otherwise from the same place, others stood beside the answers.
    """
    return np.asarray(log_p - np.logaddexp.reduce(log_p, axis=-1, keepdims=True))


class Ranker:
    """A causal language model with the answers' shares in its training.

    Scores are the model's probability of each answer at the token where a task's answers part, among those
    answers; of yes and no together with how well its vectors of member and item match. Fitted attributes:
    `prior_`, the shares of the answers of each task in training, by its name and the words of each;
    `learned_`, members learned from by task, as `training.Mixture` counts them; `means_`, the mean vectors of
    what they met, by task, as `Space` has them; `history_`, how training
    went; `evidence_`, how answers and vectors are weighed, where they are.
    """

    def __init__(self, config: RankConfig | None = None) -> None:
        self.config = config if config is not None else RankConfig()
        self.prior_: dict[str, dict[str, float]] = {}
        self.learned_: dict[str, dict[str, int]] = {}
        self.means_: dict[str, dict[str, list[float]]] = {}
        self.history_: list[dict[str, float]] = []
        self.evidence_: Evidence | None = None
        self._model: Any = None
        # peft's model around one in 4 bits, which an adapter cannot be merged into.
        self._adapter: Any = None
        self._contexts: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        self._spaces: OrderedDict[Verbaliser, Space] = OrderedDict()

    @property
    def model(self) -> Any:
        """The language model; one that is not trained yet is made or loaded when first needed."""
        if self._model is None:
            self._model = self._begin().model
        return self._model

    def _begin(self, device: Any = "auto") -> Any:
        from linkwise.lm.adapt import Prepared, prepare
        from linkwise.lm.small import SHAPES, small_model

        check_training(self.config)
        if self.config.base in SHAPES:
            model = small_model(self.config.base, seed=self.config.seed, device=device)
            return Prepared(model, None, self.config.base, self.config)
        inside = Path(self.config.base) / "model" / "lm"  # of a finished run
        base = str(inside) if inside.is_dir() else self.config.base
        try:
            prepared = prepare(base, "causal", self.config, device=device)
        except ResourceError as error:
            if Path(base).exists() or "/" in base:
                raise
            raise ResourceError(f"{error} Untrained models are {', '.join(SHAPES)}.") from error
        prepared.model.must_look_back()
        if prepared.model.prefix:
            raise UsageError(
                f"{self.config.base}: this model has a soft prompt; give the base that it was made for."
            )
        return prepared

    def verbaliser(self, surface: Surface) -> Verbaliser:
        """What says a surface's records to this model."""
        return Verbaliser(self.model, surface)

    # -------------------------------------------------------------------------------------------- fitting

    def fit(
        self,
        surfaces: Sequence[Surface],
        until: int,
        context: Context,
        *,
        team: Any = None,
        teacher: Teacher | None = None,
    ) -> Self:
        """Learn from all events before `until` (as `Surface.time`), those of all surfaces mixed.

        Of a `teacher` also its probabilities of their answers. In a `team` each process takes its share of
        every batch, and with `config.shard` holds its share of the model alone while it learns; afterwards
        every process has all of it. What the members of `surface.held_out` did is
        not learned, but judges the training, and weighs answers and vectors. Raises `InputError` where a
        task has nothing to learn from, or two tasks have one name.
        """
        from linkwise.lm.fit import fit
        from linkwise.lm.team import check_team
        from linkwise.rank.training import held_out_members, mixture

        check_team(self.config.shard, team)
        torch = optional("torch", "lm", "the ranker")
        names = [surface.task.name for surface in surfaces]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f'two tasks are called "{twice}"; give them names of their own.')
        torch.set_num_threads(context.threads)
        place = "auto" if team is None else team.device.type
        # What is to be divided may not fit on a device before that.
        prepared = self._begin("cpu" if self.config.shard else place)
        self._model = prepared.model
        verbalisers = [Verbaliser(prepared.model, surface) for surface in surfaces]
        held_out = held_out_members(surfaces)
        with context.step("say the records"):
            room = {"max_tokens": prepared.model.at_most(self.config.max_tokens)}
            within = self.config.model_copy(update=room)
            learned = mixture(
                prepared.model, verbalisers, until, within, context, held_out, teacher
            )
        network = prepared.model.network
        if self.config.matching_epochs:
            task, how = self._matching(verbalisers, until, held_out)
            fit(network, task, how, context, "match members and items", team=team)
        found = fit(network, learned.task, self.config, context, "train the ranker", team=team)
        self.history_, self.learned_ = found.history, learned.learned
        if self.config.four_bit:
            self._adapter = prepared.wrapped
        elif prepared.wrapped is not None:
            prepared.model.network = prepared.wrapped.merge_and_unload()
        if self.config.shard:
            prepared.model.network.to(place)
        self.prior_ = {
            surface.task.name: dict(
                zip(
                    surface.task.answers.values(),
                    learned.answered.prior[number].tolist(),
                    strict=False,
                )
            )
            for number, surface in enumerate(surfaces)
        }
        self._contexts.clear()
        self._spaces.clear()
        self.means_ = {}
        for verbaliser, surface in zip(verbalisers, surfaces, strict=True):
            # Of what was met in training alone: neither later rows nor those of members held out move them.
            out = surface.members["id"].is_in(held_out).to_numpy()
            met = (surface.time < until) & ~out[surface.member]
            self.means_[surface.task.name] = Space(self.model, verbaliser, met=met).means
        if self.config.matching_epochs or self.config.matching:
            with context.step("weigh answers and vectors"):
                self.evidence_ = self._weighed(verbalisers, learned, context)
        return self

    def _matching(
        self, verbalisers: Sequence[Verbaliser], until: int, held_out: frozenset[str]
    ) -> tuple[Any, FitConfig]:
        """What is learned before any answer, and how."""
        from linkwise.rank.matching import matching_task

        changed = {
            "epochs": self.config.matching_epochs,
            "learning_rate": self.config.matching_rate,
            "batch_size": self.config.matching_batch,
            # A small hold-out's loss goes up and down; more looks at it would only end training sooner.
            "evaluations": 1,
        }
        shared = {name: getattr(self.config, name) for name in FitConfig.model_fields}
        return (
            matching_task(self.model, verbalisers, until, held_out),
            FitConfig(**{**shared, **changed}),
        )

    def _weighed(
        self, verbalisers: Sequence[Verbaliser], learned: Mixture, context: Context
    ) -> Evidence | None:
        """The weights of the answers' log-odds and of the cosines, from the events of members held out."""
        import torch

        from linkwise.rank.evidence import weigh
        from linkwise.rank.training import answer_logits

        rng = context.rng("weigh answers and vectors")
        examples = [
            example
            for example in learned.held_out
            if example.event and verbalisers[example.task].task.output == "yes-no"
        ]
        examples = [examples[place] for place in rng.permutation(len(examples))]
        tasks: list[str] = []
        told: list[Floats] = []
        acted: list[Floats] = []
        while examples and len(tasks) < WEIGHED:
            some, examples = examples[:16], examples[16:]
            with torch.inference_mode():
                logits, of, label = answer_logits(self.model, some, learned.answered)
            events = np.array([event for example in some for event in example.event])
            for number in np.unique(of).tolist():
                verbaliser, mine = verbalisers[number], np.flatnonzero(of == number)
                yes = verbaliser.surface.yes
                answers = (logits[mine, yes] - logits[mine, 1 - yes]).double().cpu().numpy()
                matches = self.event_matches(verbaliser, events[mine].tolist())
                tasks += [verbaliser.task.name] * len(mine)
                told.append(np.column_stack([answers, matches]))
                acted.append(label[mine] == yes)
        shares = {
            v.task.name: float(learned.answered.prior[number, v.surface.yes])
            for number, v in enumerate(verbalisers)
            if v.task.output == "yes-no"
        }
        given = np.concatenate([np.zeros(0), *acted])
        found = weigh(tasks, np.concatenate(told), given, shares) if tasks else None
        if found is None:
            context.progress.say(
                f"{len(tasks)} events of members held out, {given.sum():.0f} of them acted on, are too few "
                "to weigh answers and vectors by: answers alone are used. Train on more members."
            )
        return found

    # -------------------------------------------------------------------------------------------- scoring

    def probabilities(
        self,
        verbaliser: Verbaliser,
        member: int,
        items: Sequence[int],
        before: int | None = None,
    ) -> Floats:
        """The probability of each of a task's answers, for a member and some items (n, n_answers).

        Nothing of the member's past at or after `before` is shown. All items are scored in one run of the
        member's prompt, none seeing another.
        """
        (found,) = self._probabilities_of(verbaliser, [member], items, [before])
        return found

    def _probabilities_of(
        self,
        verbaliser: Verbaliser,
        members: Sequence[int],
        items: Sequence[int],
        before: Sequence[int | None],
    ) -> list[Floats]:
        """`probabilities` of several members and the same items, whose prompts are run together."""
        # Answers without weight are not asked for.
        unheard = self.evidence_ is not None and not self.evidence_.hears
        if unheard and verbaliser.task.output == "yes-no":
            told = [np.zeros((len(items), 2)) for _ in members]
        else:
            prompts = [
                verbaliser.prompt(member, time).tokens
                for member, time in zip(members, before, strict=True)
            ]
            asked = [verbaliser.candidate(int(item)) for item in items]
            told = self._log_ps(prompts, asked, verbaliser.answers.tokens)
        return [
            self.combined(
                verbaliser,
                log_p,
                lambda member=member, time=time: self.matches(verbaliser, member, items, time),  # type: ignore[misc]
            )
            for member, time, log_p in zip(members, before, told, strict=True)
        ]

    def combined(
        self, verbaliser: Verbaliser, log_p: Floats, matches: Callable[[], Floats]
    ) -> Floats:
        """The answers' probabilities (n, n_answers) from log p of their tokens, and matches if they count.

        `matches` gives what `Ranker.matches` does for the same items (n, 3).
        """
        task = verbaliser.task
        if self.evidence_ is None or task.output != "yes-no":
            return self._weigh(log_p, verbaliser)
        yes = verbaliser.surface.yes
        found = np.empty_like(log_p)
        told = np.column_stack([log_p[:, yes] - log_p[:, 1 - yes], matches()])
        found[:, yes] = self.evidence_.probability(self._known_as(task), told)
        found[:, 1 - yes] = 1 - found[:, yes]
        return found

    def terms(
        self,
        verbaliser: Verbaliser,
        member: int,
        items: Sequence[int],
        before: int | None = None,
    ) -> Floats:
        """What the log-odds of yes are made of, beside the offset: the columns of `evidence.SIGNS` (n, 4).

        Raises `UsageError` where nothing was weighed, or the task asks for more than yes or no.
        """
        task = verbaliser.task
        if self.evidence_ is None or task.output != "yes-no":
            raise UsageError(f"task {task.name}: the scores are those of the answers alone.")
        answers = np.zeros(len(items))
        if self.evidence_.hears:
            asked = [verbaliser.candidate(int(item)) for item in items]
            prompt = verbaliser.prompt(member, before).tokens
            log_p = self.log_p(prompt, asked, verbaliser.answers.tokens)
            yes = verbaliser.surface.yes
            answers = log_p[:, yes] - log_p[:, 1 - yes]
        told = np.column_stack([answers, self.matches(verbaliser, member, items, before)])
        return np.asarray(told * self.evidence_.weights(self._known_as(task)))

    def most_like(
        self,
        verbaliser: Verbaliser,
        member: int,
        items: Sequence[int],
        before: int | None = None,
    ) -> list[int | None]:
        """For each item that past item, acted on and shown, whose vector goes best with it; None without."""
        past = verbaliser.past(member, before)[0]
        if not len(past):
            return [None] * len(items)
        space = self._space(verbaliser)
        alike = (space.of_items(items) - space.items_mean) @ (
            space.of_items(past.tolist()) - space.items_mean
        ).T
        return [int(item) for item in past[alike.argmax(axis=1)]]

    def _known_as(self, task: Task) -> str:
        """The name by which a task was weighed; none of one that was not."""
        return task.name if self._knows(task) else ""

    def _knows(self, task: Task) -> bool:
        """Whether a task was trained on: another task of the same name is none that was."""
        known = self.prior_.get(task.name)
        return known is not None and set(known) == set(task.answers.values())

    def log_p(
        self, prompt: Sequence[int], asked: Sequence[Sequence[int]], answers: Sequence[int]
    ) -> Floats:
        """log p of the deciding tokens behind each candidate, among themselves (n, n_answers)."""
        from linkwise.lm.tree import Contexts
        from linkwise.lm.trie import build_trie

        if not len(asked):
            return np.zeros((0, len(answers)))
        trie = build_trie([[*tokens, answer] for tokens in asked for answer in answers])
        key = tuple(prompt)
        context = self._contexts.pop(key, None) or Contexts(
            self.model.network, [key], over="catalogue"
        )
        (values,) = context.log_p(trie)
        context.forget()
        self._contexts[key] = context
        while len(self._contexts) > KEPT:
            self._contexts.popitem(last=False)
        return _among_themselves(values[trie.end].reshape(len(asked), len(answers)))

    def _log_ps(
        self,
        prompts: Sequence[Sequence[int]],
        asked: Sequence[Sequence[int]],
        answers: Sequence[int],
    ) -> list[Floats]:
        """`log_p` behind each of several prompts; a GPU runs them together, a CPU gains nothing by that."""
        from linkwise.lm.tree import BATCH, node_log_p
        from linkwise.lm.trie import build_trie

        network = self.model.network
        if len(prompts) == 1 or not len(asked) or network.device.type == "cpu":
            return [self.log_p(prompt, asked, answers) for prompt in prompts]
        trie = build_trie([[*tokens, answer] for tokens in asked for answer in answers])
        found: list[Floats] = []
        for start in range(0, len(prompts), BATCH):
            some = prompts[start : start + BATCH]
            values = node_log_p(network, some, trie, over="catalogue")[:, trie.end]
            found += list(_among_themselves(values.reshape(len(some), len(asked), len(answers))))
        return found

    def _weigh(self, log_p: Floats, verbaliser: Verbaliser) -> Floats:
        """Probabilities with the answers' shares put back, where training had given all the same weight."""
        task = verbaliser.task
        if self._knows(task) and self.config.balance:
            from linkwise.rank.training import balanced

            shares = np.array([self.prior_[task.name][answer] for answer in task.answers.values()])
            log_p = log_p - np.log(balanced(shares, len(shares)))
            log_p = log_p - np.logaddexp.reduce(log_p, axis=1, keepdims=True)
        return np.exp(log_p)

    def scores(
        self,
        verbaliser: Verbaliser,
        member: int,
        items: Sequence[int],
        before: int | None = None,
        *,
        rng: np.random.Generator | None = None,
        orders: int = 4,
    ) -> Floats:
        """One number for each item, higher for what comes first (n,).

        The probability of yes, or of the target action; the expected rating; for an order the mean
        log-probability of being named first, over some orders of the list, in lists of ten at the most,
        above that of chance.
        """
        task = verbaliser.task
        if task.output == "order":
            return self._order(verbaliser, member, items, before, rng, orders)
        found = self.probabilities(verbaliser, member, items, before)
        return self._one_number(task, found)

    def scores_of(
        self,
        verbaliser: Verbaliser,
        members: Sequence[int],
        items: Sequence[int],
        before: Sequence[int | None],
    ) -> list[Floats]:
        """`scores` of several members, each with the past before a time, and the same items."""
        task = verbaliser.task
        if task.output == "order":
            return [
                self.scores(verbaliser, member, items, time)
                for member, time in zip(members, before, strict=True)
            ]
        several = self._probabilities_of(verbaliser, members, items, before)
        return [self._one_number(task, found) for found in several]

    def _one_number(self, task: Task, found: Floats) -> Floats:
        """What items are ordered by (n,), of the answers' probabilities (n, n_answers)."""
        names = list(task.answer)
        if task.output == "rating":
            ratings: Floats = found @ np.array([float(name) for name in names])
            return ratings
        wanted = "yes" if task.output == "yes-no" else task.action
        chosen: Floats = found[:, names.index(wanted)]
        return chosen

    def _order(
        self,
        verbaliser: Verbaliser,
        member: int,
        items: Sequence[int],
        before: int | None,
        rng: np.random.Generator | None,
        orders: int,
    ) -> Floats:
        from linkwise.rank.training import LISTED

        rng = rng or np.random.default_rng(0)
        total = np.zeros(len(items))
        room = verbaliser.room
        if room is not None:  # what is left beside the longest list that these items may make
            letter = len(verbaliser.model.encode_after(" A:"))
            sizes = sorted(letter + len(verbaliser.item(int(item))) for item in items)
            room -= sum(sizes[-LISTED:]) + verbaliser.behind - verbaliser.task.item.tokens
        prompt = verbaliser.prompt(member, before, room).tokens
        for _ in range(orders):
            # More than one list holds are parted at random anew each time, in lists of like length.
            lists = -(-len(items) // LISTED)
            for order in np.array_split(rng.permutation(len(items)), max(1, lists)):
                asked = verbaliser.listing([int(items[place]) for place in order])
                letters = verbaliser.answers.tokens[: len(order)]
                # Above chance, so that lists of different lengths compare.
                total[order] += self.log_p(prompt, [asked], letters)[0] + np.log(len(order))
        return total / orders

    # ------------------------------------------------------------------------------------------- retrieval

    def embed_member(
        self,
        verbaliser: Verbaliser,
        member: int,
        before: int | None = None,
        size: int | None = None,
    ) -> Floats:
        """What a member, with the past before a time, is looking for, as a vector of length one (size,).

        Its product with an item's vector orders items as the vectors' part of the scores does; zeros where
        nothing is known of the member. `size` takes the leading numbers only.
        """
        weights = np.array(UNWEIGHED)
        if self.evidence_ is not None:
            weights = self.evidence_.weights(self._known_as(verbaliser.task))[1:]
        found = (weights @ self._space(verbaliser).of_member(member, before))[:size]
        length = np.linalg.norm(found)
        return np.asarray(found / length if length else found)

    def embed_items(
        self, verbaliser: Verbaliser, items: Sequence[int], size: int | None = None
    ) -> Floats:
        """Items as vectors of length one (n, size); `size` takes the leading numbers only."""
        found = self._space(verbaliser).of_items(items)[:, :size]
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))

    def matches(
        self,
        verbaliser: Verbaliser,
        member: int,
        items: Sequence[int],
        before: int | None = None,
    ) -> Floats:
        """How items go with a member's description, with items acted on and with items passed by (n, 3).

        Products of vectors about their surface's mean (of a task trained on, that of what was met there);
        past items, those that the prompt shows, by their mean, drawn to nothing where they are few. The
        description has the other sign where items are turned down.
        """
        space = self._space(verbaliser)
        centred = space.of_items(items) - space.items_mean
        return np.asarray(centred @ space.of_member(member, before).T)

    def event_matches(self, verbaliser: Verbaliser, events: Sequence[int]) -> Floats:
        """`matches` of each event's item and its member, with the past before the event (n, 3)."""
        surface = verbaliser.surface
        rows = np.asarray(events, dtype=np.int64)
        self._space(verbaliser).of_items(surface.item[rows].tolist())  # all in one go
        found = [
            self.matches(verbaliser, member, [item], time)[0]
            for member, item, time in zip(
                surface.member[rows].tolist(),
                surface.item[rows].tolist(),
                surface.time[rows].tolist(),
                strict=True,
            )
        ]
        return np.array(found).reshape(len(rows), 3)

    def _space(self, verbaliser: Verbaliser) -> Space:
        """The vectors of a surface, those that were met before remembered."""
        if verbaliser not in self._spaces:
            means = self.means_.get(self._known_as(verbaliser.task))
            self._spaces[verbaliser] = Space(self.model, verbaliser, means)
        self._spaces.move_to_end(verbaliser)
        while len(self._spaces) > KEPT:  # a verbaliser holds its surface
            self._spaces.popitem(last=False)
        return self._spaces[verbaliser]

    def retrieve(
        self,
        verbaliser: Verbaliser,
        member: int,
        k: int,
        before: int | None = None,
        *,
        size: int | None = None,
        among: Sequence[int] | None = None,
    ) -> list[int]:
        """The k items, of all or `among` some, that go best with a member, best first, by exact search."""
        among = range(len(verbaliser.surface.items)) if among is None else among
        alike = self.embed_items(verbaliser, among, size) @ self.embed_member(
            verbaliser, member, before, size
        )
        return [among[place] for place in np.argsort(-alike, kind="stable")[:k].tolist()]

    # --------------------------------------------------------------------------------------------- saving

    def save(self, folder: Path) -> None:
        """Write the language model into `lm/`, and beside it the config and the answers' shares.

        Of a base in 4 bits the adapter alone, with the base's name: it is loaded upon the base in all its
        bits, and scores a little otherwise there.
        """
        from linkwise.lm.load import save_model

        folder.mkdir(parents=True, exist_ok=True)
        if self._adapter is None:
            save_model(self.model, folder / "lm")
        else:
            from linkwise.lm.adapters import save_adapter

            save_adapter(self._adapter, self.model, self.config.base, folder / "lm")
        kept = ("step", "epoch", "loss", "held_out")
        about = {
            "format_version": FORMAT_VERSION,
            "config": self.config.model_dump(),
            "prior": self.prior_,
            "learned": self.learned_,
            "means": self.means_,
            "evidence": None if self.evidence_ is None else self.evidence_.as_dict(),
            "history": [{k: v for k, v in entry.items() if k in kept} for entry in self.history_],
        }
        (folder / "ranker.json").write_text(json.dumps(about, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote; raises `InputError` where it is not there."""
        from linkwise.lm.load import load_model

        path = folder / "ranker.json"
        try:
            about = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"{folder}: this is no ranker's folder ({error}).") from error
        if about.get("format_version") != FORMAT_VERSION:
            raise InputError(
                f"{folder}: the ranker was written in format {about.get('format_version')}, and this "
                f"Linkwise reads {FORMAT_VERSION}; train it again."
            )
        self = cls(RankConfig(**about["config"]))
        self.prior_, self.learned_, self.means_, self.history_ = (
            about[name] for name in ("prior", "learned", "means", "history")
        )
        self.evidence_ = Evidence.of(about["evidence"])
        self._model = load_model(str(folder / "lm"), "causal")
        return self
