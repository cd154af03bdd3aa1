"""The floors of the house: a room imports from lower floors alone. The table is in docs/design.md."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "vitascope"
PLANNED = {"studio"}
"""Rooms that the table knows and that are not built yet."""
DATA = {"weights", "recipes"}
"""Folders without code."""


def floors() -> dict[str, int]:
    found = re.search(r"```floors\n(.*?)```", (ROOT / "docs" / "design.md").read_text(encoding="utf-8"), re.DOTALL)
    assert found, "docs/design.md has no table of floors"
    lines = [line.split() for line in found[1].splitlines()]
    rooms = [(room, int(floor)) for floor, *names in lines for room in names]
    assert len(rooms) == len(dict(rooms)), "a room is on one floor"
    return dict(rooms)


FLOORS = floors()
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.AST, *, late: bool = True) -> Iterator[str]:
    """Every module that is imported, with the name taken from it; without `late`, only what runs at import."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, so that they can be read anywhere"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif late or (not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not _checking(node)):
            yield from imports(node, late=late)


def _checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def faults(room: str, source: str) -> list[str]:
    """What a room may not import, in its source's own words."""
    found = []
    for name in imports(ast.parse(source)):
        first, _, rest = name.partition(".")
        if first != "vitascope" or name == "vitascope.__version__":
            continue
        other = rest.partition(".")[0]
        if not other:
            # the package alone, for the folder that it is in: only where there is nothing above to be dragged in
            if FLOORS[room] < FLOORS["cli"]:
                found.append(name)
        elif other not in FLOORS or (other != room and FLOORS[other] >= FLOORS[room]):
            found.append(name)
    return found


def test_every_room_has_a_floor_and_every_floor_its_rooms() -> None:
    rooms = {room_of(path) for path in FILES} - {"__init__"}
    assert rooms == set(FLOORS) - PLANNED
    assert not any(room_of(path) in DATA for path in FILES)


@pytest.mark.parametrize("room", sorted(set(FLOORS) - PLANNED))
def test_a_room_imports_from_lower_floors(room: str) -> None:
    for path in FILES:
        if room_of(path) == room:
            assert not faults(room, path.read_text(encoding="utf-8")), path.relative_to(ROOT)


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("physics", "from vitascope.engine import Engine"),
        ("physics", "from vitascope import Engine"),
        ("physics", "import vitascope"),
        ("physics", "def f():\n    from vitascope.models import dit"),
        ("models", "if TYPE_CHECKING:\n    import vitascope.physics"),
        ("training", "from vitascope import evaluation"),
        ("engine", "from vitascope.helpers import anything"),
    ],
)
def test_the_law_sees_what_breaks_it(room: str, line: str) -> None:
    assert faults(room, line)


def test_the_law_lets_pass_what_keeps_it() -> None:
    assert not faults("engine", "from vitascope import __version__, bundle\nfrom vitascope.physics import Noise")


@pytest.mark.parametrize("room", ["physics", "models"])
def test_physics_and_models_stand_on_torch_alone(room: str) -> None:
    allowed = {"torch", "numpy", "vitascope", *sys.stdlib_module_names}
    for path in FILES:
        if room_of(path) == room:
            names = {name.partition(".")[0] for name in imports(ast.parse(path.read_text(encoding="utf-8")))}
            assert names <= allowed, path.relative_to(ROOT)


@pytest.mark.parametrize(
    "room", ["errors", "shipped", "emphasis", "shot", "headers", "media", "cli", "__main__", "__init__"]
)
def test_no_torch_before_it_is_needed(room: str) -> None:
    for path in FILES:
        if room_of(path) == room:
            names = set(imports(ast.parse(path.read_text(encoding="utf-8")), late=False))
            assert not {name for name in names if name.partition(".")[0] == "torch"}, path.relative_to(ROOT)
