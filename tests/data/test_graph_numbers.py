"""Numbers and classes of graphs that cannot be meant are refused where they stand."""

from pathlib import Path

import pytest

from linkwise.data.graph_files import read_graphs
from linkwise.errors import InputError


@pytest.mark.parametrize(
    ("part", "text", "said"),
    [
        ("A", "1, 2\n1.7, 2\n", r"A.txt line 2: 1.7 is no number of a node"),
        ("A", "1, 2\ninf, 2\n", r"A.txt line 2: inf is no number of a node"),
        ("graph_indicator", "1\n1.5\n", r"graph_indicator.txt line 2: 1.5 is no number"),
        (
            "graph_indicator",
            "1\n1000000000000\n",
            "line 2: graph 1000000000000, and there are 2 nodes",
        ),
    ],
)
def test_broken_numbers_of_nodes_are_not_rounded(
    tmp_path: Path, part: str, text: str, said: str
) -> None:
    files = {"A": "1, 2\n2, 1\n", "graph_indicator": "1\n1\n"} | {part: text}
    for name, content in files.items():
        (tmp_path / f"X_{name}.txt").write_text(content)
    with pytest.raises(InputError, match=said):
        read_graphs(tmp_path)


def test_an_empty_class_in_a_table_is_not_a_class_called_none(tmp_path: Path) -> None:
    path = tmp_path / "edges.csv"
    path.write_text("graph,source,target,label\na,1,2,x\nb,1,2,\n")
    with pytest.raises(InputError, match="row 2: the label is empty"):
        read_graphs(path)
