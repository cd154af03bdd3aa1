"""Street lamps, and the light that they throw."""

from __future__ import annotations

from vitascope.storybook.canvas import Canvas, Colour, Lamp
from vitascope.storybook.strokes import Stroke, strokes

WARM: Colour = (1.0, 0.72, 0.34)
_IRON: Colour = (0.16, 0.17, 0.20)
LIT = ("dusk", "night")
"""The lights in which lamps and windows are lit."""


def lit(canvas: Canvas) -> bool:
    """Whether lamps are lit."""
    return canvas.scene.light in LIT


def halo(canvas: Canvas, x: float, y: float, reach: float, strength: float, *, flat: float = 1.0) -> None:
    """Warm light around a point: in the air where `flat` is 1, on the ground where it is wide."""
    if canvas.scene.weather == "fog" and flat == 1.0:
        reach = reach * 1.5
    at = canvas.near(x - reach * flat, x + reach * flat, y - reach, y + reach)
    at.shine(at.glow(x, y, reach, flat=flat) * strength, WARM)


def pool(canvas: Canvas, x: float, foot: float, reach: float) -> None:
    """The warm light that a lit lamp at x throws on the ground."""
    if lit(canvas):
        halo(canvas, x, foot, reach * 0.3, 0.62, flat=3.4)
        canvas.lamps.append(Lamp(x, foot, reach))


def lantern_post(canvas: Canvas, x: float, foot: float, tall: float, *, reach: float = 0.55) -> None:
    """A street lamp: a post with a lantern on it, which shines at dusk and at night, `reach` of its height far."""
    head, wide = foot + tall, tall * 0.075
    posts = [
        Stroke(x, foot, x, head, tall * 0.020, tall * 0.014),
        Stroke(x, foot, x, foot + tall * 0.12, tall * 0.040, tall * 0.024),
        Stroke(x - wide * 0.9, head, x + wide * 0.9, head, tall * 0.014, tall * 0.014),
    ]
    strokes(canvas, posts, _IRON, foot=foot)
    at = canvas.near(x - wide * 2, x + wide * 2, head - wide, head + wide * 4)
    middle, brim = head + wide * 1.15, head + wide * 2.3
    side = (at.xs - x).abs()
    lean = wide * (0.62 + 0.5 * (at.ys - head) / (wide * 2.3))
    glass = at.cover(side - lean) * at.block(x - wide * 2, x + wide * 2, head, brim)
    at.over_land(glass, (1.0, 0.90, 0.58) if lit(canvas) else (0.80, 0.84, 0.86), lit=not lit(canvas), foot=foot)
    hat = at.cover(side - (brim + wide * 0.9 - at.ys) * 1.5) * at.block(
        x - wide * 1.3, x + wide * 1.3, brim, head + wide * 4
    )
    at.over_land(hat, _IRON, foot=foot)
    if lit(canvas):
        halo(canvas, x, middle, tall * reach, 0.42)
        halo(canvas, x, middle, tall * reach * 0.36, 0.65)
