"""The city street, and a room."""

from __future__ import annotations

from vitascope.storybook.canvas import Canvas, Colour, Lamp, scaled
from vitascope.storybook.places.lamps import LIT, halo, lantern_post, lit, pool
from vitascope.storybook.skies import sky
from vitascope.storybook.strokes import Stroke, strokes

_WALLS: tuple[Colour, ...] = (
    (0.82, 0.46, 0.36),
    (0.92, 0.80, 0.58),
    (0.56, 0.66, 0.72),
    (0.88, 0.66, 0.56),
    (0.70, 0.74, 0.58),
    (0.80, 0.76, 0.74),
)
_WINDOW: Colour = (1.0, 0.80, 0.42)
_AWAKE = {"morning": 0.0, "day": 0.0, "dusk": 0.5, "night": 0.62}
"""The share of windows that are lit."""


def city_street(canvas: Canvas) -> None:
    """A row of houses with windows, street lamps on the pavement, the road before them."""
    scene, horizon = canvas.scene, canvas.scene.horizon
    sky(canvas)
    canvas.part("skyline")
    foot = horizon - 0.05
    for block in range(11):  # far towers
        x, high = -1.5 + 0.28 * block + canvas.between(-0.06, 0.06), canvas.between(0.24, 0.46)
        at = canvas.near(x - 0.1, x + 0.1, foot, foot + high + 0.01)
        at.over_land(
            at.block(x - 0.085, x + 0.085, foot - 0.1, foot + high), (0.46, 0.50, 0.60), far=0.45, foot=horizon
        )
    canvas.part("houses")
    left = -1.62
    while left < 1.6:
        wide = canvas.between(0.24, 0.36)
        _house(canvas, left, left + wide, foot, canvas.between(0.24, 0.38))
        left += wide + 0.004
    canvas.part("street")
    kerb = foot - 0.30 * (foot - scene.floor)
    canvas.over_land(canvas.under(foot), (0.66, 0.64, 0.62))
    slabs = canvas.near(-9, 9, kerb, foot)
    joints = (slabs.xs / 0.14 - (slabs.xs / 0.14).round()).abs() * 0.14 - 0.004
    slabs.over_land(slabs.cover(joints).expand(slabs.land.shape[1], -1) * slabs.under(foot), (0.54, 0.52, 0.52))
    canvas.over_land(canvas.under(kerb), (0.84, 0.83, 0.80))
    canvas.over_land(canvas.under(kerb - 0.022), (0.27, 0.28, 0.31))
    part = ((kerb - canvas.ys) / (kerb + 0.5)).clamp(0, 1)
    canvas.over_land(canvas.under(kerb - 0.022) * part, (0.38, 0.39, 0.42))
    turn = canvas.xs / 0.42 + canvas.between(0, 1)
    line = scene.floor - 0.09
    dash = canvas.cover(((turn - turn.floor() - 0.5).abs() - 0.28) * 0.42)
    canvas.over_land(dash * canvas.cover((canvas.ys - line).abs() - 0.009), (0.93, 0.90, 0.78))
    canvas.part("lamps")
    posts = [(slot + canvas.between(-0.08, 0.08), kerb + 0.012) for slot in (-1.3, -0.52, 0.5, 1.28)]
    for x, y in posts:
        pool(canvas, x, y - 0.03, 0.36)
        lantern_post(canvas, x, y, 0.38)


def _house(canvas: Canvas, left: float, right: float, foot: float, tall: float) -> None:
    """A house front: wall, roof, a grid of windows, a door."""
    wall = _WALLS[int(canvas.between(0, len(_WALLS)))]
    steep = canvas.between(-0.06, 0.1)
    top, middle = foot + tall, (left + right) / 2
    columns, rows = round((right - left) / 0.1), max(2, round((tall - 0.1) / 0.1))
    awake, door = canvas.table("lit", 8, 8), int(canvas.between(0, columns))
    at = canvas.near(left, right, foot, top + 0.14)
    if not at.land.numel():
        return  # after its draws: the houses beside it are the same on every canvas
    if steep > 0:  # a gable; otherwise a cornice
        ridge = top + (0.05 + steep) * (1 - (at.xs - middle).abs() * (2 / (right - left)))
        at.over_land(at.under(ridge) * at.block(left, right, top - 0.02, top + 0.2), (0.44, 0.27, 0.25), foot=foot)
    at.over_land(at.block(left, right, foot - 0.05, top), wall, foot=foot)
    at.over_land(at.block(left, right, top - 0.018, top), scaled(wall, 0.72), foot=foot)
    wide, high = (right - left) / columns, (tall - 0.115) / rows
    u, v = (at.xs - left) / wide, (at.ys - foot - 0.1) / high
    iu, iv = u.floor(), v.floor()
    dx, dy = ((u - iu - 0.5).abs() - 0.27) * wide, ((v - iv - 0.5).abs() - 0.30) * high
    panes = at.cover(dx)[None, :] * at.cover(dy) * ((iu >= 0) & (iu < columns))[None, :] * ((iv >= 0) & (iv < rows))
    on = awake[iv.long() % 8, (iu.long() % 8)[None, :]] < _AWAKE[canvas.scene.light]
    at.over_land(panes * ~on, (0.40, 0.52, 0.64), foot=foot)
    at.over_land(panes * on, _WINDOW, lit=False, foot=foot)
    middle = left + wide * (0.5 + door)
    at.over_land(at.block(middle - 0.026, middle + 0.026, foot - 0.05, foot + 0.085), scaled(wall, 0.42), foot=foot)


_PAPER: tuple[Colour, ...] = ((0.80, 0.86, 0.80), (0.90, 0.82, 0.70), (0.76, 0.82, 0.90), (0.90, 0.78, 0.78))
_BOOKS: tuple[Colour, ...] = ((0.72, 0.24, 0.22), (0.22, 0.42, 0.58), (0.86, 0.70, 0.28), (0.30, 0.52, 0.34))


def room(canvas: Canvas) -> None:
    """A wall with a window, through which the sky is seen, a picture, a shelf, a lamp, a wooden floor with a rug."""
    scene, horizon = canvas.scene, canvas.scene.horizon
    sky(canvas)
    canvas.part("wall")
    foot = horizon - 0.06
    paper = _PAPER[int(canvas.between(0, len(_PAPER)))]
    canvas.land[3].fill_(0)
    canvas.over_land(canvas.under(2.0), paper)
    turn = canvas.xs / 0.16
    stripe = canvas.cover(((turn - turn.round()).abs() - 0.25) * 0.16).expand(len(canvas.ys), -1)
    canvas.over_land(stripe, scaled(paper, 0.94))
    canvas.part("floor")
    canvas.over_land(canvas.under(foot + 0.045), (0.95, 0.93, 0.88))
    canvas.over_land(canvas.under(foot), (0.58, 0.38, 0.22))
    part = ((foot - canvas.ys) / (foot + 0.5)).clamp(0, 1)
    canvas.over_land(canvas.under(foot) * part, (0.74, 0.52, 0.32))
    for k in range(1, 6):  # boards, the wider the nearer
        y = foot - (foot + 0.5) * (k / 6) ** 1.6
        canvas.over_land(canvas.cover((canvas.ys - y).abs() - 0.003).expand(-1, len(canvas.xs)), (0.46, 0.29, 0.17))
    rug = _BOOKS[int(canvas.between(0, len(_BOOKS)))]
    for size, tone in ((0.56, scaled(rug, 0.9)), (0.50, (0.90, 0.84, 0.72)), (0.46, scaled(rug, 1.05))):
        canvas.over_land(canvas.oval(0.0, scene.floor - 0.015, size, size * 0.17), tone)
    canvas.part("things")
    side = 1 if canvas.between(-1, 1) > 0 else -1
    middle = foot + 0.30
    _window(canvas, side * (0.36 + canvas.between(-0.05, 0.05)), middle)
    _window(canvas, -side * 1.16, middle)
    _picture(canvas, -side * (0.12 + canvas.between(-0.03, 0.03)), middle + 0.04)
    _shelf(canvas, -side * 0.56, middle + canvas.between(-0.02, 0.02))
    _floor_lamp(canvas, side * (0.72 + canvas.between(-0.02, 0.02)), foot - 0.02)


def _window(canvas: Canvas, x: float, y: float) -> None:
    """A hole in the wall within a frame, between curtains; by day its light lies on the wall around it."""
    wide, high = 0.15, 0.16
    at = canvas.near(x - 0.26, x + 0.26, y - 0.24, y + 0.24)
    if not at.land.numel():
        return
    at.over_land(at.block(x - wide - 0.02, x + wide + 0.02, y - high - 0.02, y + high + 0.02), (0.97, 0.96, 0.93))
    hole = at.block(x - wide, x + wide, y - high, y + high)
    at.land.mul_(1 - hole)
    bars = [Stroke(x, y - high, x, y + high, 0.007, 0.007), Stroke(x - wide, y, x + wide, y, 0.007, 0.007)]
    strokes(canvas, bars, (0.97, 0.96, 0.93))
    at.over_land(at.block(x - wide - 0.04, x + wide + 0.04, y - high - 0.045, y - high - 0.02), (0.90, 0.88, 0.84))
    for way in (-1, 1):
        edge = x + way * (wide + 0.035)
        hang = at.cover((at.xs - edge).abs() - (0.045 + 0.02 * ((at.ys - y) / high)))
        at.over_land(hang * at.block(x - 0.26, x + 0.26, y - high - 0.03, y + high + 0.045), (0.78, 0.40, 0.36))
        strokes(canvas, [Stroke(edge, y - high, edge, y + high, 0.004, 0.004)], (0.62, 0.28, 0.27))


def _picture(canvas: Canvas, x: float, y: float) -> None:
    at = canvas.near(x - 0.1, x + 0.1, y - 0.1, y + 0.1)
    at.over_land(at.block(x - 0.085, x + 0.085, y - 0.07, y + 0.07), (0.52, 0.36, 0.18))
    at.over_land(at.block(x - 0.068, x + 0.068, y - 0.053, y + 0.053), (0.62, 0.80, 0.90))
    inner = at.block(x - 0.068, x + 0.068, y - 0.053, y + 0.053)
    at.over_land(inner * at.under(y - 0.01 + 0.05 * (1 - (at.xs - x - 0.02).abs() * 22)), (0.42, 0.50, 0.62))
    at.over_land(inner * at.under(y - 0.02), (0.44, 0.62, 0.30))


def _shelf(canvas: Canvas, x: float, y: float) -> None:
    """A board on the wall with a row of books."""
    at, spine = canvas.near(x - 0.18, x + 0.18, y - 0.05, y + 0.16), x - 0.135
    while spine < x + 0.08:
        wide, high = canvas.between(0.018, 0.032), canvas.between(0.075, 0.115)
        colour = _BOOKS[int(canvas.between(0, len(_BOOKS)))]
        at.over_land(at.block(spine, spine + wide, y, y + high), colour)
        spine += wide + 0.003
    at.over_land(at.block(x - 0.16, x + 0.16, y - 0.018, y + 0.002), (0.48, 0.31, 0.18))


def _floor_lamp(canvas: Canvas, x: float, foot: float) -> None:
    """A standing lamp with a shade, lit at dusk and at night."""
    head, on = foot + 0.34, canvas.scene.light in LIT
    iron = [Stroke(x, foot, x, head, 0.007, 0.007), Stroke(x - 0.045, foot, x + 0.045, foot, 0.008, 0.008)]
    strokes(canvas, iron, (0.25, 0.20, 0.18))
    at = canvas.near(x - 0.12, x + 0.12, head - 0.04, head + 0.12)
    shade = at.cover((at.xs - x).abs() - (0.085 - 0.35 * (at.ys - head))) * at.block(
        x - 0.12, x + 0.12, head - 0.02, head + 0.1
    )
    at.over_land(shade, (1.0, 0.86, 0.55) if on else (0.90, 0.84, 0.72), lit=not on)
    if lit(canvas):
        halo(canvas, x, head + 0.04, 0.85, 0.5)
        halo(canvas, x, head + 0.04, 0.3, 0.5)
        halo(canvas, x, foot - 0.02, 0.13, 0.4, flat=3.0)
        canvas.lamps.append(Lamp(x, head, 0.85))
