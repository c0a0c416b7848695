"""Reference works as trees of sections: from Markdown, HTML, plain text or tables, with what cites what."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import polars as pl

from linkwise.data.files import LogFile, open_text, reading
from linkwise.data.texts import ENDINGS, read_table
from linkwise.errors import InputError

OUTLINES = (".md", ".markdown", ".html", ".htm", ".txt")
TABLES = tuple(ending for ending in ENDINGS if ending != ".txt")
SEPARATOR = ":::"  # between document and number in an id
# What the columns of a table are usually called, in lower case, the likeliest first.
USUAL = {
    "id": ("code", "codes", "section_id", "sec_id", "id"),
    "title": ("title", "name", "heading"),
    "text": ("text", "body", "description", "content"),
    "parent": ("parent", "parent_id"),
    "document": ("document", "doc"),
}
# Sections 2.4.3, 2.4.6 and 3.1 of the CWW BREF
CITED = re.compile(
    r"\b(?:[Ss]ections?|[Cc]hapters?)\s+((?:\d+(?:\.\d+)*)(?:(?:\s*,\s*(?:and\s+)?|\s+and\s+|\s+or\s+|\s*&\s*)"
    r"\d+(?:\.\d+)+)*)(?:\s+(?:of|in)\s+the\s+([A-Z][A-Za-z]*)\b)?"
)
HEADING = re.compile(r"^(\d{1,3}(?:\.\d{1,3})*)\.?\s+(\S.*)$")
SPACES = re.compile(r"[ \t\r\f\v]+")


@dataclass(frozen=True)
class Sections:
    """Sections of one or more documents.

    `table` has a row for each: id, document, number (None where it has none), title, text (None where
    there is none of its own), parent (an id, or None) and depth (0 at the top). `cites` has the columns
    citing and cited, both ids, each pair once. `notes` tell what was merged.
    """

    table: pl.DataFrame
    cites: pl.DataFrame
    notes: tuple[str, ...] = ()

    def path(self, section: str) -> list[str]:
        """The titles from a section's document down to itself."""
        rows = {row["id"]: row for row in self.table.iter_rows(named=True)}
        found: list[str] = []
        at: str | None = section
        while at is not None:
            found.append(rows[at]["title"])
            at = rows[at]["parent"]
        return found[::-1]


@dataclass
class _Heading:
    level: int
    number: str | None
    title: str
    line: int
    body: list[str]


def read_sections(paths: str | Path | Sequence[str | Path], id: str | None = None) -> Sections:
    """Read documents with headings (.md, .html, .txt with numbered headings) and tables of sections.

    A document is a file; its sections have ids such as `manual:::4.2.1`, by the headings' numbers or,
    without numbers, by their places. A table has a row for each section: an id (code, section_id, id), a
    title (title, name), and where it has them text, document and parent. Of several columns of ids each row
    has the first that it has one in, unless `id` names the one to take; `notes` say which it was. An id such
    as `LVOC:::4.4.5` tells its document and parent by itself. Tables of one work, such as its tree and its
    texts, are joined by their ids; rows of one id and different texts are parts of one section. Citations
    are read from the texts: "see Sections 2.4 and 3.1 of the CWW BREF".

    Raises `InputError` where a file cannot be read or has no sections, a parent is not there, or parents go
    in a circle.
    """
    files = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    if not files:
        raise InputError("no files of sections were given.")
    parts, notes = [], []
    for path in files:
        if path.is_dir():
            raise InputError(f"{path}: this is a folder; name the files of sections in it.")
        ending = path.suffix.lower()
        if ending in OUTLINES:
            parts.append(_of_outline(path, ending))
        elif ending in TABLES:
            part, columns = _of_table(path, id)
            parts.append(part)
            if columns:
                notes.append(f"{path.name}: the sections' ids are of the column {columns}.")
        else:
            raise InputError(
                f'{path}: sections are not read from files ending in "{ending}"; expected '
                f"{', '.join((*OUTLINES, *TABLES))}."
            )
    every = pl.concat(parts)
    table = _one_row_each(every)
    if len(table) < len(every):
        notes.append(
            f"{len(every) - len(table):,} of {len(every):,} rows name a section again; their texts are "
            "joined."
        )
    table = _placed(table)
    return Sections(table, _citations(table), tuple(notes))


# --------------------------------------------------------------------------------------------- outlines

SCHEMA = {
    "id": pl.String,
    "document": pl.String,
    "number": pl.String,
    "title": pl.String,
    "text": pl.String,
    "parent": pl.String,
}


def _of_outline(path: Path, ending: str) -> pl.DataFrame:
    file = LogFile(path, "csv", False)
    try:
        with reading(file), open_text(file) as stream:
            text = stream.read()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: this is not text in UTF-8 ({error.reason}).") from error
    outline = {".txt": _of_plain, ".html": _of_html, ".htm": _of_html}.get(ending, _of_markdown)
    before, headings = outline(text)
    if not headings:
        raise InputError(
            f"{path}: no headings were found; expected lines such as "
            + {
                ".txt": '"4.2 Flue gas"',
                ".html": "<h2>Flue gas</h2>",
                ".htm": "<h2>Flue gas</h2>",
            }.get(ending, '"## Flue gas"')
            + "."
        )
    document = path.stem
    rows: list[tuple[str, str, str, str, str | None, str | None]] = []
    if lead := _clean(before):
        rows.append((f"{document}{SEPARATOR}0", document, "0", document, lead, None))
    open_ones: list[tuple[int, str]] = []  # (level, id) from the top down to where we are
    counts: dict[str | None, int] = {}
    seen: dict[str, int] = {}
    for heading in headings:
        while open_ones and open_ones[-1][0] >= heading.level:
            open_ones.pop()
        above = open_ones[-1][1] if open_ones else None
        counts[above] = counts.get(above, 0) + 1
        number = heading.number
        if number is None:
            prefix = "" if above is None else above.partition(SEPARATOR)[2] + "."
            number = f"{prefix}{counts[above]}"
        name = f"{document}{SEPARATOR}{number}"
        if name in seen:
            raise InputError(
                f'{path} line {heading.line}: the section {number} "{heading.title}" stands already in line '
                f"{seen[name]}; give each section a number of its own."
            )
        seen[name] = heading.line
        rows.append((name, document, number, heading.title, _clean(heading.body), above))
        open_ones.append((heading.level, name))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _clean(lines: list[str]) -> str | None:
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(SPACES.sub(" ", line).strip() for line in lines))
    return text.strip() or None


def _numbered(title: str) -> tuple[str | None, str]:
    """A heading's number and its words."""
    match = HEADING.match(title)
    return (match[1], match[2].strip()) if match else (None, title.strip())


def _of_markdown(text: str) -> tuple[list[str], list[_Heading]]:
    before: list[str] = []
    found: list[_Heading] = []
    fence: str | None = None
    for line, words in enumerate(text.split("\n"), 1):
        bare = words.strip()
        if match := re.match(r"(`{3,}|~{3,})", bare):
            fence = None if fence == match[1][:3] else fence or match[1][:3]
        heading = None if fence else re.match(r"^ {0,3}(#{1,6})\s+(.*?)(?:\s+#+)?\s*$", words)
        if heading and heading[2]:
            number, title = _numbered(heading[2])
            found.append(_Heading(len(heading[1]), number, title, line, []))
        else:
            (found[-1].body if found else before).append(words)
    return before, found


def _of_plain(text: str) -> tuple[list[str], list[_Heading]]:
    """Numbered lines that go on from the heading before, as lists, contents and measures seldom do."""
    before: list[str] = []
    found: list[_Heading] = []
    last: tuple[int, ...] = ()
    for line, words in enumerate(text.split("\n"), 1):
        match = HEADING.match(words.strip())
        if match and _is_title(match[2]):
            number = tuple(int(part) for part in match[1].split("."))
            if _goes_on(last, number):
                title = match[2].strip()
                found.append(_Heading(len(number), match[1], title, line, []))
                last = number
                continue
        (found[-1].body if found else before).append(words)
    return before, found


def _is_title(words: str) -> bool:
    leaders = re.search(r"(\.\s?){3,}\s*\d+\s*$", words)  # of a table of contents
    return (
        len(words) <= 120
        and words[0].isupper()
        and not words.rstrip().endswith((".", ";", ",", ":"))
        and not leaders
    )


def _goes_on(last: tuple[int, ...], number: tuple[int, ...]) -> bool:
    """Whether a heading may follow another: its first part, or the next one at its or a higher level."""
    if not last:
        return number[-1] <= 1 or len(number) == 1
    if number[:-1] == last:
        return number[-1] <= 1
    k = len(number)
    return (
        k <= len(last)
        and number[:-1] == last[: k - 1]
        and last[k - 1] < number[-1] <= last[k - 1] + 3
    )


class _Outline(HTMLParser):
    """The headings of a page and the text below each."""

    SILENT = frozenset({"script", "style", "head", "nav", "template", "noscript"})
    BLOCKS = frozenset(
        [
            "p",
            "div",
            "br",
            "li",
            "tr",
            "table",
            "ul",
            "ol",
            "section",
            "article",
            "blockquote",
            "pre",
            "dd",
            "dt",
            "td",
            "th",
            "main",
            "header",
            "footer",
        ]
    )

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.before: list[str] = []
        self.found: list[_Heading] = []
        self.title: list[str] | None = None
        self.silent = 0

    def _to(self) -> list[str]:
        return self.found[-1].body if self.found else self.before

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self.SILENT:
            self.silent += 1
        elif re.fullmatch(r"h[1-6]", tag):
            self.title = []
            self.level, self.line = int(tag[1]), self.getpos()[0]
        elif tag in self.BLOCKS and self.title is None:
            self._to().append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self.SILENT:
            self.silent = max(0, self.silent - 1)
        elif re.fullmatch(r"h[1-6]", tag) and self.title is not None:
            words = " ".join("".join(self.title).split())
            self.title = None
            if words:
                number, title = _numbered(words)
                self.found.append(_Heading(self.level, number, title, self.line, []))
        elif tag in self.BLOCKS:
            self._to().append("\n")

    def handle_data(self, data: str) -> None:
        if self.silent:
            return
        if self.title is not None:
            self.title.append(data)
        else:
            self._to().append(re.sub(r"\s+", " ", data))


def _of_html(text: str) -> tuple[list[str], list[_Heading]]:
    parser = _Outline()
    parser.feed(text)
    parser.close()
    for heading in parser.found:
        heading.body = "".join(heading.body).split("\n")
    return "".join(parser.before).split("\n"), parser.found


# ----------------------------------------------------------------------------------------------- tables


def _of_table(path: Path, id: str | None) -> tuple[pl.DataFrame, str]:
    """The sections of a table, and which of several columns their ids are of, in words."""
    frame = read_table(path)
    by_lower = {name.lower(): name for name in frame.columns}
    chosen = {
        role: [by_lower[name] for name in names if name in by_lower]
        for role, names in USUAL.items()
    }
    if id is not None:
        if id not in frame.columns:
            raise InputError(
                f'{path}: no column "{id}" (--section-id); the columns are {", ".join(frame.columns)}.'
            )
        chosen["id"] = [id]
    for role in ("id", "title"):
        if not chosen[role]:
            raise InputError(
                f"{path}: no column of {role}s was found ({', '.join(USUAL[role])}); the columns are "
                f"{', '.join(frame.columns)}."
            )
    table = frame.select(  # of an id the first column that has one: a code where there is a code
        pl.coalesce(
            *(
                pl.col(name).cast(pl.String).str.strip_chars().replace("", None)
                for name in chosen[role]
            ),
            pl.lit(None, pl.String),
        ).alias(role)
        for role in ("id", "document", "title", "text", "parent")
    )
    if table["id"].null_count():
        row = int(table["id"].is_null().arg_max() or 0) + 1
        raise InputError(
            f"{path} row {row}: {' and '.join(chosen['id'])} are empty; expected the id of a section."
        )
    told = _columns_of_ids(frame, chosen["id"])
    parts = pl.col("id").str.split_exact(SEPARATOR, 1)
    spelled = pl.col("id").str.contains(SEPARATOR, literal=True)
    found = table.select(
        "id",
        pl.coalesce("document", pl.when(spelled).then(parts.struct[0]), pl.lit(path.stem)).alias(
            "document"
        ),
        pl.when(spelled).then(parts.struct[1]).alias("number"),
        pl.coalesce("title", "id").alias("title"),
        "text",
        "parent",
    )
    return found, told


def _columns_of_ids(frame: pl.DataFrame, names: list[str]) -> str:
    """Which of several columns the ids are of, and how many of another than the first; empty for one."""
    if len(names) == 1:
        return ""
    left = frame.select(
        pl.col(name).cast(pl.String).str.strip_chars().replace("", None).is_null() for name in names
    )
    open_rows = pl.repeat(True, len(frame), eager=True)
    told = []
    for name in names:
        filled = open_rows & ~left[name]
        if filled.any():
            told.append((name, int(filled.sum())))
        open_rows = open_rows & left[name]
    first, *others = told
    rest = ", ".join(f"{n:,} of {name}" for name, n in others)
    return first[0] + (f", but {rest}; --section-id takes one alone" if rest else "")


# -------------------------------------------------------------------------------------------- the tree


def _one_row_each(table: pl.DataFrame) -> pl.DataFrame:
    """A row for each id, where it stood first: the first title, different texts joined."""
    return table.group_by("id", maintain_order=True).agg(
        pl.col("document").first(),
        pl.col("number").drop_nulls().first(),
        pl.col("title").first(),
        pl.col("text").drop_nulls().unique(maintain_order=True).str.join("\n\n").replace("", None),
        pl.col("parent").drop_nulls().first(),
    )


def _placed(table: pl.DataFrame) -> pl.DataFrame:
    """The same with parents, of those without one by their number, and depths.

    Raises `InputError` where a parent is not there, or the parents go in a circle.
    """
    known = set(table["id"])
    parent: dict[str, str | None] = {}
    for row in table.iter_rows(named=True):
        above = row["parent"]
        if above is not None and above not in known:
            raise InputError(
                f'section "{row["id"]}": its parent "{above}" is not among the {len(known):,} sections.'
            )
        if above is None and row["number"] is not None:
            head, number = row["id"].removesuffix(row["number"]), row["number"]
            while "." in number and above is None:
                number = number.rpartition(".")[0]
                above = head + number if head + number in known else None
        parent[row["id"]] = above
    depth: dict[str, int] = {}
    for section in parent:
        way: list[str] = []
        at: str | None = section
        while at is not None and at not in depth:
            if at in way:
                circle = " -> ".join([*way[way.index(at) :], at])
                raise InputError(f"the sections' parents go in a circle: {circle}.")
            way.append(at)
            at = parent[at]
        base = -1 if at is None else depth[at]
        for k, name in enumerate(reversed(way), 1):
            depth[name] = base + k
    return table.with_columns(
        pl.Series("parent", [parent[name] for name in table["id"]], dtype=pl.String),
        pl.Series("depth", [depth[name] for name in table["id"]], dtype=pl.Int64),
    )


def _citations(table: pl.DataFrame) -> pl.DataFrame:
    """Which section names which in its text; those of other documents where the document is named."""
    known = set(table["id"])
    documents = {document.lower(): document for document in table["document"].unique()}
    found: dict[tuple[str, str], None] = {}
    for row in table.filter(pl.col("text").is_not_null()).iter_rows(named=True):
        for document, number in cited_in(row["text"]):
            of = row["document"] if document is None else documents.get(document.lower())
            cited = f"{of}{SEPARATOR}{number}"
            if of is not None and cited in known and cited != row["id"]:
                found[row["id"], cited] = None
    schema = {"citing": pl.String, "cited": pl.String}
    return pl.DataFrame(list(found), schema=schema, orient="row")


def cited_in(text: str) -> Iterator[tuple[str | None, str]]:
    """The sections that a text cites: the document's name, None for its own, and the number."""
    for match in CITED.finditer(text):
        for number in re.findall(r"\d+(?:\.\d+)*", match[1]):
            yield match[2], number
