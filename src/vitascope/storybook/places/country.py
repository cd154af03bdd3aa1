"""Places in the open country, and above the clouds."""

from __future__ import annotations

import torch
from torch import Tensor

from vitascope.storybook.canvas import Canvas, Colour, scaled
from vitascope.storybook.skies import clouds, sky


def ground(canvas: Canvas, near: Colour, far: Colour) -> None:
    """Ground below the horizon, from its far colour to its near one."""
    horizon = canvas.scene.horizon
    land = canvas.under(horizon)
    canvas.over_land(land, far)
    part = ((horizon - canvas.ys) / (horizon + 0.5)).clamp(0, 1)
    canvas.over_land((land * part), near)


def fading(canvas: Canvas) -> Tensor:
    """Opacity of ground detail: nothing at the horizon, all near the camera."""
    return ((canvas.scene.horizon - 0.03 - canvas.ys) * 6).clamp(0, 1)


def meadow(canvas: Canvas) -> None:
    horizon = canvas.scene.horizon
    sky(canvas)
    canvas.part("land")
    canvas.over_land(canvas.under(canvas.ridge(horizon + 0.04, 0.09, 0.9)), (0.36, 0.56, 0.42), far=0.3)
    canvas.over_land(canvas.under(canvas.ridge(horizon - 0.02, 0.07, 0.6)), (0.34, 0.62, 0.26), far=0.12)
    ground(canvas, (0.36, 0.66, 0.16), (0.50, 0.76, 0.30))
    fade = fading(canvas)
    canvas.over_land(canvas.dots(0.09, 0.022, share=0.6, flat=2.0) * fade, (0.24, 0.50, 0.12))
    for colour in ((0.98, 0.96, 0.92), (0.96, 0.62, 0.75)):
        canvas.over_land(canvas.dots(0.12, 0.017, share=0.4) * fade, colour)


def snowfield(canvas: Canvas) -> None:
    horizon = canvas.scene.horizon
    sky(canvas)
    canvas.part("land")
    peaks = canvas.ridge(horizon + 0.01, 0.19, 0.5, waves=2, sharp=True)
    canvas.over_land(canvas.under(peaks), (0.50, 0.58, 0.72), far=0.1)
    caps = peaks * 0.45 + 0.55 * (horizon + 0.09)
    canvas.over_land(canvas.under(peaks) * (1 - canvas.under(caps)), (0.95, 0.97, 1.0))
    ground(canvas, (0.93, 0.96, 1.0), (0.84, 0.89, 0.97))
    fade = fading(canvas)
    canvas.over_land(canvas.dots(0.13, 0.035, share=0.7, flat=3.0) * fade, (0.76, 0.84, 0.96))


def desert(canvas: Canvas) -> None:
    horizon = canvas.scene.horizon
    sky(canvas)
    canvas.part("land")
    for base, high, tone in ((0.03, 0.14, (0.86, 0.62, 0.36)), (-0.03, 0.11, (0.93, 0.72, 0.42))):
        canvas.over_land(canvas.under(canvas.ridge(horizon + base, high, 0.8, waves=2)), tone, far=0.05)
    ground(canvas, (0.95, 0.78, 0.46), (0.88, 0.66, 0.36))
    canvas.over_land(canvas.dots(0.11, 0.018, share=0.7, flat=3.5) * fading(canvas), (0.80, 0.58, 0.30))
    for _ in range(4):
        x, tall = canvas.between(-1.4, 1.4), canvas.between(0.14, 0.22)
        _cactus(canvas, x, horizon - 0.03, tall)


def _cactus(canvas: Canvas, x: float, foot: float, tall: float) -> None:
    width = tall * 0.1

    def post(cx: float, low: float, high: float) -> Tensor:
        y = canvas.ys.clamp(low, high)
        return ((canvas.xs - cx).square() + (canvas.ys - y).square()).sqrt() - width

    side = tall * 0.36
    shape = torch.minimum(post(x, foot, foot + tall), post(x - side, foot + tall * 0.4, foot + tall * 0.7))
    shape = torch.minimum(shape, post(x + side, foot + tall * 0.5, foot + tall * 0.85))
    bar = torch.maximum((canvas.ys - (foot + tall * 0.45)).abs() - width * 0.8, (canvas.xs - x).abs() - side)
    canvas.over_land(canvas.cover(torch.minimum(shape, bar)), (0.20, 0.42, 0.22))


def sea(canvas: Canvas) -> None:
    horizon = canvas.scene.horizon
    sky(canvas)
    canvas.part("land")
    isle = canvas.between(-0.9, 0.9)
    q = ((canvas.xs - isle) * (1 / 0.3)).square()
    canvas.over_land(canvas.under(horizon + 0.09 * (1 - q)), (0.30, 0.42, 0.42), far=0.35)
    ground(canvas, (0.03, 0.30, 0.52), (0.20, 0.58, 0.72))
    fade = fading(canvas)
    canvas.over_land(canvas.dots(0.075, 0.016, share=0.6, flat=5.0) * fade, (0.04, 0.24, 0.44))
    canvas.over_land(canvas.dots(0.085, 0.015, share=0.5, flat=4.0) * fade, (0.75, 0.92, 0.95))


def _conifers(canvas: Canvas, base: float, tall: float, wide: float, colour: Colour, far: float) -> None:
    """A row of conifers: toothed triangles of varying height."""
    turn = canvas.xs / wide + canvas.between(0, 1)
    cell = turn.floor()
    top = base + tall * (0.65 + 0.35 * canvas.table("trees", 64)[cell.long() % 64])
    off = (turn - cell - 0.5).abs() * 2
    rows = (canvas.ys - base) * (5 / tall)
    teeth = (rows - rows.floor()) * 0.28
    limit = ((top - canvas.ys) * (1.15 / tall) + 0.14 - teeth).clamp_max(1.02)
    alpha = canvas.cover((off - limit) * (wide / 2))
    canvas.over_land(alpha.square() * canvas.under(top + 0.02), colour, far=far)


def forest(canvas: Canvas) -> None:
    horizon = canvas.scene.horizon
    sky(canvas)
    canvas.part("land")
    _conifers(canvas, horizon - 0.05, 0.42, 0.15, (0.20, 0.42, 0.36), 0.28)
    _conifers(canvas, horizon - 0.05, 0.34, 0.22, (0.09, 0.36, 0.20), 0.06)
    ground(canvas, (0.38, 0.33, 0.16), (0.22, 0.36, 0.16))
    fade = fading(canvas)
    canvas.over_land(canvas.dots(0.1, 0.026, share=0.7, flat=2.5) * fade, (0.20, 0.34, 0.12))
    canvas.over_land(canvas.dots(0.12, 0.018, share=0.5, flat=1.6) * fade, (0.55, 0.36, 0.16))


def _full_moon(canvas: Canvas, dim: float) -> None:
    """Two sizes of stars, a moon with three craters, and its glow."""
    canvas.over_sky(canvas.dots(0.075, 0.010, share=0.5) * (0.7 * dim), (0.75, 0.8, 1.0))
    canvas.over_sky(canvas.dots(0.17, 0.019, share=0.7) * dim, (1.0, 0.98, 0.85))
    side = canvas.between(-0.75, 0.75)
    canvas.over_sky(canvas.glow(side, 0.22, 0.5) * (0.4 * dim), (0.55, 0.55, 0.85))
    canvas.over_sky(canvas.disc(side, 0.22, 0.16), (0.98, 0.95, 0.80))
    for dx, dy, r in ((-0.05, 0.04, 0.035), (0.05, -0.03, 0.045), (-0.02, -0.08, 0.025)):
        canvas.over_sky(canvas.disc(side + dx, 0.22 + dy, r), (0.86, 0.83, 0.70))


def night_sky(canvas: Canvas) -> None:
    """No ground but a bank of moonlit clouds, on which things land."""
    scene = canvas.scene
    canvas.part("sky")
    seen = canvas.weather.seen
    dim = 1.0 if seen == 1 else 0.6 if seen else 0.4
    top, bottom = (0.02, 0.01, 0.09), (0.16, 0.08, 0.34)
    part = ((canvas.ys + 0.45) / 0.9).clamp(0, 1)
    for channel in range(3):
        canvas.sky[channel] = (bottom[channel] + (top[channel] - bottom[channel]) * part) * (0.7 + 0.3 * dim)
    if seen:
        _full_moon(canvas, dim)
    else:
        canvas.part("clouds")
        clouds(canvas)
        canvas.over_sky(torch.full_like(canvas.sky[0], 0.35 + 0.3 * canvas.weather.fog), canvas.air.bottom)
    canvas.part("land")
    for base, tone in ((0.10, (0.26, 0.25, 0.47)), (0.0, (0.38, 0.39, 0.62)), (-0.09, (0.50, 0.53, 0.76))):
        turn = canvas.xs / canvas.between(0.24, 0.32) + canvas.between(0, 1)
        q = (turn - turn.floor() - 0.5) * 2
        puffs = scene.floor + base + 0.07 * (1 - q * q).clamp_min(0).sqrt()
        canvas.over_land(canvas.under(puffs), scaled(tone, 0.6 + 0.4 * dim), lit=False)
