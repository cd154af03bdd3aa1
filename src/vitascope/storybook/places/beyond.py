"""Outer space, on the ground of a moon."""

from __future__ import annotations

from torch import Tensor

from vitascope.storybook.canvas import Canvas, Colour, mix, scaled
from vitascope.storybook.places.country import ground
from vitascope.storybook.skies import gradient

_PLANETS: tuple[tuple[Colour, Colour], ...] = (
    ((0.93, 0.68, 0.42), (0.78, 0.46, 0.30)),
    ((0.36, 0.66, 0.93), (0.24, 0.42, 0.78)),
    ((0.82, 0.48, 0.62), (0.58, 0.30, 0.52)),
)


def outer_space(canvas: Canvas) -> None:
    """Stars, a ringed planet and a small one far away, grey ground with craters."""
    horizon = canvas.scene.horizon
    gradient(canvas, horizon, 0.4)
    canvas.part("haze")
    for tone in ((0.20, 0.10, 0.34), (0.06, 0.18, 0.30), (0.26, 0.08, 0.20)):
        x, y = canvas.between(-1.0, 1.0), canvas.between(0.1, 0.4)
        canvas.over_sky(canvas.glow(x, y, canvas.between(0.25, 0.36), flat=1.8) * 0.7, tone)
    canvas.part("stars")
    canvas.over_sky(canvas.dots(0.055, 0.0075, share=0.55) * 0.85, (0.86, 0.90, 1.0))
    canvas.over_sky(canvas.dots(0.16, 0.014, share=0.55), (1.0, 0.98, 0.9))
    canvas.part("planets")
    side = 1 if canvas.between(-1, 1) > 0 else -1
    tones = _PLANETS[int(canvas.between(0, len(_PLANETS)))]
    _planet(canvas, side * canvas.between(0.35, 0.55), 0.29, 0.135, tones, ringed=True)
    _planet(canvas, -side * canvas.between(0.45, 0.7), 0.36, 0.05, _PLANETS[int(canvas.between(0, 3))], ringed=False)
    canvas.part("ground")
    canvas.over_land(canvas.under(canvas.ridge(horizon, 0.10, 0.6, waves=2, sharp=True)), (0.34, 0.34, 0.39))
    ground(canvas, (0.68, 0.68, 0.70), (0.50, 0.50, 0.54))
    for _ in range(10):
        depth = canvas.between(0.03, 1.0)
        x, y = canvas.between(-1.5, 1.5), horizon - 0.025 - depth * (horizon + 0.47)
        _crater(canvas, x, y, (0.04 + 0.12 * depth) * canvas.between(0.6, 1.1))
    canvas.over_land(canvas.dots(0.08, 0.009, share=0.3, flat=1.7) * canvas.under(horizon - 0.06), (0.44, 0.44, 0.48))


def _planet(canvas: Canvas, x: float, y: float, r: float, tones: tuple[Colour, Colour], *, ringed: bool) -> None:
    """A banded ball, lit from the upper left, perhaps within a ring."""
    at = canvas.near(x - 2 * r, x + 2 * r, y - 1.2 * r, y + 1.2 * r)
    if not at.sky.numel():
        return

    def ring(front: bool) -> Tensor:
        tilt = (at.ys - y) * 1.0 + (at.xs - x) * 0.28
        q = (((at.xs - x) / (1.75 * r)).square() + (tilt / (0.42 * r)).square()).sqrt()
        band = at.cover(((q - 0.86).abs() - 0.12) * 0.42 * r)
        return band * (at.cover(tilt) if front else at.cover(-tilt))

    if ringed:
        at.over_sky(ring(False) * 0.8, (0.86, 0.78, 0.62))
    ball = at.disc(x, y, r)
    at.over_sky(ball, tones[0])
    turn = ((at.ys - y) + (at.xs - x) * 0.28) / (0.55 * r)
    at.over_sky(ball * at.cover(((turn - turn.round()).abs() - 0.22) * 0.55 * r), tones[1])
    dark = 1 - at.glow(x - 0.45 * r, y + 0.45 * r, 2.1 * r)
    at.over_sky(ball * (dark * 1.15 - 0.2).clamp(0, 0.85), scaled(mix(tones[1], (0.0, 0.0, 0.1), 0.6), 0.5))
    if ringed:
        at.over_sky(ring(True) * 0.9, (0.93, 0.86, 0.70))


def _crater(canvas: Canvas, x: float, y: float, r: float) -> None:
    at = canvas.near(x - r * 1.3, x + r * 1.3, y - r * 0.6, y + r * 0.6)
    at.over_land(at.oval(x, y, r * 1.15, r * 0.40), (0.80, 0.80, 0.82))
    at.over_land(at.oval(x, y + 0.02 * r, r, r * 0.32), (0.27, 0.27, 0.33))
    at.over_land(at.oval(x, y - 0.08 * r, r * 0.86, r * 0.22), (0.46, 0.46, 0.51))
