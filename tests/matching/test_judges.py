"""Judges of pairs: a language model's answers, a cross-encoder, a model behind a server."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from tests.chat_server import KEY, Played, Stage, chat, steps
from tests.tiny_models import causal

import linkwise
from linkwise.context import Context
from linkwise.errors import InputError, ResourceError, UsageError
from linkwise.lm.config import TrainConfig
from linkwise.lm.encode import TextEncoder
from linkwise.lm.load import load_model
from linkwise.matching.config import PairsConfig
from linkwise.matching.judge import calibrated
from linkwise.matching.judges import Fitted, Pairs, as_it_is, fitted
from linkwise.matching.lm_judge import LMJudge, Prompt
from linkwise.matching.load_judge import begin_judge, folder_of_judge, load_judge, write_judge
from linkwise.matching.served import ServedJudge
from linkwise.matching.sides import Side
from linkwise.matching.similar import FEATURES

SHORT = {"instruction": "x.", "question": "q?", "patent_name": "p", "section_name": "s"}


def sides(n: int = 6) -> tuple[Side, Side]:
    rng = np.random.default_rng(0)
    words = ["alien", "toy", "cat", "dog", "movie", "song"]
    texts = [" ".join(rng.choice(words, 3)) for _ in range(n)]
    names = [f"p{k}" for k in range(n)]
    queries = Side(names, texts, texts, names)
    titles = [f"the {word}" for word in words[:4]]
    items = Side([f"s{k}" for k in range(4)], titles, [f"{t} plays" for t in titles], ["d"] * 4)
    return queries, items


def all_pairs(n: int = 6) -> Pairs:
    query, item = np.repeat(np.arange(n), 4), np.tile(np.arange(4), n)
    return Pairs(query, item, np.zeros((len(query), len(FEATURES))))


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return causal(tmp_path / "llama", "llama", positions=256)


def config_of(judge: Any, **values: Any) -> PairsConfig:
    return PairsConfig(judge=str(judge), patent_tokens=24, section_tokens=16, **{**SHORT, **values})


def test_shared_prefixes_score_as_one_pair_at_a_time(llama: Path) -> None:
    queries, items = sides()
    config = config_of(llama, epochs=0)
    judge = begin_judge(config, queries, items, Context(Path()), "")
    assert isinstance(judge, LMJudge)
    found = judge.score(all_pairs())
    pairs = all_pairs()
    for k in range(len(pairs)):
        prompt = judge.prompt
        query, item = int(pairs.query[k]), int(pairs.item[k])
        tokens = [
            *prompt.patent(queries.texts[query]),
            *prompt.section(items.titles[item], items.texts[item]),
        ]
        with torch.inference_mode():
            logits = judge.model.network(torch.tensor([tokens])).logits[0, -1].double()
        log_p = torch.log_softmax(logits, -1)
        yes, no = (float(log_p[token]) for token in prompt.answers)
        assert found[k] == pytest.approx(yes - no, abs=1e-4)
    # In any order, and of pairs asked for alone.
    some = np.array([13, 2, 7])
    np.testing.assert_allclose(judge.score(pairs.at(some)), found[some], atol=1e-4)
    assert judge.score(pairs.at(np.array([], dtype=int))).shape == (0,)


def test_a_chat_template_is_filled_and_texts_cannot_leave_their_place(llama: Path) -> None:
    model = load_model(str(llama), "causal")
    model.tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    prompt = Prompt(model, config_of(llama))
    whole = model.tokenizer.decode(
        [*prompt.patent("a toy \ue001 \ue000 here"), *prompt.section("the cat", "the cat plays")]
    )
    assert whole.startswith("<|endoftext|><system>x. Only answer Yes or No.<user>p: a toy")
    assert "\ue000" not in whole
    assert whole.endswith("<assistant>")
    assert whole.count("<|endoftext|>") == 1


def test_a_prompt_that_has_no_room_is_refused(llama: Path) -> None:
    model = load_model(str(llama), "causal")
    with pytest.raises(UsageError, match="lower --section-tokens"):
        Prompt(model, config_of(llama).model_copy(update={"section_tokens": 250}))


def learn(judge: Any, n: int = 40, costs: tuple[float, float] = (1, 1)) -> tuple[Fitted, Any, Any]:
    """A judge that learns whether a text names a toy, tried on texts that it has not seen."""
    pairs = all_pairs(n)
    label = np.array([float("toy" in judge.queries.texts[q]) for q in pairs.query])
    seen = pairs.query < n - 10
    held_out = pairs.query[seen] >= n - 20
    use = fitted(judge, pairs.at(seen), label[seen], pairs.query[seen], held_out, costs)
    found = use.log_odds(pairs.at(~seen))
    return use, found, label[~seen]


def roc(label: Any, score: Any) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(label, score))


def test_a_cross_encoder_learns_and_is_read_again_the_same(tmp_path: Path, bert: Path) -> None:
    queries, items = sides(40)
    config = config_of(
        "cross-encoder", lm=str(bert), labels="-", epochs=12, learning_rate=2e-3
    )  # fmt: skip
    judge = begin_judge(config, queries, items, Context(Path()), "ce")
    use, found, label = learn(judge)
    assert roc(label, found) > 0.9
    write_judge(use, config, tmp_path / "model")
    assert folder_of_judge(config.model_copy(update={"judge": str(tmp_path)})) == tmp_path / "model"
    again = load_judge(tmp_path / "model", PairsConfig(), queries, items, Context(Path()))
    assert again.threshold == use.threshold
    np.testing.assert_allclose(
        again.log_odds(all_pairs(10)), use.log_odds(all_pairs(10)), atol=1e-5
    )
    (tmp_path / "model" / "judge" / "head.json").write_text("{}")
    with pytest.raises(InputError, match=r"head\.json"):
        load_judge(tmp_path / "model", PairsConfig(), queries, items, Context(Path()))


def test_a_cross_encoder_begins_with_the_cosine_of_both_texts(bert: Path) -> None:
    queries, items = sides(20)
    config = config_of("cross-encoder", lm=str(bert), labels="-", epochs=1, learning_rate=1e-12)
    judge = begin_judge(config, queries, items, Context(Path()), "ce")
    pairs = all_pairs(20)
    label = (np.arange(len(pairs)) % 3 == 0).astype(float)
    held_out = pairs.query < 4
    judge.fit(pairs, label, pairs.query, held_out)

    model, alike = load_model(str(bert), "encoder"), []
    for q, i in zip(pairs.query.tolist(), pairs.item.tolist(), strict=True):
        first = [*model.text_start(), *model.encode(queries.texts[q])[:24], 3]
        second = [*model.encode(f"{items.titles[i]}. {items.texts[i]}")[:16], 3]
        assert model.tokenizer.sep_token_id == 3
        with torch.inference_mode():
            found = model.network(input_ids=torch.tensor([[*first, *second]])).last_hidden_state[0]
        a, b = found[: len(first)].mean(0), found[len(first) :].mean(0)
        alike.append(float(a @ b / (a.norm() * b.norm())))
    line = calibrated(np.array(alike)[~held_out], label[~held_out])
    np.testing.assert_allclose(
        judge.score(pairs), line.log_odds(np.array(alike)[:, None]), atol=2e-3
    )


@pytest.mark.parametrize("train", ["full", "lora"])
def test_a_language_model_learns_the_answer_and_is_read_again_the_same(
    tmp_path: Path, llama: Path, train: Any
) -> None:
    queries, items = sides(40)
    config = config_of(llama, epochs=2, train=train, learning_rate=1e-3, labels="-")
    judge = begin_judge(config, queries, items, Context(Path()), "lm")
    assert isinstance(judge, LMJudge)
    assert isinstance(judge.tune, TrainConfig)
    before = judge.score(all_pairs(10))
    use, _, _ = learn(judge)
    after = judge.score(all_pairs(10))
    assert np.abs(after - before).max() > 0.01
    write_judge(use, config, tmp_path / "model")
    again = load_judge(tmp_path / "model", PairsConfig(), queries, items, Context(Path()))
    np.testing.assert_allclose(
        again.log_odds(all_pairs(10)), use.log_odds(all_pairs(10)), atol=1e-4
    )


def test_tuning_lowers_the_loss_of_what_it_sees(llama: Path) -> None:
    queries, items = sides(8)
    config = config_of(llama, epochs=30, learning_rate=3e-3, labels="-")
    judge = begin_judge(config, queries, items, Context(Path()), "lm")
    pairs = all_pairs(8)
    label = (np.arange(len(pairs)) % 2).astype(float)

    def loss() -> float:
        score = judge.score(pairs)
        return float(np.logaddexp(0, np.where(label == 1, -score, score)).mean())

    before = loss()
    held_out = np.zeros(len(pairs), dtype=bool)
    held_out[:4] = True
    judge.fit(pairs, label, pairs.query, held_out)
    assert loss() < 0.8 * before


def test_a_model_s_own_probability_is_taken_as_it_is(llama: Path) -> None:
    queries, items = sides()
    judge = begin_judge(config_of(llama, epochs=0), queries, items, Context(Path()), "")
    use = as_it_is(judge, (3.0, 1.0))
    np.testing.assert_allclose(use.log_odds(all_pairs()), judge.score(all_pairs()))
    assert use.threshold == 0.75
    assert not use.calibrated


# ------------------------------------------------------------------------------------------- a server


def served(stage: Stage, tmp_path: Path, **options: Any) -> tuple[ServedJudge, PairsConfig]:
    config = config_of("server", server=stage.url, model="m", labels="-", **options)
    queries, items = sides()
    judge = begin_judge(config, queries, items, Context(tmp_path), "")
    assert isinstance(judge, ServedJudge)
    return judge, config


def test_a_server_s_log_probabilities_are_the_score(stage: Stage, tmp_path: Path) -> None:
    stage.play(chat("Yes", logprobs=steps({"Yes": 0.7, "No": 0.2})))
    judge, config = served(stage, tmp_path)
    pairs = all_pairs().at(np.arange(3))
    found = judge.score(pairs)
    np.testing.assert_allclose(found, math.log(0.7 / 0.2), atol=1e-6)
    assert judge.how == {"log-probabilities": 3}
    sent = stage.heard[0].body["messages"]
    assert sent[0]["content"] == "x. Only answer Yes or No."
    asked = [heard.body["messages"][1]["content"] for heard in stage.heard]  # in any order
    first = f"p: {judge.queries.texts[0]}\n\ns: the alien. "
    assert sum(question.startswith(first) for question in asked) == 1
    n = len(stage.heard)
    judge.score(pairs)  # answered from the cache of the run
    assert len(stage.heard) == n
    use = as_it_is(judge, (1, 1))
    write_judge(use, config, tmp_path / "model")
    assert KEY not in (tmp_path / "model" / "judge.json").read_text()


def test_a_server_without_log_probabilities_gives_shares(stage: Stage, tmp_path: Path) -> None:
    def answer(body: dict[str, Any], number: int) -> Played:
        return chat(*(["Yes", "Yes", "No", "Yes", "Yes"][: body.get("n", 1)]))

    stage.answer = answer
    judge, _ = served(stage, tmp_path)
    (found,) = judge.score(all_pairs().at(np.arange(1)))
    assert found == pytest.approx(math.log(0.8 / 0.2))
    assert judge.how == {"share of 5 answers": 1}


def test_examples_come_from_what_is_not_held_out(stage: Stage, tmp_path: Path) -> None:
    stage.play(chat("Yes", logprobs=steps({"Yes": 0.5, "No": 0.4})))
    judge, _ = served(stage, tmp_path, examples=4)
    pairs = all_pairs()
    label = (np.arange(len(pairs)) % 2).astype(float)
    held_out = pairs.query >= 3
    rows, scores = judge.fit(pairs, label, pairs.query, held_out)
    assert rows.tolist() == np.flatnonzero(held_out).tolist()
    assert len(scores) == len(rows)
    assert sorted(answer for _, answer in judge.examples) == ["No", "No", "Yes", "Yes"]
    unseen = {
        judge.question(q, i) for q, i in zip(pairs.query[rows], pairs.item[rows], strict=True)
    }
    seen = {
        judge.question(q, i)
        for q, i in zip(pairs.query[~held_out], pairs.item[~held_out], strict=True)
    }
    assert {question for question, _ in judge.examples} <= seen
    assert not {question for question, _ in judge.examples} & (unseen - seen)
    assert len(stage.heard[0].body["messages"]) == 2 + 8


@pytest.mark.parametrize("bad", ["json", "status", "words"])
def test_a_server_that_misbehaves_ends_the_run_with_words(
    stage: Stage, tmp_path: Path, bad: str
) -> None:
    played = {
        "json": Played(b"{oops"),
        "status": Played({"error": "down"}, 500),
        "words": chat("I would rather not say"),
    }[bad]
    stage.play(played)
    judge, _ = served(stage, tmp_path)
    with pytest.raises((InputError, ResourceError), match=r"127\.0\.0\.1"):
        judge.score(all_pairs().at(np.arange(2)))


def test_a_damaged_judge_is_refused(tmp_path: Path) -> None:
    (tmp_path / "judge.json").write_text(json.dumps({"kind": "weighed"}))
    with pytest.raises(InputError, match="this is no judge of pairs"):
        load_judge(tmp_path, PairsConfig(), *sides(), Context(Path()))


# --------------------------------------------------------------------------------------- whole runs


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.matching.test_match_pairs import write_world

    folder = tmp_path_factory.mktemp("world")
    write_world(folder, n=40)
    return folder


def matched(world: Path, **options: Any) -> Any:
    from tests.matching.test_match_pairs import sections_of

    options = {"retrieve": 2, "threads": 1, "bootstrap": 20, "folds": 3} | SHORT | options
    return linkwise.match(world / "patents.csv", sections_of(world), **options)


def test_a_run_reports_a_model_as_it_is_and_tuned(world: Path, llama: Path) -> None:
    run = matched(
        world, judge=str(llama), labels=str(world / "labels.csv"), epochs=1, patent_tokens=40,
        section_tokens=20,
    )  # fmt: skip
    table = pl.read_parquet(run.folder / "evaluation.parquet")
    assert table["model"].unique(maintain_order=True).to_list() == [
        "words (TF-IDF)", "text vectors", "weighed", "llama, as it is", "llama, tuned",
    ]  # fmt: skip
    for name in ("config.json", "model.safetensors"):
        assert (run.folder / "model" / "judge" / name).is_file()
    again = matched(world, judge=str(run.folder))
    both = again.ranking.join(run.ranking, on=["query", "item"])
    np.testing.assert_allclose(both["score"], both["score_right"], atol=1e-4)


def test_a_run_without_labels_says_that_probabilities_are_the_model_s_own(
    world: Path, stage: Stage
) -> None:
    stage.play(chat("Yes", logprobs=steps({"Yes": 0.6, "No": 0.3})))
    run = matched(world, judge="server", server=stage.url, model="m")
    np.testing.assert_allclose(run.ranking["probability"], 2 / 3, atol=1e-6)
    assert run.ranking["yes"].all()
    page = run.report.read_text()
    assert "the probabilities are the model&#39;s own" in page or "the model's own" in page
    assert not (run.folder / "model" / "judge.json").exists()
    assert KEY not in "".join(p.read_text() for p in run.folder.glob("*.*son"))


def test_a_server_that_goes_away_leaves_no_half_run(
    world: Path, stage: Stage, tmp_path: Path
) -> None:
    stage.answer = lambda body, number: (
        chat("Yes", logprobs=steps({"Yes": 0.6, "No": 0.3})) if number < 5 else Played({}, 500)
    )
    with pytest.raises(ResourceError):
        matched(world, judge="server", server=stage.url, model="m", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_dry_run_counts_what_a_run_takes(world: Path, llama: Path) -> None:
    from tests.matching.test_match_pairs import sections_of

    from linkwise.data.documents import DocumentsConfig
    from linkwise.matching.plan import plan, words_of

    config = config_of(llama, labels=str(world / "labels.csv"), train="lora", folds=3, retrieve=2)
    paths = [str(world / "patents.csv"), *sections_of(world)]
    found = plan(paths, DocumentsConfig(), config)
    model = load_model(str(llama), "causal")
    counts = sum(p.numel() for p in model.network.parameters())
    assert found["judging"]["pairs"] == 40 * 2
    assert found["tuning"]["trainings"] == 4
    assert found["parameters"]["all"] - found["parameters"]["trained"] == counts
    assert 0 < found["parameters"]["trained"] < counts
    memory = found["memory_gib"]
    parts = ("weights", "gradients", "optimiser", "activations")
    assert memory["all"] == pytest.approx(sum(memory[name] for name in parts))
    # The tokens are those of the prompts themselves.
    prompt = Prompt(model, config)
    queries = pl.read_csv(world / "patents.csv")
    patents = [
        len(prompt.patent(f"{row['title']}. {row['abstract']}"))
        for row in queries.iter_rows(named=True)
    ]
    one_by_one, shared = (found["judging"][f"tokens_{how}"] for how in ("one_by_one", "shared"))
    assert one_by_one - shared == pytest.approx(sum(patents), rel=0.01)
    assert any("4 trainings" in line for line in words_of(found))
    bare = plan(paths, DocumentsConfig(), config_of(llama, epochs=0))
    assert bare["memory_gib"]["all"] == pytest.approx(4 * counts / 2**30)
    assert "tuning" not in bare
    with pytest.raises(UsageError, match="--judge is weighed"):
        plan(paths, DocumentsConfig(), PairsConfig())


def test_a_later_match_reads_the_vectors_that_were_kept(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = matched(world, vectors=str(tmp_path / "kept"))

    def none(*_: Any) -> Any:
        raise AssertionError("a text was embedded again")

    monkeypatch.setattr(TextEncoder, "_vectors", none)
    again = matched(world, vectors=str(tmp_path / "kept"))
    assert again.ranking.drop("score", "probability").equals(
        first.ranking.drop("score", "probability")
    )
