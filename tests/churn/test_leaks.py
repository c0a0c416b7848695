"""Nothing leaks back, on logs that reach any number of cutoffs: the study up to its fitted models, twice."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from tests.churn.logs import events_of, quick, titled_log
from tests.churn.test_study import COLUMNS, MODEL_FILES, mutated
from tests.engine_fixtures import START

from linkwise.churn import study as study_module
from linkwise.churn.clean import fit_rules
from linkwise.churn.config import ChurnConfig
from linkwise.churn.features import fit_spec
from linkwise.churn.fitted import Fitted
from linkwise.churn.study import labelled_table
from linkwise.churn.windows import Window
from linkwise.context import Context
from linkwise.data.engine import EngineConfig
from linkwise.data.events import epoch_day
from linkwise.data.schema import InputConfig

CALIBRATORS = tuple(
    f"calibrators/{name}/calibrator.json" for name in ("recency", "logistic", "forest", "boosting")
)
MODELS = (*MODEL_FILES, *CALIBRATORS)
SEARCHED = {"search": "optuna", "trials": 2}


def fit_on(
    table: pl.DataFrame, folder: Path, config: ChurnConfig, patch: pytest.MonkeyPatch
) -> tuple[Fitted, Path]:
    """The study until its models stand; what follows reads them only."""
    folder.mkdir()
    log = folder / "log.parquet"
    table.write_parquet(log)
    caught: list[Fitted] = []
    patch.setattr(study_module, "_explain", lambda fitted, *rest: caught.append(fitted))
    study_module.study(
        [str(log)], InputConfig(**COLUMNS), EngineConfig(threads=1), config, Context(folder)
    )
    return caught[0], folder / "model"


def first_days(table: pl.DataFrame, days: int) -> pl.DataFrame:
    return table.filter(pl.col("date") < table["date"].min() + pl.duration(days=days))


def differing(before: Path, after: Path, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if (before / name).read_bytes() != (after / name).read_bytes()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("days", "cutoffs", "gap", "impute"),
    [
        (58, 2, 0, "missing"),
        (64, 2, 3, "mean"),
        (72, 3, 0, "mean"),
        (81, 3, 3, "missing"),
        (98, 4, 3, "mean"),
    ],
)
def test_models_and_features_do_not_change_with_what_comes_later(
    music_table: pl.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    days: int,
    cutoffs: int,
    gap: int,
    impute: str,
) -> None:
    if days > 86:  # the log is repeated from its second day on, so that it reaches so far
        later = music_table.with_columns(pl.col("date") + pl.duration(days=days - 86))
        music_table = pl.concat([music_table, later]).sort("date", maintain_order=True)
    table = first_days(music_table, days)
    config = quick(gap_days=gap, impute=impute, **SEARCHED)
    before, models = fit_on(table, tmp_path / "before", config, monkeypatch)
    assert len(set(before.plan.windows.values())) == cutoffs
    # Everything from the end of the training labels on: no fitted model may have seen it.
    trained = before.plan.train.label_end
    assert trained < epoch_day(table["date"].max()) + 1
    after, others = fit_on(mutated(table, trained), tmp_path / "after", config, monkeypatch)
    assert not differing(models, others, MODEL_FILES)
    assert (after.spec, after.rules) == (before.spec, before.rules)
    assert bool(before.rules.means) == (impute == "mean")
    for part in ("fit", "check", "train"):
        old, new = getattr(before.parts, part), getattr(after.parts, part)
        assert old.users.equals(new.users), part
        assert old.rows.equals(new.rows), part
        assert old.labels.tolist() == new.labels.tolist(), part
    # With two cutoffs the calibrators are fitted at the training cutoff, else at a later one.
    assert bool(differing(models, others, CALIBRATORS)) == (cutoffs > 2)
    # Everything from the report cutoff on: neither the features nor the calibrators may have seen it.
    after, others = fit_on(
        mutated(table, before.plan.report.cutoff), tmp_path / "report", config, monkeypatch
    )
    assert not differing(models, others, MODELS)
    old, new = before.parts.report, after.parts.report
    assert len(old) > 100
    assert old.users.equals(new.users)
    assert old.rows.equals(new.rows)
    assert (old.labels != new.labels).mean() > 0.3, "the mutation reached the labels"


@pytest.mark.slow
@pytest.mark.parametrize(("gap", "impute"), [(0, "missing"), (3, "mean")])
def test_with_one_cutoff_the_reported_users_future_changes_nothing(
    music_table: pl.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    gap: int,
    impute: str,
) -> None:
    """One cutoff serves all: what the reported users do after it, no model and calibrator may see."""
    table = first_days(music_table, 44 + gap)
    config = quick(gap_days=gap, impute=impute, **SEARCHED)
    before, models = fit_on(table, tmp_path / "before", config, monkeypatch)
    assert before.plan.single
    ours = pl.col("user").is_in(before.parts.report.users.implode())
    changed = mutated(table.filter(ours), before.plan.report.cutoff)
    changed = pl.concat([table.filter(~ours), changed])
    after, others = fit_on(changed, tmp_path / "after", config, monkeypatch)
    assert not differing(models, others, MODELS)
    assert before.parts.report.users.equals(after.parts.report.users)
    assert before.parts.report.rows.equals(after.parts.report.rows)
    flipped = before.parts.report.labels != after.parts.report.labels
    assert flipped.mean() > 0.3, "the mutation reached the labels"


@pytest.mark.parametrize("impute", ["missing", "mean"])
def test_what_happens_in_the_gap_is_nobodys(impute: str) -> None:
    """Events between the cutoff and the label window touch neither features nor labels."""
    log = titled_log(1)
    window = Window(START + 35, 25, 4, 7)
    gap = (pl.col("day") >= window.cutoff) & (pl.col("day") < window.label_start)
    others = log.filter(gap).with_columns(
        user=pl.col("user") + 7,
        event=pl.lit("play"),
        duration=pl.lit(10**9, pl.Int64),
        length=pl.lit(1, pl.Int64),
    )
    config = quick(gap_days=4, impute=impute, bots_above=90)
    rules, tables = [], []
    for rows in (log, pl.concat([log.filter(~gap), others, others])):
        events = events_of(rows)
        spec = fit_spec(events, window)
        rules.append(fit_rules(events.frame, spec, window, config))
        tables.append(labelled_table(events, spec, rules[-1], window, config))
    one, two = tables
    assert rules[0] == rules[1]
    assert one.users.equals(two.users)
    assert one.rows.equals(two.rows)
    assert one.labels.tolist() == two.labels.tolist()
    assert 0 < one.labels.mean() < 1
    assert len(others) > 100
