"""Encoders exported to ONNX and quantised, against PyTorch's."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from linkwise.errors import InputError, UsageError
from linkwise.lm import onnx
from linkwise.lm.encode import TextEncoder
from linkwise.lm.load import LanguageModel, read_about, save_model
from linkwise.lm.minilm import packaged_minilm
from linkwise.lm.onnx import OnnxEncoder, export_int8

SUBJECTS = ["Toy Story (1995)", "A solar cell", "the user", "Jumanji", "An electric car's battery"]
WHAT = [
    "leaves for good",
    "is cheaper, lighter, and lasts as long as the one before it did in all our tests",
    "1234.5 %",
    "made everybody laugh; nobody knew why",
    "is combined with a method of making steel without coke, as claimed in claim 1",
    "?",
    "не переводится",
    "returns None if the file is missing",
]
TEXTS = [f"{a} {b}" for a in SUBJECTS for b in WHAT]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random decoder that looks both ways: the mask has to survive the export."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, vocab_size=30522,
    )  # fmt: skip
    tokenizer = transformers.AutoTokenizer.from_pretrained(packaged_minilm())
    made = LanguageModel(transformers.AutoModel.from_config(config), tokenizer, folder)
    save_model(made, folder, attention="bidirectional")
    return folder


@pytest.fixture(scope="module")
def graph(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of its export in float32."""
    folder = tmp_path_factory.mktemp("graph")
    onnx._export(TextEncoder(str(tiny), threads=1), folder / "model.onnx")
    return folder


@pytest.mark.slow
def test_minilm_stays_near_in_8_bits(tmp_path: Path) -> None:
    folder = tmp_path / "int8"
    agreement = export_int8("minilm", folder, TEXTS, threads=1)
    assert agreement.texts == 40
    assert 0.99 <= agreement.mean < 0.9999
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".json", ".json", ".onnx"]
    assert sum(path.stat().st_size for path in folder.iterdir()) < 75e6
    found = OnnxEncoder(folder, threads=1).embed(TEXTS)
    cosines = (found * TextEncoder(threads=1).embed(TEXTS)).sum(1)
    np.testing.assert_allclose(
        [cosines.mean(), cosines.min()], [agreement.mean, agreement.least], atol=1e-6
    )
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)


@pytest.fixture
def export_once(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export takes seconds, so that of `graph` is taken each time."""

    def copy(encoder: TextEncoder, path: Path) -> None:
        shutil.copytree(graph, path.parent, dirs_exist_ok=True)

    monkeypatch.setattr(onnx, "_export", copy)


@pytest.mark.usefixtures("export_once")
def test_a_decoder_and_what_is_written(tiny: Path, tmp_path: Path) -> None:
    agreement = export_int8(str(tiny), tmp_path / "int8", TEXTS, threads=1)
    assert agreement.mean >= 0.99
    assert sorted(path.name for path in tmp_path.iterdir()) == ["int8"]
    about = read_about(tmp_path / "int8")
    assert (about["precision"], about["size"], about["positions"]) == ("int8", 64, 64)
    encoder = OnnxEncoder(tmp_path / "int8", threads=1)
    long = encoder.embed(["x " * 400, ""])  # cut at the 64 positions
    np.testing.assert_array_equal(long, encoder.embed(["x " * 300, ""]))
    assert encoder.embed([]).shape == (0, 64)
    with pytest.raises(UsageError, match="exists"):
        export_int8(str(tiny), tmp_path / "int8", TEXTS)


@pytest.mark.usefixtures("export_once")
def test_a_model_that_suffers_is_not_written(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx, "NEAR", 1.01)
    with pytest.raises(
        InputError, match=r"mean cosine of [01]\.\d{4} with those before, on 40 texts"
    ):
        export_int8(str(tiny), tmp_path / "int8", TEXTS, threads=1)
    monkeypatch.setattr(onnx, "EXACT", -1.0)
    with pytest.raises(InputError, match="other vectors"):
        export_int8(str(tiny), tmp_path / "int8", TEXTS, threads=1)
    assert list(tmp_path.iterdir()) == []


def test_at_most_256_texts_are_measured_and_none_that_is_empty() -> None:
    found = onnx._sample(["", *(f"text {i}" for i in range(600)), " "])
    assert (len(found), found[0], found[-1]) == (256, "text 0", "text 599")
    assert onnx._sample(["", "a", "b"]) == ["a", "b"]
    with pytest.raises(InputError, match="all are empty"):
        onnx._sample(["", " "])


def test_another_folder_is_refused(tiny: Path) -> None:
    with pytest.raises(InputError, match="no folder of an encoder that was exported"):
        OnnxEncoder(tiny)
