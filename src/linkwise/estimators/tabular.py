"""Scorers of table rows: logistic regression, random forest, gradient boosting.

All three take the same frame of numeric columns with missing values, and give the log-odds or share that
ranks its rows. Probabilities are the calibrator's business (`calibrate.py`).
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from linkwise.errors import InputError

Vector = np.ndarray[Any, np.dtype[np.float64]]
# Beyond what skops trusts by itself: types that only hold numbers.
TRUSTED = ("numpy.dtype", "sklearn.tree._tree.Tree")


class LogisticConfig(BaseModel):
    """Logistic regression on scaled columns, ridge penalty."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    C: float = Field(0.1, gt=0)
    """Inverse strength of the ridge penalty."""
    max_iter: int = Field(1000, ge=1)
    """Most iterations of the solver."""


class ForestConfig(BaseModel):
    """Random forest."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    trees: int = Field(200, ge=1)
    """Number of trees."""
    min_samples_leaf: int = Field(10, ge=1)
    """Fewest rows in a leaf."""
    max_features: float | Literal["sqrt"] = "sqrt"
    """Columns tried at a split: a share in (0, 1], or the square root of their number."""
    max_depth: int | None = Field(None, ge=1)
    """Deepest level of a tree; unbounded by default."""


class BoostingConfig(BaseModel):
    """Gradient-boosted trees (LightGBM)."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    rounds: int = Field(200, ge=1)
    """Number of trees."""
    learning_rate: float = Field(0.05, gt=0, le=1)
    """Shrinkage of each tree."""
    num_leaves: int = Field(15, ge=2)
    """Most leaves of a tree."""
    min_data_in_leaf: int = Field(40, ge=1)
    """Fewest rows in a leaf."""
    feature_fraction: float = Field(0.8, gt=0, le=1)
    """Share of the columns tried for each tree."""
    bagging_fraction: float = Field(0.8, gt=0, le=1)
    """Share of the rows used for each tree."""
    lambda_l2: float = Field(1.0, ge=0)
    """Ridge penalty on leaf values."""


class Scorer(Protocol):
    """A model that gives each row a score; higher means more."""

    columns_: tuple[str, ...]

    def fit(self, rows: pl.DataFrame, labels: Vector, *, seed: int, threads: int) -> Self:
        """Learn from rows (n, p) and their labels 0 or 1 (n,)."""

    def score(self, rows: pl.DataFrame) -> Vector:
        """The score of each row (n,)."""

    def save(self, folder: Path) -> None:
        """Write the fitted model into an existing folder."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote; runs no code from the files."""


def matrix(rows: pl.DataFrame, columns: tuple[str, ...]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The named columns as float64 (n, p), missing as NaN.

    Raises `InputError` naming the first column that is not there.
    """
    for name in columns:
        if name not in rows.columns:
            raise InputError(
                f'the table has no column "{name}", which the model was fitted on; '
                f"it has {', '.join(rows.columns[:20])}."
            )
    table = rows.select(pl.col(columns).cast(pl.Float64).fill_null(float("nan")))
    return np.asarray(table.to_numpy(), dtype=np.float64)


def useful_threads(rows: pl.DataFrame, threads: int) -> int:
    """How many threads LightGBM should take: one for each two million cells, at most `threads`.

    Its threads spin while they wait for each other. On a table of 3,000 users and a busy machine two of them
    took forty times as long as one.
    """
    return max(1, min(threads, rows.height * rows.width // 2_000_000))


def check_labels(labels: Vector) -> None:
    """Raise `InputError` unless both classes are there."""
    values = set(np.unique(labels).tolist())
    if values != {0, 1}:
        only = f"only the label {next(iter(values)):g}" if len(values) == 1 else f"labels {values}"
        raise InputError(
            f"a classifier needs rows of both classes, and these {len(labels)} rows have {only}."
        )


class Logistic:
    """Logistic regression; missing values become the median, with an indicator column beside it."""

    def __init__(self, config: LogisticConfig | None = None) -> None:
        self.config = config or LogisticConfig()

    def fit(self, rows: pl.DataFrame, labels: Vector, *, seed: int, threads: int) -> Self:
        """Fit on rows (n, p) and labels (n,)."""
        from sklearn.impute import SimpleImputer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        check_labels(labels)
        self.columns_ = tuple(rows.columns)
        # Counts and times are heavy-tailed; their signed square root is what a linear model can use.
        self.model_ = make_pipeline(
            SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
            StandardScaler(),
            LogisticRegression(C=self.config.C, max_iter=self.config.max_iter, random_state=seed),
        )
        self.model_.fit(_signed_root(matrix(rows, self.columns_)), labels)
        return self

    def score(self, rows: pl.DataFrame) -> Vector:
        """Log-odds of the label 1 (n,)."""
        scores = self.model_.decision_function(_signed_root(matrix(rows, self.columns_)))
        return np.asarray(scores, dtype=np.float64)

    def save(self, folder: Path) -> None:
        """Write `logistic.skops` and `logistic.json`."""
        _save_sklearn(self.model_, self.config, self.columns_, folder, "logistic")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        model, config, columns = _load_sklearn(folder, "logistic")
        self = cls(LogisticConfig(**config))
        self.model_, self.columns_ = model, columns
        return self


class Forest:
    """Random forest; missing values go the way that splits best."""

    def __init__(self, config: ForestConfig | None = None) -> None:
        self.config = config or ForestConfig()

    def fit(self, rows: pl.DataFrame, labels: Vector, *, seed: int, threads: int) -> Self:
        """Fit on rows (n, p) and labels (n,)."""
        from sklearn.ensemble import RandomForestClassifier

        check_labels(labels)
        self.columns_ = tuple(rows.columns)
        self.model_ = RandomForestClassifier(
            n_estimators=self.config.trees,
            min_samples_leaf=self.config.min_samples_leaf,
            max_features=self.config.max_features,
            max_depth=self.config.max_depth,
            random_state=seed,
            n_jobs=threads,
        )
        self.model_.fit(matrix(rows, self.columns_), labels)
        self.model_.set_params(n_jobs=None)  # so that the saved bytes do not depend on the machine
        return self

    def score(self, rows: pl.DataFrame) -> Vector:
        """Mean share of the label 1 over the trees' leaves (n,)."""
        return np.asarray(self.model_.predict_proba(matrix(rows, self.columns_))[:, 1], np.float64)

    @property
    def importances(self) -> dict[str, float]:
        """Mean decrease of impurity (gain) per column; they sum to 1."""
        values = self.model_.feature_importances_.tolist()
        return dict(zip(self.columns_, values, strict=True))

    def save(self, folder: Path) -> None:
        """Write `forest.skops` and `forest.json`."""
        _save_sklearn(self.model_, self.config, self.columns_, folder, "forest")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        model, config, columns = _load_sklearn(folder, "forest")
        self = cls(ForestConfig(**config))
        self.model_, self.columns_ = model, columns
        return self


class Boosting:
    """Gradient boosting with LightGBM's own handling of missing values, on logistic loss."""

    def __init__(self, config: BoostingConfig | None = None) -> None:
        self.config = config or BoostingConfig()

    def fit(self, rows: pl.DataFrame, labels: Vector, *, seed: int, threads: int) -> Self:
        """Fit on rows (n, p) and labels (n,)."""
        import lightgbm as lgb

        check_labels(labels)
        self.columns_ = tuple(rows.columns)
        self.booster_ = lgb.train(
            self._parameters(seed, useful_threads(rows, threads)),
            lgb.Dataset(
                matrix(rows, self.columns_), label=labels, feature_name=_plain(self.columns_)
            ),
            num_boost_round=self.config.rounds,
        )
        return self

    def stopped_early(
        self,
        rows: tuple[pl.DataFrame, Vector],
        check: tuple[pl.DataFrame, Vector],
        *,
        max_rounds: int,
        patience: int,
        seed: int,
        threads: int,
    ) -> tuple[float, BoostingConfig]:
        """Fit until the log-loss on `check` has not fallen for `patience` rounds.

        Returns the least log-loss and the config with the number of rounds that reached it.
        """
        import lightgbm as lgb

        columns = tuple(rows[0].columns)
        booster = lgb.train(
            self._parameters(seed, useful_threads(rows[0], threads)) | {"metric": "binary_logloss"},
            lgb.Dataset(matrix(rows[0], columns), label=rows[1]),
            num_boost_round=max_rounds,
            valid_sets=[lgb.Dataset(matrix(check[0], columns), label=check[1])],
            callbacks=[lgb.early_stopping(patience, verbose=False)],
        )
        best = float(booster.best_score["valid_0"]["binary_logloss"])
        return best, self.config.model_copy(update={"rounds": max(1, booster.best_iteration)})

    def _parameters(self, seed: int, threads: int) -> dict[str, Any]:
        return {
            "objective": "binary",
            "learning_rate": self.config.learning_rate,
            "num_leaves": self.config.num_leaves,
            "min_data_in_leaf": self.config.min_data_in_leaf,
            "feature_fraction": self.config.feature_fraction,
            "bagging_fraction": self.config.bagging_fraction,
            "bagging_freq": 1,
            "lambda_l2": self.config.lambda_l2,
            "seed": seed,
            # The same bytes on every machine and any number of threads.
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": threads,
            "verbose": -1,
        }

    def score(self, rows: pl.DataFrame) -> Vector:
        """Log-odds of the label 1 (n,)."""
        values = self._predict(rows, raw_score=True)
        return np.asarray(values, dtype=np.float64)

    def contributions(self, rows: pl.DataFrame) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Exact TreeSHAP values of the log-odds (n, p + 1); the last column is the base value.

        Source: Lundberg et al. 2020, "From local explanations to global understanding with explainable AI
        for trees", as LightGBM's own `pred_contrib` computes it.
        """
        values = self._predict(rows, pred_contrib=True)
        return np.asarray(values, dtype=np.float64)

    def _predict(self, rows: pl.DataFrame, **kind: bool) -> Any:
        threads = useful_threads(rows, os.cpu_count() or 1)
        return self.booster_.predict(matrix(rows, self.columns_), num_threads=threads, **kind)

    def save(self, folder: Path) -> None:
        """Write `boosting.txt` (LightGBM's own text) and `boosting.json`."""
        text = self.booster_.model_to_string(num_iteration=-1)
        # The thread count is a fact of the machine, not of the model.
        lines = [line for line in text.splitlines() if not line.startswith("[num_threads:")]
        write_atomically(folder / "boosting.txt", "\n".join(lines) + "\n")
        _save_settings(self.config, self.columns_, folder, "boosting")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        import lightgbm as lgb

        settings = json.loads((folder / "boosting.json").read_text())
        self = cls(BoostingConfig(**settings["config"]))
        self.columns_ = tuple(settings["columns"])
        self.booster_ = lgb.Booster(model_file=str(folder / "boosting.txt"))
        return self


def write_atomically(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _signed_root(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(np.sign(values) * np.sqrt(np.abs(values)))


def _plain(names: tuple[str, ...]) -> list[str]:
    """LightGBM refuses JSON signs in names; columns are matched by place, so numbers serve."""
    return [f"column_{i}" for i, _ in enumerate(names)]


def _save_settings(config: BaseModel, columns: tuple[str, ...], folder: Path, name: str) -> None:
    settings = {"config": config.model_dump(), "columns": columns}
    write_atomically(folder / f"{name}.json", json.dumps(settings, indent=1))


def _save_sklearn(
    model: Any, config: BaseModel, columns: tuple[str, ...], folder: Path, name: str
) -> None:
    import skops.io

    partial = folder / f".{name}.skops.partial"
    try:
        partial.write_bytes(_canonical(skops.io.dumps(model)))
        partial.replace(folder / f"{name}.skops")
    finally:
        partial.unlink(missing_ok=True)
    _save_settings(config, columns, folder, name)


def _canonical(archive: bytes) -> bytes:
    """The same skops archive with numbered objects and no dates: equal models give equal bytes.

    skops names objects by their addresses in memory, and zip files carry the time of writing.
    """
    source = zipfile.ZipFile(io.BytesIO(archive))
    schema = json.loads(source.read("schema.json"))
    numbers: dict[int, int] = {}
    files: dict[str, str] = {}

    def renumber(node: Any) -> Any:
        if isinstance(node, list):
            return [renumber(item) for item in node]
        if not isinstance(node, dict):
            return node
        node = dict(node)
        if isinstance(node.get("__id__"), int):
            node["__id__"] = numbers.setdefault(node["__id__"], len(numbers))
        if isinstance(node.get("file"), str):
            ending = node["file"].rpartition(".")[2]
            node["file"] = files.setdefault(node["file"], f"{len(files)}.{ending}")
        return {key: renumber(value) for key, value in node.items()}

    schema = renumber(schema)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as target:
        for old, new in files.items():
            target.writestr(_entry(new), source.read(old))
        target.writestr(_entry("schema.json"), json.dumps(schema))
    return out.getvalue()


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def _load_sklearn(folder: Path, name: str) -> tuple[Any, dict[str, Any], tuple[str, ...]]:
    import skops.io

    path = folder / f"{name}.skops"
    unknown = sorted(set(skops.io.get_untrusted_types(file=path)) - set(TRUSTED))
    if unknown:
        raise InputError(
            f"{path}: the model file names types that Linkwise never writes "
            f"({', '.join(unknown)}); it is not loaded."
        )
    settings = json.loads((folder / f"{name}.json").read_text())
    return (
        skops.io.load(path, trusted=list(TRUSTED)),
        settings["config"],
        tuple(settings["columns"]),
    )
