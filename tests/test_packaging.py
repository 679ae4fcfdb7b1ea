import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
DEPENDENCIES = {
    requirement.name: requirement
    for requirement in map(
        Requirement,
        PROJECT["dependencies"]
        + PROJECT["optional-dependencies"]["dev"]
        + PYPROJECT["build-system"]["requires"],
    )
}
TARGETS = ("help", "study", "test", "lint", "smoke", "smoke-families", "lab", "clean")


def _pinned() -> list[Requirement]:
    lines = (REPOSITORY / "requirements.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if line.partition("#")[0].strip()]


def test_everything_that_is_installed_is_pinned_once() -> None:
    pinned = _pinned()
    for requirement in pinned:
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", requirement
        assert "*" not in specifier.version, requirement
    names = [canonicalize_name(requirement.name) for requirement in pinned]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", DEPENDENCIES)
def test_every_range_admits_its_pin(name: str) -> None:
    versions = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in _pinned()}
    assert DEPENDENCIES[name].specifier.contains(versions[canonicalize_name(name)])


@pytest.mark.parametrize(
    ("name", "admitted", "refused"),
    [
        ("torch", ["2.11.0", "2.12.1", "2.13.0"], ["2.10.0", "2.14.0"]),
        ("transformers", ["5.17.0", "5.20.1", "5.23.0"], ["5.16.1", "5.24.0", "6.0.0"]),
    ],
)
def test_the_tested_ranges_are_admitted(name: str, admitted: list, refused: list) -> None:
    specifier = DEPENDENCIES[name].specifier
    assert [version for version in admitted if version not in specifier] == []
    assert [version for version in refused if version in specifier] == []


def test_conda_installs_exactly_the_requirements() -> None:
    environment = yaml.safe_load((REPOSITORY / "environment.yml").read_text())
    assert environment["name"] == "medres"
    (pip,) = [each["pip"] for each in environment["dependencies"] if isinstance(each, dict)]
    lines = [line for entry in pip for line in _lines_of(entry)]
    assert sorted(map(str, map(Requirement, lines))) == sorted(map(str, _pinned()))
    others = {
        name: version
        for name, _, version in (
            each.partition("=") for each in environment["dependencies"] if isinstance(each, str)
        )
    }
    assert set(others) == {"python", "pip"}
    python = others["python"].strip("=<>")
    assert python in SpecifierSet(PROJECT["requires-python"])


def _lines_of(entry: str) -> list[str]:
    name = re.fullmatch(r"(?:-r|--requirement)[ =](\S+)", entry)
    if name is None:
        return [entry]
    lines = (REPOSITORY / name[1]).read_text().splitlines()
    return [line for line in lines if line.partition("#")[0].strip()]


@pytest.mark.parametrize("target", TARGETS)
def test_make_has_the_target_and_says_what_it_does(target: str) -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    assert re.search(rf"^{target}:[^=\n]*## \S.+$", makefile, re.MULTILINE)
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert target in phony.split()


def test_every_template_of_the_reports_is_packaged() -> None:
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]["medres"]
    packaged = {path for pattern in patterns for path in (REPOSITORY / "medres").glob(pattern)}
    files = {path for path in (REPOSITORY / "medres").rglob("*") if path.is_file()}
    left_out = {path for path in files - packaged if path.suffix not in (".py", ".pyc")}
    assert left_out == set()
