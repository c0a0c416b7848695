"""Graphs: put together, read from files of every kind, simulated by their rules, and what is refused."""

from __future__ import annotations

import io
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import polars as pl
import pytest

from linkwise.cli import main
from linkwise.data.graph_files import read_graphs
from linkwise.data.graph_files import write_tu as write_graphs
from linkwise.data.graphs import (
    LOOPS,
    MULTIPLE,
    ONE_WAY,
    Graphs,
    build_graphs,
    of_networkx,
    of_pyg,
    put_together,
)
from linkwise.data.simulate_graphs import FAMILIES, plant, simulate_graphs
from linkwise.errors import InputError, ResourceError, UsageError

TU = {
    "A": "1, 2\n2, 1\n2, 3\n3, 2\n4, 5\n5, 4\n",
    "graph_indicator": "1\n1\n1\n2\n2\n",
    "graph_labels": "0\n1\n",
    "node_labels": "7\n8\n7\n10\n7\n",
    "edge_labels": "0\n0\n1\n1\n0\n0\n",
    "node_attributes": "1.0, 2\n3, 4\n5, 6\n7, 8\n9, 10\n",
}


def write_tu(folder: Path, **changes: str | None) -> Path:
    folder.mkdir(exist_ok=True)
    for part, text in (TU | changes).items():
        if text is not None:
            (folder / f"SET_{part}.txt").write_text(text)
    return folder


def zipped(path: Path, files: dict[str, bytes | str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def as_sets(graphs: Graphs) -> list[set[tuple[int, int]]]:
    return [{(int(a), int(b)) for a, b in graphs.edges(k)} for k in range(len(graphs))]


# ----------------------------------------------------------------------------------- put together


def test_loops_and_repeats_are_mended_and_counted() -> None:
    source = np.array([0, 1, 1, 2, 0, 0, 3, 4])
    target = np.array([1, 0, 1, 1, 1, 2, 4, 3])
    found = build_graphs(["a", "b"], np.array([3, 2]), source, target)
    assert as_sets(found) == [{(0, 1), (1, 2), (0, 2)}, {(0, 1)}]
    assert found.ledger == {LOOPS: 1, MULTIPLE: 1, ONE_WAY: 2}
    assert found.n_edges.tolist() == [3, 1]
    assert found.degree.tolist() == [2, 2, 2, 1, 1]
    assert found.graph_of_node().tolist() == [0, 0, 0, 1, 1]
    with pytest.raises(InputError, match="edge 1: from a node of graph a to one of graph b"):
        build_graphs(["a", "b"], np.array([3, 2]), np.array([0]), np.array([4]))
    with pytest.raises(InputError, match='the graph "a" stands twice'):
        build_graphs(["a", "a"], np.array([1, 1]), np.array([], int), np.array([], int))


def test_some_of_the_graphs_are_what_they_were() -> None:
    rng = np.random.default_rng(0)
    several = [nx.gnp_random_graph(int(n), 0.3, seed=int(n)) for n in rng.integers(1, 12, 9)]
    for k, graph in enumerate(several):
        graph.graph["label"] = k % 3
        nx.set_node_attributes(graph, {v: v % 2 for v in graph}, "label")
        nx.set_edge_attributes(graph, {e: sum(e) % 2 for e in graph.edges}, "label")
    found = of_networkx(several)
    some = found.select([7, 0, 3])
    for at, row in enumerate([7, 0, 3]):
        assert as_sets(some)[at] == as_sets(found)[row]
        assert as_sets(some)[at] == {(min(e), max(e)) for e in several[row].edges}
        assert some.label is not None
        assert some.label[at] == str(row % 3)
        mine = slice(some.first[at], some.first[at + 1])
        assert some.node_label is not None
        assert some.node_label[mine].tolist() == [v % 2 for v in several[row]]
        for v in range(len(several[row])):
            node = int(some.first[at]) + v
            span = slice(some.start[node], some.start[node + 1])
            others = some.neighbour[span] - some.first[at]
            assert some.edge_label is not None
            assert some.edge_label[span].tolist() == [(v + int(o)) % 2 for o in others]


def test_directed_and_multigraphs_are_taken_as_simple_ones() -> None:
    directed = nx.DiGraph([("a", "b"), ("b", "a"), ("b", "c"), ("c", "c")])
    found = of_networkx([directed, nx.empty_graph(1), nx.empty_graph(0)])
    assert as_sets(found) == [{(0, 1), (1, 2)}, set(), set()]
    assert found.ledger == {LOOPS: 1, MULTIPLE: 0, ONE_WAY: 1}
    several = nx.MultiGraph([(0, 1), (0, 1), (1, 2)])
    assert of_networkx([several]).ledger[MULTIPLE] == 1
    half = nx.path_graph(2)
    half.nodes[0]["label"] = "x"
    with pytest.raises(InputError, match="1 of 2 nodes have no label"):
        of_networkx([half])


def test_pyg_s_data_are_read() -> None:
    class Data:
        def __init__(self, n: int, edges: Any, x: Any, y: Any) -> None:
            self.num_nodes, self.edge_index, self.x, self.y = n, np.array(edges), x, y

    one_hot = np.array([[1, 0], [0, 1], [0, 1]])
    found = of_pyg([Data(3, [[0, 1], [1, 0]], one_hot, [4])])
    assert as_sets(found) == [{(0, 1)}]
    assert found.label == ("4",)
    assert found.node_label is not None
    assert found.node_label.tolist() == [0, 1, 1]
    found = of_pyg([Data(2, [[0, 1], [1, 0]], np.array([[0.5], [2.0]]), [1])])
    assert found.attributes is not None
    assert found.node_label is None


# --------------------------------------------------------------------------------------- TUDataset


@pytest.mark.parametrize("packed", [False, True])
def test_a_tudataset(tmp_path: Path, packed: bool) -> None:
    path = write_tu(tmp_path / "SET")
    if packed:
        path = zipped(
            tmp_path / "SET.zip",
            {"SET/README.txt": "hello", **{f"SET/SET_{k}.txt": v for k, v in TU.items()}},
        )
    found = read_graphs(path)
    assert found.ids == ("1", "2")
    assert found.label == ("0", "1")
    assert as_sets(found) == [{(0, 1), (1, 2)}, {(0, 1)}]
    assert found.node_names == ("7", "8", "10")  # as numbers, not as words
    assert found.node_label is not None
    assert found.node_label.tolist() == [0, 1, 0, 2, 0]
    assert found.edge_label is not None
    assert found.edge_label.tolist() == [0, 0, 1, 1, 0, 0]
    assert found.attributes is not None
    assert found.attributes.tolist()[3] == [7.0, 8.0]
    assert found.ledger == {LOOPS: 0, MULTIPLE: 0, ONE_WAY: 0}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    plain = read_graphs(write_tu(tmp_path / "SET"))
    write_graphs(plain, tmp_path / "again")
    found = read_graphs(tmp_path / "again")
    assert as_sets(found) == as_sets(plain)
    assert (found.label, found.node_names) == (plain.label, plain.node_names)
    for name in ("node_label", "edge_label", "attributes"):
        np.testing.assert_array_equal(getattr(found, name), getattr(plain, name))
    with pytest.raises(UsageError, match="the folder exists"):
        write_graphs(plain, tmp_path / "again")


def test_graphs_are_simulated_from_the_command_line(tmp_path: Path) -> None:
    out = tmp_path / "type3"
    assert (
        main(["simulate", "graphs", "--type", "3", "--n", "4", "--out", str(out), "--quiet"]) == 0
    )
    assert as_sets(read_graphs(out)) == as_sets(simulate_graphs("3", 4))
    assert (
        main(["simulate", "graphs", "--type", "3", "--n", "4", "--out", str(out), "--quiet"]) == 2
    )


def test_the_indicator_need_not_be_sorted(tmp_path: Path) -> None:
    shuffled = {
        "A": "1, 3\n3, 1\n2, 4\n4, 2\n4, 5\n5, 4\n",  # 2, 4, 5 are the first graph
        "graph_indicator": "2\n1\n2\n1\n1\n",
        "node_labels": "10\n7\n7\n8\n7\n",
        "edge_labels": "0\n0\n0\n0\n1\n1\n",
        "node_attributes": "7, 8\n1, 2\n9, 10\n3, 4\n5, 6\n",
    }
    found, plain = (
        read_graphs(write_tu(tmp_path / name, **change))  # type: ignore[arg-type]
        for name, change in (("b", shuffled), ("a", {}))
    )
    assert as_sets(found) == as_sets(plain)
    for name in ("node_label", "edge_label", "attributes"):
        np.testing.assert_array_equal(getattr(found, name), getattr(plain, name))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"graph_indicator": None}, "SET_graph_indicator.txt is missing"),
        (
            {"A": "1, 9\n", "edge_labels": None},
            "line 1: the edge 1, 9 has a node that is not among the 5",
        ),
        ({"A": "1, 4\n", "edge_labels": None}, "edge 1: from a node of graph 1 to one of graph 2"),
        ({"A": "1 two\n"}, "SET_A.txt: expected rows of numbers"),
        ({"graph_labels": "0\n"}, "SET_graph_indicator.txt line 4: graph 2, and there are 1"),
        ({"node_labels": "1\n"}, "SET_node_labels.txt has 1 lines, and there are 5 nodes"),
        ({"edge_labels": "1\n"}, "SET_edge_labels.txt has 1 lines, and there are 6 edges"),
        ({"node_attributes": "1, 2\n"}, "SET_node_attributes.txt has 1 lines"),
    ],
)
def test_files_that_do_not_fit_each_other(tmp_path: Path, change: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_graphs(write_tu(tmp_path / "SET", **change))


def test_a_set_without_labels_or_edges(tmp_path: Path) -> None:
    found = read_graphs(
        write_tu(tmp_path / "SET", A="", graph_labels=None, node_labels=None, edge_labels=None)
    )
    assert found.label is None
    assert found.n_edges.tolist() == [0, 0]


def test_zips_that_mean_harm(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {f"SET/SET_{k}.txt": v for k, v in TU.items()}
    away = zipped(tmp_path / "away.zip", files | {"../../evil_A.txt": "1, 2\n"})
    read_graphs(away)  # what leads elsewhere is not looked at
    assert not (tmp_path.parent / "evil_A.txt").exists()
    bomb = zipped(tmp_path / "bomb.zip", files | {"SET/SET_A.txt": b"0" * (40 * 2**20)})
    with pytest.raises(InputError, match="is 41,943,040 bytes unpacked"):
        read_graphs(bomb)
    whole = zipped(tmp_path / "good.zip", files).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="the zip is damaged"):
        read_graphs(tmp_path / "cut.zip")
    rotten = bytearray(whole)
    rotten[60] ^= 0xFF
    (tmp_path / "rotten.zip").write_bytes(bytes(rotten))
    with pytest.raises(InputError, match=r"rotten\.zip"):
        read_graphs(tmp_path / "rotten.zip")
    with pytest.raises(InputError, match="found none"):
        read_graphs(zipped(tmp_path / "none.zip", {"a.txt": "x"}))


def test_a_zip_that_lies_about_sizes(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for part, text in TU.items():
            archive.writestr(f"SET/SET_{part}.txt", text)
    data = buffer.getvalue()
    place = data.rindex(b"PK\x01\x02")  # the directory's last entry: uncompressed size at +24
    lying = data[: place + 24] + (5).to_bytes(4, "little") + data[place + 28 :]
    (tmp_path / "lie.zip").write_bytes(lying)
    with pytest.raises(InputError, match=r"lie\.zip"):
        read_graphs(tmp_path / "lie.zip")


# --------------------------------------------------------------------------------- GraphML, tables


def test_graphml_of_a_folder(tmp_path: Path) -> None:
    for k, graph in enumerate((nx.path_graph(3), nx.cycle_graph(4))):
        graph.graph["label"] = "x"
        nx.write_graphml(graph, tmp_path / f"g{k}.graphml")
    found = read_graphs(tmp_path)
    assert found.ids == ("g0", "g1")
    assert found.n_edges.tolist() == [2, 4]
    assert found.label == ("x", "x")
    (tmp_path / "bad.graphml").write_text("<!DOCTYPE x [<!ENTITY a 'b'>]><graphml/>")
    with pytest.raises(InputError, match="DOCTYPE"):
        read_graphs(tmp_path / "bad.graphml")
    (tmp_path / "bad.graphml").write_text("<graphml")
    with pytest.raises(InputError, match="this is no GraphML"):
        read_graphs(tmp_path / "bad.graphml")


def test_a_table_of_edges(tmp_path: Path) -> None:
    path = tmp_path / "edges.csv"
    path.write_text("graph,source,target,label\na,x,y,0\na,y,z,0\nb,1,2,1\nb,3,,1\n")
    found = read_graphs(path)
    assert found.ids == ("a", "b")
    assert found.label == ("0", "1")
    assert as_sets(found) == [{(0, 1), (1, 2)}, {(0, 1)}]
    assert found.n_nodes.tolist() == [3, 3]
    path.write_text("graph,source,target,label\na,x,y,0\na,y,z,1\n")
    with pytest.raises(InputError, match='row 2: the label is "1", and that of graph a was "0"'):
        read_graphs(path)
    path.write_text("graph,from\na,x\n")
    with pytest.raises(InputError, match="no column of targets"):
        read_graphs(path)


def test_what_is_no_graph(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file or folder"):
        read_graphs(tmp_path / "none")
    with pytest.raises(InputError, match="the folder has no graphs"):
        read_graphs(tmp_path)
    (tmp_path / "a.png").write_text("x")
    with pytest.raises(InputError, match=r"not read from files ending in \"\.png\""):
        read_graphs(tmp_path / "a.png")


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "graphs", "nodes", "edges"),
    [
        ("AIDS", 2000, 15.69, 16.20), ("IMDB-MULTI", 1500, 13.00, 65.94), ("PROTEINS", 1113, 39.06, 72.82),
        ("NCI1", 4110, 29.87, 32.30), ("ENZYMES", 600, 32.63, 62.14), ("DD", 1178, 284.32, 715.66),
    ],
)  # fmt: skip
def test_the_published_sets(
    shared_data: Path, name: str, graphs: int, nodes: float, edges: float
) -> None:
    """Numbers of graphs and mean sizes as TUDataset states them."""
    found = read_graphs(shared_data / "tu" / f"{name}.zip")
    assert len(found) == graphs
    assert found.n_nodes.mean() == pytest.approx(nodes, abs=0.006)
    assert found.n_edges.mean() == pytest.approx(edges, abs=0.006)


# --------------------------------------------------------------------------------------- simulated


def test_families_follow_their_rules() -> None:
    width, height = 6, 10
    for family in FAMILIES:
        found = simulate_graphs(family, 5, seed=3)
        assert len(found) == 5
        assert set(found.n_nodes) == {60}
        assert found.label == (family,) * 5
        for k in range(5):
            edges = found.edges(k)
            layer = edges // width
            inside = layer[:, 0] == layer[:, 1]
            gap = (layer[:, 1] - layer[:, 0]) % height
            if family == "regular-6":
                assert (found.degree[k * 60 : (k + 1) * 60] == 6).all()
                continue
            assert set(gap[~inside]) <= {1, height - 1}
            n_inside = {"1": 0, "2a": 50, "2b": 50, "2c": 60, "2c-6": 60, "3": 60}[family]
            n_between = {"1": 180, "2a": 108, "2b": 120, "2c": 120, "2c-6": 120, "3": 120}[family]
            assert int(inside.sum()) == n_inside
            assert int((~inside).sum()) == n_between
            wraps = (np.abs(layer[:, 1] - layer[:, 0]) == height - 1).any()
            assert wraps == (family != "2a")
            if family in ("2a", "2b", "2c", "2c-6"):  # the grid is in it
                between = {tuple(edge) for edge in edges[~inside].tolist()}
                assert all((v, v + width) in between for v in range(54))
    again = simulate_graphs("3", 4, seed=1)
    assert as_sets(again) == as_sets(simulate_graphs("3", 4, seed=1))
    assert as_sets(again) != as_sets(simulate_graphs("3", 4, seed=2))
    with pytest.raises(UsageError, match="the families are 1, 2a"):
        simulate_graphs("9", 1)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--width 2"):
        simulate_graphs("3", 1, width=2)


def test_a_planted_part_is_dense_and_the_rest_is_as_it_was() -> None:
    graphs = simulate_graphs("2c", 6, seed=0)
    found, strange = plant(graphs, size=8, p=1.0, seed=1)
    assert strange.sum() == 6 * 8
    for k in range(6):
        before, after = as_sets(graphs)[k], as_sets(found)[k]
        part = {int(v) - 60 * k for v in np.flatnonzero(strange) if v // 60 == k}
        assert before <= after
        inside = {(a, b) for a, b in after if a in part and b in part}
        assert len(inside) == 28
        assert after - before <= inside
        assert nx.is_connected(nx.Graph(inside))
    with pytest.raises(UsageError, match="plant a smaller one"):
        plant(graphs, size=61)


def test_molecules_need_rdkit(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    pl.DataFrame({"id": ["ethanol"], "smiles": ["CCO"], "label": ["1"]}).write_csv(path)
    if find_spec("rdkit") is None:
        with pytest.raises(ResourceError, match="molecules"):
            read_graphs(path)
        return
    found = read_graphs(path)
    assert found.node_names == ("C", "O")
    assert found.n_edges.tolist() == [2]


def test_sets_are_put_together_with_one_numbering_of_labels() -> None:
    def labelled(nodes: list[str], edges: list[tuple[int, int, str]], kind: str) -> Graphs:
        graph = nx.Graph(label=kind)
        for k, name in enumerate(nodes):
            graph.add_node(k, label=name)
        for a, b, name in edges:
            graph.add_edge(a, b, label=name)
        return of_networkx([graph])

    one = labelled(["N", "C"], [(0, 1, "2")], "x")
    two = labelled(["O", "C", "N"], [(0, 1, "1"), (1, 2, "2")], "y")
    both = put_together([one, two], ["one", "two"])
    assert both.ids == ("one: 0", "two: 0")
    assert both.label == ("x", "y")
    for alone, row in ((one, 0), (two, 1)):
        again = both.select([row])
        np.testing.assert_array_equal(again.edges(0), alone.edges(0))
        assert [again.node_names[k] for k in again.node_label] == [
            alone.node_names[k] for k in alone.node_label
        ]
        assert [again.edge_names[k] for k in again.edge_label] == [
            alone.edge_names[k] for k in alone.edge_label
        ]
    plain = of_networkx([nx.path_graph(3)])
    mixed = put_together([one, plain], ["one", "plain"])
    assert mixed.node_label is None
    assert mixed.label is None
    assert put_together([one], ["one"]) is one
