"""The snow-covered park."""

from __future__ import annotations

from torch import Tensor

from vitascope.storybook.canvas import Canvas, Colour
from vitascope.storybook.places.country import fading, ground
from vitascope.storybook.places.lamps import halo, lantern_post, lit, pool
from vitascope.storybook.skies import sky
from vitascope.storybook.strokes import Stroke, bare_tree, strokes

_BARK: Colour = (0.23, 0.17, 0.17)
_SNOW: Colour = (0.95, 0.97, 1.0)


def snowy_park(canvas: Canvas) -> None:
    """Snow on the ground and on the branches, a path, and lamps behind bare trees, which their light filters through."""
    horizon = canvas.scene.horizon
    sky(canvas)
    canvas.part("wood")
    canvas.over_land(canvas.under(canvas.ridge(horizon + 0.01, 0.07, 0.35)), (0.56, 0.55, 0.62), far=0.35)
    _far_trees(canvas)
    ground(canvas, (0.96, 0.97, 1.0), (0.82, 0.87, 0.95))
    canvas.part("path")
    path = _path(canvas)
    canvas.over_land(path, (0.74, 0.78, 0.87))
    fade = fading(canvas)
    canvas.over_land(canvas.dots(0.11, 0.03, share=0.5, flat=3.2) * fade * (1 - path), (0.80, 0.86, 0.97))
    canvas.part("lamps")
    posts = [
        (slot + canvas.between(-0.1, 0.1), horizon - canvas.between(0.03, 0.08)) for slot in (-1.25, -0.45, 0.42, 1.2)
    ]
    for x, foot in posts:
        pool(canvas, x, foot - 0.01, 0.34)
        if lit(canvas):
            halo(canvas, x, foot + 0.36, 0.42, 0.42)
    for x, foot in posts:
        lantern_post(canvas, x, foot, 0.34)
    _bench(canvas, posts[1][0] + 0.24, horizon - 0.05)
    canvas.part("trees")
    for slot in (-1.15, -0.72, -0.14, 0.16, 0.70, 1.08):
        x, foot = slot + canvas.between(-0.1, 0.1), horizon - canvas.between(0.015, 0.06)
        _tree(canvas, x, foot, canvas.between(0.46, 0.62))


def _tree(canvas: Canvas, x: float, foot: float, tall: float) -> None:
    limbs = bare_tree(canvas, x, foot, tall)
    base = canvas.near(x - 0.09, x + 0.09, foot - 0.03, foot + 0.03)
    thick = [k for k in limbs[1:] if k.start > 0.1 * limbs[0].start and abs(k.x1 - k.x0) > 0.012]
    snowed = [k._replace(y0=k.y0 + k.start, y1=k.y1 + k.start, start=k.start * 0.9, end=k.end * 0.9) for k in thick]
    strokes(canvas, snowed, _SNOW, foot=foot)
    strokes(canvas, limbs, _BARK, foot=foot)
    base.over_land(base.oval(x, foot - 0.008, 0.06, 0.016), (0.90, 0.93, 1.0), foot=foot)


def _far_trees(canvas: Canvas) -> None:
    """Thin bare trees at the end of the park."""
    horizon, found = canvas.scene.horizon, []
    for slot in range(22):
        x, tall = -1.4 + 0.13 * slot + canvas.between(-0.05, 0.05), canvas.between(0.12, 0.2)
        fork, side = horizon + tall * 0.5, tall * 0.28
        found.append(Stroke(x, horizon, x, fork + tall * 0.5, 0.006, 0.002))
        found.append(Stroke(x, fork, x - side, fork + tall * 0.36, 0.004, 0.001))
        found.append(Stroke(x, fork - tall * 0.1, x + side, fork + tall * 0.26, 0.004, 0.001))
    strokes(canvas, found, (0.40, 0.37, 0.42), far=0.3, foot=horizon)


def _path(canvas: Canvas) -> Tensor:
    """Opacity of a path that comes from the horizon and widens towards the camera, [h, w]."""
    horizon = canvas.scene.horizon
    near = ((horizon - canvas.ys) / (horizon + 0.5)).clamp(0, 1)
    start, bend = canvas.between(-0.18, 0.18), canvas.between(-0.1, 0.1)
    middle = start * (1 - near) + bend * near * (1 - near) * 4
    edge = (canvas.xs - middle).abs() - (0.025 + 0.15 * near + 0.12 * near * near)
    return canvas.cover(edge * 0.5) * canvas.under(horizon - 0.008) * 0.85  # it runs aslant: half as steep


def _bench(canvas: Canvas, x: float, foot: float) -> None:
    wood = [
        Stroke(x - 0.085, foot + 0.05, x + 0.085, foot + 0.05, 0.010, 0.010),
        Stroke(x - 0.085, foot + 0.095, x + 0.085, foot + 0.095, 0.010, 0.010),
        *(Stroke(x + side, foot, x + side, foot + 0.1, 0.006, 0.006) for side in (-0.07, 0.07)),
    ]
    strokes(canvas, wood, (0.42, 0.26, 0.17), foot=foot)
    strokes(canvas, [Stroke(x - 0.08, foot + 0.064, x + 0.08, foot + 0.064, 0.007, 0.007)], _SNOW, foot=foot)
