"""Text encoders in 8-bit integers, run by ONNX Runtime on the CPU."""

from __future__ import annotations

import logging
import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from linkwise.errors import InputError, UsageError, optional
from linkwise.lm.encode import Encoder, Longs, Singles, TextEncoder, mean_states
from linkwise.lm.load import quiet, read_about, write_about

NEAR = 0.99  # mean cosine with the vectors before, below which a quantised model is not written
EXACT = 1e-4  # largest difference that the export in float32 may make
SAMPLE = 256  # texts that both are measured on
PURPOSE = "a text encoder in 8-bit integers"
# A file of protobuf holds 2 GiB; weights above this stand in a file beside it.
LARGE = 1_900_000_000


@dataclass(frozen=True)
class Agreement:
    """Cosines between the vectors of a quantised model and of the one it was made from."""

    texts: int
    mean: float
    least: float


class OnnxEncoder(Encoder):
    """An encoder that `export_int8` wrote to a folder.

    Raises `ResourceError` where a package is missing, `InputError` where the folder holds no such model.
    """

    def __init__(self, folder: str | Path, *, threads: int | None = None) -> None:
        runtime = optional("onnxruntime", "onnx", PURPOSE)
        transformers = optional("transformers", "lm", "a text encoder")
        folder = Path(folder)
        about = read_about(folder)
        if about.get("format") != "onnx":
            raise InputError(
                f"{folder}: this is no folder of an encoder that was exported to ONNX."
            )
        self.size, self.positions = int(about["size"]), about["positions"]
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or 0  # 0: as many as there are cores
        try:
            with quiet(transformers):
                self.tokenizer = transformers.AutoTokenizer.from_pretrained(
                    folder, trust_remote_code=False
                )
            self.session = runtime.InferenceSession(
                str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the libraries raise whatever their parts raise
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{folder}: the encoder cannot be loaded ({reason}).") from error

    def _vectors(self, ids: Longs, mask: Longs) -> Singles:
        found: Singles = self.session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        return found


def export_int8(
    model: str,
    folder: str | Path,
    texts: Sequence[str],
    *,
    max_tokens: int = 256,
    threads: int | None = None,
) -> Agreement:
    """Write a model to a folder that `OnnxEncoder` reads, its matrices in 8-bit integers.

    Returns how near its vectors are to those before, on at most `SAMPLE` of the texts, evenly spread.

    Raises `UsageError` where the folder exists, `InputError` where the mean cosine is below `NEAR`,
    `ResourceError` where a package is missing.
    """
    folder = Path(folder)
    if folder.exists():
        raise UsageError(f"{folder}: the folder exists; choose another.")
    for module in ("onnx", "onnxruntime", "onnxscript"):
        optional(module, "onnx", PURPOSE)
    sample = _sample(texts)
    encoder = TextEncoder(model, threads=threads, device="cpu")
    expected = encoder.embed(sample, max_tokens=max_tokens)

    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.parent / f".{folder.name}.partial-{os.getpid()}"
    partial.mkdir()
    try:
        with TemporaryDirectory(dir=partial.parent, prefix=f".{folder.name}-float-") as scratch:
            plain = Path(scratch)
            with _hushed():
                _export(encoder, plain / "model.onnx")
            _write_beside(plain, encoder, model, "float32")
            found = OnnxEncoder(plain, threads=threads).embed(sample, max_tokens=max_tokens)
            if not np.allclose(found, expected, rtol=0, atol=EXACT):
                raise InputError(
                    f"{model}: exported to ONNX it gives other vectors (by up to "
                    f"{np.abs(found - expected).max():.2g}); run it without --int8."
                )
            with _hushed():
                _quantise(plain, partial)
        _write_beside(partial, encoder, model, "int8")
        found = OnnxEncoder(partial, threads=threads).embed(sample, max_tokens=max_tokens)
        agreement = _agreement(found, expected)
        if agreement.mean < NEAR:
            raise InputError(
                f"{model}: in 8-bit integers its vectors have a mean cosine of {agreement.mean:.4f} with "
                f"those before, on {agreement.texts} texts; expected {NEAR} or more. Run it without --int8."
            )
        _write_beside(partial, encoder, model, "int8", agreement=asdict(agreement))
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return agreement


def _sample(texts: Sequence[str]) -> list[str]:
    """At most `SAMPLE` of the texts that are not empty, evenly spread."""
    kept = [text for text in texts if text.strip()]
    if not kept:
        raise InputError("there is no text to measure the 8-bit integers by; all are empty.")
    return [kept[i] for i in np.linspace(0, len(kept) - 1, min(SAMPLE, len(kept))).astype(int)]


def _export(encoder: TextEncoder, path: Path) -> None:
    """Write the network and the mean over its states, for batches of any shape."""
    import torch

    bidirectional = encoder.model.bidirectional

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = encoder.network

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return mean_states(self.network, input_ids, attention_mask, bidirectional)

    # Not one row or token: the exporter would take a 1 for a fixed size.
    ids, mask = torch.ones(2, 8, dtype=torch.long), torch.ones(2, 8, dtype=torch.long)
    mask[1, 5:] = 0
    shape = {0: torch.export.Dim("batch"), 1: torch.export.Dim("width")}
    with torch.no_grad():
        torch.onnx.export(
            Pooled().eval(),
            (ids, mask),
            path,
            input_names=["input_ids", "attention_mask"],
            output_names=["vectors"],
            dynamic_shapes=(shape, shape),
            dynamo=True,  # the other exporter is deprecated
            verbose=False,
        )


def _quantise(plain: Path, to: Path) -> None:
    """The matrices of the graph as 8-bit integers with a scale per column; activations as they come.

    Those that narrow (more rows than columns) stay in float32: what goes into them, out of the activation
    function, has outliers that a single scale does not fit. MiniLM's mean cosine on 1,500 texts of two to
    seven words rose from .9901 to .9943, on prose from .9929 to .9968.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    size = sum(file.stat().st_size for file in plain.iterdir())
    graph = (
        optional("onnx", "onnx", PURPOSE).load(plain / "model.onnx", load_external_data=False).graph
    )
    shapes = {constant.name: tuple(constant.dims) for constant in graph.initializer}
    matrices = [
        (node.name, shapes.get(node.input[1], ()))
        for node in graph.node
        if node.op_type == "MatMul"
    ]
    quantize_dynamic(
        plain / "model.onnx",
        to / "model.onnx",
        per_channel=True,
        op_types_to_quantize=["MatMul"],
        nodes_to_exclude=[n for n, shape in matrices if len(shape) == 2 and shape[0] > shape[1]],
        # Not QInt8: on CPUs without VNNI its products with unsigned activations overflow 16 bits. With all
        # matrices, MiniLM's mean cosine on prose was .9902 with it, .9903 with its range halved, .9921 so.
        weight_type=QuantType.QUInt8,
        use_external_data_format=size > LARGE,
    )


def _write_beside(
    folder: Path, encoder: TextEncoder, model: str, precision: str, **more: Any
) -> None:
    """The tokenizer, and what `OnnxEncoder` has to know, beside model.onnx."""
    encoder.tokenizer.save_pretrained(folder)
    about = {"format": "onnx", "precision": precision, "model": model}
    write_about(folder, {**about, "size": encoder.size, "positions": encoder.positions, **more})


def _agreement(found: Singles, expected: Singles) -> Agreement:
    """Cosines of vectors of length one; a text without a token has none."""
    cosines = (found * expected).sum(1)[expected.any(axis=1)]
    if not len(cosines):
        raise InputError("none of the texts has a token to measure the 8-bit integers by.")
    return Agreement(len(cosines), float(cosines.mean()), float(cosines.min()))


@contextmanager
def _hushed() -> Iterator[None]:
    """Without the exporter's and the quantiser's remarks on themselves."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
