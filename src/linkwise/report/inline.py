"""Matplotlib's SVG made fit to stand inside a page.

Several SVGs share one HTML page: ids get a prefix, Matplotlib's style element (which would reach the whole
page) and metadata go, and colours become CSS variables, so that the page's scheme, light or dark, sets them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree

from linkwise.report.looks import COLOURS

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif"

_VARIABLES = {light: f"var(--{name}, {light})" for name, (light, _) in COLOURS.items()}
_REFERENCE = re.compile(r"(?:url\(#|^#)([\w-]+)")
_DECIMAL = re.compile(r"-?\d+\.\d+")
_COLOUR = re.compile(r"#[0-9a-f]{6}")
_NO_TURN = re.compile(r"rotate\(-?0(\.0+)? [^)]*\)")


def inline(source: str, alt: str, prefix: str, texts: Mapping[str, str]) -> str:
    """One SVG element, from the SVG file `source` that Matplotlib wrote.

    `alt` becomes its accessible name, and `prefix` starts all its ids. `texts` maps texts that stood in for
    others to those others.
    """
    root = ElementTree.fromstring(source)
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    used = {
        name
        for element in root.iter()
        for value in element.attrib.values()
        for name in _REFERENCE.findall(value)
    }
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {
            name: text
            for key, value in element.attrib.items()
            if (name := _local(key)) != "id" or value in used
            if (text := _attribute(name, value, prefix))
        }
        if element.tag in ("text", "tspan"):
            element.text = texts.get(element.text or "", element.text)
        elif not (element.text or "").strip():
            element.text = None
        element.tail = None
    _unwrap(root)
    box = root.attrib["viewBox"]
    root.attrib = {
        "xmlns": "http://www.w3.org/2000/svg",
        "class": "chart",
        "viewBox": box,
        "width": "100%",
        "role": "img",
        "aria-label": alt,
        "font-family": FONT,
        "stroke-linejoin": "round",
    }
    return ElementTree.tostring(root, encoding="unicode")


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _attribute(name: str, value: str, prefix: str) -> str:
    if name == "id":
        return f"{prefix}-{value}"
    if name == "transform":
        value = _NO_TURN.sub("", value).strip()
    if name == "style":
        parts = [part.strip() for part in value.split(";")]
        value = ";".join(part for part in parts if not part.startswith(("font-family", "font:")))
        value = _COLOUR.sub(lambda m: _VARIABLES.get(m[0], m[0]), value)
    value = _DECIMAL.sub(lambda m: f"{float(m[0]):.2f}".rstrip("0").rstrip("."), value)
    value = value.replace("\n", "").replace("url(#", f"url(#{prefix}-")
    return f"#{prefix}-{value[1:]}" if name == "href" else value


def _unwrap(parent: ElementTree.Element) -> None:
    """Put the children of groups that say nothing in their place; empty groups and definitions vanish."""
    kept: list[ElementTree.Element] = []
    for child in parent:
        _unwrap(child)
        if child.tag in ("g", "defs") and not len(child):
            continue
        kept.extend(child if child.tag == "g" and not child.attrib else [child])
    parent[:] = kept
