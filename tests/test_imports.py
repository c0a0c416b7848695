"""The rooms of the house: imports point downward only, and importing linkwise costs nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1] / "src" / "linkwise"

STUDIES = {"churn", "recommend", "rank", "technology", "matching", "anomaly"}
# From the lowest room up; a room may import the rooms below it. Rooms of one level do not know each other.
LEVELS = [
    {"errors"},
    {"context", "folders"},
    {"data"},
    {"metrics", "report"},
    {"lm"},
    {"estimators"},
    STUDIES,
    {"config", "testing"},
    {"run"},
    {"compare"},
    {"serve"},
    {"cli"},
    {"__main__"},
]
LEVEL = {room: i for i, rooms in enumerate(LEVELS) for room in rooms}


def imported_rooms(path: Path) -> set[str]:
    """The rooms of linkwise that a file imports, wherever in the file."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names = [node.module]
            if node.module == "linkwise":
                names = [f"linkwise.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "linkwise" and len(parts) > 1 and not parts[1].startswith("__"):
                rooms.add(parts[1])
    return rooms


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def test_every_room_has_a_level() -> None:
    rooms = {room_of(path) for path in ROOT.rglob("*.py")} - {"__init__"}
    assert rooms <= set(LEVEL), f"rooms without a level: {rooms - set(LEVEL)}"


def test_imports_point_downward_only() -> None:
    wrong = []
    for path in sorted(ROOT.rglob("*.py")):
        room = room_of(path)
        if room == "__init__":
            continue
        for other in imported_rooms(path):
            if other != room and LEVEL[other] >= LEVEL[room]:
                wrong.append(f"{path.relative_to(ROOT)} imports {other}")
    assert not wrong, "\n".join(wrong)


def test_importing_linkwise_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, time; began = time.process_time(); import linkwise; "
        "print(time.process_time() - began); "
        "print(*[m for m in ('numpy', 'polars', 'duckdb', 'sklearn', 'lightgbm', 'matplotlib', "
        "'pydantic', 'torch') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, heavy = (shown.stdout + "\n").split("\n")[:2]
    assert heavy == ""
    assert float(seconds) < 0.3


def test_the_command_line_needs_none_of_the_extras() -> None:
    """Also where PyTorch, and what else only the extras bring, is not installed."""
    code = (
        "import sys, importlib.abc\n"
        "class Missing(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'transformers', 'tokenizers', 'peft', 'accelerate',\n"
        "                'implicit', 'onnx', 'onnxruntime', 'pyspark', 'huggingface_hub'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "from linkwise.cli.app import run_words\n"
        "sys.exit(run_words(['recommend', '--help']) or run_words(['lm', 'adapt', '--help']))\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert "--objective" in shown.stdout
