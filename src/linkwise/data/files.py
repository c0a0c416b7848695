"""From what the user typed to log files: globs, folders, formats, dates, fingerprints."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from glob import glob
from pathlib import Path
from typing import IO, Literal, cast

from linkwise.errors import InputError

Format = Literal["csv", "json", "parquet"]

FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".log": "csv",
    ".dat": "csv",
    ".data": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
}
COMPRESSIONS = (".gz", ".zst")
DATE_IN_NAME = re.compile(r"(?<!\d)((?:19|20|21)\d{2})[-_]?(\d{2})[-_]?(\d{2})(?!\d)")
# What lies beside logs in a folder and has an ending that a log may have too.
NOTES = ("readme", "license", "licence")
# Files larger than this are fingerprinted by their ends and size: reading a 100 GB log twice helps nobody.
WHOLE_HASH_BYTES = 64 * 2**20


@dataclass(frozen=True)
class LogFile:
    """One file of a log: where it is, how it is written, and what its name says."""

    path: Path
    format: Format
    compressed: bool
    named: bool = field(default=False, compare=False)
    """Whether the user named the file itself, not a folder or a glob that holds it."""

    @property
    def stem(self) -> str:
        """The file's name in lower case, for reading kind and date from it."""
        return self.path.name.lower()

    @property
    def date(self) -> date | None:
        """The date in the file's name, if there is one."""
        for match in DATE_IN_NAME.finditer(self.path.name):
            try:
                return date(*(int(part) for part in match.groups()))
            except ValueError:
                continue
        return None


def find_files(paths: Sequence[str | Path]) -> list[LogFile]:
    """The log files under paths, globs and folders, sorted by path within each; each file once.

    In folders and globs, files of unknown endings, notes such as README.txt and hidden files are passed over.
    Raises `InputError` where nothing is found, or a named file has an unknown ending.
    """
    found: list[LogFile] = []
    for raw in paths:
        path = Path(os.path.expanduser(raw))  # noqa: PTH111 (Path raises where "~x" is nobody's home)
        try:
            found += _under(path)
        except OSError as error:
            raise InputError(f"{path}: this cannot be read ({error.strerror}).") from error
    if not found:
        raise InputError("no log files were given.")
    once = {os.path.realpath(file.path): file for file in reversed(found)}
    kept = set(map(id, once.values()))
    return [file for file in found if id(file) in kept]


def _under(path: Path) -> list[LogFile]:
    if path.is_dir():
        inside = _in_folder(path)
        if not inside:
            raise InputError(
                f"{path}: the folder has no log files; expected files ending in "
                f"{', '.join(FORMATS)}, plain or with .gz or .zst."
            )
        return inside
    if path.is_file():
        return [_log_file(path, named=True)]
    if path.exists():
        raise InputError(f"{path}: this is neither a file nor a folder; a log is read from those.")
    matches = sorted(map(Path, glob(str(path), recursive=True)))  # noqa: PTH207 (Path's are relative)
    if not matches:
        raise InputError(f"{path}: no such file or folder, and no file matches it.")
    inside = [_log_file(p) for p in matches if p.is_file() and _is_log(p)]
    inside += [file for p in matches if p.is_dir() for file in _in_folder(p)]
    if not inside:
        raise InputError(
            f"{path}: of the {len(matches)} matches none is a log; expected files ending in "
            f"{', '.join(FORMATS)}, plain or with .gz or .zst."
        )
    return inside


def _in_folder(folder: Path) -> list[LogFile]:
    def refuse(error: OSError) -> None:
        raise error

    inside: list[Path] = []
    # os.walk says which folder it may not enter; Path.rglob passes over it in silence.
    entered: set[str] = set()
    for root, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        entered.add(os.path.realpath(root))
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(Path(root) / name) not in entered
        ]
        inside += [Path(root) / name for name in names if _is_log(Path(name))]
    for path in inside:
        if not path.exists():
            raise InputError(f"{path}: this is a link to a file that is not there.")
    return [_log_file(path) for path in sorted(inside) if path.is_file()]


def _is_log(path: Path) -> bool:
    name = path.name.lower()
    is_note = name.startswith(NOTES) and name.endswith(".txt")
    return not name.startswith(".") and not is_note and _format(path) is not None


def _format(path: Path) -> Format | None:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes = suffixes[:-1]
    return FORMATS.get(suffixes[-1]) if suffixes else None


def _log_file(path: Path, named: bool = False) -> LogFile:
    form = _format(path)
    if form is None:
        raise InputError(
            f"{path}: the ending is unknown; expected one of {', '.join(FORMATS)}, "
            "plain or with .gz or .zst."
        )
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{path!r}: the file's name is not UTF-8; rename it.") from error
    return LogFile(path, form, path.suffix.lower() in COMPRESSIONS, named)


def shown(path: Path | str) -> str:
    """A file's path as messages name it; a frame from Python, which has none, as "the frame"."""
    path = Path(path)
    is_frame = path.name == "frame.parquet" and path.parent.name.startswith("linkwise-frame")
    return "the frame" if is_frame else str(path)


def fingerprint(path: Path) -> dict[str, str | int]:
    """Name, size in bytes and SHA-256 of a file (of its first and last MiB where it is very large)."""
    size = path.stat().st_size
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        if size <= WHOLE_HASH_BYTES:
            while block := stream.read(2**20):
                digest.update(block)
        else:
            digest.update(stream.read(2**20))
            stream.seek(-(2**20), 2)
            digest.update(stream.read(2**20))
    return {"file": path.name, "bytes": size, "sha256": digest.hexdigest()}


def is_simulated(files: Sequence[Path]) -> bool:
    """Whether a log was written by `linkwise simulate`, which leaves a note beside its files."""
    notes = {path.parent / "README" for path in files}
    return any(note.is_file() and "simulated" in note.read_text()[:2000].lower() for note in notes)


def open_bytes(file: LogFile) -> IO[bytes]:
    """Open a text log's bytes, unpacked; a file that was cut short raises as they are read."""
    if not file.compressed:
        return file.path.open("rb")
    if file.path.suffix.lower() == ".gz":
        return cast(IO[bytes], gzip.open(file.path, "rb"))
    import pyarrow as pa

    stream = pa.CompressedInputStream(pa.OSFile(str(file.path)), "zstd")
    return io.BufferedReader(stream, 2**20)


def open_text(file: LogFile) -> IO[str]:
    """Open a text log for a look at single lines; bytes that are not UTF-8 are shown as escapes."""
    return io.TextIOWrapper(
        open_bytes(file), encoding="utf-8", errors="backslashreplace", newline=""
    )


# What the system says where nothing more can be written.
FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


@contextmanager
def reading(file: LogFile) -> Iterator[None]:
    """Raise `InputError`, naming the file, where it cannot be opened or was damaged."""
    import pyarrow as pa

    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, pa.ArrowInvalid) as error:
        raise InputError(damaged(file)) from error
    except OSError as error:
        if error.errno in FULL:  # while a copy was written: no fault of the file read
            raise
        if error.strerror is None:  # pyarrow's own, about the compressed stream
            raise InputError(damaged(file)) from error
        raise InputError(f"{shown(file.path)}: this cannot be read ({error.strerror}).") from error


def read_through(file: LogFile) -> None:
    """Read a compressed file to its end and its checksum; raises `InputError` where it is damaged."""
    with reading(file), open_bytes(file) as stream:
        while stream.read(2**20):
            pass


def damaged(file: LogFile) -> str:
    """One sentence on a compressed file that ends too early or was changed."""
    return (
        f"{file.path}: the compressed data are cut short or damaged. Was the file still being written, "
        "or its copying interrupted? Fetch it again."
    )
