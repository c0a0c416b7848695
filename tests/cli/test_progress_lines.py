"""Progress where the output is no terminal."""

from __future__ import annotations

import numpy as np
import pytest

from linkwise.cli import show
from linkwise.context import Context, Silent
from linkwise.matching.config import PairsConfig
from linkwise.matching.pairs import Compared
from linkwise.matching.sides import Side


def test_a_long_step_writes_a_line_every_ten_seconds_at_most(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(show.time, "monotonic", lambda: now[0])
    lines = show.Lines()
    lines.start("embed", 100)
    for second in range(1, 36):
        now[0] = float(second)
        lines.advance(second)
    lines.finish(35.0)
    lines.note("nothing is running")
    assert capsys.readouterr().err.splitlines() == [
        "embed: 10 of 100", "embed: 20 of 100", "embed: 30 of 100", "embed: 35.0 s",
    ]  # fmt: skip


def test_embedding_tells_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The embedding of sections notes how many texts are done, which was silent for minutes."""
    noted: list[str] = []

    class Encoder:
        size = 4

        def __init__(self, *args: object, **options: object) -> None:
            pass

        def embed(self, texts: list[str], *, max_tokens: int, advance: object = None) -> object:
            assert callable(advance)
            advance(len(texts))
            return np.eye(4, dtype=np.float32)[np.arange(len(texts)) % 4]

    class Noting(Silent):
        def note(self, text: str) -> None:
            noted.append(text)

    monkeypatch.setattr("linkwise.matching.pairs.text_encoder", Encoder)
    context = Context(tmp_path_factory.mktemp("work"), progress=Noting())
    names = ["a", "b"]
    side = Side(names, names, ["Cats and mice of the house.", "Dogs of the garden."], names)
    Compared(side, side, PairsConfig(retrieve=1), context)
    assert "2 of 2 texts" in noted
