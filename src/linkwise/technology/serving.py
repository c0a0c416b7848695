"""A finished forecast, asked for pairs of codes and for the neighbours of one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from linkwise.errors import InputError


class Forecast:
    """The pairs and vectors of a run, held in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        about = json.loads((folder / "model" / "codes.json").read_text())
        self.codes: list[str] = about["codes"]
        self.years: str = about["embed"]
        self.rows = {code: row for row, code in enumerate(self.codes)}
        self.listed = pl.read_parquet(folder / "pairs.parquet")
        sides = [self.listed.select(code=side, title=f"title_{side}") for side in ("a", "b")]
        titled = pl.concat(sides).filter(pl.col("title") != "").unique("code")
        self.titles: dict[str, str] = dict(titled.iter_rows())

    @cached_property
    def vectors(self) -> dict[str, Any]:
        """The codes' vectors by the name of what made them, of length one (n_codes, size), memory-mapped."""
        from safetensors.numpy import load_file

        path = self.folder / "model" / "vectors.safetensors"
        if not path.is_file():
            return {}
        found = {}
        for name, table in load_file(path).items():
            length = np.linalg.norm(table, axis=1, keepdims=True)
            found[name] = np.divide(table, length, out=np.zeros_like(table), where=length > 0)
        return found

    def check(self, codes: Sequence[str]) -> None:
        """Raise `InputError` for a code that no patent of the run carries."""
        for code in codes:
            if code not in self.rows:
                like = [name for name in self.codes if name.startswith(code[:3])][:3]
                raise InputError(
                    f'no patent of the run carries the code "{code[:40]}"; its codes look like '
                    f"{', '.join(like or self.codes[:3])}."
                )

    def pairs(self, codes: Sequence[str], k: int) -> list[dict[str, Any]]:
        """The first k forecast pairs with each of `codes` in them, as `pairs.parquet` has them.

        Without codes the first of all; with one those of that code; with two that pair: listed with what
        speaks for it, or, further down, with the models' scores and ranks of `evaluation.parquet` alone,
        where the run judged it. Raises `InputError` for an unknown code, or more than two.
        """
        if len(codes) > 2:
            raise InputError(f"{len(codes)} codes are given; expected two at most.")
        self.check(codes)
        wanted = self.listed
        for code in codes:
            wanted = wanted.filter((pl.col("a") == code) | (pl.col("b") == code))
        found = wanted.sort("rank").head(k).to_dicts()
        if found or len(codes) < 2 or codes[0] == codes[1]:
            return found
        return self._judged(codes[0], codes[1])

    def _judged(self, one: str, other: str) -> list[dict[str, Any]]:
        """A pair that is not listed, as the run judged it: its score and rank by every model."""
        rows = (
            pl.scan_parquet(self.folder / "evaluation.parquet")
            .filter(
                pl.col("query").is_in([one, other]),
                pl.col("item").is_in([one, other]),
            )
            .select("model", "score", "rank", "label")
            .collect()
        )
        return [
            {
                "a": one,
                "b": other,
                "title_a": self.titles.get(one, ""),
                "title_b": self.titles.get(other, ""),
                **row,
            }
            for row in rows.sort("rank").iter_rows(named=True)
        ]

    def neighbours(self, code: str, k: int) -> tuple[str, list[dict[str, Any]]]:
        """What the vectors are of, and the k codes nearest to one by their cosine: `code, title, cosine`.

        Raises `InputError` for an unknown code, or where the run has no vectors of codes.
        """
        self.check([code])
        if not self.vectors:
            raise InputError(
                "the run was made without a language model (--lm) and keeps no vectors of codes."
            )
        name, table = next(iter(self.vectors.items()))
        cosine = table @ table[self.rows[code]]
        order = [
            row for row in np.argsort(-cosine, kind="stable").tolist() if self.codes[row] != code
        ]
        return name, [
            {
                "code": self.codes[row],
                "title": self.titles.get(self.codes[row], ""),
                "cosine": float(cosine[row]),
            }
            for row in order[:k]
            if cosine[row] != 0
        ]
