"""What the page tells of curves beside the values that all of them have, and the picture of all curves."""

from __future__ import annotations

import re
from functools import cache
from xml.etree import ElementTree

import pytest

from vitascope.evaluation import plots
from vitascope.evaluation.curves import Curves, Left, Measured
from vitascope.evaluation.page import page, picture
from vitascope.evaluation.plots import Axis, Line, Row
from vitascope.evaluation.share import Share
from vitascope.evaluation.steering import CURVES, OPEN, UNWANTED, Point

SVG = "{http://www.w3.org/2000/svg}"
HELD = {"steps": 3, "solver": "unipc", "guidance": 4.0, "shift": 3.0}


def measured(point: Point, number: int) -> Measured:
    """A point as it might have been measured."""
    later = [
        name for name in ("colour", "action", "place", "light", "weather", "mood") if name not in point.asked[0].says
    ]
    contrary = point.asked[0].against is not None
    return Measured(
        point.name,
        point.curve,
        point.line,
        point.x,
        32,
        number != 3 or point.curve != "guidance",
        Share(20 + number % 10, 32),
        12.0 + number % 7,
        0.1 + 0.02 * (number % 5),
        0.5,
        Share(20, 32) if contrary else None,
        Share(10, 32) if contrary else None,
        {name: Share(24 + number % 8, 32) for name in point.asked[0].says},
        {name: Left(0.3 * (k + 1), 0.5 * (k + 1)) for k, name in enumerate(later)} if point.narrowing else {},
        {word: Share(16 if point.x == OPEN else 4, 32) for word in point.counted},
    )


@cache
def curves() -> Curves:
    points = [measured(p, k) for curve in CURVES.values() for k, p in enumerate(curve.points(16, "whole"))]
    world = Measured("world", "world", "", "", 32, True, Share(31, 32), 11.7, 0.14, 1.0)
    return Curves("a & b", "aa<b>", None, HELD, 16, world, tuple(points))


def figure(text: str, question: str) -> ElementTree.Element:
    (found,) = (f for f in re.findall(r"<figure>.*?</figure>", text, re.DOTALL) if question in f)
    return ElementTree.fromstring(found)


def test_the_page_tells_what_each_word_leaves_open() -> None:
    text = page(curves=curves())
    drawn = figure(text, "How free is each attribute until it is said?")
    dots = [dot.text or "" for dot in drawn.iter("title")]
    assert sorted(dots) == sorted(
        f"{name} {level}: 60"
        for said, name in enumerate(("colour", "action", "place", "light", "weather", "mood"), 1)
        for level in range(1, said + 1)
    )
    assert "scenes of the world" in "".join(drawn.itertext())
    assert "<td>0.30 of 0.50</td>" in text
    assert (
        text.index(CURVES["length"].question)
        < text.index("Bits that the films of a prompt leave open")
        < text.index(CURVES["order"].question)
    )


def test_the_page_tells_what_negative_prompts_remove() -> None:
    text = page(curves=curves())
    drawn = figure(text, "Does what a negative prompt names go away?")
    told = [dot.text for dot in drawn.iter("title")]
    for word in UNWANTED:
        assert f"{word}, without it: 50" in told
        assert f"{word}, with it: 12.5" in told
        assert f"<td>{word}</td><td>32</td><td>50 % (" in text
    ElementTree.fromstring(re.sub(r"<(meta|!doctype)([^>]*)>", "", text))


def test_points_of_an_earlier_version_have_a_page_too() -> None:
    """They know nothing of what is left open, nor of what is shown."""
    kept = tuple(Measured(p.name, p.curve, p.line, p.x, 8, True, Share(3, 8), 0.5, 0.3) for p in curves().points)
    old = Curves("a", "b", None, HELD, 8, curves().world, kept)
    assert "Bits that the films of a prompt leave open" not in page(curves=old)
    assert "go away?" not in page(curves=old)
    assert ElementTree.fromstring(picture(old)).tag == f"{SVG}svg"


def test_all_curves_are_one_picture_that_needs_nothing_else() -> None:
    text = picture(curves())
    root = ElementTree.fromstring(text)
    assert root.tag == f"{SVG}svg"
    titles = [e.text for e in root.iter(f"{SVG}text") if e.attrib.get("class") == "title"]
    for curve in CURVES.values():
        assert curve.question in titles
    assert {"Does what a negative prompt names go away?", "How free is each attribute until it is said?"} <= set(titles)
    assert "Which of the two do films show?" in titles
    assert "var(" not in text, "it has no page to ask for colours"
    assert re.findall(r"(?:href|src|url)\W", text) == []
    assert len(re.findall("http", text)) == 1, "the name of what an SVG is"
    plotted = [e for e in root.iter(f"{SVG}svg") if e is not root]
    assert len(plotted) == len(titles)
    width, height = (float(root.attrib[name]) for name in ("width", "height"))
    corners = set()
    for each in plotted:
        x, y, w, h = (float(each.attrib[name]) for name in ("x", "y", "width", "height"))
        assert 0 < x < x + w < width
        assert 0 < y < y + h < height
        corners.add((x, y))
    assert len(corners) == len(plotted), "none hides another"


@pytest.mark.parametrize("name", list(CURVES))
def test_every_curve_alone_has_its_panels(name: str) -> None:
    own = tuple(point for point in curves().points if point.curve == name)
    root = ElementTree.fromstring(picture(Curves("a", "b", None, HELD, 8, curves().world, own)))
    dots = [e.text or "" for e in root.iter(f"{SVG}title")]
    for point in own:
        at = f"{point.x}," if isinstance(point.x, str) else f" {point.x:.3g}:"
        assert any(at in told for told in dots) == point.finite


def test_keys_that_do_not_fit_a_line_get_another() -> None:
    lines = [Line("a rather long name of a line, as some have it", [(0, k)]) for k in range(3)]
    many = plots.curve("Why?", Axis("x"), Axis("y"), lines, ("true <films>", 1))
    few = plots.rows("Who?", Axis("x"), [Row("a", [1.0, 2.0])], ("one", "two"))
    text = plots.picture([[many, few], [few]])
    root = ElementTree.fromstring(text)
    keys = [e for e in root if e.tag == f"{SVG}text" and e.attrib.get("class") != "title"]
    assert [e.text for e in keys][:4] == [line.name for line in lines] + ["true <films>"]
    assert len({e.attrib["y"] for e in keys[:4]}) > 1
    assert plots.picture([]).startswith("<svg")
