"""The graph: its tables of nodes and links, and GraphML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import polars as pl

NODES = {
    "kind": pl.String, "id": pl.String, "title": pl.String, "text": pl.String, "year": pl.Int32,
}  # fmt: skip
LINKS = {
    "source_kind": pl.String, "source": pl.String, "target_kind": pl.String, "target": pl.String,
    "score": pl.Float64, "origin": pl.String, "by": pl.String, "reason": pl.String,
    "source_part": pl.String, "target_part": pl.String,
}  # fmt: skip
NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
TYPES = {pl.String: "string", pl.Float64: "double", pl.Int32: "int"}


def write_graphml(nodes: pl.DataFrame, links: pl.DataFrame, path: Path) -> None:
    """Write a graph as GraphML, directed, with all columns as typed attributes.

    A node is known by its kind and id, as `patent:EP1`; two nodes may have several links. What XML cannot
    hold (control characters) is left out of texts; nulls are left out.
    """
    # Written by lines: of a million links a tree would not fit, and networkx is not needed to write.
    with path.open("w", encoding="utf-8") as file:
        file.write('<?xml version="1.0" encoding="UTF-8"?>\n')
        file.write('<graphml xmlns="http://graphml.graphdrawing.org/xmlns">\n')
        for of, schema in (("node", NODES), ("edge", LINKS)):
            for name, kind in schema.items():
                file.write(
                    f'<key id="{of}-{name}" for="{of}" attr.name="{name}" attr.type="{TYPES[kind]}"/>\n'
                )
        file.write('<graph edgedefault="directed">\n')
        for row in nodes.iter_rows(named=True):
            file.write(f"<node id={_quoted(row['kind'], row['id'])}>{_data('node', row)}</node>\n")
        for number, row in enumerate(links.iter_rows(named=True)):
            source = _quoted(row["source_kind"], row["source"])
            target = _quoted(row["target_kind"], row["target"])
            file.write(
                f'<edge id="e{number}" source={source} target={target}>{_data("edge", row)}</edge>\n'
            )
        file.write("</graph>\n</graphml>\n")


def _quoted(kind: str, name: str) -> str:
    return quoteattr(NOT_IN_XML.sub("", f"{kind}:{name}"))


def _data(of: str, row: dict[str, object]) -> str:
    return "".join(
        f'<data key="{of}-{name}">{escape(NOT_IN_XML.sub("", str(value)))}</data>'
        for name, value in row.items()
        if value is not None
    )


def links_of(rows: Sequence[tuple[object, ...]]) -> pl.DataFrame:
    """Rows of links as a table of `LINKS`."""
    return pl.DataFrame(rows, schema=LINKS, orient="row")
