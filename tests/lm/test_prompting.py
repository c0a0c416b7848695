"""Chat servers, played by a server of this process: what is sent, paid, kept, read back and refused."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.chat_server import KEY, Played, Stage, chat, steps

from linkwise.errors import InputError, Interrupted, LinkwiseError, ResourceError, UsageError
from linkwise.lm import server as server_module
from linkwise.lm.budget import Budget, OverBudget, Spent
from linkwise.lm.prompting import final_answer, map_questions, messages, probability
from linkwise.lm.replies import Cache, Reply, Token
from linkwise.lm.server import Server

ASK = [{"role": "user", "content": "Is water wet?"}]  # 13 characters: 4 tokens by estimate


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, not waited for."""
    found: list[float] = []
    monkeypatch.setattr(server_module.time, "sleep", found.append)
    return found


# Requests, replies, and the key


def test_a_normal_reply(stage: Stage, server: Server) -> None:
    stage.play(chat("Yes, it is."))
    assert server.complete(ASK, max_tokens=20) == [Reply("Yes, it is.", "stop")]
    (heard,) = stage.heard
    assert heard.path == "/v1/chat/completions"
    assert heard.body == {"model": "tiny", "messages": ASK, "max_tokens": 20, "temperature": 0.0}
    assert server.budget.spent == Spent(requests=1, tokens=12)


def test_options_replace_and_remove_fields(stage: Stage, server: Server) -> None:
    other = replace(server, options={"max_tokens": None, "max_completion_tokens": 9, "seed": 1})
    other.complete(ASK, max_tokens=20, temperature=None)
    assert stage.heard[0].body == {
        "model": "tiny",
        "messages": ASK,
        "max_completion_tokens": 9,
        "seed": 1,
    }
    with pytest.raises(UsageError, match="stream"):
        replace(server, options={"stream": True})


def test_log_probabilities_are_read(stage: Stage, server: Server) -> None:
    played = steps({"Yes": 0.75, "No": 0.25})
    played["content"][0]["top_logprobs"].append({"token": "Maybe", "logprob": -math.inf})
    stage.play(chat("Yes", logprobs=played))
    (reply,) = server.complete(ASK, max_tokens=1, top_logprobs=3)
    assert stage.heard[0].body["logprobs"] is True
    assert stage.heard[0].body["top_logprobs"] == 3
    top = (("Yes", math.log(0.75)), ("No", math.log(0.25)), ("Maybe", -9999.0))
    assert reply.tokens == (Token("Yes", math.log(0.75), top),)


def test_a_server_of_one_reply_at_a_time_is_asked_again(stage: Stage, server: Server) -> None:
    stage.play(chat("a"), chat("b"), chat("c"))
    found = server.complete(ASK, max_tokens=5, temperature=1, n=3)
    assert [reply.text for reply in found] == ["a", "b", "c"]
    assert [heard.body.get("n") for heard in stage.heard] == [3, 2, None]


def test_a_model_that_only_thought_has_an_empty_reply(stage: Stage, server: Server) -> None:
    stage.play(Played({"choices": [{"message": {"content": None}, "finish_reason": "length"}]}))
    assert server.complete(ASK, max_tokens=5) == [Reply("", "length")]


def test_the_key_is_in_one_header_and_nowhere_else(
    stage: Stage, server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server = replace(server, cache=Cache(tmp_path / "cache.jsonl"), attempts=2)
    told = json.dumps({"error": {"message": f"bad key {KEY} " * 50}}).encode()
    shown = [repr(server), str(server)]
    for status in (301, 400, 401, 403, 404, 422, 429, 500):
        stage.play(Played(told, status, {"Location": f"{stage.url}/?key={KEY}"}))
        with pytest.raises(LinkwiseError) as caught:
            server.complete(ASK, max_tokens=5)
        shown += [str(caught.value), repr(caught.value)]
    stage.play(chat("Yes"))
    server.complete(ASK, max_tokens=5)
    for heard in stage.heard:
        headers = dict(heard.headers)
        assert headers.pop("Authorization") == f"Bearer {KEY}"
        assert KEY not in json.dumps([heard.path, headers, heard.body])
    written = (tmp_path / "cache.jsonl").read_text()
    for text in [*shown, written, caplog.text, repr(server.cache), repr(server.budget)]:
        assert "secret" not in text
    assert all(len(text) < 500 for text in shown)  # never a page


def test_a_key_that_no_header_holds_is_not_quoted(
    stage: Stage, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("sk-secret\nX-Other: 1", "sk-secret-é", "sk secret"):
        monkeypatch.setenv("OPENAI_API_KEY", key)
        with pytest.raises(UsageError) as caught:
            server.complete(ASK, max_tokens=5)
        assert "secret" not in str(caught.value)
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")  # as from a file
    server.complete(ASK, max_tokens=5)
    assert stage.heard[0].headers["Authorization"] == f"Bearer {KEY}"


def test_no_key_no_header(stage: Stage, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    replace(server, key_variable="").complete(ASK, max_tokens=5)
    monkeypatch.delenv("OPENAI_API_KEY")
    server.complete(ASK, max_tokens=5)
    assert all("Authorization" not in heard.headers for heard in stage.heard)
    stage.play(Played(status=401))
    with pytest.raises(ResourceError, match=r"\(401\); the key from OPENAI_API_KEY is not set"):
        server.complete(ASK, max_tokens=5)


def test_the_key_does_not_leave_unencrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for host in ("model.example", "127.0.0.1.model.example", "10.0.0.1", "localhost.example"):
        with pytest.raises(UsageError, match="unencrypted to another machine"):
            Server(f"http://{host}/v1", "tiny").complete(ASK, max_tokens=5)


def test_what_is_for_this_machine_goes_past_a_proxy(
    stage: Stage, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server_module._opener.cache_clear()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server.complete(ASK, max_tokens=5)
    assert len(stage.heard) == 1
    server_module._opener.cache_clear()


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://host/v1",
        "host/v1",
        "",
        "http://",
        "http://host:port/v1",
        "http://host:0/v1",
        f"http://{'x' * 70}/v1",
        "https://me:secret@host/v1",
        "https://host/v1?key=secret",
        "https://host/v 1",
    ],
)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(UsageError, match="base_url") as caught:
        Server(url, "tiny")
    assert "secret" not in str(caught.value)


def test_settings_that_cannot_be_used_are_refused(server: Server) -> None:
    for changed in (
        {"timeout": 0.0},
        {"timeout": math.nan},
        {"attempts": 0},
        {"model": ""},
        {"options": {"a": ASK.pop}},
    ):
        with pytest.raises(UsageError):
            replace(server, **changed)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        server.complete([], max_tokens=5)


# What goes wrong


def test_429_waits_as_long_as_the_server_says(
    stage: Stage, server: Server, pauses: list[float]
) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    stage.play(
        Played(status=429, headers={"Retry-After": "7"}),
        Played(status=429, headers={"Retry-After": soon}),
        Played(status=503, headers={"Retry-After": "86400"}),
        chat("Yes"),
    )
    assert server.complete(ASK, max_tokens=5)[0].text == "Yes"
    assert pauses[0] == 7
    assert 25 < pauses[1] <= 30
    assert pauses[2] == 60
    assert server.budget.spent == Spent(requests=4, tokens=12)


def test_500_pauses_grow_and_end(stage: Stage, server: Server, pauses: list[float]) -> None:
    stage.play(Played(status=500, headers={"Retry-After": "soon"}))
    with pytest.raises(ResourceError, match=r"answers 500, in 4 attempts\. Look"):
        server.complete(ASK, max_tokens=5)
    assert pauses == [0.01, 0.02, 0.04]
    assert len(stage.heard) == 4
    stage.heard.clear()
    stage.play(Played(status=500), chat("Yes"))
    assert server.complete(ASK, max_tokens=5)[0].text == "Yes"


def test_400_is_told_once(stage: Stage, server: Server) -> None:
    stage.play(Played({"error": {"message": "too\nlong"}}, 400))
    with pytest.raises(
        InputError, match=r'/v1/chat/completions: .*\(400\) \("too long"\)\. Shorten'
    ):
        server.complete(ASK, max_tokens=5)
    assert len(stage.heard) == 1
    assert server.budget.spent == Spent(1, 0)


@pytest.mark.parametrize(
    "body",
    [b"<html>oops</html>", b"", b"\xff\xfe", b"[1]", b'{"choices": []}', b'{"choices": [{}]}'],
)
def test_garbage_is_named(stage: Stage, server: Server, body: bytes) -> None:
    stage.play(Played(body))
    with pytest.raises(InputError, match=r"not JSON|no chat completion") as caught:
        server.complete(ASK, max_tokens=5)
    assert "oops" not in str(caught.value)
    assert len(stage.heard) == 1
    assert server.budget.spent == Spent(1, 4 + 5)  # it may be charged: in full


def test_an_error_within_a_good_answer_is_quoted(stage: Stage, server: Server) -> None:
    stage.play(Played({"error": {"message": "no room"}}))
    with pytest.raises(InputError, match=r'no chat completion \("no room"\)'):
        server.complete(ASK, max_tokens=5)


def test_redirects_are_not_followed(stage: Stage, server: Server) -> None:
    for status in (301, 302, 307, 308):
        stage.heard.clear()
        stage.play(
            Played(status=status, headers={"Location": f"{stage.url}/elsewhere"}), chat("Yes")
        )
        with pytest.raises(ResourceError, match="which is not followed"):
            server.complete(ASK, max_tokens=5)
        assert len(stage.heard) == 1


def test_slow_answers_are_given_up(stage: Stage, server: Server) -> None:
    stage.answer = lambda body, number: Played(delay=0.5)
    quick = replace(server, timeout=0.1, attempts=2)
    with pytest.raises(ResourceError, match=r"no answer within 0\.1 s, in 2 attempts"):
        quick.complete(ASK, max_tokens=5)
    assert quick.budget.spent == Spent(2, 2 * (4 + 5))  # they may be charged: in full


def test_huge_answers_are_cut(
    stage: Stage, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "MAX_BYTES", 2**20)
    stage.play(chat("x" * 2**21))
    with pytest.raises(InputError, match="more than 1 MiB"):
        server.complete(ASK, max_tokens=5)
    assert len(stage.heard) == 1


def test_a_lost_connection_is_tried_again(stage: Stage, server: Server) -> None:
    stage.play(Played(b'{"choi', headers={"Content-Length": "100"}), chat("Yes"))
    assert server.complete(ASK, max_tokens=5)[0].text == "Yes"
    stage.http.shutdown()
    stage.http.server_close()
    with pytest.raises(ResourceError, match=r"no connection \(.*\), in 4 attempts"):
        server.complete(ASK, max_tokens=5)


# Budget


def test_the_budget_refuses_before_the_request(stage: Stage, server: Server) -> None:
    server = replace(server, budget=Budget(requests=2))
    server.complete(ASK, max_tokens=5)
    server.complete(ASK, max_tokens=5)
    with pytest.raises(OverBudget, match=r"2 requests of 2 and 24 tokens spent\. Raise"):
        server.complete(ASK, max_tokens=5)
    assert len(stage.heard) == 2
    server = replace(server, budget=Budget(tokens=30))
    server.complete(ASK, max_tokens=26)  # 4 of the prompt and 26: it just fits
    with pytest.raises(OverBudget, match="up to 19 tokens"):
        server.complete(ASK, max_tokens=15)
    server.complete(ASK, max_tokens=14)
    assert server.budget.spent == Spent(2, 24)
    with pytest.raises(UsageError, match="-1"):
        Budget(tokens=-1)


def test_without_usage_tokens_are_estimated(stage: Stage, server: Server) -> None:
    stage.play(chat("12345", usage=None))
    server.complete(ASK, max_tokens=50)
    assert server.budget.spent == Spent(1, 4 + 2)


def test_the_budget_holds_among_threads(stage: Stage, server: Server) -> None:
    """Each request may take 12 tokens and takes 6: reservations are waited for, and none is wasted."""
    stage.answer = lambda body, number: replace(chat("Yes", usage=(4, 2)), delay=0.01)
    server = replace(server, budget=Budget(tokens=60))
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(server.complete, ASK, max_tokens=8) for _ in range(20)]
        refused = [future.exception() for future in futures if future.exception()]
    # 9 requests are 54 tokens; a tenth could reach 66.
    assert server.budget.spent == Spent(9, 54)
    assert len(refused) == 11
    assert all(isinstance(error, OverBudget) for error in refused)


# Cache


def test_what_is_cached_is_not_paid_again(stage: Stage, server: Server, tmp_path: Path) -> None:
    path = tmp_path / "new" / "cache.jsonl"
    stage.play(chat("Yes", "No", logprobs=steps({"Yes": 0.5, "é\ud83d": 0.5})))

    def ask(**changes: Any) -> list[Reply]:
        other = replace(server, cache=Cache(path), budget=Budget(), **changes)
        return other.complete(ASK, max_tokens=5, temperature=1, n=2, top_logprobs=2)

    first = ask()
    assert ask() == first
    assert ask(base_url=f"{server.base_url}/") == first
    assert len(stage.heard) == 1
    ask(model="other")
    ask(options={"seed": 1})
    assert len(stage.heard) == 3
    assert len(Cache(path)) == 3
    assert "water" not in path.read_text()


def test_a_half_written_line_is_passed_over(stage: Stage, server: Server, tmp_path: Path) -> None:
    path = tmp_path / "cache.jsonl"
    replace(server, cache=Cache(path)).complete(ASK, max_tokens=5)
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole + whole[:cut])
        cache = Cache(path)
        assert len(cache) == 1
        cache.put("next", [Reply("No")])
        assert Cache(path).get("next") == [Reply("No")]
        assert len(Cache(path)) == 2


def test_another_file_is_no_cache(tmp_path: Path) -> None:
    path = tmp_path / "plays.csv"
    path.write_text("user,item\n1,2\n")
    with pytest.raises(InputError, match=r"plays\.csv: 2 of its lines"):
        Cache(path)
    with pytest.raises(ResourceError, match="cannot be read"):
        Cache(tmp_path)


def test_equal_questions_at_a_time_are_paid_once(
    stage: Stage, server: Server, tmp_path: Path
) -> None:
    stage.answer = lambda body, number: replace(chat("Yes"), delay=0.05)
    server = replace(server, cache=Cache(tmp_path / "cache.jsonl"))
    found = map_questions(lambda q: server.complete(q, max_tokens=5)[0].text, [ASK] * 6)
    assert found.answers == ["Yes"] * 6
    assert len(stage.heard) == 1


# Prompts and answers


def test_messages() -> None:
    assert messages("", "Q?") == [{"role": "user", "content": "Q?"}]
    shots = [("Is 4 even?", "4 = 2 * 2.", "Yes")]
    plain = messages("Be brief.", "Q?", examples=shots)
    assert [turn["role"] for turn in plain] == ["system", "user", "assistant", "user"]
    assert [turn["content"] for turn in plain] == ["Be brief.", "Is 4 even?", "Yes", "Q?"]
    thought = messages("Be brief.", "Q?", examples=shots, chain_of_thought=True)
    assert thought[0]["content"].startswith("Be brief.\n\nReason step by step.")
    assert thought[2]["content"] == "4 = 2 * 2.\nAnswer: Yes"
    with pytest.raises(UsageError, match="example 1 has no reasoning"):
        messages("", "Q?", examples=[("a", "b")], chain_of_thought=True)
    with pytest.raises(UsageError, match="example 1 has 1 parts"):
        messages("", "Q?", examples=[("a",)])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yes", "Yes"),
        ("  YES.\n", "Yes"),
        ("**Yes**", "Yes"),
        ("Answer: yes.", "Yes"),
        ("**Answer:** `No`", "No"),
        ("## Final answer: __no__!", "No"),
        ("The answer is: no", "No"),
        ("Answer:\n\nyes", "Yes"),
        ("The answer is “yes”", "Yes"),
        ("\\boxed{Yes}", "Yes"),
        ("ｙｅｓ", "Yes"),
        ("No, it does not.", "No"),
        ("Yes. It cannot be otherwise.", "Yes"),
        ("Yes it is, no doubt? Answer: no", None),
        ("At first no.\nAnswer: no\nBut wait.\nAnswer: yes", "Yes"),
        ("Answer: yes\nbecause there is no other way", "Yes"),
        ("<think>no, no, no</think>\nYes", "Yes"),
        ("<think>yes, it", None),
        ("yes and no", None),
        ("Answer: yes or no", None),
        ("Answer:", None),
        ("I would not say yes.", None),
        ("It isn't a yes", None),
        ("Yesterday I noticed", None),
        ("non-yes", None),
        ("", None),
        ("maybe", None),
    ],
)
def test_final_answer(text: str, expected: str | None) -> None:
    assert final_answer(text, ("Yes", "No")) == expected


def test_after_reasoning_the_last_answer_line_alone_counts() -> None:
    choices = ("Yes", "No")
    assert final_answer("It is wet, so yes", choices, chain_of_thought=True) is None
    assert final_answer("So no? No.\nAnswer: Yes", choices, chain_of_thought=True) == "Yes"
    assert final_answer("Answer: yes\nAnswer: perhaps", choices, chain_of_thought=True) is None


def test_choices_that_hold_one_another() -> None:
    assert final_answer("I am not sure", ("Sure", "Not sure")) == "Not sure"
    assert final_answer("not sure", ("Sure", "Not sure", "No")) == "Not sure"
    assert final_answer("It is 10.", ("1", "10")) == "10"
    assert final_answer("It is 1.5", ("1", "10")) is None
    assert final_answer("-1", ("1", "10")) is None
    assert final_answer("It is C++", ("C", "C++")) == "C++"
    assert final_answer("It is C#", ("C++", "C#")) == "C#"
    letters = ("A", "B")
    assert final_answer("b", letters) == "B"
    assert final_answer("(b)", letters) == "B"
    assert final_answer("It is B, a pump", letters) == "B"
    assert final_answer("It is a pump", letters) is None
    for choices in ((), ("Yes",), ("Yes", "yes"), ("Yes", " ")):
        with pytest.raises(UsageError, match="two or more"):
            final_answer("Yes", choices)


WORDS = st.lists(st.sampled_from(["so", "the", "water", "42", "clear", "Well"]), max_size=4).map(
    " ".join
)
DECORATED = st.sampled_from(["{}", "**{}**", "{}.", '"{}"', "({})", " {}!", "`{}`", "_{}_", "{},"])


@settings(deadline=None)
@given(
    choice=st.sampled_from(["Yes", "No", "Not sure", "Option 3"]),
    case=st.sampled_from([str.upper, str.lower, str.title]),
    decorated=DECORATED,
    before=WORDS,
    after=WORDS,
    lead=st.sampled_from(["", "Answer: ", "no yes\nnot sure\n**Answer**: ", "Final Answer:\n"]),
)
def test_one_choice_is_found_whatever_is_around_it(
    choice: str, case: Callable[[str], str], decorated: str, before: str, after: str, lead: str
) -> None:
    choices = ["Yes", "No", "Not sure", "Option 3"]
    text = f"{lead}{before} {decorated.format(case(choice))} {after}"
    assert final_answer(text, choices) == choice
    other = next(name for name in choices if name != choice)
    assert final_answer(f"{text} {other}", choices) is None


@settings(deadline=None)
@given(text=st.text(), choices=st.lists(st.text(min_size=1), min_size=2, max_size=3))
def test_final_answer_never_fails_on_a_text(text: str, choices: list[str]) -> None:
    try:
        found = final_answer(text, choices)
    except UsageError:
        return
    assert found is None or found in choices


# Probability


def test_probability_by_log_probabilities(stage: Stage, server: Server) -> None:
    """Yes: 0.4 + 0.1 + 0.05 + 0.05 = 0.6; No: 0.15 + 0.05 = 0.2; Yesterday, a space and the rest: none."""
    place = {
        "Yes": 0.4,
        " yes": 0.1,
        "YES.": 0.05,
        "Y": 0.05,
        "No": 0.15,
        "ĠNO": 0.05,
        "Yesterday": 0.1,
        " ": 0.05,
        "Now": 0.05,
    }
    stage.play(chat("Yes", logprobs=steps(place)))
    found = probability(server, ASK)
    assert found.value == pytest.approx(0.75)
    assert found.shares == pytest.approx({"Yes": 0.75, "No": 0.25})
    assert found.covered == pytest.approx(0.8)
    assert (found.how, found.unclear) == ("log-probabilities", 0)
    assert len(stage.heard) == 1
    assert stage.heard[0].body["temperature"] == 0
    assert probability(server, ASK, ("No", "Yes")).value == pytest.approx(0.25)


def test_the_chosen_token_counts_once(stage: Stage, server: Server) -> None:
    alone = {"content": [{"token": "No", "logprob": math.log(0.2), "top_logprobs": []}]}
    alone["content"][0]["top_logprobs"] = [{"token": "Yes", "logprob": math.log(0.6)}]
    stage.play(chat("No", logprobs=alone))
    assert probability(server, ASK).value == pytest.approx(0.75)
    both = steps({"Yes": 0.6, "No": 0.2})
    both["content"][0]["top_logprobs"] *= 2
    stage.heard.clear()
    stage.play(chat("Yes", logprobs=both))
    assert probability(server, ASK).covered == pytest.approx(0.8)


def test_the_answer_may_stand_behind_a_label(stage: Stage, server: Server) -> None:
    places = [{"**": 0.9, "No": 0.1}, {"Answer": 1.0}, {":": 1.0}, {" No": 0.9, " Yes": 0.1}]
    stage.play(chat("**Answer: No", logprobs=steps(*places)))
    assert probability(server, ASK).value == pytest.approx(0.1)


def test_probability_by_share_where_there_are_no_log_probabilities(
    stage: Stage, server: Server
) -> None:
    stage.play(chat("Yes"), chat("Yes", "**no**", "yes and no", "Yes!", "yes"))
    found = probability(server, ASK)
    assert found.value == 0.75
    assert found.how == "share of 5 answers"
    assert (found.unclear, found.covered) == (1, 0.8)
    assert stage.heard[1].body["temperature"] == 1
    assert stage.heard[1].body["n"] == 5
    stage.heard.clear()
    stage.play(chat("perhaps", "who knows"))
    with pytest.raises(InputError, match=r'none of 2 answers .* the first is "perhaps"'):
        probability(server, ASK, samples=2, how="samples")
    assert len(stage.heard) == 1
    with pytest.raises(InputError, match="no log-probabilities"):
        probability(server, ASK, how="log-probabilities")


def test_a_model_that_refuses_log_probabilities_is_sampled(stage: Stage, server: Server) -> None:
    stage.play(Played({"error": {"message": "logprobs are not allowed"}}, 400), chat("Yes", "No"))
    assert probability(server, ASK, samples=2).value == 0.5
    stage.heard.clear()
    stage.play(Played({"error": {"message": "too long"}}, 400))
    with pytest.raises(InputError, match="too long"):
        probability(server, ASK)


@pytest.mark.parametrize(
    ("choices", "place"),
    [
        (("Yes", "No"), {"I": 0.9, "Yes": 0.05, "No": 0.05}),  # a sentence begins: no answer yet
        (("A good one", "A bad one", "No"), {"No": 0.5, "A": 0.5}),  # two begin alike
        (("1", "10"), {"1": 1.0}),
    ],
)
def test_where_tokens_do_not_tell_it_is_sampled(
    stage: Stage, server: Server, choices: tuple[str, ...], place: dict[str, float]
) -> None:
    stage.play(chat(next(iter(place)), logprobs=steps(place)), chat(*[choices[0]] * 5))
    found = probability(server, ASK, choices)
    assert (found.value, found.how) == (1.0, "share of 5 answers")


def test_with_reasoning_it_is_sampled(stage: Stage, server: Server) -> None:
    stage.play(chat("No? No.\nAnswer: Yes", "yes", "Answer: no"))
    found = probability(server, ASK, samples=3, chain_of_thought=True)
    assert (found.value, found.unclear) == (0.5, 1)
    assert stage.heard[0].body["max_tokens"] == 1024
    with pytest.raises(UsageError):
        probability(server, ASK, chain_of_thought=True, how="log-probabilities")


# Many questions


def asked(server: Server) -> Callable[[str], str]:
    return lambda text: server.complete(messages("", text), max_tokens=5)[0].text


def echo(body: dict[str, Any], number: int) -> Played:
    text = body["messages"][-1]["content"]
    return replace(chat(f"to {text}"), delay=0.002 * (int(text) % 5))


def test_answers_come_in_the_order_of_the_questions(stage: Stage, server: Server) -> None:
    stage.answer = echo
    done: list[int] = []
    found = map_questions(
        asked(server), [str(i) for i in range(30)], workers=5, advance=done.append
    )
    assert found.answers == [f"to {i}" for i in range(30)]
    assert (found.errors, found.unasked, found.stopped) == ({}, [], None)
    assert done == list(range(1, 31))
    assert map_questions(asked(server), []).answers == []


def test_the_budget_stops_and_the_cache_resumes(
    stage: Stage, server: Server, tmp_path: Path
) -> None:
    stage.answer = echo
    questions = [str(i) for i in range(20)]
    poor = replace(server, budget=Budget(requests=12), cache=Cache(tmp_path / "cache"))
    found = map_questions(asked(poor), questions, workers=4)
    assert isinstance(found.stopped, OverBudget)
    assert [i for i, text in enumerate(found.answers) if text is None] == found.unasked
    assert len(found.unasked) == 8
    assert len(stage.heard) == 12
    rich = replace(server, cache=Cache(tmp_path / "cache"))
    assert map_questions(asked(rich), questions).answers == [f"to {i}" for i in range(20)]
    assert len(stage.heard) == 20


def test_an_error_stays_with_its_question(stage: Stage, server: Server) -> None:
    stage.answer = lambda body, number: (
        Played(status=400) if body["messages"][-1]["content"] == "3" else echo(body, number)
    )
    found = map_questions(asked(server), [str(i) for i in range(6)])
    assert found.answers == ["to 0", "to 1", "to 2", None, "to 4", "to 5"]
    assert isinstance(found.errors[3], InputError)
    assert found.stopped is None


def test_failures_in_a_row_stop_it(stage: Stage, server: Server) -> None:
    stage.play(Played(status=404))
    found = map_questions(asked(server), [str(i) for i in range(50)], workers=2)
    assert 'no model "tiny" there (404)' in str(found.stopped)
    assert len(stage.heard) <= 9
    assert sorted([*found.errors, *found.unasked]) == list(range(50))


def test_a_wrong_call_and_a_wish_to_stop_end_it(stage: Stage, server: Server) -> None:
    stage.answer = echo
    far = replace(server, base_url="http://model.example/v1")
    found = map_questions(asked(far), ["1", "2", "3"], workers=1)
    assert isinstance(found.stopped, UsageError)
    assert found.unasked == [0, 1, 2]
    found = map_questions(
        asked(server), ["1", "2", "3"], workers=1, cancelled=lambda: len(stage.heard) >= 2
    )
    assert isinstance(found.stopped, Interrupted)
    assert found.answers == ["to 1", "to 2", None]


def test_a_mistake_in_ask_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        map_questions(lambda x: 1 // x, [1, 0, 2])
