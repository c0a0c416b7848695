"""Simulated patents: the same for the same seed, and their codes and words follow the truth."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import roc_auc_score

from linkwise.data.codes import roll_up
from linkwise.data.simulate_patents import LAG, PatentsSimulation, simulate_patents
from linkwise.errors import UsageError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = PatentsSimulation(patents=4000, codes=100, seed=5)
    return simulate_patents(config, tmp_path_factory.mktemp("patents") / "pat")


def positions(folder: Path, year: int) -> dict[str, np.ndarray]:
    rows = pl.read_parquet(folder / "truth.parquet").filter(pl.col("year") == year)
    return dict(zip(rows["code"], np.array(rows["position"].to_list()), strict=True))


def test_the_same_seed_gives_the_same_patents(folder: Path, tmp_path: Path) -> None:
    config = PatentsSimulation(patents=4000, codes=100, seed=5)
    again = simulate_patents(config, tmp_path / "a")
    other = simulate_patents(config.model_copy(update={"seed": 6}), tmp_path / "b")
    for path in sorted(folder.iterdir()):
        assert path.read_bytes() == (again / path.name).read_bytes()
    assert (folder / "patents.parquet").read_bytes() != (other / "patents.parquet").read_bytes()
    with pytest.raises(UsageError, match="it exists already"):
        simulate_patents(config, again)
    with pytest.raises(UsageError, match="not after"):
        PatentsSimulation(first_year=2000, last_year=2000)


def test_codes_are_main_groups_each_once_and_titled(folder: Path) -> None:
    patents = pl.read_parquet(folder / "patents.parquet")
    titles = pl.read_csv(folder / "codes.tsv", separator="\t")
    assert titles["code"].n_unique() == 100
    assert all(roll_up(code, "main-group") == code for code in titles["code"])
    assert len({roll_up(code, "subclass") for code in titles["code"]}) == 10
    assert (patents["codes"].list.len() == patents["codes"].list.n_unique()).all()
    assert set(patents["codes"].explode()) <= set(titles["code"])
    assert patents["id"].n_unique() == len(patents)
    assert patents["family"].n_unique() == 4000  # some are filed twice
    assert 4050 < len(patents) < 4250


def test_codes_are_drawn_together_as_they_are_near(folder: Path) -> None:
    patents = pl.read_parquet(folder / "patents.parquet").unique("family", keep="first")
    for years in ((1996, 1999), (2012, 2015)):
        some = patents.filter(pl.col("year").is_between(*years))["codes"].to_list()
        together = Counter(pair for codes in some for pair in combinations(sorted(codes), 2))
        alone = Counter(code for codes in some for code in codes)
        own = positions(folder, years[1])
        other = positions(folder, 1996 + 2015 - years[1])
        pairs = [p for p in combinations(sorted(alone), 2) if min(alone[p[0]], alone[p[1]]) > 20]
        met = [together[pair] > 0 for pair in pairs]
        near = roc_auc_score(met, [own[a] @ own[b] for a, b in pairs])
        assert near > 0.9
        assert near > roc_auc_score(met, [other[a] @ other[b] for a, b in pairs]) + 0.1


def test_words_come_before_codes(folder: Path) -> None:
    """Texts of a year say where codes will be LAG years later, better than where they are in the codes."""
    patents = pl.read_parquet(folder / "patents.parquet").filter(
        pl.col("year").is_between(2010, 2012)
    )
    words = TfidfVectorizer(token_pattern=r"[a-z-]+").fit_transform(patents["abstract"])
    codes = sorted({codes[0] for codes in patents["codes"]})
    first = patents["codes"].list.first()
    means = np.array([np.asarray(words[(first == c).to_numpy()].mean(axis=0))[0] for c in codes])
    means -= means.mean(axis=0)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    upper = np.triu_indices(len(codes), 1)
    alike = (means @ means.T)[upper]

    def agreement(year: int) -> float:
        at = positions(folder, year)
        place = np.array([at[c] for c in codes])
        return float(np.corrcoef(alike, (place @ place.T)[upper])[0, 1])

    assert agreement(2011 + LAG) > agreement(2011) > agreement(1999)
    assert agreement(2011 + LAG) > 0.6


def test_claims_are_of_the_same_matter(folder: Path) -> None:
    row = pl.read_parquet(folder / "patents.parquet").row(0, named=True)
    assert row["claims"].startswith("1. A device comprising a")
    assert " a a" not in row["abstract"].replace(" a adj", "")
