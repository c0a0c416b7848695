"""Embedding on a CPU in 8-bit integers against float32: MiniLM, texts of the length of abstracts.

    python benchmarks/embedding.py

CPU seconds of one thread, the median of turns taken one after the other, and how near the vectors are.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from linkwise.lm.encode import TextEncoder
from linkwise.lm.onnx import OnnxEncoder, export_int8

WORDS = (
    "gas", "water", "tower", "dust", "filter", "acid", "lime", "heat", "steam", "engine", "pump", "valve",
    "membrane", "reactor", "catalyst", "oil", "waste", "metal", "sensor", "method", "device", "wherein",
    "comprising", "said", "first", "second", "flow", "pressure", "temperature",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=300)
    parser.add_argument("--words", type=int, default=110)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, options.words)) for _ in range(options.texts)]
    plain = TextEncoder("minilm", threads=1, device="cpu")
    with TemporaryDirectory() as folder:
        agreement = export_int8("minilm", Path(folder) / "int8", texts, threads=1)
        small = OnnxEncoder(Path(folder) / "int8", threads=1)
        seconds: dict[str, list[float]] = {"float32": [], "int8": []}
        for _ in range(options.repeats):
            for name, encoder in (("float32", plain), ("int8", small)):
                began = time.process_time()
                encoder.embed(texts, max_tokens=256)
                seconds[name].append(time.process_time() - began)
    middle = {name: statistics.median(taken) for name, taken in seconds.items()}
    for name, value in middle.items():
        print(f"{name}: {value:.2f} CPU seconds, {options.texts / value:.0f} texts a CPU second")
    print(f"float32 / int8: {middle['float32'] / middle['int8']:.2f}")
    print(f"mean cosine of both: {agreement.mean:.4f}")


if __name__ == "__main__":
    main()
