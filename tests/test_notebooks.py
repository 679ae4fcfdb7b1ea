"""What every notebook and every parameter file must hold; see also test_study_run.py."""

import ast
import importlib
import json
from pathlib import Path

import papermill
import pytest
import yaml

from medres import study as studies

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PARAMS = sorted(path for path in (ROOT / "params").glob("*/*.yaml") if path.stem != "study")
LOGIC = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.For, ast.While, ast.Try)


def cells(notebook):
    return json.loads(notebook.read_text())["cells"]


def code_cells(notebook):
    return [cell for cell in cells(notebook) if cell["cell_type"] == "code"]


def is_text(node):
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def named(paths):
    return pytest.mark.parametrize("path", paths, ids=[f"{p.parent.name}/{p.stem}" for p in paths])


def test_there_are_notebooks_and_parameter_files():
    assert len(NOTEBOOKS) >= 6
    assert len(PARAMS) >= 12


@named(NOTEBOOKS)
def test_notebook_is_stripped(path):
    for cell in code_cells(path):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
        assert "injected-parameters" not in cell["metadata"].get("tags", [])
        assert "papermill" not in cell["metadata"]
    assert "papermill" not in json.loads(path.read_text())["metadata"]


@named(NOTEBOOKS)
def test_parameters_are_the_first_code_cell_and_stand_alone(path):
    tagged = [c for c in code_cells(path) if "parameters" in c["metadata"].get("tags", [])]
    assert tagged == code_cells(path)[:1]
    lines = "".join(tagged[0]["source"]).splitlines()
    for line in lines:
        (node,) = ast.parse(line).body
        assert isinstance(node, ast.AnnAssign)
        assert isinstance(node.annotation, ast.Name)
        _, _, comment = line.partition("#")
        assert comment.strip(), f"{line} lacks its comment"
        assert line.count("=") == 1
        assert type(ast.literal_eval(node.value)).__name__ == node.annotation.id


@named(NOTEBOOKS)
def test_notebook_holds_no_logic(path):
    total = 0
    for cell in code_cells(path):
        source = "".join(cell["source"])
        tree = ast.parse(source)
        assert not [node for node in ast.walk(tree) if isinstance(node, LOGIC)]
        if "parameters" not in cell["metadata"].get("tags", []):
            assert len(source.splitlines()) <= 12, source
        imports = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
        assert not imports or cell["id"] == "setup"
        assert "/" not in "".join(
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node.value.startswith("/")
        ), "absolute path"
        total += len(source.splitlines())
    assert total <= 80


@named(NOTEBOOKS)
def test_what_a_notebook_takes_from_the_package_is_there(path):
    tree = ast.parse("\n".join("".join(cell["source"]) for cell in code_cells(path)))
    taken = {
        alias.asname or alias.name: importlib.import_module(f"{node.module}.{alias.name}")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "medres"
        for alias in node.names
    }
    assert "page" in taken
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = taken.get(node.value.id)
            assert module is None or hasattr(module, node.attr), f"{node.value.id}.{node.attr}"


@named(NOTEBOOKS)
def test_notebook_has_the_parts_of_a_page(path):
    ids = [cell["id"] for cell in cells(path)]
    assert len(set(ids)) == len(ids)
    assert ids[:3] == ["title", "parameters", "setup"]
    assert ids[-2:] == ["save", "reading"]
    title = "".join(cells(path)[0]["source"])
    assert title.splitlines()[0].endswith("?")
    for word in ("**Question**", "**Reads**", "**Writes**", "**Takes**"):
        assert word in title
    assert "What would make it wrong" in "".join(cells(path)[-1]["source"])
    verdicts = [c for c in code_cells(path) if "verdict" in c["metadata"].get("tags", [])]
    assert len(verdicts) == 1


@named(NOTEBOOKS)
def test_no_notebook_shows_how_long_something_took(path):
    """A page would change with every run of the same training; tables/runs.csv holds seconds."""
    for cell in code_cells(path):
        names = [n.value for n in ast.walk(ast.parse("".join(cell["source"]))) if is_text(n)]
        assert "seconds" not in names


@named(NOTEBOOKS)
def test_every_parameter_is_visible_to_papermill(path):
    ours = studies.notebook_parameters(path)
    theirs = papermill.inspect_notebook(str(path))
    assert set(theirs) == set(ours)
    for name, found in theirs.items():
        assert found["inferred_type_name"] == type(ours[name]).__name__


@named(PARAMS)
def test_params_file_fits_its_notebook(path):
    given = yaml.safe_load(path.read_text())
    notebook = ROOT / "notebooks" / f"{path.stem}.ipynb"
    studies.resolve(notebook, given, source=str(path))
    assert "study" not in given, "the folder says it, also of a copy"
