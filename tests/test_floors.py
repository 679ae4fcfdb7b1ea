"""The house: each room imports only from rooms on floors below its own."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "medres"
FLOORS = {
    "choose": 8,
    "make": 7,
    "training": 6,
    "report": 6,
    "inference": 5,
    "plan": 5,
    "results": 5,
    "datasets": 4,
    "models": 3,
    "images": 3,
    "study": 3,
    "status": 4,
    "thin": 5,
    "published": 3,
    "statistics": 2,
    "scoring": 2,
    "profiles": 3,
    "trained_at": 2,
    "parameters": 2,
    "resolution": 1,
    "views": 0,
    "geometry": -1,
    "resampling": -2,
    "marks": 2,
    "failures": 2,
    "runs": 1,
    "tables": 1,
    "files": 0,
    "amounts": 0,
    "identity": 0,
    "ending": 0,
    "gpus": 0,
    "handover": 0,
    "locks": 0,
    "mixed": 0,
    "coded": 0,
    "csv_files": 0,
    "names": 0,
    "saving": 0,
    "texts": -1,
}
MOST_LINES = 400
MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    """The folder of a module below the package, or the module itself if it stands at the top."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(path: Path) -> set[str]:
    """Every module of ours that a file names in an import, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports by dots; name the room"
            if node.module == "medres":
                found |= {f"medres.{alias.name}" for alias in node.names}
            elif node.module and node.module.startswith("medres."):
                found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("medres.")}
    return found


def test_every_room_has_a_floor() -> None:
    assert {room_of(path) for path in MODULES} - {"__init__"} == set(FLOORS)


def test_the_walk_sees_imports_of_every_form(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        "import os, medres.runs\nfrom medres import study as s\n"
        "def f():\n    from medres.images import png\n"
    )
    assert imported(path) == {"medres.runs", "medres.study", "medres.images"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_import_runs_upward(path: Path) -> None:
    here = room_of(path)
    for name in imported(path):
        there = name.split(".")[1]
        assert there == here or FLOORS[there] < FLOORS[here], f"{path} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_is_longer_than_a_reader_s_patience(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MOST_LINES
