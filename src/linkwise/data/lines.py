"""A text log line by line: its header, its rows, where a value stands, a copy without malformed rows."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple

from linkwise.data.files import LogFile, open_bytes, open_text, reading
from linkwise.errors import InputError

LONGEST_LINE = 2_000_000  # bytes; DuckDB takes no longer row
LONGEST_HEADER = 100_000  # characters
BLOCK = 2**20
BOM = b"\xef\xbb\xbf"
# Why a row cannot be cut into its fields.
FIELDS, ENCODING, LENGTH = "wrong number of fields", "bytes that are not UTF-8", "lines over 2 MB"
NOT_UTF8 = "the bytes are not UTF-8"
NO_OBJECT = "this is no JSON object"


class Row(NamedTuple):
    """A row of a text log: the line that it begins on (the first is 1), its text, its quoted fields."""

    line: int
    text: str
    quoted: list[str] | None = None

    def fields(self, cut: Cut) -> list[str]:
        """The fields; cut here where no quote is among them, for not every reader of rows wants them."""
        return self.text.split(cut.delimiter) if self.quoted is None else self.quoted


class Malformed(NamedTuple):
    """A row that cannot be cut into fields: its line, why, and that in words."""

    line: int
    why: str
    words: str


@dataclass(frozen=True)
class Cut:
    """How the rows of a text log are cut into fields."""

    n_fields: int
    delimiter: str
    quoted: bool
    has_header: bool


@dataclass
class Sifted:
    """How many rows of a file are malformed, by the reason, and the first of them."""

    counts: Counter[str] = field(default_factory=Counter)
    first: Malformed | None = None


def first_line(file: LogFile) -> str:
    """The first line of a text file, without its end; bad bytes are shown as escapes."""
    with reading(file), open_text(file) as stream:
        return stream.readline(LONGEST_LINE).lstrip("\ufeff").rstrip("\r\n")


def header(file: LogFile) -> tuple[list[str], str]:
    """The column names in a text file's first row, and its delimiter (tab, comma, semicolon or |).

    A column without a name (what pandas writes for an index) is called column_1, after its place.
    Raises `InputError` where there is no such row, it is not UTF-8, or names repeat.
    """
    where = f"{file.path} line 1"
    with reading(file), open_bytes(file) as stream:
        lines = [stream.readline(LONGEST_LINE).removeprefix(BOM)]
        # A quoted name may hold line breaks; more than nine of them are a quote that was never closed.
        while len(lines) < 10 and b"".join(lines).count(b'"') % 2:
            lines.append(stream.readline(LONGEST_LINE))
    try:
        text = b"".join(lines).decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: {NOT_UTF8}; expected the column names. {MEND_UTF8}") from error
    if not text.strip():
        raise InputError(f"{where}: the line is empty; expected the column names.")
    if len(text) > LONGEST_HEADER:
        raise InputError(
            f"{where}: the line is over {LONGEST_HEADER:,} characters long; expected column names."
        )
    outside = "".join(text.split('"')[::2])
    delimiter = max("\t,;|", key=outside.count)
    # As DuckDB does: spaces may follow a closing quote, other text may not (it then loses rows unsaid).
    text = re.sub(f'" +(?=[{re.escape(delimiter)}\r\n]|$)', '"', text)
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    try:
        names = [name.strip() for name in next(reader)]
    except csv.Error as error:
        raise InputError(f"{where}: the column names cannot be read ({error}).") from error
    names = [name or f"column_{place}" for place, name in enumerate(names, start=1)]
    check_names(names, where)
    return names, delimiter


MEND_UTF8 = "Turn the file into UTF-8, for example with iconv -f LATIN1 -t UTF-8."


def check_names(names: list[str], where: str) -> None:
    """Raise `InputError` where two columns have the same name, be it in other letter case."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.get(name.lower())
        if other is not None:
            what = f'column "{name}" stands there twice'
            if other != name:
                what = f'columns "{other}" and "{name}" differ only in case'
            raise InputError(
                f"{where}: the {what}; expected each name once. The columns are {', '.join(names)}."
            )
        seen[name.lower()] = name


def rows(stream: IO[bytes], cut: Cut) -> Iterator[Row | Malformed]:
    """The rows of a text log below its header; blank lines are passed over.

    A row whose quote is never closed costs only the line that it begins on.
    """
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_LINE))  # as long as DuckDB takes
    found = _rows(_lines(stream), cut)
    return islice(found, 1, None) if cut.has_header else found


def _rows(lines: Iterator[tuple[int, str | None, bool]], cut: Cut) -> Iterator[Row | Malformed]:
    waiting: deque[tuple[int, str | None, bool]] = deque()  # lines that a broken row had taken

    def next_line() -> tuple[int, str | None, bool] | None:
        return waiting.popleft() if waiting else next(lines, None)

    def taking(taken: list[tuple[int, str | None, bool]]) -> Iterator[str]:
        yield f"{taken[0][1]}\n"
        while (line := next_line()) is not None:
            taken.append(line)
            yield f"{line[1]}\n"

    while (line := next_line()) is not None:
        number, text, valid = line
        if text == "":
            continue
        if text is None or not cut.quoted or '"' not in text:
            yield _row(number, text, valid, cut)
            continue
        taken = [line]
        reader = csv.reader(
            taking(taken), delimiter=cut.delimiter, strict=True, skipinitialspace=True
        )
        try:
            fields = next(reader)
        except csv.Error:
            waiting.extendleft(reversed(taken[1:]))
            words = "a quote is not closed, or text follows where it is"
            yield Malformed(number, FIELDS, words)
            continue
        if not all(valid for *_, valid in taken):
            yield Malformed(number, ENCODING, NOT_UTF8)
        elif _has_misfit(fields, cut):
            yield _misfit(number, fields)
        else:
            yield Row(number, text, fields)


def _row(number: int, text: str | None, valid: bool, cut: Cut) -> Row | Malformed:
    """A line without quotes as a row."""
    if text is None:
        return Malformed(number, LENGTH, "the line is longer than 2 MB")
    if not valid and not _is_utf8(text):
        return Malformed(number, ENCODING, NOT_UTF8)
    if text.count(cut.delimiter) != cut.n_fields - 1:
        fields = text.split(cut.delimiter)
        if _has_misfit(fields, cut):
            return _misfit(number, fields)
    return Row(number, text)


def _has_misfit(fields: list[str], cut: Cut) -> bool:
    # Empty fields too many are delimiters at the line's end, which DuckDB passes over too.
    return len(fields) < cut.n_fields or any(fields[cut.n_fields :])


def _misfit(number: int, fields: list[str]) -> Malformed:
    noun = "field" if len(fields) == 1 else "fields"
    return Malformed(number, FIELDS, f"the row has {len(fields)} {noun}")


def _lines(stream: IO[bytes]) -> Iterator[tuple[int, str | None, bool]]:
    """Number and text of each line, and whether it is surely UTF-8; the text of an overlong one is None."""
    for number, lines, valid in _blocks(stream):
        for line in lines:
            yield number, line, valid or line is None or _is_utf8(line)
            number += 1


def _blocks(stream: IO[bytes]) -> Iterator[tuple[int, list[str | None], bool]]:
    """Whole lines in blocks: the first one's number, their texts, and whether all of them are UTF-8.

    Bad bytes become surrogates. Memory is bounded by the longest line that is let through.
    """
    number, rest = 1, b""
    lines: list[str | None]
    while True:
        block = stream.read(BLOCK)
        data = rest + block
        if number == 1:
            data = data.removeprefix(BOM)
        end = data.rfind(b"\n") + 1 if block else len(data)
        data, rest = data[:end], data[end:]
        if data:
            text = data.decode(errors="surrogateescape")
            valid = text.isascii() or _is_utf8(text)
            lines = [*text.removesuffix("\n").split("\n")]
            if "\r" in text:
                lines = [line.removesuffix("\r") for line in lines if line is not None]
            if len(data) > LONGEST_LINE:
                lines = [None if line is None or _is_too_long(line) else line for line in lines]
            yield number, lines, valid
            number += len(lines)
        if len(rest) > LONGEST_LINE:
            yield number, [None], True
            number += 1
            while (block := stream.read(BLOCK)) and b"\n" not in block:
                pass
            rest = block.partition(b"\n")[2]
        elif not block:
            return


def _is_too_long(line: str) -> bool:
    if len(line) <= LONGEST_LINE // 4:  # a character has four bytes at most
        return False
    return len(line.encode(errors="surrogateescape")) > LONGEST_LINE


def _is_utf8(text: str) -> bool:
    """Whether a text that was decoded with surrogates for its bad bytes has none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def find_line(file: LogFile, column: int, value: str, cut: Cut) -> int | None:
    """The number of the line that begins the first row whose field `column` is `value`; None without one."""
    with reading(file), open_bytes(file) as stream:
        for row in rows(stream, cut):
            if isinstance(row, Row) and row.fields(cut)[column].strip() == value.strip():
                return row.line
    return None


def first_values(file: LogFile, column: int, cut: Cut, most: int) -> list[str]:
    """What stands in the field `column` of the first rows that are whole."""
    with reading(file), open_bytes(file) as stream:
        whole = (row.fields(cut)[column] for row in rows(stream, cut) if isinstance(row, Row))
        return list(islice(whole, most))


def sift(file: LogFile, cut: Cut, clean: Path, stop: bool) -> Sifted:
    """Copy a text log to `clean` without its malformed rows, as UTF-8 with LF at the ends of the lines.

    Those rows are counted; with `stop` the first of them ends the copying. DuckDB is fast on what is well
    formed, but would keep 5 kB of memory for each row that is not, and gives up where line ends are mixed.
    """
    sifted = Sifted()
    with (
        reading(file),
        open_bytes(file) as stream,
        clean.open("w", encoding="utf-8", newline="\n") as out,
    ):
        if cut.has_header:
            out.write(cut.delimiter.join(["name"] * cut.n_fields) + "\n")
        for row in rows(stream, cut) if cut.quoted else _plain_rows(stream, cut, out):
            if isinstance(row, Malformed):
                sifted.counts[row.why] += 1
                sifted.first = sifted.first or row
                if stop:
                    break
            elif row.quoted is None:
                out.write(row.text.replace("\r", " ") + "\n")
            else:
                # Written anew: DuckDB refuses some quotes that Python reads, such as those after a space.
                quoted = (value.replace('"', '""') for value in row.quoted[: cut.n_fields])
                out.write(cut.delimiter.join(f'"{value}"' for value in quoted) + "\n")
    return sifted


def _plain_rows(stream: IO[bytes], cut: Cut, out: IO[str]) -> Iterator[Malformed]:
    """Write the good rows of a log without quotes a block at a time, and yield the others."""
    wanted = cut.n_fields - 1
    for number, lines, valid in _blocks(stream):
        if number == 1 and cut.has_header:
            lines[0] = ""
        kept = []
        for place, line in enumerate(lines, start=number):
            if valid and line and line.count(cut.delimiter) == wanted:
                kept.append(line)
            elif line != "":
                row = _row(place, line, valid, cut)
                if isinstance(row, Malformed):
                    yield row
                else:
                    kept.append(row.text)
        if kept:
            out.write("\n".join(kept).replace("\r", " ") + "\n")


def has_bom(file: LogFile) -> bool:
    """Whether a text file begins with a byte order mark, as Windows writes it."""
    with reading(file), open_bytes(file) as stream:
        return stream.read(3) == BOM


def copy_without_bom(file: LogFile, clean: Path) -> None:
    """Copy a text file, unpacked, without its byte order mark, which DuckDB takes for a part of the JSON."""
    with reading(file), open_bytes(file) as stream, clean.open("wb") as out:
        stream.read(3)
        shutil.copyfileobj(stream, out)


def find_json_line(file: LogFile, source: str, value: str) -> Malformed | int | None:
    """The first line that is no JSON object, or the number of the first whose field `source` is `value`."""
    with reading(file), open_bytes(file) as stream:
        for number, raw in enumerate(stream, start=1):
            if not (raw := raw.removeprefix(BOM).strip()):
                continue
            try:
                found = json.loads(raw.decode()).get(source)
            except UnicodeDecodeError:
                return Malformed(number, ENCODING, NOT_UTF8)
            except json.JSONDecodeError as error:
                return Malformed(number, FIELDS, f"this is not JSON ({error.msg})")
            except (AttributeError, RecursionError):
                return Malformed(number, FIELDS, NO_OBJECT)
            if ("" if found is None else str(found)).strip() == value.strip():
                return number
    return None


def json_fields(file: LogFile, most: int = 100) -> dict[str, str]:
    """The fields of the first records of a JSON log, with the first value of each as text.

    Raises `InputError` where none of the first lines is a JSON object.
    """
    found: dict[str, str] = {}
    first: tuple[int, str, object] | None = None
    with reading(file), open_text(file) as stream:
        for number, line in zip(range(1, most + 1), stream, strict=False):
            text = line.lstrip("\ufeff").strip()
            if not text:
                continue
            try:
                record = json.loads(text)
            except (json.JSONDecodeError, RecursionError) as error:
                record = error
            if isinstance(record, dict):
                for key, value in record.items():
                    found.setdefault(key, value if isinstance(value, str) else json.dumps(value))
            else:
                first = first or (number, text, record)
    if first is not None and not found:
        number, text, record = first
        raise InputError(f"{file.path} line {number}: {_no_object(file, text, record)}")
    return found


def _no_object(file: LogFile, text: str, record: object) -> str:
    lines = f"{file.path.name} > lines.jsonl"
    if text.startswith("["):
        return (
            "this is a JSON array; expected one JSON object on each line. "
            f"Turn it into such lines with: jq -c '.[]' {lines}"
        )
    if isinstance(record, Exception) and text.startswith("{"):
        return (
            "the JSON object does not end on its line; expected one on each line. "
            f"Turn it into such lines with: jq -c . {lines}"
        )
    return f"{NO_OBJECT}; expected one on each line, got {text[:40]}"
