"""The contract of a `Scorer` (`linkwise.estimators.tabular`): rows in, one score per row out.

class TestMyScorer(ScorerContract):
    def make(self) -> Scorer:
        return MyScorer()

    cls = MyScorer
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from linkwise.errors import InputError
from linkwise.estimators.tabular import Scorer

# What a saved model may be made of: formats whose reading runs no code.
SAFE_ENDINGS = {".json", ".safetensors", ".parquet", ".onnx", ".skops", ".txt"}


class ScorerContract:
    """Subclass it with `cls` and `make`; `rows` and `labels` may be overridden."""

    cls: Any
    learns = True
    """False for a scorer that fits nothing, such as a baseline."""

    def make(self) -> Scorer:
        """A new, unfitted scorer."""
        scorer: Scorer = self.cls()
        return scorer

    def rows(self) -> pl.DataFrame:
        """Rows with a signal, a constant, missing values, and a column that is all missing."""
        rng = np.random.default_rng(0)
        frame = pl.DataFrame(
            {
                "last_event_time_from_cutoff": rng.integers(0, 30, 400),
                "noise": rng.normal(size=400),
                "gaps": rng.normal(size=400),
                "constant": np.ones(400),
                "empty": [None] * 400,
            },
            schema_overrides={"empty": pl.Float64},
        )
        hidden = pl.when(pl.col("noise") > 1).then(None).otherwise(pl.col("gaps"))
        return frame.with_columns(hidden.alias("gaps"))

    def labels(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Labels that rise with the first column."""
        rng = np.random.default_rng(1)
        days = self.rows()["last_event_time_from_cutoff"].to_numpy()
        return (days + rng.normal(0, 6, 400) > 15).astype(np.float64)

    def fitted(self) -> Scorer:
        """A scorer fitted on `rows` and `labels`."""
        return self.make().fit(self.rows(), self.labels(), seed=5, threads=1)

    def test_fit_returns_self(self) -> None:
        """`fit` returns the scorer, so that calls chain."""
        scorer = self.make()
        assert scorer.fit(self.rows(), self.labels(), seed=5, threads=1) is scorer

    def test_one_finite_score_per_row(self) -> None:
        """Scores are finite float64, one per row."""
        scores = self.fitted().score(self.rows())
        assert scores.shape == (400,)
        assert scores.dtype == np.float64
        assert np.isfinite(scores).all()

    def test_higher_means_more(self) -> None:
        """Rows of label 1 score higher."""
        scores, labels = self.fitted().score(self.rows()), self.labels()
        assert scores[labels == 1].mean() > scores[labels == 0].mean()

    def test_scores_do_not_depend_on_other_rows_or_column_order(self) -> None:
        """A row's score is its own: no leak between rows, columns found by name."""
        scorer, rows = self.fitted(), self.rows()
        whole = scorer.score(rows)
        part = scorer.score(rows.select(reversed(rows.columns)).slice(100, 50))
        np.testing.assert_array_equal(part, whole[100:150])

    def test_save_and_load_give_the_same_scores(self, tmp_path: Path) -> None:
        """What is loaded is what was saved, from files that run no code."""
        scorer = self.fitted()
        scorer.save(tmp_path)
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert files
        assert {path.suffix for path in files} <= SAFE_ENDINGS
        again = self.cls.load(tmp_path)
        np.testing.assert_array_equal(again.score(self.rows()), scorer.score(self.rows()))

    def test_equal_fits_give_equal_bytes(self, tmp_path: Path) -> None:
        """The same rows, labels and seed give the same files, byte for byte."""
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            self.fitted().save(tmp_path / name)
        for path in (tmp_path / "a").iterdir():
            assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name

    def test_missing_column_is_named(self) -> None:
        """A column that the scorer was fitted on and that is not there is an `InputError`."""
        scorer = self.fitted()
        name = scorer.columns_[0]
        with pytest.raises(InputError, match=name):
            scorer.score(self.rows().drop(name))

    def test_one_class_is_refused(self) -> None:
        """A scorer that learns needs both classes."""
        if not self.learns:
            pytest.skip("this scorer learns nothing")
        with pytest.raises(InputError, match="both classes"):
            self.make().fit(self.rows(), np.ones(400), seed=5, threads=1)
