"""Pairs never combined, what came true, and the whole study: against sets, and by changing the future."""

from __future__ import annotations

import json
import shutil
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

import linkwise
from linkwise.compare import compare
from linkwise.context import Silent
from linkwise.data.simulate_patents import PatentsSimulation, simulate_patents
from linkwise.errors import InputError, Interrupted, ResourceError, UsageError
from linkwise.lm.load import read_about
from linkwise.metrics.pairs import evaluate_pairs
from linkwise.run import Run
from linkwise.technology.config import LEARNED, WITHOUT_TEXT, ForecastConfig
from linkwise.technology.corpus import Years, corpus_of
from linkwise.technology.embedding import check_model
from linkwise.technology.forecast import came_true, never_combined
from linkwise.technology.judging import judge
from linkwise.technology.null_model import validate
from linkwise.technology.page import _verdict
from linkwise.technology.plan import plan_of
from linkwise.technology.study import check_memory, free_memory

WINDOWS = {"embed": "2006-2010", "forecast": "2011-2015"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = PatentsSimulation(patents=4000, codes=200, seed=5)
    return simulate_patents(config, tmp_path_factory.mktemp("patents") / "pat")


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return linkwise.forecast(
        folder / "patents.parquet",
        out=tmp_path_factory.mktemp("runs") / "fc",
        bootstrap=50,
        code_titles=str(folder / "codes.tsv"),
        also_level="subclass",
        **WINDOWS,
    )


def drawn(seed: int, n_codes: int = 14) -> tuple[list[int], list[list[str]]]:
    rng = np.random.default_rng(seed)
    years = rng.integers(2000, 2010, size=300).tolist()
    sets = [
        sorted({f"C{k}" for k in rng.integers(n_codes, size=rng.integers(1, 5))})
        for _ in range(300)
    ]
    return years, sets


@pytest.mark.parametrize("seed", range(3))
def test_pairs_and_labels_are_those_of_sets(seed: int) -> None:
    years, sets = drawn(seed)
    corpus = corpus_of(years, pl.Series(sets))
    codes = corpus.degrees(corpus.within(Years(2003, 2004))) > 0
    pairs = never_combined(corpus, codes, 2004)
    seen = {p for y, s in zip(years, sets, strict=True) if y <= 2004 for p in combinations(s, 2)}
    there = sorted({c for y, s in zip(years, sets, strict=True) if 2003 <= y <= 2004 for c in s})
    names = corpus.names
    found = {(names[a], names[b]) for a, b in zip(pairs.first, pairs.second, strict=True)}
    assert found == {p for p in combinations(there, 2) if p not in seen}
    labels = came_true(corpus, pairs, Years(2005, 2009), ForecastConfig())
    late = [s for y, s in zip(years, sets, strict=True) if y >= 2005]
    table = {(r["a"], r["b"]): r for r in validate(late).iter_rows(named=True)}
    for k, (a, b) in enumerate(zip(pairs.first, pairs.second, strict=True)):
        row = table.get((names[a], names[b]))
        assert labels.p[k] == (1.0 if row is None else row["p_value"])
        assert labels.observed[k] == sum({names[a], names[b]} <= set(s) for s in late)
    assert not labels.strict
    assert labels.name == "unadjusted p < .05"
    assert labels.dealt is None
    checked = came_true(corpus, pairs, Years(2005, 2009), ForecastConfig(), check=True)
    dealt = validate(late, method="curveball")
    low = {(r["a"], r["b"]) for r in dealt.iter_rows(named=True) if r["p_value"] < 0.05}
    model = {pair for pair, row in table.items() if row["p_value"] < 0.05}
    assert checked.dealt is not None
    assert checked.dealt.tolist() == [len(model), len(low), len(model & low)]


def test_the_run_has_the_shape_of_every_run(run: Run, folder: Path) -> None:
    assert run.ranking.columns == ["model", "query", "item", "score", "rank"]
    evaluation = pl.read_parquet(run.folder / "evaluation.parquet")
    assert evaluation.columns == ["model", "slice", "query", "item", "rank", "score", "label"]
    rows = {(r["model"], r["metric"], r["slice"]): r for r in run.metrics if r["k"] in (None, 100)}
    from sklearn.metrics import roc_auc_score

    for (model,), own in evaluation.group_by("model"):
        row = rows[model, "auc", "codes"]
        assert row["value"] == pytest.approx(roc_auc_score(own["label"], own["score"]))
        assert row["low"] < row["value"] < row["high"]
    assert rows["random", "auc", "codes"]["difference_high"] < 0.1
    assert rows["best possible", "auc", "codes"]["value"] > 0.85  # the simulation's own nearness
    pairs = pl.read_parquet(run.folder / "pairs.parquet")
    assert pairs["rank"].to_list() == list(range(1, 201))
    assert all(pairs["title_a"])
    page = run.report.read_text()
    assert "Simulated" in page
    assert "expected by chance" in page


def test_a_level_that_cannot_be_judged_is_said(run: Run) -> None:
    lead = json.loads((run.folder / "report.json").read_text())["lead"]
    assert lead[-1].startswith("subclass: Too few to judge by: ")


def test_a_level_with_nothing_left_does_not_end_the_run(tmp_path: Path) -> None:
    years, sets = drawn(2, 30)
    codes = [[f"{'AB'[int(c[1:]) % 2]}01B{c[1:]}" for c in own] for own in sets]
    run = linkwise.forecast(
        pl.DataFrame({"year": years, "codes": codes}),
        out=tmp_path / "r",
        embed="2003-2004",
        forecast="2005-2009",
        bootstrap=20,
        also_level="section",
    )
    lead = json.loads((run.folder / "report.json").read_text())["lead"]
    assert lead[-1].startswith(
        "section: 2 codes of 2003-2004, of which every pair was combined before"
    )


def test_spellings_of_a_code_are_never_forecast_with_each_other(tmp_path: Path) -> None:
    years, sets = drawn(2, 30)
    rng = np.random.default_rng(0)
    forms = ("H01M {}/02", "h01m{}/02", "H01M{}/02")
    spelled = [[forms[rng.integers(3)].format(c[1:]) for c in own] for own in sets]
    said: list[str] = []

    class Listening(Silent):
        def say(self, text: str) -> None:
            said.append(text)

    tables = {"many": spelled, "one": [[forms[2].format(c[1:]) for c in own] for own in sets]}
    options: Any = {"embed": "2003-2004", "forecast": "2005-2009", "bootstrap": 20}
    runs = [
        linkwise.forecast(
            pl.DataFrame({"year": years, "codes": codes}),
            out=tmp_path / name,
            progress=Listening(),
            **options,
        )
        for name, codes in tables.items()
    ]
    assert runs[0].ranking.equals(runs[1].ranking)
    assert len(said) == 1
    assert said[0].startswith(
        "Codes: 60 stood in another spelling and were brought to one, such as "
    )


def test_a_resumed_run_takes_the_vectors_that_were_made(
    folder: Path, bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from linkwise.lm.encode import TextEncoder

    given: list[int] = []
    embed = TextEncoder.embed

    def counted(self: TextEncoder, texts: list[str], **options: Any) -> Any:
        given.append(len(texts))
        return embed(self, texts, **options)

    def fail(*_: Any, **__: Any) -> None:
        raise Interrupted("stopped")

    monkeypatch.setattr(TextEncoder, "embed", counted)
    patents = pl.read_parquet(folder / "patents.parquet").gather_every(8)
    patents.write_parquet(tmp_path / "p.parquet")
    options: Any = {
        "out": tmp_path / "run", "lm": str(bert), "max_tokens": 16, "bootstrap": 20, "learned": False,
        **WINDOWS,
    }  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr("linkwise.technology.study.judge", fail)
        with pytest.raises(Interrupted):
            linkwise.forecast(tmp_path / "p.parquet", **options)
    assert sum(given) > 0
    n = len(given)
    resumed = linkwise.forecast(tmp_path / "p.parquet", resume=True, **options)
    assert len(given) == n  # nothing was embedded again
    fresh = linkwise.forecast(tmp_path / "p.parquet", **options | {"out": tmp_path / "fresh"})
    assert len(given) == 2 * n
    assert resumed.ranking.equals(fresh.ranking)
    assert not (resumed.folder / ".work").exists()


def copy_of(bert: Path, out: Path, **about: Any) -> str:
    """The small model with what is said of its tuning beside it."""
    shutil.copytree(bert, out)
    (out / "linkwise.json").write_text(json.dumps({**read_about(bert), **about}))
    return str(out)


def test_the_learned_scorer_does_not_hear_models_that_have_read_its_outcomes(
    folder: Path, bert: Path, run: Run, tmp_path: Path
) -> None:
    """It learns from what became of pairs after 2005: a model tuned on patents up to 2008 has read of it."""
    options: Any = {"bootstrap": 20, "max_tokens": 16, **WINDOWS}
    made = {}
    for year in (2005, 2008):
        model = copy_of(bert, tmp_path / f"until{year}", objective="mlm", until=year)
        made[year] = linkwise.forecast(
            folder / "patents.parquet", out=tmp_path / f"run{year}", lm=model, **options
        )
    trees = [(r.folder / "model" / "boosting.txt").read_bytes() for r in (run, *made.values())]
    assert trees[0] != trees[1]
    assert trees[0] == trees[2]  # as without a language model
    notes = [str(json.loads((r.folder / "report.json").read_text())) for r in made.values()]
    assert "learned weighs no signal" not in notes[0]
    assert "until2008, which was tuned on patents up to 2008" in notes[1]
    scores = [
        pl.read_parquet(r.folder / "evaluation.parquet").filter(pl.col("model") == "learned")
        for r in (run, made[2008])
    ]
    assert scores[0].equals(scores[1])


def test_a_model_tuned_until_nobody_knows_when_makes_no_verdict(
    folder: Path, bert: Path, tmp_path: Path
) -> None:
    model = copy_of(bert, tmp_path / "tuned", objective="mlm")
    patents = pl.read_parquet(folder / "patents.parquet").gather_every(2)
    options: Any = {"lm": model, "bootstrap": 20, "max_tokens": 16, "learned": False, **WINDOWS}
    run = linkwise.forecast(patents, out=tmp_path / "a", **options)
    assert set(pl.read_parquet(run.folder / "pairs.parquet")["model"]) == {"PPMI vectors"}
    asked = linkwise.forecast(patents, out=tmp_path / "b", list_by="text", **options)
    report = json.loads((asked.folder / "report.json").read_text())
    assert report["lead"][0].startswith(f"No verdict. The list is by text: {model}")
    assert "tuned until an unknown year" in report["lead"][0]
    assert report["beats_baseline"] is None
    assert not any("combined at all" in line for line in report["lead"])
    told = linkwise.forecast(
        patents, out=tmp_path / "c", **options | {"tuned_until": 2005, "bootstrap": 20}
    )
    lead = json.loads((told.folder / "report.json").read_text())["lead"]
    assert f"the list (text: {model})" in lead[0]


def planted() -> tuple[pl.DataFrame, set[tuple[str, str]]]:
    """120 codes that stand with fillers alone, and then two by two: 60 pairs far above chance."""
    rng = np.random.default_rng(0)
    years: list[int] = []
    sets: list[list[str]] = []
    for k in range(120):
        years += [2003, 2004]
        sets += [[f"X{k}", f"F{rng.integers(30)}"] for _ in range(2)]
    pairs = {tuple(sorted((f"X{k}", f"X{k + 1}"))) for k in range(0, 120, 2)}
    for pair in sorted(pairs):
        years += [2005 + k for k in range(5)]
        sets += [list(pair)] * 5
    return pl.DataFrame({"year": years, "codes": sets}), pairs  # type: ignore[return-value]


def test_the_strict_label_is_the_one_where_enough_pairs_pass(tmp_path: Path) -> None:
    table, pairs = planted()
    run = linkwise.forecast(
        table, out=tmp_path / "r", embed="2003-2004", forecast="2005-2009", bootstrap=20, top=20_000
    )
    listed = pl.read_parquet(run.folder / "pairs.parquet")
    found = {tuple(sorted(row)) for row in listed.filter("above_chance").select("a", "b").rows()}
    assert found == pairs
    label = pl.read_parquet(run.folder / "evaluation.parquet").filter(pl.col("model") == "random")
    assert {tuple(sorted(r)) for r in label.filter("label").select("query", "item").rows()} == pairs
    report = json.loads((run.folder / "report.json").read_text())
    assert "is not measurable" not in " ".join(report["lead"])
    tile = next(fact for fact in report["facts"] if fact["label"] == "Above chance since")
    assert tile["value"] == "60"
    assert tile["note"].startswith("above the null model; combined at all: 60")


def test_more_pairs_than_memory_holds_are_refused_before_any_work() -> None:
    corpus = corpus_of([2010] * 1000, pl.Series([[f"C{k}", f"C{k + 1}"] for k in range(1000)]))
    plan = plan_of(corpus, ForecastConfig(embed="2010", forecast="2011"))
    check_memory(corpus, plan, 0, None)
    check_memory(corpus, plan, 0, 2**30)
    with pytest.raises(
        ResourceError, match=r"1,001 codes of 2010-2010 make 500,500 pairs, .* 0\.0 GiB are free"
    ):
        check_memory(corpus, plan, 0, 2**20)
    with pytest.raises(ResourceError):  # the language models' scores count, too
        check_memory(corpus, plan, 300, 2**30)
    assert (free_memory() or 0) > 2**20


def verdict_of(second: float) -> tuple[list[str], bool | None]:
    """The verdict where the list foretells the label well, beside word2vec, and the second label so well."""
    rng = np.random.default_rng(0)
    first, second_code = np.triu_indices(60, 1)
    label = rng.random(len(first)) < 0.1
    combined = label | (rng.random(len(first)) < 0.3)
    noise = {name: rng.random(len(first)).astype(np.float32) for name in (*WITHOUT_TEXT, LEARNED)}
    scores = noise | {
        "word2vec": noise["word2vec"] + 0.3 * label,
        LEARNED: (noise[LEARNED] + 2 * label + second * (combined & ~label)).astype(np.float32),
    }

    def measured(of: Any) -> Any:
        return evaluate_pairs(of, scores, first, second_code, samples=50, seed=0)

    labels: Any = SimpleNamespace(
        combined=combined, positive=label, strict=True, do=lambda n: "are above chance"
    )
    judged: Any = SimpleNamespace(
        metrics=measured(label), combined=measured(combined), possible=None, labels=labels,
        chosen=LEARNED, undated=frozenset(), plan=SimpleNamespace(forecast="2011-2015"),
    )  # fmt: skip
    return _verdict(judged)


def test_a_list_that_loses_by_the_second_label_beats_nothing() -> None:
    lead, beats = verdict_of(0.5)
    assert beats is True
    assert "beats the best model without texts (word2vec), the difference above 0" in lead[0]
    lead, beats = verdict_of(-4)
    assert "beats the best model without texts (word2vec), the difference above 0" in lead[0]
    assert beats is False
    assert lead[2].endswith("By this label the list loses: as a whole it does not beat them.")


def test_a_forecast_is_compared_within_its_own_report(run: Run) -> None:
    with pytest.raises(UsageError, match="is a forecast run; runs of churn and recommend"):
        compare(run, run)


def test_the_first_patent_that_combined_a_pair_is_looked_up(run: Run, folder: Path) -> None:
    pairs = pl.read_parquet(run.folder / "pairs.parquet")
    patents = pl.read_parquet(folder / "patents.parquet").unique(
        "family", keep="first", maintain_order=True
    )
    later = patents.filter(pl.col("year") > 2010).sort("year", maintain_order=True)
    assert pairs["first_combined_by"].null_count() < len(pairs)
    for row in pairs.iter_rows(named=True):
        both = later.filter(
            pl.col("codes").list.contains(row["a"]) & pl.col("codes").list.contains(row["b"])
        )
        if not len(both):
            assert row["first_combined_by"] is None
            continue
        first = both.row(0, named=True)
        assert row["first_combined_by"] == f"{first['id']} ({first['year']})"
    assert pairs.filter("combined")["first_combined_by"].null_count() == 0
    low = pairs["p_value"] < 0.05
    assert pairs.filter(low & ~pl.col("combined")).is_empty()
    assert 0 < low.sum() < pairs["combined"].sum() < len(pairs)
    # Chance alone would make more such pairs: none of them is said to stand above it.
    assert pairs["above_chance"].null_count() == len(pairs)


def changed_future(folder: Path, out: Path) -> Path:
    """The same patents, with every code, text and year of what comes after 2010 changed."""
    rng = np.random.default_rng(0)
    patents = pl.read_parquet(folder / "patents.parquet")
    late = patents["year"] > 2010
    codes = patents["codes"].to_list()
    pool = sorted({c for own in codes for c in own})
    new = [
        [pool[k] for k in rng.choice(len(pool), 3, replace=False)] if after else own
        for own, after in zip(codes, late, strict=True)
    ]
    patents.with_columns(
        codes=pl.Series(new),
        title=pl.when(late).then(pl.lit("a cat")).otherwise("title"),
        abstract=pl.when(late).then(pl.lit("says meow")).otherwise("abstract"),
        year=pl.when(late).then(2026 - pl.col("year")).otherwise(0)
        + pl.when(late).then(2000).otherwise("year"),
    ).with_columns(year=pl.col("year").clip(None, 2015)).write_parquet(out)
    return out


def token_model(bert: Path, patents: pl.DataFrame, out: Path) -> str:
    """The small model with technology tokens, not trained, that says it was tuned up to 2005."""
    from linkwise.lm.load import load_model, save_model
    from linkwise.technology.tokens import TechnologyTokens

    codes = sorted({c for own in patents.filter(pl.col("year") <= 2005)["codes"] for c in own})
    tokens = TechnologyTokens(load_model(str(bert), "masked"), codes, {}, "new")
    tokens.settle({"objective": "technology-tokens", "until": 2005})
    save_model(tokens.model, out)
    return str(out)


@pytest.mark.parametrize("tuned", ["plain", "technology tokens"])
def test_nothing_after_the_embedding_years_reaches_a_score(
    folder: Path, bert: Path, tmp_path: Path, tuned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even the learned scorer's: its own forecast window ends with the embedding years. Nor at a level
    beside, nor through technology tokens."""
    future = changed_future(folder, tmp_path / "patents.parquet")
    assert (pl.read_parquet(future)["year"] > 2010).sum() > 500
    lm = str(bert)
    if tuned != "plain":
        lm = token_model(bert, pl.read_parquet(folder / "patents.parquet"), tmp_path / "tokens")
    judged: list[Any] = []

    def listening(*arguments: Any) -> Any:
        judged.append(judge(*arguments))
        return judged[-1]

    monkeypatch.setattr("linkwise.technology.study.judge", listening)
    found = []
    for number, path in enumerate((folder / "patents.parquet", future)):
        run = linkwise.forecast(
            path, out=tmp_path / f"run{number}", bootstrap=20, lm=lm, max_tokens=24,
            also_level="subclass", code_titles=None, **WINDOWS,
        )  # fmt: skip
        found.append(run)
    assert [of.level for of in judged] == ["codes", "subclass"] * 2
    for one, other in zip(judged[:2], judged[2:], strict=True):
        assert f"text: {lm}" in one.scores
        assert (f"hidden tokens: {lm}" in one.scores) == (tuned != "plain")
        np.testing.assert_array_equal(one.pairs.first, other.pairs.first)
        np.testing.assert_array_equal(one.pairs.second, other.pairs.second)
        for name in one.scores.keys() - {"best possible"}:
            np.testing.assert_array_equal(one.scores[name], other.scores[name])
    columns = ("model", "slice", "query", "item", "score")
    both = [
        pl.read_parquet(run.folder / "evaluation.parquet", columns=columns).filter(
            pl.col("model") != "best possible"
        )
        for run in found
    ]
    assert both[0].equals(both[1])
    rankings = [run.ranking.filter(pl.col("model") != "best possible") for run in found]
    assert "learned" in set(rankings[0]["model"])
    assert rankings[0].equals(rankings[1])
    assert found[0].metrics != found[1].metrics
    for name in ("vectors.safetensors", "boosting.txt"):
        both = [(run.folder / "model" / name) for run in found]
        assert both[0].read_bytes() == both[1].read_bytes()


def test_a_future_is_listed_and_the_same_is_judged_on_the_last_years(
    folder: Path, run: Run, tmp_path: Path
) -> None:
    future = linkwise.forecast(
        folder / "patents.parquet", out=tmp_path / "run", embed="2011-2015", forecast="2016-2020",
        bootstrap=50,
    )  # fmt: skip
    pairs = pl.read_parquet(future.folder / "pairs.parquet")
    assert pairs["above_chance"].null_count() == pairs["combined"].null_count() == len(pairs) == 200
    report = json.loads((future.folder / "report.json").read_text())
    assert "No patent is of 2016-2020 yet" in report["lead"][0]
    assert report["lead"][1].startswith(
        "As of 2010, for 2011-2015: Over all pairs the list (learned)"
    )
    assert report["beats_baseline"] is None
    table = list_of(report)
    assert "in 2016-2020" not in [column["name"] for column in table["columns"]]
    assert "not judged: No patent is of 2016-2020 yet." in table["note"]
    assert "they came true" not in future.report.read_text()
    # What it is judged by is the run that stood there in 2010.
    same = [row for row in run.metrics if row["slice"].startswith("codes")]
    assert future.metrics == same
    assert {row["split"] for row in same} == {"2011-2015"}
    text = "do not reach back to windows of the same length"
    early = linkwise.forecast(
        folder / "patents.parquet", out=tmp_path / "early", embed="1996-2015", forecast="2016-2035",
    )  # fmt: skip
    assert early.metrics == []
    assert text in early.report.read_text()


def list_of(report: dict[str, Any]) -> dict[str, Any]:
    """The table of the first pairs on a page."""
    section = next(s for s in report["sections"] if s["title"].startswith("The forecast for"))
    table: dict[str, Any] = section["blocks"][1]
    return table


def test_the_list_says_why_and_what_came_of_it_without_a_language_model(
    run: Run, folder: Path
) -> None:
    """Patents of both codes and their common partners, against sets; no column that is empty."""
    pairs = pl.read_parquet(run.folder / "pairs.parquet")
    assert {"cosine", "past", "patents_a", "patents_b"}.isdisjoint(pairs.columns)
    patents = pl.read_parquet(folder / "patents.parquet").unique("family", keep="first")
    sets = [set(c) for c in patents.filter(pl.col("year").is_between(2006, 2010))["codes"]]
    for row in pairs.head(20).iter_rows(named=True):
        a, b = row["a"], row["b"]
        assert row["n_patents_a"] == sum(a in s for s in sets)
        assert row["n_patents_b"] == sum(b in s for s in sets)
        partners = [set().union(*(s for s in sets if code in s)) for code in (a, b)]
        common = (partners[0] & partners[1]) - {a, b}
        assert row["n_common"] == len(common)
        assert set(row["common"]) <= common
        assert len(row["common"]) == min(5, len(common))
    report = json.loads((run.folder / "report.json").read_text())
    table = list_of(report)
    assert [column["name"] for column in table["columns"]] == [
        "rank", "pair", "score", "what speaks for it", "in 2011-2015",
    ]  # fmt: skip
    first = pairs.row(0, named=True)
    assert f"{first['n_common']} common partner" in table["rows"][0][3]
    assert {row[-1] for row in table["rows"]} <= {"p < .05", "combined", "not combined"}
    csv = pl.read_csv(run.folder / "pairs.csv")
    assert csv.columns == pairs.columns
    assert csv["common"][0] == "; ".join(pairs["common"][0])


def test_the_verdict_is_of_the_whole_list_and_of_its_top(run: Run) -> None:
    lead = json.loads((run.folder / "report.json").read_text())["lead"]
    rows = {(r["model"], r["metric"], r["k"], r["slice"]): r for r in run.metrics}
    top = rows["learned", "average_precision", None, "codes"]
    assert "Over all pairs the list (learned)" in lead[0]
    assert f"average precision {top['value']:.3f} [{top['low']:.3f}, {top['high']:.3f}]" in lead[1]
    hits = rows["learned", "precision_at", 100, "codes"]["value"]
    assert f"Of its first 100 pairs {100 * hits:.0f} have p < .05" in lead[1]
    possible = rows["learned", "auc", None, "codes, both codes occur"]
    assert f"whose codes both are on patents of 2011-2015: AUC {possible['value']:.3f}" in lead[2]
    combined = rows["learned", "auc", None, "codes, combined at all"]
    assert lead[3].startswith("Of pairs combined at all (")
    assert f"AUC {combined['value']:.3f}" in lead[3]
    # The best of all models without texts, not of the rules on the graph alone.
    best = {
        name: max(WITHOUT_TEXT, key=lambda m, name=name: rows[m, *name]["value"])  # type: ignore[misc]
        for name in (
            ("auc", None, "codes"),
            ("average_precision", None, "codes"),
            ("auc", None, "codes, combined at all"),
        )
    }
    for line, name in zip((0, 1, 3), best.values(), strict=True):
        assert f"the best model without texts ({name})" in lead[line]


def test_pairs_that_could_come_true_are_judged_apart(run: Run, folder: Path) -> None:
    """AUC over the pairs whose codes both are on patents of the forecast years, against sets and sklearn."""
    from sklearn.metrics import roc_auc_score

    patents = pl.read_parquet(folder / "patents.parquet").unique("family", keep="first")
    late = {c for own in patents.filter(pl.col("year") >= 2011)["codes"] for c in own}
    evaluation = pl.read_parquet(run.folder / "evaluation.parquet").with_columns(
        there=pl.col("query").is_in(late) & pl.col("item").is_in(late)
    )
    rows = {(r["model"], r["slice"]): r for r in run.metrics if r["metric"] == "auc"}
    for (model,), own in evaluation.group_by("model"):
        some = own.filter("there")
        assert 0 < len(some) <= len(own)
        row = rows[model, "codes, both codes occur"]
        assert (row["value"], row["n"]) == (
            pytest.approx(roc_auc_score(some["label"], some["score"])),
            len(some),
        )
        assert not own.filter(~pl.col("there"))["label"].any()


def test_too_few_pairs_above_chance_make_no_verdict(tmp_path: Path) -> None:
    years, sets = drawn(2, 30)
    path = tmp_path / "p.parquet"
    pl.DataFrame({"year": years, "codes": sets}).write_parquet(path)
    run = linkwise.forecast(
        path, out=tmp_path / "r", embed="2003-2004", forecast="2005-2009", bootstrap=20, top=300
    )
    report = json.loads((run.folder / "report.json").read_text())
    pairs = pl.read_parquet(run.folder / "pairs.parquet")
    n, combined = int((pairs["p_value"] < 0.05).sum()), int(pairs["combined"].sum())
    assert (n, combined) == (3, 135)
    assert report["lead"][0].startswith(
        f"No verdict. Too few to judge by: {n} of {len(pairs)} pairs"
    )
    assert report["beats_baseline"] is None
    assert {row["slice"] for row in run.metrics} == {"codes, combined at all"}


def test_years_between_the_windows_are_named(tmp_path: Path) -> None:
    years, sets = drawn(1)
    path = tmp_path / "p.parquet"
    pl.DataFrame({"year": years, "codes": sets}).write_parquet(path)
    options = {"embed": "2001-2003", "bootstrap": 20}
    run = linkwise.forecast(path, out=tmp_path / "r", forecast="2006-2009", **options)
    pairs = pl.read_parquet(run.folder / "pairs.parquet")
    seen = [set(s) for y, s in zip(years, sets, strict=True) if 2004 <= y <= 2005]
    n = sum(any({a, b} <= s for s in seen) for a, b in pairs.select("a", "b").iter_rows())
    assert n > 0
    lead = " ".join(json.loads((run.folder / "report.json").read_text())["lead"])
    assert "Patents of 2004-2005, between the windows, make no vector" in lead
    assert f"Pairs first combined there ({n:,})" in lead
    assert "The patents end" not in lead
    run = linkwise.forecast(path, out=tmp_path / "s", forecast="2004-2012", **options)
    lead = " ".join(json.loads((run.folder / "report.json").read_text())["lead"])
    assert "between the windows" not in lead
    assert "The patents end in 2009: what later years of 2004-2012 bring is not known." in lead


def test_the_list_is_by_the_model_asked_for_and_of_codes_with_patents(
    folder: Path, tmp_path: Path
) -> None:
    def listed(out: str, **options: Any) -> pl.DataFrame:
        found = linkwise.forecast(
            folder / "patents.parquet",
            out=tmp_path / out,
            bootstrap=20,
            learned=False,
            **options,
            **WINDOWS,
        )
        return pl.read_parquet(found.folder / "pairs.parquet")

    rule = listed("rule", list_by="Adamic-Adar", min_patents=20)
    ranking = Run.open(tmp_path / "rule").ranking.filter(pl.col("model") == "Adamic-Adar")
    assert set(rule["model"]) == {"Adamic-Adar"}
    assert min(rule["n_patents_a"].min(), rule["n_patents_b"].min()) >= 20  # type: ignore[type-var]
    # Ranks stay those among all pairs.
    top = rule.filter(pl.col("rank") <= 1000).select("rank", query="a", item="b")
    assert top.join(ranking, on=["rank", "query", "item"]).height == top.height > 0
    assert rule["rank"][0] > 1 or rule["rank"].diff().max() > 1  # type: ignore[operator]
    lead = json.loads((tmp_path / "rule" / "report.json").read_text())["lead"]
    assert "the list (Adamic-Adar) does not beat the best other model without texts" in lead[0]
    with pytest.raises(UsageError, match='--list-by is "learned"; expected one of PPMI vectors'):
        listed("no", list_by="learned")
    with pytest.raises(UsageError, match=r'"text", which needs a language model \(--lm\)'):
        listed("no", list_by="text")
    with pytest.raises(UsageError, match=r"two have \d+ at most"):
        listed("no", min_patents=5000)


def test_levels_that_are_no_coarser_are_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--also-level group is no coarser than --level subclass"):
        linkwise.forecast(
            tmp_path / "none.parquet", out=tmp_path / "r", level="subclass", also_level="group"
        )


def test_codes_without_a_score_are_listed(tmp_path: Path) -> None:
    years, sets = drawn(1)
    sets = [
        [*s, "NEW"] if y >= 2005 else [*s, "OLD"] if y < 2003 else s
        for y, s in zip(years, sets, strict=True)
    ]
    path = tmp_path / "p.parquet"
    pl.DataFrame({"year": years, "codes": sets}).write_parquet(path)
    run = linkwise.forecast(
        path,
        out=tmp_path / "r",
        embed="2003-2004",
        forecast="2005-2009",
        level="subclass",
        bootstrap=20,
    )
    report = json.loads((run.folder / "report.json").read_text())
    table = next(
        block for section in report["sections"] for block in section["blocks"]
        if block.get("caption") == "Codes that no score can be given to"
    )  # fmt: skip
    tile = next(fact for fact in report["facts"] if fact["label"] == "Codes with a score")
    assert (tile["value"], tile["note"]) == ("10", "2 without")
    assert ["first on a patent after 2004", 1, "NEW"] in table["rows"]
    assert ["on no patent of 2003-2004", 1, "OLD"] in table["rows"]
    assert "codes are no IPC or CPC symbols" in run.report.read_text()


def frame(**columns: Any) -> pl.DataFrame:
    return pl.DataFrame(columns)


def test_bad_input_says_what_and_how_to_mend(tmp_path: Path) -> None:
    def run(table: pl.DataFrame, **options: Any) -> None:
        linkwise.forecast(table, out=tmp_path / "out", **options)

    years = list(range(2000, 2016))
    with pytest.raises(InputError, match="no column of codes was found"):
        run(frame(year=years, abstract=["words"] * 16))
    with pytest.raises(InputError, match="has exactly one, so nothing was ever combined"):
        run(frame(year=years, codes=[["A01B1"]] * 16))
    good = frame(year=years, codes=[["A01B1", "C08F4"], ["H04L9", "G06F1"]] * 8)
    with pytest.raises(
        InputError, match=r"no patent with codes is of the years 1980-1985 \(--embed\)"
    ):
        run(good, embed="1980-1985", forecast="2011-2015")
    with pytest.raises(UsageError, match="it must come after"):
        run(good, embed="2006-2010", forecast="2010-2015")
    with pytest.raises(UsageError, match="expected years, such as 2006-2010"):
        run(good, embed="2010-2006")
    with pytest.raises(InputError, match="nothing is left to forecast"):
        run(frame(year=years, codes=[["A01B1", "C08F4"]] * 16))
    with pytest.raises(UsageError, match="is no symbol as deep as that"):
        run(good.with_columns(codes=pl.Series([["x", "y"], ["z", "w"]] * 8)), also_level="class")
    with pytest.raises(
        UsageError, match="is no symbol as deep as that"
    ):  # before any model is read
        run(
            good.with_columns(codes=pl.Series([["A01B", "C08F"]] * 16)),
            also_level="group",
            lm="none",
        )
    assert not (tmp_path / "out").exists()


def test_windows_not_given_are_the_last_years() -> None:
    corpus = corpus_of(list(range(1990, 2016)), pl.Series([["A", "B"]] * 26))
    plan = plan_of(corpus, ForecastConfig())
    assert (str(plan.embed), str(plan.forecast)) == ("2006-2010", "2011-2015")
    plan = plan_of(corpus, ForecastConfig(embed="2004-2008"))
    assert str(plan.forecast) == "2009-2015"
    plan = plan_of(corpus, ForecastConfig(forecast="2013"))
    assert str(plan.embed) == "2008-2012"
    # The learned scorer's own windows end before the real forecast begins.
    plan = plan_of(corpus, ForecastConfig(embed="2004-2006", forecast="2009-2012"))
    assert str(plan.learn_forecast) == "2003-2006"
    # As far apart as the real ones: two years lie between.
    assert str(plan.learn_embed) == "1998-2000"


def test_a_model_that_may_know_the_future_is_refused_or_named() -> None:
    corpus = corpus_of(list(range(1990, 2016)), pl.Series([["A", "B"]] * 26))
    config = ForecastConfig(**WINDOWS)
    plan = plan_of(corpus, config)
    with pytest.raises(UsageError, match="was tuned on patents up to 2012, and the forecast"):
        check_model("m", {"objective": "mlm", "until": 2012}, plan, config)
    note = check_model("m", {"objective": "mlm"}, plan, config)
    assert note is not None
    assert "does not say until which year" in note
    assert "pre-trained" in str(check_model("minilm", {}, plan, config))
    told = ForecastConfig(**WINDOWS, tuned_until=2005)
    assert "pre-trained" in str(check_model("m", {"objective": "mlm", "until": 2005}, plan, told))
    with pytest.raises(UsageError, match=r"up to 2008, not 2005 \(--tuned-until\)"):
        check_model("m", {"objective": "mlm", "until": 2008}, plan, told)
