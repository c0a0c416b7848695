"""Graphs from files: TUDataset folders and zips, edge lists, GraphML, and molecules as SMILES."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from linkwise.data.graphs import Graphs, Longs, build_graphs, numbered, of_networkx
from linkwise.data.texts import ENDINGS, read_table
from linkwise.errors import InputError, UsageError, optional

MOST_BYTES = 4 * 2**30  # of one file inside a zip, unpacked
MOST_TIMES = (
    500  # how many times its packed size a file may be: text of numbers packs some 380 times
)
PARTS = ("A", "graph_indicator", "graph_labels", "node_labels", "edge_labels", "node_attributes")
# What the columns of a list of edges are usually called, the likeliest first.
USUAL = {
    "graph": ("graph", "graph_id", "id"),
    "source": ("source", "from", "u", "node1"),
    "target": ("target", "to", "v", "node2"),
    "label": ("label", "class", "graph_label"),
}
SMILES = ("smiles", "SMILES", "canonical_smiles")


def read_graphs(path: str | Path) -> Graphs:
    """Read graphs of one file or folder.

    A TUDataset as it is published (a zip, or the folder with NAME_A.txt); a folder of GraphML files or one
    of them (each graph in it is one); a table with a row for each edge (graph, source, target, and where
    there is one the graph's label; a row without a target is a node that may have no edge), or a table with
    a column smiles, where RDKit is installed.

    Raises `InputError` where the files are missing, damaged, or do not fit each other.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder.")
    if path.is_dir():
        if any(path.glob("*_A.txt")):
            return _of_tu_folder(path)
        files = sorted(path.glob("*.graphml"))
        if not files:
            raise InputError(
                f"{path}: the folder has no graphs; expected NAME_A.txt (TUDataset) or .graphml files."
            )
        return _of_graphml(files)
    if path.suffix.lower() == ".zip":
        return _of_tu_zip(path)
    if path.suffix.lower() == ".graphml":
        return _of_graphml([path])
    if path.suffix.lower() in ENDINGS:
        return _of_table(path)
    raise InputError(
        f'{path}: graphs are not read from files ending in "{path.suffix}"; expected .zip (TUDataset), '
        f".graphml, or a table of edges ({', '.join(ENDINGS)})."
    )


# ---------------------------------------------------------------------------------------- TUDataset


def _of_tu_folder(folder: Path) -> Graphs:
    names = sorted(file.name.removesuffix("_A.txt") for file in folder.glob("*_A.txt"))
    if len(names) > 1:
        raise InputError(
            f"{folder}: there are several sets of graphs ({', '.join(names[:5])}); keep each in a folder of "
            "its own."
        )
    parts = {}
    for part in PARTS:
        file = folder / f"{names[0]}_{part}.txt"
        if file.is_file():
            try:
                parts[part] = file.read_bytes()
            except OSError as error:
                raise InputError(f"{file}: this cannot be read ({error.strerror}).") from error
    return _of_tu(str(folder), names[0], parts)


def _of_tu_zip(path: Path) -> Graphs:
    """Read in memory, nothing is unpacked to disk: names inside that lead elsewhere can do no harm."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {}
            for member in archive.infolist():
                match = re.fullmatch(
                    rf"(?:[^/\\]+/)?([^/\\]+?)_({'|'.join(PARTS)})\.txt", member.filename
                )
                if match is None:
                    continue
                if member.file_size > MOST_BYTES or (
                    member.file_size > MOST_TIMES * max(1, member.compress_size)
                    and member.file_size > 2**20
                ):
                    raise InputError(
                        f"{path}: {member.filename} is {member.file_size:,} bytes unpacked and "
                        f"{member.compress_size:,} packed; a set of graphs is not so. Unpack it yourself if "
                        "you trust it, and give the folder."
                    )
                members[match[1], match[2]] = member
            names = sorted({name for name, _ in members})
            if len(names) != 1:
                raise InputError(
                    f"{path}: expected one set of graphs, NAME/NAME_A.txt; found "
                    f"{', '.join(names[:5]) if names else 'none'}."
                )
            parts = {}
            for (_, part), member in members.items():
                with archive.open(member) as file:
                    # The size in the directory may be a lie: no more than it is read.
                    data = file.read(member.file_size + 1)
                if len(data) > member.file_size:
                    raise InputError(f"{path}: {member.filename} is larger than the zip says.")
                parts[part] = data
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{path}: the zip is damaged, or cannot be read ({error}).") from error
    return _of_tu(str(path), names[0], parts)


def _of_tu(where: str, name: str, parts: dict[str, bytes]) -> Graphs:
    """Graphs of the files' contents; the indicator need not be sorted."""
    for part in ("A", "graph_indicator"):
        if part not in parts:
            raise InputError(f"{where}: {name}_{part}.txt is missing.")
    edges = _whole(where, f"{name}_A.txt", parts["A"], 2)
    owner = _whole(where, f"{name}_graph_indicator.txt", parts["graph_indicator"], 1)[:, 0] - 1
    n = len(owner)
    if len(edges) and not (edges.min() >= 1 and edges.max() <= n):
        row = int(np.flatnonzero((edges < 1).any(axis=1) | (edges > n).any(axis=1))[0])
        raise InputError(
            f"{where}: {name}_A.txt line {row + 1}: the edge {edges[row, 0]}, {edges[row, 1]} has a node "
            f"that is not among the {n:,} of {name}_graph_indicator.txt."
        )
    labels = None
    if "graph_labels" in parts:
        labels = _lines(parts["graph_labels"])
    elif n and owner.max() >= n:
        row = int(owner.argmax())
        raise InputError(
            f"{where}: {name}_graph_indicator.txt line {row + 1}: graph {owner[row] + 1}, and there are "
            f"{n:,} nodes in all; graphs are numbered from 1 on, without gaps."
        )
    n_graphs = len(labels) if labels is not None else int(owner.max(initial=-1)) + 1
    if n and (owner.min() < 0 or owner.max() >= n_graphs):
        row = int(np.flatnonzero((owner < 0) | (owner >= n_graphs))[0])
        raise InputError(
            f"{where}: {name}_graph_indicator.txt line {row + 1}: graph {owner[row] + 1}, and there are "
            f"{n_graphs:,} graphs."
        )
    order = np.argsort(owner, kind="stable")  # nodes of one graph together, in their order
    place = np.empty(n, dtype=np.int64)
    place[order] = np.arange(n)
    node_label = attributes = edge_label = None
    if "node_labels" in parts:
        found = _lines(parts["node_labels"])
        _as_many(where, f"{name}_node_labels.txt", len(found), n, "nodes")
        numbers, names = numbered(found)
        node_label = numbers[order], names
    if "edge_labels" in parts:
        found = _lines(parts["edge_labels"])
        _as_many(where, f"{name}_edge_labels.txt", len(found), len(edges), "edges")
        edge_label = numbered(found)
    if "node_attributes" in parts:
        values = _numbers(where, f"{name}_node_attributes.txt", parts["node_attributes"], None)
        _as_many(where, f"{name}_node_attributes.txt", len(values), n, "nodes")
        attributes = values[order]
    sizes = np.bincount(owner, minlength=n_graphs)
    source, target = place[edges[:, 0] - 1], place[edges[:, 1] - 1]
    try:
        return build_graphs(
            [str(k + 1) for k in range(n_graphs)], sizes, source, target, label=labels,
            node_label=node_label, edge_label=edge_label, attributes=attributes,
        )  # fmt: skip
    except InputError as error:
        raise InputError(f"{where}: {name}_A.txt: {error}") from None


def _lines(data: bytes) -> list[str]:
    return [line.strip() for line in data.decode("utf-8", "replace").splitlines() if line.strip()]


def _as_many(where: str, file: str, got: int, expected: int, what: str) -> None:
    if got != expected:
        raise InputError(f"{where}: {file} has {got:,} lines, and there are {expected:,} {what}.")


def _numbers(where: str, file: str, data: bytes, columns: int | None) -> Any:
    """Rows of numbers with commas between them."""
    if not data.strip():
        return np.zeros((0, columns or 0))
    try:
        frame = pl.read_csv(
            io.BytesIO(data.replace(b" ", b"").replace(b"\t", b"")), has_header=False,
            schema_overrides={f"column_{k + 1}": pl.Float64 for k in range(columns or 0)},
        )  # fmt: skip
        found = frame.cast(pl.Float64).to_numpy()
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise InputError(
            f"{where}: {file}: expected rows of numbers with commas between them ({_first(error)})."
        ) from error
    if np.isnan(found).any() or (columns is not None and found.shape[1] != columns):
        row = int(np.isnan(found).any(axis=1).argmax())
        raise InputError(
            f"{where}: {file} line {row + 1}: expected {columns or 'as many'} numbers, as in the first line."
        )
    return found


def _whole(where: str, file: str, data: bytes, columns: int) -> Longs:
    """Rows of whole numbers, which nodes and graphs are numbered by."""
    found = _numbers(where, file, data, columns)
    wrong = (found != np.rint(found)) | (np.abs(found) > 2**53)
    if wrong.any():
        row, column = (int(k[0]) for k in np.nonzero(wrong))
        raise InputError(
            f"{where}: {file} line {row + 1}: {found[row, column]} is no number of a node or graph; "
            "expected 1, 2, 3 and so on."
        )
    return np.asarray(found, dtype=np.int64)


def _first(error: Exception) -> str:
    return " ".join(str(error).split())[:160]


# --------------------------------------------------------------------------------- GraphML and tables


def _of_graphml(files: Sequence[Path]) -> Graphs:
    networkx = optional("networkx", "graphs", "GraphML")
    found, ids = [], []
    for file in files:
        text = file.read_bytes()
        if b"<!ENTITY" in text or b"<!DOCTYPE" in text:
            raise InputError(f"{file}: GraphML with a DOCTYPE or entities is not read.")
        try:
            graphs = list(networkx.readwrite.graphml.GraphMLReader()(string=text.decode("utf-8")))
        except Exception as error:  # networkx and the parser raise whatever their parts raise
            raise InputError(f"{file}: this is no GraphML ({_first(error)}).") from error
        if not graphs:
            raise InputError(f"{file}: there is no graph in it.")
        found += graphs
        ids += (
            [file.stem]
            if len(graphs) == 1
            else [f"{file.stem} {k + 1}" for k in range(len(graphs))]
        )
    return of_networkx(found, ids)


def _of_table(path: Path) -> Graphs:
    frame = read_table(path)
    if any(name in frame.columns for name in SMILES):
        return _of_smiles(path, frame)
    by_lower = {name.lower(): name for name in frame.columns}
    chosen = {
        role: next((by_lower[name] for name in names if name in by_lower), None)
        for role, names in USUAL.items()
    }
    for role in ("graph", "source", "target"):
        if chosen[role] is None:
            raise InputError(
                f"{path}: no column of {role}s ({', '.join(USUAL[role])}); the columns are "
                f"{', '.join(frame.columns)}."
            )
    columns = {
        role: frame[name].cast(pl.String).str.strip_chars().to_list()
        for role, name in chosen.items()
        if name is not None
    }
    graphs: dict[str, int] = {}
    nodes: list[dict[str, int]] = []
    ends: list[tuple[int, int, int]] = []
    classes: list[str | None] = []
    for row in range(len(frame)):
        graph, source, target = (columns[role][row] for role in ("graph", "source", "target"))
        if not graph or not source:
            raise InputError(
                f"{path} row {row + 1}: the {'graph' if not graph else 'source'} is empty; expected an id."
            )
        if graph not in graphs:
            graphs[graph] = len(nodes)
            nodes.append({})
            classes.append(columns["label"][row] if "label" in columns else None)
        own = graphs[graph]
        if "label" in columns and not columns["label"][row]:
            raise InputError(
                f"{path} row {row + 1}: the {chosen['label']} is empty; expected the class of graph "
                f"{graph}. Leave the column out where classes are not known."
            )
        if "label" in columns and columns["label"][row] != classes[own]:
            raise InputError(
                f'{path} row {row + 1}: the label is "{columns["label"][row]}", and that of graph {graph} '
                f'was "{classes[own]}" before; a graph has one.'
            )
        a = nodes[own].setdefault(source, len(nodes[own]))
        if target:
            ends.append((own, a, nodes[own].setdefault(target, len(nodes[own]))))
    sizes = np.array([len(some) for some in nodes], dtype=np.int64)
    first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    edges = np.array(ends, dtype=np.int64).reshape(-1, 3)
    label = [str(name) for name in classes] if "label" in columns else None
    return build_graphs(
        list(graphs), sizes, first[edges[:, 0]] + edges[:, 1], first[edges[:, 0]] + edges[:, 2],
        label=label, directed=False,
    )  # fmt: skip


def _of_smiles(path: Path, frame: pl.DataFrame) -> Graphs:
    """Molecules: atoms are nodes labelled by their element, bonds edges labelled by their kind."""
    chemistry = optional("rdkit.Chem", "molecules", "SMILES")
    column = next(name for name in SMILES if name in frame.columns)
    by_lower = {name.lower(): name for name in frame.columns}
    ids = [str(k + 1) for k in range(len(frame))]
    if "id" in by_lower:
        ids = frame[by_lower["id"]].cast(pl.String).to_list()
    label = None
    if any(name in by_lower for name in USUAL["label"]):
        name = next(by_lower[name] for name in USUAL["label"] if name in by_lower)
        label = frame[name].cast(pl.String).to_list()
    sizes, atoms, bonds, source, target = [], [], [], [], []
    begin = 0
    for row, text in enumerate(frame[column].cast(pl.String).to_list(), 1):
        molecule = chemistry.MolFromSmiles(text or "")
        if molecule is None or not text:
            raise InputError(f'{path} row {row}: "{text}" is no SMILES.')
        sizes.append(molecule.GetNumAtoms())
        atoms += [atom.GetSymbol() for atom in molecule.GetAtoms()]
        for bond in molecule.GetBonds():
            source.append(begin + bond.GetBeginAtomIdx())
            target.append(begin + bond.GetEndAtomIdx())
            bonds.append(str(bond.GetBondType()))
        begin += sizes[-1]
    edges: tuple[Longs, tuple[str, ...]] | None = numbered(bonds) if bonds else None
    return build_graphs(
        ids, np.array(sizes, dtype=np.int64), np.array(source, dtype=np.int64),
        np.array(target, dtype=np.int64), label=label, node_label=numbered(atoms), edge_label=edges,
        directed=False,
    )  # fmt: skip


def write_tu(
    graphs: Graphs, folder: str | Path, name: str | None = None, readme: str | None = None
) -> None:
    """Write graphs as a TUDataset, which `read_graphs` and other libraries read, named as the folder.

    `readme` stands beside them, in the file README.

    The folder is made whole or not at all. Graphs are numbered from 1, as the format has it: their ids are
    lost. Raises `UsageError` where the folder exists.
    """
    folder = Path(folder)
    if folder.exists():
        raise UsageError(f"{folder}: the folder exists; choose another, or remove it.")
    name = name or folder.name
    parts = {
        "graph_indicator": [str(row + 1) for row in graphs.graph_of_node().tolist()],
        "A": [
            f"{source + 1}, {target + 1}"
            for source, target in zip(
                np.repeat(np.arange(len(graphs.degree)), graphs.degree).tolist(),
                graphs.neighbour.tolist(),
                strict=True,
            )
        ],
    }
    if graphs.label is not None:
        parts["graph_labels"] = list(graphs.label)
    if graphs.node_label is not None:
        parts["node_labels"] = [graphs.node_names[k] for k in graphs.node_label.tolist()]
    if graphs.edge_label is not None:
        parts["edge_labels"] = [graphs.edge_names[k] for k in graphs.edge_label.tolist()]
    if graphs.attributes is not None:
        rows = graphs.attributes.tolist()
        parts["node_attributes"] = [", ".join(repr(value) for value in row) for row in rows]
    partial = folder.with_name(f".{folder.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    for part, lines in parts.items():
        text = "".join(f"{line}\n" for line in lines)
        (partial / f"{name}_{part}.txt").write_text(text, encoding="utf-8")
    if readme is not None:
        (partial / "README").write_text(readme, encoding="utf-8")
    partial.rename(folder)
