"""Questions to chat models: prompts with examples and reasoning, answers read back, and many at a time.

Few-shot prompts follow Brown et al. 2020 (arXiv:2005.14165), chain of thought Wei et al. 2022
(arXiv:2201.11903), the share over sampled answers Wang et al. 2023 (arXiv:2203.11171).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from linkwise.errors import InputError, Interrupted, LinkwiseError, UsageError
from linkwise.lm.budget import OverBudget
from linkwise.lm.replies import Token
from linkwise.lm.server import Server

Question = TypeVar("Question")
Found = TypeVar("Found")
How = Literal["auto", "log-probabilities", "samples"]

REASONING = """\
Reason step by step. Then write the final answer on a last line of its own, in the form
Answer: ..."""
TOP = 20  # log-probabilities asked for at each place: the most that OpenAI and vLLM give
AMBIGUOUS = 0.01  # share of the mass on tokens that begin several choices, above which is sampled
SHORT, LONG = 16, 1024  # tokens of an answer alone, and of one with its reasoning
HOPELESS = 8  # failures in a row after which no further question is asked


def messages(
    instruction: str,
    question: str,
    *,
    examples: Sequence[tuple[str, ...]] = (),
    chain_of_thought: bool = False,
) -> list[dict[str, str]]:
    """The turns of a prompt: the instruction, the examples as earlier turns, the question.

    An example is (question, answer), or (question, reasoning, answer), whose reasoning is shown only with
    `chain_of_thought`. That asks for reasoning and a last line ``Answer: ...``, which `final_answer` reads.
    Without an instruction there is no system turn.

    Raises `UsageError` for an example of another length, or one without reasoning where it is to be shown.
    """
    system = "\n\n".join(
        part for part in (instruction, REASONING if chain_of_thought else "") if part
    )
    turns = [{"role": "system", "content": system}] if system else []
    for number, example in enumerate(examples, 1):
        if len(example) not in (2, 3):
            raise UsageError(
                f"example {number} has {len(example)} parts; expected (question, answer) or (question, "
                "reasoning, answer)."
            )
        if chain_of_thought and len(example) == 2:
            raise UsageError(
                f"example {number} has no reasoning, and would teach to give none; give it as (question, "
                "reasoning, answer), or leave chain_of_thought out."
            )
        answer = f"{example[1]}\nAnswer: {example[2]}" if chain_of_thought else example[-1]
        turns.append({"role": "user", "content": example[0]})
        turns.append({"role": "assistant", "content": answer})
    return [*turns, {"role": "user", "content": question}]


_MARKS = str.maketrans("", "", "*_`")  # of Markdown
_LABEL = re.compile(
    r"^\W*(?:the\s+)?(?:final\s+)?answer(?:\s+is)?\s*:", re.IGNORECASE | re.MULTILINE
)
_EDGES = " \t\r\n.,;:!?\"'“”‘’()[]{}<>"
_NEGATION = re.compile(r"\b(?:not|never|neither|nor|cannot)\b|n['’]t\b", re.IGNORECASE)


def final_answer(
    text: str, choices: Sequence[str], *, chain_of_thought: bool = False
) -> str | None:
    """The choice that a reply names, or None where it names none or several.

    Case, punctuation and Markdown do not matter. Where there are lines ``Answer: ...``, the last one alone
    counts; with `chain_of_thought` nothing else does, for reasoning that was cut short has no answer yet.
    Thinking between ``<think>`` marks is passed over. A choice after a negation ("I would not say yes") does
    not count as named; choices of one letter are found within a sentence in their own case only ("a").

    Raises `UsageError` where the choices are fewer than two, empty, or equal but for case.
    """
    known = _known(choices)
    text = text.rpartition("</think>")[2]
    if "<think>" in text:  # cut before it ended
        return None
    text = _plain(text)
    labels = list(_LABEL.finditer(text))
    if labels:
        lines = text[labels[-1].end() :].strip().splitlines()
        text = lines[0] if lines else ""
    elif chain_of_thought:
        return None
    whole = text.strip(_EDGES).casefold()
    for name, choice in known.items():
        if whole in (name, name.strip(_EDGES)):
            return choice
    # The longest first, so that "not sure" is not taken for "sure"; no part of a word or of a number.
    names = "|".join(re.escape(name) for name in sorted(known, key=len, reverse=True))
    pattern = re.compile(rf"(?<![\w−-])(?<!\d[.,])(?:{names})(?!\w)(?![.,]\d)", re.IGNORECASE)
    named = set()
    rest = text
    for match in pattern.finditer(text):
        choice = known.get(match[0].casefold(), "")
        if not choice:  # letters whose other case is no letter of theirs, as the Turkish i
            continue
        if len(choice) == 1 and choice.isalpha() and _plain(choice) != match[0]:
            continue
        before = rest[: match.start()]
        sentence = re.split(r"[.!?\n]", before)[-1]
        if _NEGATION.search(sentence):
            return None
        named.add(choice)
        # A choice that is itself a negation negates nothing after it.
        rest = before + " " * len(match[0]) + rest[match.end() :]
    return named.pop() if len(named) == 1 else None


def _plain(text: str) -> str:
    """One form of equal characters, no Markdown, single spaces within a line."""
    text = unicodedata.normalize("NFKC", text).translate(_MARKS)
    return re.sub(r"[^\S\n]+", " ", text)


def _known(choices: Sequence[str]) -> dict[str, str]:
    """The choices by the form in which they are looked for."""
    known = {_plain(choice).strip().casefold(): choice for choice in choices}
    if len(known) < 2 or len(known) < len(choices) or not all(known):
        raise UsageError(
            f"the choices are {list(choices)}; expected two or more that differ by more than case."
        )
    return known


@dataclass(frozen=True)
class Probability:
    """How likely a model holds the first choice to be, in [0, 1], and how that was found.

    `shares` has every choice, and adds up to one. `covered` is how much of the probability, or of the
    answers, fell on the choices at all; `unclear` counts the sampled answers that were none of them.
    """

    value: float
    how: str
    shares: dict[str, float]
    covered: float
    unclear: int = 0


def probability(
    server: Server,
    messages: Sequence[Mapping[str, str]],
    choices: Sequence[str] = ("Yes", "No"),
    samples: int = 5,
    *,
    chain_of_thought: bool = False,
    how: How = "auto",
    max_tokens: int | None = None,
) -> Probability:
    """The probability of the first choice against the others, as the answer to a conversation.

    Where the server gives log-probabilities, it is the mass of the tokens that begin each choice, at the
    first place of the answer, over that of all choices; a choice without a token among the 20 likeliest
    gets 0. Where it gives none, where the answer begins with none of the choices, or where they begin alike,
    it is the share over `samples` answers at temperature 1; `Probability.how` tells which. With
    `chain_of_thought` answers are always sampled, for after one line of reasoning the answer is all but
    certain. `how` spares the question for log-probabilities ("samples"), or the samples.

    `max_tokens` of an answer: 16, or 1024 with reasoning, unless given.

    Raises what `Server.complete` raises, `InputError` where no answer names one choice or log-probabilities
    are demanded and there are none, and `UsageError` where choices or samples cannot be used.
    """
    _known(choices)
    if samples < 1:
        raise UsageError(f"samples is {samples}; expected 1 or more.")
    if how == "log-probabilities" and chain_of_thought:
        raise UsageError("with chain_of_thought answers are sampled; use how='auto'.")
    max_tokens = max_tokens or (LONG if chain_of_thought else SHORT)
    if how != "samples" and not chain_of_thought:
        found = _by_tokens(likeliest(server, messages, max_tokens), choices)
        if found is not None:
            return found
        if how == "log-probabilities":
            raise InputError(
                f"{server.base_url}: no log-probabilities of an answer that begins with one of "
                f"{list(choices)}; ask for one word alone, or use how='auto'."
            )
    replies = server.complete(messages, max_tokens=max_tokens, temperature=1.0, n=samples)
    read = [
        final_answer(reply.text, choices, chain_of_thought=chain_of_thought) for reply in replies
    ]
    clear = [choice for choice in read if choice is not None]
    if not clear:
        first = " ".join(replies[0].text.split())[:80]
        raise InputError(
            f"{server.base_url}: none of {samples} answers names one of {list(choices)}; the first is "
            f'"{first}" ({replies[0].finish or "ended"}). Ask for one of them in the instruction, or raise '
            "max_tokens."
        )
    shares = {choice: clear.count(choice) / len(clear) for choice in choices}
    return Probability(
        shares[choices[0]],
        f"share of {samples} answers",
        shares,
        len(clear) / samples,
        samples - len(clear),
    )


def likeliest(
    server: Server, messages: Sequence[Mapping[str, str]], max_tokens: int
) -> tuple[Token, ...]:
    """The tokens of the likeliest reply; none where the server gives, or takes, no log-probabilities."""
    try:
        return server.complete(messages, max_tokens=max_tokens, top_logprobs=TOP)[0].tokens
    except InputError as error:
        # Models that refuse them say so: "You are not allowed to request logprobs from this model".
        if "logprob" not in str(error):
            raise
        return ()


def _by_tokens(tokens: Sequence[Token], choices: Sequence[str]) -> Probability | None:
    """The shares at the first place of the answer; None where they cannot be told."""
    found = answer_masses(tokens, choices)
    if found is None:
        return None
    total = sum(found.of.values())
    if total == 0 or found.unsure:
        return None
    shares = {choice: value / total for choice, value in found.of.items()}
    return Probability(shares[choices[0]], "log-probabilities", shares, min(1.0, total))


@dataclass(frozen=True)
class Masses:
    """The probability of the tokens that begin each choice, at the first place of an answer.

    `of` has every choice, 0 for one that no reported token begins. `several` is the probability of tokens
    that begin more than one; `least` what a token that is not reported may have at most.
    """

    of: dict[str, float]
    several: float
    least: float

    @property
    def unsure(self) -> bool:
        """Whether too much fell on tokens that begin several choices."""
        return self.several > AMBIGUOUS * (sum(self.of.values()) + self.several)


def answer_masses(tokens: Sequence[Token], choices: Sequence[str], lead: str = "") -> Masses | None:
    """The masses at the first place where a reply's token begins one of the choices; None without one.

    Words of the label ``The final answer is:`` and of `lead` may stand before it.
    """
    names = {_core(choice): choice for choice in choices}
    if len(names) < len(choices) or not all(names):
        return None
    passed = ["", "the", "final", "answer", "is", *lead.casefold().split()]
    for token in tokens:
        if any(name.startswith(_core(token.text)) for name in names if _core(token.text)):
            break
        if _core(token.text) not in passed:
            return None
    else:
        return None
    mass = dict.fromkeys(choices, 0.0)
    several = 0.0
    # One entry a token: servers that show the chosen one apart may show it among the others too.
    reported = {**dict(token.top), token.text: token.log_p}
    for text, log_p in reported.items():
        core = _core(text)
        begun = [choice for name, choice in names.items() if core and name.startswith(core)]
        if len(begun) == 1:
            mass[begun[0]] += math.exp(log_p)
        elif begun:
            several += math.exp(log_p)
    chances = [math.exp(log_p) for log_p in reported.values()]
    return Masses(mass, several, max(0.0, min(*chances, 1 - sum(chances))))


def _core(token: str) -> str:
    """A token without case, spaces (Ġ, ▁ and Ċ in some servers) and what may stand around an answer."""
    return token.lstrip(" \t\r\nĠ▁Ċ*_`#\"'“‘([{$\\").rstrip(" \t\r\n*_`\"'”’)]}.,:;!?").casefold()


@dataclass(frozen=True)
class Answers(Generic[Found]):
    """What `map_questions` found, in the order of the questions.

    `answers` has None where there is no answer: `errors` says why, by the question's place from 0, and
    `unasked` has the places that were not reached. `stopped` is what ended the run early, or None.
    """

    answers: list[Found | None]
    errors: dict[int, LinkwiseError]
    unasked: list[int]
    stopped: LinkwiseError | None


def map_questions(
    ask: Callable[[Question], Found],
    questions: Sequence[Question],
    *,
    workers: int = 8,
    advance: Callable[[int], None] = lambda done: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Answers[Found]:
    """Ask many questions, `workers` at a time: ``map_questions(lambda q: probability(server, q), prompts)``.

    An error of one question is kept with it. No further one is asked once the budget is spent, the call
    itself is wrong (`UsageError`), 8 questions have failed in a row, or `cancelled()`; those under way are
    waited for, and every answer that was paid for is returned. Look at `Answers.stopped` before the answers
    are used; with a cache at the server, the same call goes on from there. `advance` gets the number of
    questions done so far, in the caller's thread.

    Any other exception of `ask`, and an interrupt, ends the run with the answers lost but for the cache.
    """
    if workers < 1:
        raise UsageError(f"workers is {workers}; expected 1 or more.")
    answers: list[Found | None] = [None] * len(questions)
    errors: dict[int, LinkwiseError] = {}
    unasked = set(range(len(questions)))
    stopped: LinkwiseError | None = None
    failed = 0  # in a row
    following = iter(range(len(questions)))
    running: dict[Future[Found], int] = {}
    with ThreadPoolExecutor(workers) as pool:
        while True:
            if stopped is None and cancelled():
                stopped = Interrupted("the questions were stopped; what was answered is kept.")
            while stopped is None and len(running) < workers:
                place = next(following, None)
                if place is None:
                    break
                running[pool.submit(ask, questions[place])] = place
            if not running:
                return Answers(answers, errors, sorted(unasked), stopped)
            for future in sorted(
                wait(running, return_when=FIRST_COMPLETED).done, key=running.__getitem__
            ):
                place = running.pop(future)
                try:
                    answers[place] = future.result()
                    failed = 0
                except (OverBudget, UsageError) as error:
                    stopped = stopped or error
                    continue
                except LinkwiseError as error:
                    errors[place] = error
                    failed += 1
                    if failed >= HOPELESS:
                        stopped = stopped or error
                unasked.discard(place)
                advance(len(questions) - len(unasked))
