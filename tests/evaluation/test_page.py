"""Plots and the page: every value is where its axis says, and the page is one well-formed file that asks for no other."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest

from vitascope.evaluation.adherence import Adherence, Obeyed
from vitascope.evaluation.continuity import Continuity, Steadiness
from vitascope.evaluation.curves import Curves, Measured
from vitascope.evaluation.distribution import Distribution, Diversity, Likeness
from vitascope.evaluation.drawing import TRUE
from vitascope.evaluation.fidelity import Fidelity
from vitascope.evaluation.figures import Figure, beside, figures
from vitascope.evaluation.first import First, Onset
from vitascope.evaluation.laws import Law, Lawful, Laws
from vitascope.evaluation.memory import Memory, Pair
from vitascope.evaluation.page import page
from vitascope.evaluation.plots import Axis, Line, Row, Scale, curve, rows, scatter, ticks
from vitascope.evaluation.report import Result
from vitascope.evaluation.retrieval import Found, Retrieval
from vitascope.evaluation.share import Share
from vitascope.evaluation.steering import CURVES


@cache
def result(weights: str = "aa<b>", hits: int = 7, sure: bool = True) -> Result:
    some = Share(hits, 10)
    steady = Steadiness(0.5, None, some)
    like = Likeness(0.4, 0.2, 0.5, 0.6)
    attributes = tuple(Obeyed(n, n != "camera", 0.98, some, some, some, 0.1, {}) for n in ("place", "camera"))
    lawful = Lawful(10, some, some, {"gravity": 1.5, "gravity error": 0.1, "height": 0.4, "right way": 1.0})
    return Result(
        model="a & b",
        weights=weights,
        walk={"steps": 3, "solver": "unipc", "guidance": "7 > 2", "shift": 3.0},
        probe=None,
        fidelity=Fidelity(4, 30.5, 28.0, {"clear": 31.0}, 21.0, 0.6, 0.4, {"clear": 0.6}),
        retrieval=Retrieval(4, Found(0.5, 1.0), Found(0.5, 1.0), Found(0.25, 1.0)),
        adherence=Adherence.of("withheld", attributes, []),
        continuity=Continuity(3, sure, steady, steady, replace(steady, flicker=0.1)),
        distribution=Distribution(10, like, like, like),
        diversity=Diversity(4, 16, 0.5, 0.8),
        memory=Memory(5, 9, Share(1, 2), Share(0, 2), 9.0, 20.0, 0.5, 0.9, (Pair(0, 3, 9.0, 0.5),), 15.0),
        laws=Laws((Law("falls", lawful, lawful, lawful),), 0.2, 0.9),
    )


def curves() -> Curves:
    world = Measured("world", "world", "", "", 8, True, Share(9, 10), 0.6, 0.3, 1.0)
    points = [
        Measured(p.name, p.curve, p.line, p.x, 8, p.x != 15.0, Share(8, 10), 0.5, 0.3, 0.4)
        for name in ("guidance", "steps", "negative")
        for p in CURVES[name].points(8, "first")
    ]
    return Curves("a & b", "aa<b>", None, result().walk, 8, world, tuple(points))


def svg(figure: str) -> ElementTree.Element:
    found = re.search(r"<svg.*</svg>", figure, re.DOTALL)
    assert found
    return ElementTree.fromstring(found[0])


def circles(figure: str) -> list[tuple[float, float, str]]:
    return [
        (float(c.attrib["cx"]), float(c.attrib["cy"]), c[0].text or "") for c in svg(figure).iter() if c.tag == "circle"
    ]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.03, 0.31), (-5, 17), (0, 1e-4), (980, 1010), (3, 120_000)])
def test_ticks_are_round_and_around_what_is_shown(low: float, high: float) -> None:
    found = ticks(low, high)
    assert found[0] <= low + 1e-12
    assert found[-1] >= high - 1e-12
    assert 3 <= len(found) <= 8
    step = found[1] - found[0]
    assert step / 10 ** math.floor(math.log10(step) + 1e-9) == pytest.approx(1) or round(
        step / 10 ** math.floor(math.log10(step) + 1e-9)
    ) in (2, 5)
    assert all(b - a == pytest.approx(step) for a, b in pairwise(found))


def test_scales_are_linear_or_logarithmic() -> None:
    plain = Scale(Axis("x", low=0, high=10), [], 100, 200)
    assert [plain(v) for v in (0, 5, 10, 99)] == [100, 150, 200, 200]
    log = Scale(Axis("x", log=True), [4, 100], 0, 100)
    assert (log(4), log(20), log(100)) == pytest.approx((0, 50, 100))
    assert log.ticks == [5, 10, 20, 50, 100]
    same = Scale(Axis("x"), [3, 3], 0, 1)
    assert 0 < same(3) < 1


def test_a_curve_is_where_its_numbers_are() -> None:
    drawn = curve(
        "Why?", Axis("guidance"), Axis("share", "%", low=0, high=100), [Line("a", [(1, 0), (3, 100)])], ("true", 50)
    )
    (x0, y0, told), (x1, y1, _) = circles(drawn)
    assert x0 < x1
    assert y0 > y1, "up is more"
    (true,) = (e for e in svg(drawn).iter() if e.attrib.get("class") == "true")
    assert float(true.attrib["y1"]) == pytest.approx((y0 + y1) / 2)
    assert told == "a 1: 0"
    texts = [e.text for e in svg(drawn).iter("text")]
    assert "guidance" in texts
    assert "share (%)" in texts
    assert "Why?" in drawn


def test_rows_leave_out_what_is_unknown() -> None:
    drawn = rows(
        "Why?", Axis("share"), [Row("one", [1.0, None, 3.0], (0.5, 1.5)), Row("two", [2.0, 2.5, None])], "abc", "c"
    )
    dots = circles(drawn)
    assert sorted(told for _, _, told in dots) == ["one, a: 1", "two, a: 2", "two, b: 2.5"]
    by = {told[:3]: y for _, y, told in dots}
    assert by["one"] < by["two"], "from top to bottom"
    assert len([e for e in svg(drawn).iter() if e.attrib.get("class") == "true"]) == 1


def test_a_scatter_shows_every_point_and_the_cuts() -> None:
    drawn = scatter("Why?", Axis("x"), Axis("y"), [(1, 2, "<a>"), (3, 4, "b")], ("true", 2, 3), (1.5, 2.5))
    assert [told for _, _, told in circles(drawn)] == ["<a>", "b"]
    assert len([e for e in svg(drawn).iter() if e.attrib.get("class") == "cut"]) == 2


def test_what_the_probe_cannot_tell_is_no_figure() -> None:
    names = {row.name for row in figures(result())}
    assert "same subject" in names
    assert names - {row.name for row in figures(result(sure=False))} == {"same subject"}
    text = page(result(sure=False), None, None, {})
    assert "The latter is not measured" in text
    assert "Is the subject of the second half" not in text
    told = result()
    none = tuple(replace(row, measured=False) for row in told.adherence.attributes)
    unread = replace(told, adherence=Adherence.of("withheld", none, []))
    together = {row.name: row.made for row in figures(unread) if row.measure == "adherence"}
    assert together == {"mean": None, "all at once": None}, "of no attribute at all, films are not right in every one"


def test_a_first_picture_that_is_kept_better_is_better() -> None:
    onset = Onset(27.0, 1.1)
    told = replace(result(), first=First(4, onset, onset, replace(onset, kept=None)))
    kept = next(row for row in figures(told) if row.name == "kept")
    assert kept.wins(27.0, 25.0)
    assert not kept.wins(25.0, 27.0)


def test_the_page_is_one_file_of_its_own() -> None:
    text = page(result(), result("other", 3), curves(), {"films.png": "The films"})
    assert text.startswith("<!doctype html>")
    body = re.sub(r"<(meta|img|!doctype)([^>]*)>", "", text)
    ElementTree.fromstring(body)  # every tag is closed, every name escaped
    assert "<script" not in text
    assert re.findall(r'(?:src|href)="([^"]*)"', text) == ["films.png", "films.png"]
    assert "http" not in text
    assert "prefers-color-scheme:dark" in text
    assert "a &amp; b" in text
    figures_ = re.findall(r"<figure>.*?</figure>", text, re.DOTALL)
    assert len(figures_) > 12
    for drawn in figures_:
        assert re.search(r"<figcaption>[^<]*\?</figcaption>", drawn), "a title is a question"
        assert len(circles(drawn)) > 0 or "No" in drawn
        assert "true films" in drawn
    for name in ("guidance", "steps", "negative"):
        assert CURVES[name].question in text
    assert CURVES["length"].question not in text, "there are no points of it"
    assert "Films left the numbers at 15.0." in text


def test_where_there_is_no_true_film_none_is_told() -> None:
    """What a contradiction shows has no truth to stand beside."""
    contrary = [
        Measured(p.name, p.curve, "", p.x, 8, True, Share(8, 10), 0.5, 0.3, None, Share(3, 8), Share(4, 8))
        for p in CURVES["contradiction"].points(8, "first")
    ]
    text = page(curves=replace(curves(), points=tuple(contrary)))
    (drawn,) = (f for f in re.findall(r"<figure>.*?</figure>", text, re.DOTALL) if "contradicts it?" in f)
    assert TRUE not in drawn
    assert sorted(told for _, _, told in circles(drawn)) == [
        "contradicted, generated films: 50",
        "said twice alike, generated films: 50",
    ]


def test_a_page_of_curves_alone_and_of_nothing() -> None:
    assert "All figures" not in page(curves=curves())
    with pytest.raises(ValueError, match="neither"):
        page()


def test_figures_are_those_of_the_result() -> None:
    told = {(row.measure, row.name): row for row in figures(result())}
    assert ("adherence", "camera") not in told, "it is not measured"
    assert told["continuity", "flicker"].real == 0.1
    assert told["continuity", "drift"].text(None) == ""
    assert told["laws", "falls: gravity"].text(1.5) == "1.5 heights/s²"
    assert told["memory", "near copies"].text(0.5) == "50.0 %"
    assert ("laws", "falls: height") not in told
    (_, other), *_ = beside(figures(result()), figures(result("other", 3)))
    assert other is not None
    assert other.made == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("better", "wins"), [("more", (True, False)), ("less", (False, True)), ("as true", (True, False))]
)
def test_which_of_two_is_better(better: Any, wins: tuple[bool, bool]) -> None:
    row = Figure("m", "n", 2.0, None, 2.4, better=better)
    assert (row.wins(2.0, 1.0), row.wins(1.0, 2.0)) == wins
    assert not row.wins(None, 1.0)
    assert not row.wins(1.0, 1.0)
