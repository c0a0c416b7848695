"""Whether a file is what its name says, and whole: looked at before anything is read from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from linkwise.data.files import LogFile, damaged, open_bytes, read_through, reading
from linkwise.errors import InputError

HEAD_BYTES = 2**16
GZIP, ZSTD, PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"
# First bytes of what is often given the wrong name, and what to do about it.
DISGUISES = (
    (GZIP, "gzip data; name it with .gz"),
    (ZSTD, "zstd data; name it with .zst"),
    (PARQUET, "Parquet data; name it with .parquet"),
    (b"PK\x03\x04", "a zip archive or an Excel book; unpack it, or save it as CSV"),
    (b"BZh", "bzip2 data; unpack it with bunzip2"),
    (b"\xfd7zXZ", "xz data; unpack it with unxz"),
    (b"\xff\xfe", "UTF-16 text; turn it into UTF-8 with iconv -f UTF-16 -t UTF-8"),
    (b"\xfe\xff", "UTF-16 text; turn it into UTF-8 with iconv -f UTF-16 -t UTF-8"),
)


def check_intact(files: Sequence[LogFile], skip_empty: bool) -> list[LogFile]:
    """The files, without the empty ones if those may be skipped.

    Raises `InputError` at an empty file otherwise, and at one that cannot be opened, is not what its name
    says, or was cut short (compressed files; Parquet files say so when they are opened).
    """
    kept = []
    for file in files:
        with reading(file):
            if not _is_empty(file):
                kept.append(file)
            elif not skip_empty:
                raise InputError(
                    f"{file.path}: the file is empty. Remove it, or use --on-bad-row=skip "
                    "to pass over empty files."
                )
    if not kept:
        raise InputError("every file of the log is empty.")
    return kept


def _is_empty(file: LogFile) -> bool:
    with file.path.open("rb") as raw:
        head = raw.read(64)
    if not head:
        return True
    if file.format == "parquet":
        if file.compressed:
            raise InputError(
                f"{file.path}: Parquet is compressed inside; unpack the file and read it without "
                f"{file.path.suffix}."
            )
        return False
    if file.compressed:
        _check_compression(file, head)
    with open_bytes(file) as stream:
        head = stream.read(HEAD_BYTES)
    for start, what in DISGUISES:
        if head.startswith(start):
            raise InputError(f"{file.path}: this is {what}.")
    if b"\0" in head[:64]:
        raise InputError(f"{file.path}: the file holds NUL bytes; expected text in UTF-8.")
    if b"\r" in head and b"\n" not in head:
        raise InputError(
            f"{file.path}: the lines end in carriage returns, as on old Macs; turn them into line feeds "
            "with: tr '\\r' '\\n'"
        )
    return not head


def _check_compression(file: LogFile, head: bytes) -> None:
    if file.path.suffix.lower() == ".gz":
        if not head.startswith(GZIP):
            raise InputError(f"{file.path}: this is no gzip file; name it for what it is.")
        read_through(file)  # DuckDB looks at neither the checksum nor the length
        return
    if not head.startswith(ZSTD) and not _is_skippable(head):
        raise InputError(f"{file.path}: this is no zstd file; name it for what it is.")
    if not _is_whole_zstd(file.path):
        raise InputError(damaged(file))


def _is_skippable(head: bytes) -> bool:
    return head[1:4] == b"\x2a\x4d\x18" and head[0] >> 4 == 5


def _is_whole_zstd(path: Path) -> bool:
    """Walk the frames and blocks of a zstd file by their sizes, unpacking nothing (RFC 8878, section 3.1).

    Neither DuckDB nor Arrow say when the last frame of a file is cut short: they read what is there.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        while start := stream.read(5):
            if len(start) < 5:
                return False
            if _is_skippable(start):
                rest = start[4:] + stream.read(3)
                stream.seek(int.from_bytes(rest, "little"), 1)
                if stream.tell() > size:
                    return False
                continue
            if not start.startswith(ZSTD):
                return False
            flags = start[4]
            single = flags >> 5 & 1
            content_bytes = (single, 2, 4, 8)[flags >> 6]
            stream.seek((1 - single) + (0, 1, 2, 4)[flags & 3] + content_bytes, 1)
            last = False
            while not last:
                block = stream.read(3)
                if len(block) < 3:
                    return False
                header = int.from_bytes(block, "little")
                last, kind, length = bool(header & 1), header >> 1 & 3, header >> 3
                stream.seek(1 if kind == 1 else length, 1)  # kind 1 repeats one byte
            stream.seek(4 * (flags >> 2 & 1), 1)  # the checksum
            if stream.tell() > size:
                return False
    return True
