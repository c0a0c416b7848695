"""A student learns a teacher's probabilities: those asked one at a time, and nothing of later."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from scipy.stats import spearmanr
from tests.rank.network import write_surface
from tests.tiny_models import causal

import linkwise
from linkwise.cli import main
from linkwise.context import Context
from linkwise.data.simulate_members import MembersSimulation, simulate_members
from linkwise.lm.load import LanguageModel, load_model
from linkwise.rank import training
from linkwise.rank.config import RankConfig
from linkwise.rank.distil import Teacher, soft_labels
from linkwise.rank.evidence import Evidence
from linkwise.rank.ranker import Ranker
from linkwise.rank.surface import Surface, read_surface
from linkwise.rank.task import read_task
from linkwise.rank.training import Answered, Example, answer_loss, balanced, mixture
from linkwise.rank.verbalise import Verbaliser

JOINT = {"group_by_action": False, "budget_tokens": 600}
HERE = Context(folder=Path())
LATE = 2**60
EVERY = np.arange(6)
EVIDENCE = Evidence((0.7, 2.0, 1.0, -1.0, -0.4), {"play": (0.7, 1.0, 2.0, -3.0, -0.4)})
RULE = np.array([1.0, -1.2, 0.4, -0.4])  # of toy, alien, heat, ran


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return causal(tmp_path_factory.mktemp("lm") / "llama", "llama", positions=2000)


@pytest.fixture(scope="module")
def model(base: Path) -> LanguageModel:
    return load_model(str(base), "causal")


@pytest.fixture(scope="module")
def spelling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with other tokens: nothing but letters."""
    folder = causal(tmp_path_factory.mktemp("lm") / "letters", "llama", seed=2, positions=2000)
    said = json.loads((folder / "tokenizer.json").read_text())
    said["model"]["merges"] = []
    (folder / "tokenizer.json").write_text(json.dumps(said))
    return folder


def ranker_of(model: LanguageModel, **options: Any) -> Ranker:
    found = Ranker(RankConfig(base=str(model.folder), **options))
    found._model = model
    found.prior_ = {"play": {"a user play": 0.3, "a user not play": 0.7}}
    return found


def surface_of(folder: Path, events: Any = None, **changes: Any) -> Surface:
    return read_surface(read_task(write_surface(folder, events, **{"history": JOINT, **changes})))


def test_the_soft_loss_is_that_of_a_slow_sum(model: LanguageModel) -> None:
    """Against the library's logits of each sequence by itself; some targets soft, some not."""
    examples = [
        Example((0, 5, 6, 20, 7, 21), (3, 5), (0, 1), 0, (4, 5), ((0.7, 0.3), (0.2, 0.8))),
        Example((0, 9, 10, 30), (3,), (2,), 1, (1,), ((0.1, 0.3, 0.6),)),
        Example((0, 9, 22), (2,), (1,), 0),
    ]
    answered = Answered(
        np.array([[20, 21, -1], [20, 25, 30]]), np.ones((2, 3)), np.array([[1.0, 2, 5], [1, 1, 3]])
    )
    weights = np.array([1.0, 0.5])
    total, n = answer_loss(model, examples, answered, weights)
    expected = 0.0
    for example in examples:
        with torch.inference_mode():
            logits = model.network(torch.tensor([example.tokens])).logits[0].double().numpy()
        options = [t for t in answered.tokens[example.task] if t >= 0]
        for number, place in enumerate(example.place):
            odds = np.exp(logits[place - 1, options])
            hard = [float(at == example.label[number]) for at in range(len(options))]
            target = example.target[number] if example.target else hard
            for share, p, weight in zip(
                target, odds / odds.sum(), answered.weight[example.task], strict=False
            ):
                expected -= weights[example.task] * weight * share * np.log(p)
    assert n == 4
    assert total.item() == pytest.approx(expected, abs=1e-4)
    total.backward()
    assert all(p.grad.isfinite().all() for p in model.network.parameters() if p.grad is not None)
    model.network.zero_grad()


@pytest.mark.parametrize("share", [0.5, 0.2, 0.01])  # the last is rarer than weights make up for
def test_what_the_loss_is_least_at_is_the_teacher_once_calibrated(
    share: float, model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand: p of yes, in balanced training, at odds * weight of yes / weight of no; then taken back."""
    prior = np.array([[share, 1 - share]])
    weight = balanced(prior, 2)
    target = (0.35, 0.65)
    odds = 0.35 / 0.65 * min(1 / (2 * share), 10) * 2 * (1 - share)
    logits = torch.tensor([[np.log(odds), 0.0]], requires_grad=True)

    def given(*_: Any) -> Any:
        return logits, np.array([0]), np.array([1])

    monkeypatch.setattr(training, "answer_logits", given)
    example = Example((0, 1), (1,), (1,), 0, (0,), (target,))
    answered = Answered(np.array([[20, 21]]), prior, weight)
    loss, _ = answer_loss(model, [example], answered, np.array([1.0]))
    loss.backward()
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad, 0, atol=1e-6)
    student = ranker_of(model)
    student.prior_ = {"play": {"a user play": share, "a user not play": 1 - share}}
    log_p = logits.detach().double().log_softmax(dim=1).numpy()
    v = student.verbaliser(surface_of(tmp_path))
    np.testing.assert_allclose(student._weigh(log_p, v), [target], atol=1e-6)


@pytest.mark.parametrize("evidence", [None, EVIDENCE])
@pytest.mark.parametrize(
    ("history", "tokens"),
    [(JOINT, 1500), (JOINT, 64), ({**JOINT, "group_by_action": True}, 1500)],
)
def test_soft_labels_are_the_teacher_asked_one_event_at_a_time(
    evidence: Evidence | None,
    history: dict[str, Any],
    tokens: int,
    model: LanguageModel,
    tmp_path: Path,
) -> None:
    """In one sequence of a member's; where it has no room for any; and behind a past by action."""
    surface = surface_of(tmp_path, history=history)
    teacher = ranker_of(model, max_tokens=tokens)
    teacher.evidence_ = evidence
    v = teacher.verbaliser(surface)
    found = soft_labels(teacher, surface, EVERY[::-1], LATE)
    for event, told in zip(EVERY[::-1], found, strict=True):
        member, item, time = (int(a[event]) for a in (surface.member, surface.item, surface.time))
        # Events of one member have different times, so that the prompt is what came before.
        alone = teacher.probabilities(v, member, [item], time)[0]
        np.testing.assert_allclose(told, alone, atol=1e-5)
    assert np.ptp(found[:, 0]) > 1e-3
    # An action among several: no vectors, whatever evidence there is.
    answers = {"play": "play", "watch": "watch", "ignore": "no"}
    other = surface_of(tmp_path / "b", output="action", answer=answers, history=history)
    found = soft_labels(teacher, other, EVERY, LATE)
    teacher.evidence_ = None
    alone = teacher.probabilities(teacher.verbaliser(other), 1, [2], int(other.time[4]))[0]
    np.testing.assert_allclose(found[4], alone, atol=1e-5)


def test_targets_are_a_mixture_with_the_answers_given(model: LanguageModel, tmp_path: Path) -> None:
    """Of two tasks, one with a past by action, and a list to be ordered, which stays as it is."""
    two = surface_of(tmp_path / "b", name="watch", history={**JOINT, "group_by_action": True})
    words = {"output": "order", "answer": {}, "question": "the {noun} to {action}: {item}"}
    surfaces = [surface_of(tmp_path), two, surface_of(tmp_path / "c", name="sort", **words)]
    config = RankConfig(max_tokens=1500, text=0.3)
    verbalisers = [Verbaliser(model, surface) for surface in surfaces]
    teacher = Teacher(ranker_of(model, max_tokens=1500), 0.25)
    got: list[Example] = []
    hard: list[Example] = []

    class Watched(Teacher):
        def teach(self, examples: Sequence[Example], *rest: Any) -> list[Example]:
            hard.extend(examples)
            got.extend(super().teach(examples, *rest))
            return list(got)

    teacher = Watched(teacher.ranker, 0.25)
    learned = mixture(model, verbalisers, LATE, config, HERE, frozenset(["u2"]), teacher)
    assert {example.task for example in learned.held_out} == {0, 1, 2}
    assert all(example in got for example in learned.held_out)
    assert {example.task for example in got} == {0, 1, 2}
    for one, other in zip(hard, got, strict=True):
        assert replace(other, target=()) == one
        assert len(other.target) == len(one.event)
        if one.event:
            told = soft_labels(teacher.ranker, surfaces[one.task], np.array(one.event), LATE)
            by_hand = 0.25 * told + 0.75 * np.eye(2)[list(one.label)]
            np.testing.assert_allclose(other.target, by_hand, atol=1e-6)


def known(matches: Any) -> Any:
    """Matches with the description alone (n, 3)."""
    return np.column_stack([matches, np.zeros((len(matches), 2))])


class Knowing(Ranker):
    """A teacher whose vectors know which movies are played; its answers know nothing."""

    def event_matches(self, verbaliser: Verbaliser, events: Sequence[int]) -> Any:
        return known(RULE[verbaliser.surface.item[list(events)]])

    def matches(self, verbaliser: Verbaliser, member: int, items: Any, *_: Any) -> Any:
        return known(RULE[list(items)])


def noisy(folder: Path, rows: int = 60) -> Surface:
    """Movies played by chance alone, by all members but the last ten."""
    path = write_surface(folder, [], history=JOINT)
    rng = np.random.default_rng(0)
    says = ["meow" if m % 2 else "woof" for m in range(rows)]
    pl.DataFrame({"id": [f"u{m}" for m in range(rows)], "says": says}).write_csv(
        folder / "members.csv"
    )
    events = [
        (
            f"u{m}",
            rng.choice(["toy", "alien", "heat", "ran"]),
            rng.choice(["play", "ignore"]),
            f"2026-01-0{day}",
        )
        for m in range(rows - 10)
        for day in range(1, 7)
    ]
    pl.DataFrame(events, schema=["member", "item", "action", "time"], orient="row").write_csv(
        folder / "events.csv"
    )
    return read_surface(read_task(path))


def test_a_student_learns_from_its_teacher_what_no_answer_tells(
    model: LanguageModel, spelling: Path, tmp_path: Path
) -> None:
    surface = noisy(tmp_path)
    teacher = Knowing(RankConfig(max_tokens=1500))
    teacher._model, teacher.evidence_ = (
        model,
        Evidence((0.0, 1.5, 0.0, 0.0, -0.5), {"play": (0.0, 1.5, 0.0, 0.0, -0.5)}),
    )
    config = RankConfig(
        base=str(spelling), epochs=8, learning_rate=1e-2, batch_size=8, max_tokens=800,
        patience=50, text=0, matching=0, matching_epochs=0,
    )  # fmt: skip
    student = Ranker(config).fit([surface], LATE, HERE, teacher=Teacher(teacher, 1.0))
    assert student.evidence_ is None
    pairs = [(member, item) for member in range(50, 60) for item in range(4)]
    told, found = (
        np.array([r.scores(r.verbaliser(surface), m, [i])[0] for m, i in pairs])
        for r in (teacher, student)
    )
    assert spearmanr(told, found).statistic > 0.8
    np.testing.assert_allclose(found, told, atol=0.15)  # calibrated as the teacher is


@pytest.mark.parametrize("grouped", [False, True])
def test_nothing_after_the_training_time_is_read(
    grouped: bool, base: Path, model: LanguageModel, tmp_path: Path
) -> None:
    """Mutation: all later events are of other items and actions; the same weights to the bit."""
    history = {**JOINT, "group_by_action": grouped}
    surface = replace(noisy(tmp_path, 20), task=surface_of(tmp_path / "b", history=history).task)
    until = int(np.unique(surface.time)[3])
    late = surface.time >= until
    changed = replace(
        surface,
        item=np.where(late, (surface.item + 1) % 4, surface.item),
        action=np.where(late, (surface.action + 1) % 3, surface.action),
    )
    teacher = ranker_of(model, max_tokens=1500)
    teacher.evidence_ = EVIDENCE
    config = RankConfig(base=str(base), max_tokens=600, matching_epochs=1, matching_batch=4)
    weights = []
    for some in (surface, changed):
        student = Ranker(config).fit([some], until, HERE, teacher=Teacher(teacher, 0.5))
        weights.append(student.model.network.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    other = Ranker(config).fit([surface], until, HERE).model.network.state_dict()
    assert not all(torch.equal(value, other[name]) for name, value in weights[0].items())


# ------------------------------------------------------------------------------ from the command line

QUICK = ["--bootstrap", "20", "--judged", "10", "--threads", "1", "--quiet", "--gap-days", "5"]
QUICK += ["--max-tokens", "400", "--part-tokens", "2048", "--matching-epochs", "0"]


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_members(
        MembersSimulation(members=50, days=70, seed=1), tmp_path_factory.mktemp("net") / "net"
    )


@pytest.fixture(scope="module")
def run(net: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "teacher"
    words = ["rank", "train", str(net / "tasks" / "enrol.toml"), "--base", str(base), *QUICK]
    assert main([*words, "--out", str(out)]) == 0
    return out


def test_a_distilled_run(run: Path, net: Path, spelling: Path, tmp_path: Path) -> None:
    task = str(net / "tasks" / "enrol.toml")
    words = ["rank", "distil", task, "--teacher", str(run), "--soft", "0.8", *QUICK]
    assert main([*words, "--student", str(spelling), "--out", str(tmp_path / "one")]) == 0
    found = linkwise.Run.open(tmp_path / "one")
    assert (found.config.rank.teacher, found.config.rank.soft) == (str(run), 0.8)
    assert found.config.rank.base == str(spelling)
    files = [entry["file"] for entry in found.info["inputs"]]
    assert {"enrol.toml", "model.safetensors"} <= set(files)  # what a resumed run must find again
    assert {row["model"] for row in found.metrics} >= {"ranker", "popularity"}
    assert "Teacher" in found.report.read_text()
    student = Ranker.load(tmp_path / "one" / "model")
    surface = read_surface(read_task(task))
    scores = student.scores(student.verbaliser(surface), 0, [0, 1, 2])
    assert np.all((scores > 0) & (scores < 1))
    # A finished run goes on: its student is the run's language model, and not an untrained one.
    again = Ranker(RankConfig(base=str(tmp_path / "one")))
    ours, theirs = again.model.network.state_dict(), student.model.network.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.parametrize("command", ["train --base", "distil --teacher"])
def test_a_ranker_of_an_older_format_knows_other_members(
    command: str, run: Path, net: Path, base: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    shutil.copytree(run, tmp_path / "old")
    path = tmp_path / "old" / "model" / "ranker.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 3}))
    verb, option = command.split()
    words = ["rank", verb, str(net / "tasks" / "enrol.toml"), option, str(tmp_path / "old"), *QUICK]
    words += ["--student", str(base)] if verb == "distil" else []
    assert main([*words, "--out", str(tmp_path / "run")]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "was written in format 3, when other members were held out" in said
    assert "train it again" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--teacher requires an argument"),
        (["--teacher", "NET"], "this is no finished rank run (it has no run.json)"),
        (["--teacher", "RUN", "--soft", "1.5"], '--soft is "1.5"'),
        (["--teacher", "RUN", "--train-until", "2026-01-20"], "it learned from events up to"),
        (
            ["--teacher", "RUN", "--held-out", "enrol", "--train-until", "2026-02-20"],
            "it was trained on enrol",
        ),
    ],
)
def test_wrong_calls(
    words: list[str], message: str, run: Path, net: Path, base: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words = [{"NET": str(net), "RUN": str(run)}.get(word, word) for word in words]
    tasks = [str(net / "tasks" / f"{name}.toml") for name in ("enrol", "connect")]
    words = ["rank", "distil", *tasks, "--student", str(base), *QUICK, *words]
    assert main([*words, "--out", str(tmp_path / "run")]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())
