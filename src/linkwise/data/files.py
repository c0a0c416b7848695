"""From what the user typed to checked log files: globs, folders, formats, kinds, fingerprints."""

from __future__ import annotations

import csv
import glob
import gzip
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import IO, Literal

from linkwise.errors import InputError, ResourceError

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
DATE_IN_NAME = re.compile(r"(?<!\d)(\d{4})[-_]?(\d{2})[-_]?(\d{2})(?!\d)")
# Files larger than this are fingerprinted by their ends and size: reading a 100 GB log twice helps nobody.
WHOLE_HASH_BYTES = 64 * 2**20


@dataclass(frozen=True)
class LogFile:
    """One file of a log: where it is, how it is written, and what its name says."""

    path: Path
    format: Format
    compressed: bool

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
    """The log files under paths, globs and folders, sorted by path within each.

    In a folder, files of unknown endings (README, notes) and hidden ones are passed over.
    Raises `InputError` where nothing is found, a named file has an unknown ending, or one is empty.
    """
    found: list[LogFile] = []
    for raw in paths:
        path = Path(raw).expanduser()
        if path.is_dir():
            inside = sorted(
                p
                for p in path.rglob("*")
                if p.is_file()
                and not any(part.startswith(".") for part in p.relative_to(path).parts)
                and _format(p) is not None
            )
            if not inside:
                raise InputError(
                    f"{path}: the folder has no log files; expected files ending in "
                    f"{', '.join(FORMATS)}, plain or with .gz or .zst."
                )
            found += [_log_file(p) for p in inside]
        elif path.is_file():
            found.append(_log_file(path))
        else:
            matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
            if not matches:
                raise InputError(f"{path}: no such file or folder, and no file matches it.")
            found += [_log_file(match) for match in matches if match.is_file()]
    if not found:
        raise InputError("no log files were given.")
    return list(dict.fromkeys(found))


def check_not_empty(files: Sequence[LogFile]) -> None:
    """Raise `InputError` naming the first file of zero bytes."""
    for file in files:
        if file.path.stat().st_size == 0:
            raise InputError(
                f"{file.path}: the file is empty. Remove it, or use --on-bad-row=skip "
                "to pass over empty files."
            )


def _format(path: Path) -> Format | None:
    suffixes = path.suffixes
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes = suffixes[:-1]
    return FORMATS.get(suffixes[-1].lower()) if suffixes else None


def _log_file(path: Path) -> LogFile:
    form = _format(path)
    if form is None:
        raise InputError(
            f"{path}: the ending is unknown; expected one of {', '.join(FORMATS)}, "
            "plain or with .gz or .zst."
        )
    return LogFile(path, form, path.suffix in COMPRESSIONS)


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


def open_text(file: LogFile) -> IO[str]:
    """Open a text log for a look at single lines; bytes that are not UTF-8 are shown as escapes.

    Raises `ResourceError` for a zstd file on a Python without zstd.
    """
    if not file.compressed:
        return file.path.open(encoding="utf-8", errors="backslashreplace", newline="")
    if file.path.suffix == ".gz":
        return gzip.open(file.path, "rt", encoding="utf-8", errors="backslashreplace", newline="")
    import pyarrow as pa

    try:
        import io

        stream = pa.CompressedInputStream(pa.OSFile(str(file.path)), "zstd")
        return io.TextIOWrapper(stream, encoding="utf-8", errors="backslashreplace", newline="")
    except (pa.ArrowInvalid, NotImplementedError) as error:
        raise ResourceError(f"{file.path}: zstd files cannot be read here: {error}") from error


def header(file: LogFile) -> tuple[list[str], str]:
    """The column names in a text file's first line, and its delimiter (tab, comma or semicolon)."""
    with open_text(file) as stream:
        line = stream.readline().lstrip("\ufeff").rstrip("\r\n")
    delimiter = max("\t,;|", key=line.count)
    return next(csv.reader([line], delimiter=delimiter), []), delimiter


def find_line(file: LogFile, column: int, value: str, delimiter: str, quoted: bool) -> int | None:
    """The number of the first line whose field `column` is `value`; None where none is."""
    with open_text(file) as stream:
        rows: Iterator[list[str]]
        if quoted:
            rows = csv.reader(stream, delimiter=delimiter)
        else:
            rows = (line.rstrip("\r\n").split(delimiter) for line in stream)
        for number, row in enumerate(rows, start=1):
            if column < len(row) and row[column].strip() == value:
                return number
    return None
