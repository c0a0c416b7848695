"""The churn report: its verdict, its safety, and that its numbers are those of the run."""

from __future__ import annotations

import csv
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from conftest import QUICK
from linkwise.churn.page import lead
from linkwise.churn.page_models import _gain
from linkwise.config import RunConfig
from linkwise.run import Run, execute

HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)>{{ 7 * 7 }}'


class Elements(HTMLParser):
    """Every element with its attributes, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def row(
    model: str, value: float, low: float | None, difference_low: float | None
) -> dict[str, Any]:
    return {
        "model": model, "metric": "auc", "split": "test", "value": value, "low": low, "high": low,
        "difference": 0.1, "difference_low": difference_low, "difference_high": 0.2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("difference_low", "beats"), [(0.01, True), (0.0, False), (-0.01, False), (None, False)]
)
def test_the_first_line_says_whether_the_baseline_is_beaten(
    difference_low: float | None, beats: bool
) -> None:
    metrics = [row("boosting", 0.9, 0.89, difference_low), row("recency", 0.8, 0.79, None)]
    sentence, found = lead(metrics)
    assert found is beats
    assert sentence.startswith(
        "Boosting beats recency alone" if beats else "Boosting does not beat recency alone"
    )


def test_gain_curve_equals_a_mean_over_random_orders_of_ties() -> None:
    labels, scores = np.array([1, 0, 1, 1, 0, 0.0]), np.array([3, 3, 2, 2, 2, 1.0])
    shares = np.array([0, 1 / 6, 2 / 6, 4 / 6, 1])
    rng = np.random.default_rng(0)
    caught = []
    for _ in range(4000):
        order = np.lexsort((rng.random(6), -scores))
        hits = np.concatenate(([0], np.cumsum(labels[order]))) / 3
        caught.append(hits[np.round(shares * 6).astype(int)])
    np.testing.assert_allclose(_gain(labels, scores, shares), np.mean(caught, axis=0), atol=0.02)


def test_numbers_of_the_page_are_those_of_the_run(music_run: Run) -> None:
    page = music_run.report.read_text()
    report = json.loads((music_run.folder / "report.json").read_text())
    assert report["simulated"] is True
    assert "Simulated data" in page
    features = pl.read_parquet(music_run.folder / "features.parquet")
    assert f"Of the {len(features):,} reported users" in report["lead"][1]
    assert f"{100 * features['churned'].mean():.1f} %" in report["lead"][1]
    evaluation = pl.read_parquet(music_run.folder / "evaluation.parquet")
    part = evaluation.filter(pl.col("model") == "boosting")
    auc = roc_auc_score(part["label"].to_numpy(), part["score"].to_numpy())
    assert f"AUC {auc:.3f}" in report["lead"][0]
    figures = [b for s in report["sections"] for b in s["blocks"] if b["kind"] == "figure"]
    assert len(figures) >= 10
    assert all(len(figure["alt"]) > 20 for figure in figures)
    assert music_run.report.stat().st_size < 5_000_000
    for tag, attributes in Elements(page).found:
        assert tag not in ("script", "iframe", "object"), tag
        for name in ("src", "href", "xlink:href"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:")), value


@pytest.mark.slow
def test_hostile_names_do_not_run_in_the_report_or_the_list(
    music_table: pl.DataFrame, tmp_path: Path
) -> None:
    log = tmp_path / "log.parquet"
    table = music_table.with_columns(
        item=pl.lit(HOSTILE) + pl.col("item"),
        text=pl.lit(HOSTILE),
        user=pl.lit("=cmd|'/C calc'!A0") + pl.col("user"),
        event=pl.when(pl.col("event") == "search").then(pl.lit(HOSTILE)).otherwise(pl.col("event")),
        device=pl.lit(HOSTILE),
    )
    table.write_parquet(log)
    columns = {"user": "user", "item": "item", "time": "date", "text": "text", "event": "event"}
    values = {
        "paths": [str(log)], "input": columns | {"device": "device"}, "engine": {"threads": 1},
        "churn": QUICK | {"search": "none", "ledger_auc": False},
    }  # fmt: skip
    run = execute(RunConfig.from_values(values, "test"), tmp_path / "run")
    page = Elements(run.report.read_text())
    for tag, attributes in page.found:
        assert tag not in ("script", "img"), tag
        assert not [name for name in attributes if name.startswith("on")]
    assert any("<script>alert" in text for text in page.text), "the name is shown as text"
    with (run.folder / "churn.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert all(row["user"].startswith("'=") for row in rows)
    assert run.ranking["item"][0].startswith("=")
