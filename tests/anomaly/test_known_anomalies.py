"""`--known-anomalies`: who learns from them, and that they are kept out of what is judged."""

import json
from pathlib import Path

import numpy as np
import pytest

import linkwise
from linkwise.anomaly.calibrated import Calibrated
from linkwise.anomaly.config import ReferenceConfig
from linkwise.anomaly.describe import wl_keys
from linkwise.anomaly.masked import Masked, MaskedConfig
from linkwise.anomaly.references import Reference
from linkwise.anomaly.split import tasks_of
from linkwise.anomaly.study import without_known
from linkwise.anomaly.study_config import DetectConfig
from linkwise.context import Context
from linkwise.data.graph_files import read_graphs, write_tu
from linkwise.data.graphs import Graphs, put_together
from linkwise.data.simulate_graphs import simulate_graphs
from linkwise.errors import InputError, UsageError

SMALL = {"epochs": 2, "size": 8, "layers": 1, "samples": 16}


def of(family: str, n: int, seed: int) -> Graphs:
    return simulate_graphs(family, n, width=4, height=4, seed=seed)  # type: ignore[arg-type]


def test_masked_learns_from_known_anomalies_that_are_not_judged(tmp_path: Path) -> None:
    normal, strange = of("2a", 40, 1), of("3", 12, 2)
    write_tu(normal, tmp_path / "normal")
    write_tu(strange, tmp_path / "strange")
    write_tu(strange.select(range(5)), tmp_path / "known")
    run = linkwise.detect(
        tmp_path / "normal", against=(str(tmp_path / "strange"),),
        known_anomalies=(str(tmp_path / "known"),), detector=("masked", "degrees"),
        masked=SMALL, without_references=True, bootstrap=100, out=tmp_path / "run",
    )  # fmt: skip
    ranking = run.ranking.filter(model="masked")
    # Read back as the study reads them: the same ids, so that the seven that were not known are named.
    read = read_graphs(str(tmp_path / "strange"))
    taught = np.isin(wl_keys(read), wl_keys(read_graphs(str(tmp_path / "known"))))
    assert taught.sum() == 5
    assert int(ranking["strange"].sum()) == 7
    judged = {name.split(": ")[-1] for name in ranking.filter("strange")["item"]}
    assert judged == {name for name, known in zip(read.ids, taught, strict=True) if not known}
    fitted = Calibrated.load(run.folder / "model").detector
    assert isinstance(fitted, Masked)
    assert fitted._judge is not None
    assert "5 strange graphs equal a known one" in run.report.read_text()
    inputs = json.loads((run.folder / "run.json").read_text())["inputs"]
    kinds = sum(one["file"].endswith("_A.txt") for one in inputs)
    assert kinds == 3  # normal, strange, known: a changed one is not the same run


def test_graphs_equal_to_a_known_anomaly_leave_the_test() -> None:
    normal, strange = of("2a", 30, 1), of("3", 6, 2)
    graphs = put_together([normal, strange], ["n", "s"])
    # A normal graph among the known ones stays where it is judged: only strange graphs were taught as such.
    known = put_together([strange.select([1, 4]), normal.select([0])], ["s", "n"])
    tasks = tasks_of(graphs, 6, DetectConfig(), 0)
    (found,) = without_known(graphs, tasks, known)
    part, before = found.parts[0], tasks[0].parts[0]
    assert part.test[part.strange].tolist() == [30, 32, 33, 35]
    np.testing.assert_array_equal(part.test[~part.strange], before.test[~before.strange])
    np.testing.assert_array_equal(part.train, before.train)
    with pytest.raises(InputError, match="all 6 strange graphs are among the known"):
        without_known(graphs, tasks, strange)
    with pytest.raises(UsageError, match="each class is taken as strange in turn"):
        without_known(graphs, tasks * 2, known)


def test_known_anomalies_without_a_reader_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="known_anomalies go with one of masked, masked-edge"):
        DetectConfig(known_anomalies=("a.zip",), detector=("wl",))
    with pytest.raises(UsageError, match="normal graphs alone"):
        Calibrated.fit(
            "size", Reference(ReferenceConfig(description="size")), of("2a", 10, 1), of("2a", 5, 2),
            Context(tmp_path), of("3", 3, 3),
        )  # fmt: skip
    fitted = Calibrated.fit(
        "masked", Masked(MaskedConfig(**SMALL)), of("2a", 20, 1), of("2a", 8, 2), Context(tmp_path)
    )  # type: ignore[arg-type]
    assert isinstance(fitted.detector, Masked)
    assert fitted.detector._judge is None
