"""What stands before the subject: low at the frame's lower edge, or thin at its sides."""

from __future__ import annotations

from collections.abc import Callable

from vitascope.storybook.canvas import Canvas, Colour
from vitascope.storybook.places.lamps import lantern_post
from vitascope.storybook.strokes import Stroke, bare_tree, strokes, tuft, weed

_EDGE = -0.51
_SIDES = (-1.75, -1.25, -0.74, 0.74, 1.25, 1.75)
"""Where taller things stand: beside the frame of a still camera, or at its edge."""


def _lean(canvas: Canvas) -> float:
    return 0.55 * canvas.scene.direction if canvas.scene.weather == "wind" else 0.0


def _tufts(canvas: Canvas, colour: Colour, pale: Colour, tall: float, blades: int) -> None:
    """Grass along the lower edge, higher at the sides."""
    for slot in range(12):
        x = -1.65 + 0.3 * slot + canvas.between(-0.1, 0.1)
        high = tall * canvas.between(0.7, 1.1) * (1.9 if abs(x) > 0.66 else 0.8)
        tone = colour if canvas.between(0, 1) < 0.6 else pale
        strokes(canvas, tuft(canvas, x, _EDGE, high, blades, lean=_lean(canvas)), tone)


def _meadow(canvas: Canvas) -> None:
    _tufts(canvas, (0.16, 0.42, 0.08), (0.28, 0.56, 0.12), 0.075, 5)


def _forest(canvas: Canvas) -> None:
    _tufts(canvas, (0.08, 0.24, 0.08), (0.16, 0.34, 0.12), 0.085, 6)


def _desert(canvas: Canvas) -> None:
    _tufts(canvas, (0.52, 0.40, 0.18), (0.66, 0.52, 0.24), 0.06, 3)


def _snowfield(canvas: Canvas) -> None:
    _tufts(canvas, (0.42, 0.36, 0.30), (0.56, 0.50, 0.42), 0.05, 3)
    _drifts(canvas)


def _beach(canvas: Canvas) -> None:
    _tufts(canvas, (0.46, 0.56, 0.26), (0.64, 0.66, 0.36), 0.065, 4)


def _drifts(canvas: Canvas) -> None:
    """Heaps of snow along the lower edge."""
    for slot in range(7):
        x, wide = -1.6 + 0.53 * slot + canvas.between(-0.12, 0.12), canvas.between(0.14, 0.24)
        at = canvas.near(x - wide, x + wide, _EDGE - 0.05, _EDGE + 0.06)
        at.over_land(at.oval(x, _EDGE - 0.01, wide, 0.05), (0.97, 0.98, 1.0))


def _snowy_park(canvas: Canvas) -> None:
    """A branch that reaches in from above on either side, and heaps of snow."""
    for side in (-1, 1):
        x, y = side * (0.92 + canvas.between(-0.03, 0.05)), 0.40
        tree = bare_tree(canvas, 0.0, 0.0, 0.42, levels=4)
        turned = [
            Stroke(x - side * s.y0, y - s.x0 * 0.7, x - side * s.y1, y - s.x1 * 0.7, s.start * 0.8, s.end * 0.8)
            for s in tree
        ]
        snowed = [
            s._replace(y0=s.y0 + s.start, y1=s.y1 + s.end, start=s.start * 0.7, end=s.end * 0.7) for s in turned[:13]
        ]
        strokes(canvas, snowed, (0.95, 0.97, 1.0))
        strokes(canvas, turned, (0.15, 0.11, 0.12))
    _drifts(canvas)


def _city_street(canvas: Canvas) -> None:
    """Lamp posts close to the camera."""
    for x in _SIDES:
        at = x + canvas.between(-0.02, 0.03) * (1 if x > 0 else -1)
        lantern_post(canvas, at, _EDGE, 0.72, reach=0.2)


def _underwater(canvas: Canvas) -> None:
    for x in _SIDES:
        foot = x + canvas.between(-0.04, 0.06) * (1 if x > 0 else -1)
        ribbons = [s for k in range(3) for s in weed(canvas, foot + 0.04 * (k - 1), _EDGE, 0.34 + 0.09 * ((k * 2) % 3))]
        strokes(canvas, ribbons, (0.07, 0.36, 0.24))
    for slot in range(6):
        x = -1.5 + 0.6 * slot + canvas.between(-0.2, 0.2)
        strokes(canvas, [s for k in range(2) for s in weed(canvas, x + 0.03 * k, _EDGE, 0.08)], (0.12, 0.46, 0.28))


def _outer_space(canvas: Canvas) -> None:
    """Stones along the lower edge."""
    for slot in range(8):
        x, wide = -1.6 + 0.46 * slot + canvas.between(-0.15, 0.15), canvas.between(0.04, 0.09)
        at = canvas.near(x - wide, x + wide, _EDGE - 0.05, _EDGE + 0.08)
        at.over_land(at.oval(x, _EDGE, wide, wide * 0.6), (0.30, 0.30, 0.34))
        at.over_land(at.oval(x - wide * 0.15, _EDGE + wide * 0.12, wide * 0.7, wide * 0.4), (0.46, 0.46, 0.50))


FRONTS: dict[str, Callable[[Canvas], None]] = {
    "meadow": _meadow,
    "snowy park": _snowy_park,
    "snowfield": _snowfield,
    "forest": _forest,
    "desert": _desert,
    "beach": _beach,
    "underwater": _underwater,
    "city street": _city_street,
    "outer space": _outer_space,
}
"""What stands before the subject, in the places where something does."""
