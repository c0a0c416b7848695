"""The language model as recommender: prompts, calibration, the catalogue's distribution, its audit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.tiny_models import masked

from linkwise.cli import main
from linkwise.context import Context
from linkwise.data.interactions import Catalogue, Histories, Interactions
from linkwise.data.items import spoken_title
from linkwise.data.queries import Queries
from linkwise.errors import InputError, UsageError
from linkwise.lm.load import load_model
from linkwise.recommend.title_bias import audit, audit_rows, rare_titles
from linkwise.recommend.title_calibration import calibrate
from linkwise.recommend.title_lm import TitleLM, TitleLMConfig
from linkwise.recommend.title_prompt import Prompt, Words, context, end_tokens, gap, merged

HERE = Context(folder=Path())


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return masked(tmp_path_factory.mktemp("lm") / "bert", scale=2)


def log_of(titles: list[str | None], sequences: list[list[int]]) -> Interactions:
    return Interactions(
        users=pl.Series("user", [f"u{row}" for row in range(len(sequences))]),
        catalogue=Catalogue(
            pl.Series("id", [f"i{row}" for row in range(len(titles))]),
            pl.Series("title", titles, dtype=pl.String),
        ),
        histories=Histories.of(sequences),
        clock="position",
        dislikes=np.empty((0, 2), dtype=np.int64),
        rated=False,
    )


FILMS = [
    "Toy Story (1995)",
    "Alien (1979)",
    "Heat (1995)",
    None,
    "Alien (1992)",
    "Ran (1985)",
    "a cat",
]
LOG = log_of(FILMS, [[0, 1, 2], [1, 2, 5], [5, 6, 0, 1]])


def test_prompts_say_what_the_paper_s_do() -> None:
    history = ["A", "B"]
    words = Words()
    weak, default, strong = (Prompt.of(name, words) for name in ("weak", "default", "strong"))
    assert weak.before(history) + weak.lead + "F" + weak.after == "A, B, F."
    assert (
        default.before(history) + default.lead + "F" + default.after
        == "A user watched A, B. Now the user may want to watch F."
    )
    assert (
        strong.before(history) + strong.lead + "F" + strong.after
        == "A user watched movies A, B. Now the user may want to watch the movie F."
    )
    songs = Prompt.of("strong", Words("play", "played", "song", "songs"))
    assert songs.before(["A"]) == "A user played songs A. Now the user may want to play the song"
    assert default.domain == "Now the user may want to watch"
    assert (weak.domain, weak.dense, default.dense) == ("", True, False)
    mine = Prompt.of("After {history} they chose '{title}'!", words)
    assert (mine.before(history), mine.lead, mine.after) == ("After A, B they chose '", "", "'!")


@pytest.mark.parametrize(
    "text", ["{title}", "{title} after {history}", "{history} {title} {other}"]
)
def test_templates_that_cannot_work_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="a template with"):
        Prompt.of(text, Words())


def test_titles_are_said_without_year_and_with_the_article_in_front() -> None:
    assert spoken_title("Matrix, The (1999)") == "The Matrix"
    assert spoken_title("Avventura, L' (1960)") == "L'Avventura"
    assert (
        spoken_title("City of Children, The (Cité, La) (1995)") == "The City of Children (Cité, La)"
    )
    assert spoken_title("Hello, Dolly! (1969)") == "Hello, Dolly!"
    assert spoken_title("2001") == "2001"


def test_a_long_history_loses_its_oldest_titles(gpt: Path) -> None:
    model = load_model(str(gpt), "causal")
    prompt = Prompt.of("default", Words())
    history = [f"toy {i}" for i in range(9)]
    whole, none = context(model, prompt, history, 1000)
    assert none == 0
    tokens, left_out = context(model, prompt, history, len(whole) - 1)
    assert left_out == 1
    assert tokens == [*model.text_start(), *model.encode(prompt.before(history[1:]))]
    with pytest.raises(UsageError, match="the prompt without any history has"):
        context(model, prompt, history, 5)


def test_gaps_end_as_the_prompt_does(bert: Path) -> None:
    model = load_model(str(bert), "masked")
    found, _ = gap(model, Prompt.of("weak", Words()), ["toy story"], 90)
    assert list(found.before) == [2, *model.encode("toy story,")]
    assert list(found.after) == [*model.encode("."), 3]
    assert end_tokens(model, Prompt.of("weak", Words())) == model.encode(".")


def test_merging_tokens_are_counted(gpt: Path) -> None:
    model = load_model(str(gpt), "causal")
    prompt = Prompt.of("{history}{title}.", Words())
    assert merged(model, prompt, ["t", "heat"]) == 0
    # "t" and "o" at a seam become the piece "to".
    assert merged(model, prompt, ["t", "oz"]) == 1


def test_each_calibration_by_hand() -> None:
    scores = np.log(np.array([[0.5, 0.2, 0.1], [0.1, 0.1, 0.7]]))
    prior = np.log(np.array([0.4, 0.1, 0.3]))
    p, p0 = np.exp(scores), np.exp(prior)
    found = calibrate(scores, prior, "subtract", 0.4)
    expected = p - 0.4 * p0
    largest = np.maximum(p.max(axis=1, keepdims=True), p0.max())
    np.testing.assert_allclose(found * largest, expected)  # each row times a constant
    np.testing.assert_allclose(np.exp(calibrate(scores, prior, "ratio", 7.0)), p / p0)
    for how in ("log", "pmi", "batch"):
        np.testing.assert_allclose(calibrate(scores, prior, how, 0.3), np.log(p) - 0.3 * np.log(p0))  # type: ignore[arg-type]
        np.testing.assert_array_equal(calibrate(scores, prior, how, 0.0), scores)  # type: ignore[arg-type]
    np.testing.assert_array_equal(calibrate(scores, prior, "none", 1.0), scores)
    holes = np.array([[-np.inf, 0.0, -1.0]])
    for how in ("subtract", "ratio", "log"):
        done = calibrate(holes, np.array([-np.inf, -1.0, -2.0]), how, 0.5)  # type: ignore[arg-type]
        assert done[0, 0] == -np.inf
        assert np.isfinite(done[0, 1:]).all()


def test_tiny_probabilities_do_not_become_ties() -> None:
    scores = np.array([[-900.0, -901.0, -902.0]])
    found = calibrate(scores, np.array([-950.0, -950.0, -950.0]), "subtract", 0.5)
    assert found[0, 0] > found[0, 1] > found[0, 2]


@pytest.mark.parametrize("prompt", ["weak", "default"])
def test_the_catalogue_s_probabilities_add_up_to_one(prompt: str, gpt: Path) -> None:
    """Twins share theirs, and an item without a title has none."""
    model = TitleLM(TitleLMConfig(lm=str(gpt), normalise="catalogue", tune="none", prompt=prompt))
    model.fit(LOG, context=HERE)
    found = model.log_p(LOG.histories)
    assert found[:, 3].tolist() == [-np.inf] * 3
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(found[:, 1], found[:, 4])  # Alien and Alien
    scores = model.scores(LOG.histories)
    assert (scores[:, 3] < np.delete(scores, 3, axis=1).min(axis=1) - 0.9).all()


@pytest.mark.parametrize("normalise", ["sum", "mean", "bytes", "catalogue"])
def test_the_first_of_a_walk_are_the_first_of_all(normalise: Any, gpt: Path) -> None:
    config = TitleLMConfig(lm=str(gpt), normalise=normalise, tune="none")
    whole = TitleLM(config).fit(LOG, context=HERE)
    few = TitleLM(config.model_copy(update={"top": 2})).fit(LOG, context=HERE)
    for history in (["i0", "i1"], ["i5", "i6", "i0"], ["i2"]):  # what was seen is left out of both
        a, b = (model.recommend([history], k=2)["item"].to_list() for model in (whole, few))
        assert a == b
        x, y = (model.recommend([history], k=2)["score"].to_numpy() for model in (whole, few))
        np.testing.assert_allclose(x, y, atol=1e-4)


@pytest.mark.parametrize("inference", ["one-pass", "by-length"])
def test_scores_in_gaps(inference: Any, bert: Path) -> None:
    model = TitleLM(TitleLMConfig(lm=str(bert), inference=inference, normalise="mean"))
    model.fit(LOG, context=HERE)
    assert model.tune_ == "none"  # it has a head
    scores = model.scores(LOG.histories)
    assert np.isfinite(scores).all()
    assert (scores[:, 3] < np.delete(scores, 3, axis=1).min(axis=1)).all()
    np.testing.assert_allclose(scores[:, 1], scores[:, 4])


def test_the_weight_is_the_best_on_the_validation(gpt: Path) -> None:
    """And what was tried is told; nothing of a test goes in."""
    queries = Queries(
        np.arange(3), LOG.histories, Histories.of([[5], [0], [2]]), np.zeros(3, dtype=np.int64)
    )
    config = TitleLMConfig(lm=str(gpt), calibrate="log", tune="none")
    model = TitleLM(config).fit(LOG, validation=queries, context=HERE)
    tried = dict(model.tried_)
    assert len(tried) == 11
    assert tried[f"a {model.a_}"] == max(tried.values())
    assert model.settled().a == model.a_
    without = TitleLM(config).fit(LOG, context=HERE)
    assert without.a_ == 0.4  # the paper's
    given = TitleLM(config.model_copy(update={"a": 0.7})).fit(LOG, validation=queries, context=HERE)
    assert (given.a_, given.tried_) == (0.7, [])


@pytest.mark.parametrize("tuned", ["one-pass", "by-length", "autoregressive", "catalogue"])
@pytest.mark.parametrize("train", ["full", "lora"])
def test_tuning_helps_and_what_was_tuned_is_saved(
    tuned: Any, train: Any, bert: Path, tmp_path: Path
) -> None:
    """Each inference learns from the log: what was chosen becomes likelier on users held out."""
    rng = np.random.default_rng(0)
    titles = [f"toy {i}" for i in range(8)]
    log = log_of(titles, [[int(s), *((s + np.arange(1, 5)) % 8)] for s in rng.integers(0, 8, 60)])
    masks = tuned in ("one-pass", "by-length")
    config = TitleLMConfig(
        lm=str(bert), tune=tuned, inference=tuned if masks else "autoregressive", train=train,
        prompt="weak", epochs=25 if masks else 6, learning_rate=3e-3, patience=99, batch_size=8,
    )  # fmt: skip
    model = TitleLM(config).fit(log, context=Context(folder=Path(), seed=1))
    held = [entry["held_out"] for entry in model.tuned_]
    assert min(held) < 0.95 * held[0]  # the first is after half a pass
    model.save(tmp_path / "model")
    again = TitleLM.load(tmp_path / "model")
    histories = Histories.of([[0, 1], [5]])
    np.testing.assert_allclose(again.scores(histories), model.scores(histories), atol=1e-4)


def test_a_catalogue_of_one(gpt: Path) -> None:
    log = log_of(["Alien (1979)"], [[0, 0], [0]])
    for normalise in ("sum", "catalogue"):
        model = TitleLM(TitleLMConfig(lm=str(gpt), normalise=normalise, tune="none"))  # type: ignore[arg-type]
        found = model.fit(log, context=HERE).recommend([["i0"]], exclude_seen=False)
        assert found["item"].to_list() == ["i0"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inference": "one-pass", "normalise": "catalogue"}, "a masked model has no order"),
        ({"inference": "one-pass", "tune": "catalogue"}, "a masked model has no order"),
        ({"inference": "by-length", "tune": "one-pass"}, "trains for another inference"),
        ({"top": 5, "calibrate": "log"}, "walks through the titles best first"),
        ({"prompt": "nothing"}, "a template with"),
    ],
)
def test_options_that_contradict_each_other(
    options: dict[str, Any], message: str, gpt: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        TitleLM(TitleLMConfig(lm=str(gpt), **options)).fit(LOG, context=HERE)


def test_what_has_no_titles_or_no_head_is_told(bert: Path) -> None:
    with pytest.raises(InputError, match="title-lm ranks titles, and the log has none"):
        TitleLM(TitleLMConfig(lm=str(bert))).fit(log_of([None, None], [[0, 1]]), context=HERE)
    with pytest.raises(InputError, match="no trained head that is causal"):
        TitleLM(TitleLMConfig(lm=str(bert), tune="none")).fit(LOG, context=HERE)


def test_the_audit_counts_what_it_says(gpt: Path) -> None:
    queries = Queries(
        np.arange(3), LOG.histories, Histories.of([[5], [0], [2]]), np.zeros(3, dtype=np.int64)
    )
    model = TitleLM(TitleLMConfig(lm=str(gpt), normalise="sum", tune="none")).fit(LOG, context=HERE)
    found = audit(model, queries, seed=0)
    scores = model.scores(LOG.histories)[:, model.titles.named]
    lengths = model.titles.lengths[model.titles.named]
    by_hand = [
        pl.DataFrame({"a": row, "b": lengths}).select(pl.corr("a", "b", method="spearman")).item()
        for row in scores
    ]
    np.testing.assert_allclose(found.values["length"], by_hand, atol=1e-9)
    rows = {row["metric"]: row for row in audit_rows("title-lm", found, 200, 0)}
    assert rows["length"]["value"] == pytest.approx(np.mean(by_hand))
    assert rows["length"]["low"] <= rows["length"]["value"] <= rows["length"]["high"]
    first = scores[0]
    names = [spoken_title(FILMS[i] or "") for i in model.titles.named]
    assert [name for name, _ in found.top] == [
        names[i] for i in np.argsort(-first, kind="stable")[:3]
    ]
    assert found.bottom[0][1] == pytest.approx(first.min())
    assert rare_titles(["Ran", "Amélie", "two words"], [2, 1, 3]).tolist() == [True, True, False]


def test_a_study_with_a_language_model(gpt: Path, tmp_path: Path) -> None:
    """From the command line: fewer queries, the audit in the metrics, lists for those who were judged."""
    rng = np.random.default_rng(0)
    lines = ["user,item,time,text"]
    for user in range(60):
        for day, item in enumerate(rng.permutation(12)[:8]):
            lines.append(f"{user},{item},2024-01-{day + 1:02d},toy story {item}")
    (tmp_path / "log.csv").write_text("\n".join(lines))
    out = tmp_path / "run"
    words = [
        "recommend", str(tmp_path / "log.csv"), "--user", "user", "--item", "item", "--time", "time",
        "--text", "text", "--models", "title-lm", "--lm", str(gpt), "--normalise", "sum", "--calibrate",
        "pmi", "--split", "leave-last-out", "--users", "10", "--k", "3", "--bootstrap", "50", "--quiet",
    ]  # fmt: skip
    assert main([*words, "--out", str(out)]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    bias = {row["metric"] for row in metrics if row["slice"] == "bias"}
    counted = {"titles_cut", "titles_merging", "titles_left_out"}
    shares = {"rare_top", "rare_bottom", "rare_all"}
    assert bias == counted | shares | {"length", "unconditional", "popularity"}
    assert {row["n"] for row in metrics if row["metric"] == "recall" and row["slice"] == "all"} == {
        10
    }
    report = (out / "report.html").read_text()
    assert "owes to words" in report
    assert "10 of 60 queries, drawn at random" in report
    listed = pl.read_parquet(out / "recommendations.parquet")
    chosen = json.loads((out / "model" / "chosen.json").read_text())["chosen"]
    assert listed["user"].n_unique() == (10 if chosen == "title-lm" else 60)
    tried = [row["slice"] for row in metrics if row["slice"].startswith("trial: a ")]
    assert len(tried) == 11
    assert (
        main([*words[:11], "--models", "svd", "--lm", "minilm", "--out", str(tmp_path / "no")]) == 2
    )


def test_a_blend_with_a_language_model_is_slow_and_its_calibration_s_users_are_not_judged(
    gpt: Path, tmp_path: Path
) -> None:
    lines = ["user,item,time,text"]
    for user in range(40):
        lines += [
            f"{user},{(user + day) % 9},2024-01-{day + 1:02d},toy {(user + day) % 9}"
            for day in range(4)
        ]
    (tmp_path / "log.csv").write_text("\n".join(lines))
    words = [
        "recommend", str(tmp_path / "log.csv"), "--user", "user", "--item", "item", "--time", "time",
        "--text", "text", "--models", "blend", "--blend", "popularity=.5,title-lm=.5", "--lm", str(gpt),
        "--calibrate", "log", "--split", "leave-last-out", "--k", "3", "--bootstrap", "50", "--quiet",
    ]  # fmt: skip
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    rows = [row for row in metrics if row["metric"] == "recall" and row["slice"] == "all"]
    assert {row["n"] for row in rows} == {20}  # half of so few
    assert {row["model"] for row in metrics if row["slice"].startswith("history ")} == {
        "popularity"
    }
    report = (tmp_path / "run" / "report.html").read_text()
    assert "20 users, drawn at random, fit the calibration and are not judged" in report


def test_items_of_the_table_that_nobody_chose(gpt: Path, tmp_path: Path) -> None:
    """--catalogue titles ranks them, too: every query's ranking is as long as the table."""
    lines = ["user,item,time"]
    for user in range(30):
        lines += [f"{user},{(user + day) % 6},2024-01-{day + 1:02d}" for day in range(4)]
    (tmp_path / "log.csv").write_text("\n".join(lines))
    table = pl.DataFrame(
        {"id": [str(i) for i in range(9)], "title": [f"toy {i}" for i in range(9)]}
    )
    table.write_csv(tmp_path / "titles.csv")
    words = [
        "recommend", str(tmp_path / "log.csv"), "--user", "user", "--item", "item", "--time", "time",
        "--titles", str(tmp_path / "titles.csv"), "--catalogue", "titles", "--repeats", "--models",
        "random", "--split", "leave-last-out", "--k", "3", "--bootstrap", "50", "--quiet",
    ]  # fmt: skip
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    ranking = pl.read_parquet(tmp_path / "run" / "ranking.parquet")
    sizes = ranking.filter(pl.col("model") == "random").group_by("query").len()["len"]
    assert set(sizes) == {9}
