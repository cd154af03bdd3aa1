"""The documents are true: links lead somewhere, commands parse, Python runs, tables are those of the code."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from vitascope import Engine
from vitascope.bench import machines
from vitascope.cli import COMMANDS
from vitascope.cli.flags import BadCommand, parse
from vitascope.cli.generate import asked
from vitascope.evaluation.probe import Probe, ProbeConfig
from vitascope.physics import Linear
from vitascope.physics.exact import Gaussian
from vitascope.physics.solvers import ORDER, WEAK
from vitascope.recipe import RECIPES, Recipe
from vitascope.shot import Shot
from vitascope.storybook import ATTRIBUTES
from vitascope.training.beginning import complete, fresh

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
RUN = ("README", "tutorial", "howto", "concepts", "storybook", "reference", "CONTRIBUTING")
"""Pages whose Python runs, block by block. That of the design is a drawing."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, its text, the line that it begins on."""

    language: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [Block(each[1], each[2], text[: each.start(2)].count("\n") + 1) for each in found]


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    heads = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every `vitascope ...` in a fenced block of shell, or between backticks."""
    lines = [line for each in blocks(page) if each.language == "sh" for line in each.text.splitlines()]
    lines += re.findall(r"`(vitascope [^`]*)`", prose(page))
    for line in lines:
        for part in re.split(r"&&|\$\(", line):
            try:
                words = shlex.split(part.rstrip(')"') if "$(" in line else part, comments=True)
            except ValueError:
                raise AssertionError(f"{page.name}: {line} is no line of shell") from None
            if words[:1] == ["vitascope"]:
                yield words[1:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link} leads nowhere"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: there is no heading {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_tests_that_are_named_are_there(page: Path) -> None:
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", prose(page)):
        assert f"def {name}(" in tests, f"{page.name}: there is no test {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_parse(page: Path) -> None:
    for name, *words in commands(page):
        if name == "--version" or name == "COMMAND":
            continue
        assert name in COMMANDS, f"{page.name}: there is no command {name}"
        if "--help" in words or (not words and name in ("train", "inspect", "sheet", "data", "export", "bundle")):
            continue  # the command is spoken of, not shown
        module = importlib.import_module(f"vitascope.cli.{name}")
        try:
            command = parse(module.Command, words, name)
        except BadCommand as error:
            raise AssertionError(f"{page.name}: vitascope {name} {' '.join(words)}: {error}") from error
        assert command is not None
        if name == "generate" and words and command.from_ is None:
            asked(command, {})
        if name == "train" and not command.recipe.isupper() and not command.recipe.endswith(".toml"):
            assert (RECIPES / f"{command.recipe}.toml").is_file(), f"{page.name}: no recipe {command.recipe}"
        if name == "sheet":
            assert (ROOT / command.prompts).is_file(), f"{page.name}: no file {command.prompts}"


def test_commands_that_are_wrong_would_be_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```sh\npip install . && vitascope generate 'a ball' --sed 7\n```\nand `vitascope modls`\n")
    assert list(commands(page)) == [["generate", "a ball", "--sed", "7"], ["modls"]]
    with pytest.raises(AssertionError, match=r"nearest is --seed"):
        test_commands_parse(page)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """The model of the recipe `tiny` as it is before training: every part, and films of blots, with a probe that knows nothing."""
    folder, system = tmp_path_factory.mktemp("small"), fresh(complete(Recipe.read("tiny")))
    Probe(ProbeConfig.of(system.recipe.video, system.recipe.world)).save(folder / "probe")
    return Engine(system.settle(autocast=False), folder)


Ran = dict[str, Any]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: Engine) -> Callable[[Path], Ran]:
    """Runs a page's Python, block by block in one namespace, in an empty folder, with a small model."""
    monkeypatch.setattr(Engine, "load", staticmethod(lambda *_, **__: small))
    monkeypatch.chdir(tmp_path)

    def go(page: Path) -> Ran:
        names: Ran = {"__name__": page.stem}
        for block in blocks(page):
            if block.language == "python":
                exec(compile("\n" * block.line + block.text, str(page), "exec", dont_inherit=True), names)
        return names

    return go


@pytest.mark.parametrize("stem", RUN)
def test_python_runs(stem: str, run: Callable[[Path], Ran]) -> None:
    page = next(page for page in PAGES if page.stem == stem)
    assert any(block.language == "python" for block in blocks(page))
    run(page)


def test_what_contributing_shows_is_good(run: Callable[[Path], Ran]) -> None:
    shown = run(ROOT / "CONTRIBUTING.md")
    lump, start = Gaussian([0.7], 1.5), torch.linspace(-2, 2, 5, dtype=torch.float64)[:, None]
    errors = []
    for count in (64, 128):
        *_, last = shown["ralston"](lump.field(Linear()), start, torch.linspace(0.9, 0.1, count + 1).double())
        errors.append(float((last.x - lump.flow(start, 0.9, 0.1, Linear())).abs().max()))
    assert 3.7 < errors[0] / errors[1] < 4.3, "ralston is not of second order"
    t = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    torch.testing.assert_close(shown["Squared"]().t_at(shown["Squared"]().logsnr(t)), t)
    body, roof, window = shown["house"](start[:, 0], start[:, 0])
    assert body.solid
    assert roof.solid
    assert not window.solid


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, without its own head."""
    text = (ROOT / page).read_text(encoding="utf-8").partition(f"## {heading}\n")[2]
    table = re.search(r"((?:^\|.*\n)+)", text, re.MULTILINE)
    assert table
    return [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table[1].splitlines()[2:]]


def test_the_reference_states_the_solvers() -> None:
    stated = {name.strip("`"): order for name, order, *_ in rows("docs/reference.md", "Solvers")}
    assert stated == {name: f"{order}, weak" if name in WEAK else str(order) for name, order in ORDER.items()}


def test_the_reference_states_the_fields_of_a_shot() -> None:
    stated = [name for first, *_ in rows("docs/reference.md", "A shot") for name in re.findall(r"`(\w+)`", first)]
    assert sorted(stated) == sorted(Shot.model_fields)
    for first, _, low, high in rows("docs/reference.md", "A shot"):
        for name in re.findall(r"`(\w+)`", first):
            limits = {type(part).__name__: part for part in Shot.model_fields[name].metadata}
            if "Ge" in limits:
                assert float(low) == limits["Ge"].ge
                assert eval(high.replace("^", "**")) == limits["Le"].le


def test_the_reference_states_the_commands() -> None:
    assert [first.strip("`").split()[1] for first, *_ in rows("docs/reference.md", "Commands")] == list(COMMANDS)


def test_the_storybook_states_what_there_is() -> None:
    stated = {name: tuple(values.split(", ")) for name, values in rows("docs/storybook.md", "What there is")}
    assert stated == ATTRIBUTES


def test_slow_tests_are_listed_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("### Slow tests")[2]
    listed = set(re.findall(r"`(test_\w+)`", text))
    slow = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        if path != Path(__file__):
            source = path.read_text(encoding="utf-8")
            slow |= set(re.findall(r"@pytest\.mark\.slow\b.*(?:\n@.*)*\n(?:async )?def (test_\w+)", source))
    assert listed == slow != set()


def test_the_table_of_machines_is_what_the_plan_says() -> None:
    told = [tuple(row) for row in rows("docs/wan.md", "On your GPU")]
    assert told == machines.rows()


def test_the_version_has_its_changes() -> None:
    import vitascope

    assert f"## [{vitascope.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
