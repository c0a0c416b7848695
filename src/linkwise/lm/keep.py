"""Vectors of texts, kept in a folder: no run embeds again what another one has."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from linkwise.errors import InputError, UsageError
from linkwise.lm.encode import Singles, TextEncoder, check_texts
from linkwise.lm.load import fingerprint, locate

PIECE = 16_384  # texts after which what is embedded is written: what a killed run had is not lost
KEY = 16  # bytes


def text_encoder(model: str, vectors: str | None, threads: int | None = None) -> TextEncoder:
    """The encoder of a model; with `vectors`, a folder, one that keeps its vectors there."""
    if vectors is None:
        return TextEncoder(model, threads=threads)
    return KeepingEncoder(model, Path(vectors), threads=threads)


class KeepingEncoder(TextEncoder):
    """A text encoder that reads vectors from a folder where they are, and writes there what it makes.

    They are kept by the model (its weights, tokenizer and settings), the tokens at which texts are cut, and
    the text, in files that several processes may add to at once. A vector that was made beside other texts
    may differ in the last bits from one made anew, as padding does to sums.

    Raises what `TextEncoder` raises, `UsageError` where the folder cannot be made, and `InputError` where a
    file in it is damaged.
    """

    def __init__(self, model: str, folder: Path, *, threads: int | None = None) -> None:
        super().__init__(model, threads=threads)
        self.folder = folder / _print(model, self.model.folder)[:16]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"--vectors is {folder}, which cannot be made a folder ({error.strerror})."
            ) from error
        self._place: dict[bytes, tuple[Path, int]] = {}
        self._read: set[Path] = set()

    def embed(
        self,
        texts: Sequence[str],
        *,
        max_tokens: int = 256,
        batch_tokens: int = 8192,
        advance: Callable[[int], None] = lambda done: None,
    ) -> Singles:
        """As `Encoder.embed`; what is kept counts as done at once."""
        check_texts(texts, max_tokens)
        self._look()
        found = np.zeros((len(texts), self.size), dtype=np.float32)
        keys = [self._key(text, max_tokens) for text in texts]
        self._fetch(keys, found)
        new = {key: row for row, key in enumerate(keys) if key not in self._place}
        done = len(texts) - len(new)
        advance(done)
        # The longest first, as the encoder takes them: pieces of like length waste no padding.
        order = sorted(new, key=lambda key: -len(texts[new[key]]))
        made: dict[bytes, Any] = {}
        for start in range(0, len(order), PIECE):
            piece = order[start : start + PIECE]
            before = done + start
            vectors = super().embed(
                [texts[new[key]] for key in piece],
                max_tokens=max_tokens,
                batch_tokens=batch_tokens,
                advance=lambda n, before=before: advance(before + n),  # type: ignore[misc]
            )
            self._write(piece, vectors)
            made.update(zip(piece, vectors, strict=True))
        for row, key in enumerate(keys):
            if key in made:
                found[row] = made[key]
        return found

    def _key(self, text: str, max_tokens: int) -> bytes:
        return hashlib.blake2b(
            f"{max_tokens}\0{text}".encode("utf-8", "surrogatepass"), digest_size=KEY
        ).digest()

    def _look(self) -> None:
        """Learn what the folder has by now."""
        for path in sorted(self.folder.glob("*.safetensors")):
            if path in self._read:
                continue
            keys = self._tensor(path, "keys")
            if keys.dtype != np.uint8 or keys.ndim != 2 or keys.shape[1] != KEY:
                raise self._damaged(path, "its keys are no keys")
            for row, key in enumerate(keys):
                self._place.setdefault(key.tobytes(), (path, row))
            self._read.add(path)

    def _fetch(self, keys: Sequence[bytes], found: Singles) -> None:
        """Put what is kept into its rows, a file at a time."""
        wanted: dict[Path, list[tuple[int, int]]] = {}
        for row, key in enumerate(keys):
            if key in self._place:
                path, at = self._place[key]
                wanted.setdefault(path, []).append((row, at))
        for path, rows in wanted.items():
            vectors = self._tensor(path, "vectors")
            if vectors.ndim != 2 or vectors.shape[1] != self.size:
                raise self._damaged(path, f"its vectors have not {self.size} numbers")
            mine, theirs = np.array(rows).T
            found[mine] = vectors[theirs]

    def _write(self, keys: Sequence[bytes], vectors: Singles) -> None:
        from safetensors.numpy import save_file

        path = self.folder / f"{time.time_ns()}-{os.getpid()}.safetensors"
        partial = path.with_suffix(".partial")
        table = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY)
        save_file({"keys": table, "vectors": np.ascontiguousarray(vectors)}, partial)
        partial.replace(path)
        for row, key in enumerate(keys):
            self._place[key] = (path, row)
        self._read.add(path)

    def _tensor(self, path: Path, name: str) -> Any:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "numpy") as file:
                return file.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise self._damaged(path, str(error)) from error

    def _damaged(self, path: Path, why: str) -> InputError:
        return InputError(f"{path}: kept vectors cannot be read ({why}); remove the file.")


def _print(model: str, base: Path) -> str:
    """A digest of what makes vectors: the weights (of an adapter also its base's), tokenizer and settings."""
    digest = hashlib.sha256(fingerprint(base).encode())
    for path in sorted(locate(model).iterdir()):
        if path.suffix in (".json", ".safetensors", ".txt", ".model"):
            with path.open("rb") as file:
                digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
