"""New texts matched with the sections of a finished run, by its judge, as its own patents were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from linkwise.context import Context
from linkwise.errors import InputError, LinkwiseError
from linkwise.matching.config import PairsConfig
from linkwise.matching.judges import WEIGHED, FeatureJudge, Fitted, Pairs
from linkwise.matching.load_judge import FILE, folder_of_judge, load_judge
from linkwise.matching.pairs import INDEX, pools_of
from linkwise.matching.retrieve import retrieve
from linkwise.matching.sides import Pieces, Side, embed_pieces
from linkwise.matching.similar import (
    Pools,
    Similar,
    collect,
    parts_of,
    unit,
    with_rivals,
    word_counter,
)


@dataclass(frozen=True)
class Asked:
    """A text, with its title if it has one, and how many sections are wanted."""

    text: str
    title: str = ""
    k: int = 10


class Matcher:
    """The sections and the judge of a run, held in memory with the encoder.

    Raises `InputError` where the run keeps no index, or not its judge.
    """

    def __init__(self, folder: Path, config: PairsConfig) -> None:
        from safetensors.numpy import load_file

        from linkwise.lm.encode import TextEncoder

        path = folder / "model" / INDEX
        if not path.is_file():
            raise InputError(
                "the run keeps no index of its sections (it was made by an older Linkwise); run the match "
                "again."
            )
        index = load_file(path)
        nodes = pl.read_parquet(folder / "nodes.parquet")
        self.items = _side(nodes.filter(pl.col("kind") == "item"))
        self.config = config
        self.encoder = TextEncoder(config.lm, threads=1)
        start, vectors = index["item_start"].astype(np.int64), index["item_vectors"]
        self.pieces = Pieces(start, vectors, unit(np.add.reduceat(vectors, start[:-1], axis=0)))
        collection = collect(
            self.items.ids,
            self.items.titles,
            lambda _: index["part_vectors"],
            whole=self.pieces.whole,
            parts=[parts_of(text) for text in self.items.texts],
        )
        patents = nodes.filter(pl.col("kind") == "query")["text"].to_list()
        self.similar = Similar(collection, collection, word_counter([*collection.said, *patents]))
        pool = pools_of(index["candidates"].astype(np.int64), len(self.items))
        self.pools = Pools(index["query_whole"], self.pieces.whole, pool)
        self.judge = self._judge(folder)

    def _judge(self, folder: Path) -> Fitted | None:
        own = folder / "model"
        place = own if (own / FILE).is_file() else folder_of_judge(self.config)
        if place is not None:
            return load_judge(place, self.config, _nothing(), self.items, Context(folder=Path()))
        if self.config.judge != WEIGHED:
            raise InputError(
                f"the run's judge, {self.config.judge}, learned from no labels and was not kept; run the "
                "match with --labels."
            )
        return None

    def answer(self, asked: Sequence[Asked]) -> list[list[dict[str, Any]] | LinkwiseError]:
        """The sections of each text, the best first, or why there are none.

        `rank, item, title, score, probability, yes, query_part, item_part`, as in the run's ranking. The
        texts are embedded together; none moves what is said of another.
        """
        found: list[list[dict[str, Any]] | LinkwiseError] = []
        texts = [f"{one.title}. {one.text}" if one.title else one.text for one in asked]
        rows = [row for row, text in enumerate(texts) if any(map(str.isalnum, text))]
        some = [texts[row] for row in rows]
        lists = dict(zip(rows, self._lists(some), strict=True)) if some else {}
        for row, one in enumerate(asked):
            if row in lists:
                found.append(lists[row][: one.k])
            else:
                found.append(InputError("the text has no word in it; give a text."))
        return found

    def _lists(self, texts: list[str]) -> list[list[dict[str, Any]]]:
        ids = [str(row) for row in range(len(texts))]
        pieces = embed_pieces(texts, self._embed)
        near, cosines = retrieve(pieces, self.pieces, self.config.retrieve)
        some = collect(ids, texts, self._embed, whole=pieces.whole)
        similar = self.similar.of_others(some)
        side = Side(ids, texts, texts, ids)
        return [
            self._list(similar, side, row, pieces.whole[row], near[row], cosines[row])
            for row in range(len(texts))
        ]

    def _list(
        self, similar: Similar, side: Side, row: int, whole: Any, near: Any, cosines: Any
    ) -> list[dict[str, Any]]:
        scores = cosines.astype(np.float64)
        probability: Any = [None] * len(near)
        yes: Any = [None] * len(near)
        if self.judge is not None:
            features = np.hstack(
                [with_rivals(similar(row, near)), self.pools.of_stranger(whole, near)]
            )
            if not isinstance(self.judge.judge, FeatureJudge):
                self.judge.judge.queries = side  # type: ignore[attr-defined]
            scores = self.judge.log_odds(Pairs(np.full(len(near), row), near, features))
            probability = 1 / (1 + np.exp(-scores))
            yes = (probability >= self.judge.threshold).tolist()
            probability = probability.tolist()
        listed = []
        for rank, place in enumerate(np.argsort(-scores, kind="stable").tolist(), 1):
            item = int(near[place])
            mine, theirs = similar.best_parts(row, item)
            listed.append(
                {
                    "rank": rank,
                    "item": self.items.ids[item],
                    "title": self.items.titles[item],
                    "score": float(scores[place]),
                    "probability": probability[place],
                    "yes": yes[place],
                    "query_part": mine,
                    "item_part": theirs,
                }
            )
        return listed

    def _embed(self, texts: Sequence[str]) -> Any:
        new = list(dict.fromkeys(texts))
        found = dict(zip(new, self.encoder.embed(new, max_tokens=256), strict=True))
        return np.stack([found[text] for text in texts])


def _side(table: pl.DataFrame) -> Side:
    ids = table["id"].to_list()
    return Side(ids, table["title"].to_list(), table["text"].to_list(), ids)


def _nothing() -> Side:
    """No texts: those of a request take its place."""
    return Side([], [], [], [])
