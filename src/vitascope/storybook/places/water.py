"""The beach, and the bottom of the sea."""

from __future__ import annotations

import math

from vitascope.storybook.canvas import Canvas, Colour
from vitascope.storybook.skies import sky
from vitascope.storybook.strokes import Stroke, strokes, weed


def beach(canvas: Canvas) -> None:
    """Sand, a surf line, the sea behind it, a palm and a parasol."""
    scene, horizon = canvas.scene, canvas.scene.horizon
    sky(canvas)
    shore = horizon - 0.36 * (horizon - scene.floor)
    canvas.part("sea")
    canvas.over_land(canvas.under(horizon), (0.10, 0.46, 0.68))
    near = ((horizon - canvas.ys) / (horizon - shore)).clamp(0, 1)
    canvas.over_land(canvas.under(horizon) * near, (0.24, 0.74, 0.78))
    canvas.over_land(canvas.dots(0.035, 0.006, share=0.55, flat=7.0) * canvas.under(horizon - 0.01), (0.82, 0.96, 0.98))
    canvas.part("sand")
    wave = canvas.ridge(shore - 0.02, 0.03, 0.33, waves=2)
    canvas.over_land(canvas.under(wave + 0.016), (0.98, 0.99, 1.0))
    canvas.over_land(canvas.under(wave), (0.72, 0.62, 0.46))
    dry = canvas.ridge(shore - 0.055, 0.025, 0.5, waves=2)
    sand = canvas.under(dry)
    canvas.over_land(sand, (0.90, 0.78, 0.56))
    part = ((shore - canvas.ys) / (shore + 0.5)).clamp(0, 1)
    canvas.over_land(sand * part, (0.98, 0.88, 0.66))
    canvas.over_land(canvas.dots(0.085, 0.012, share=0.5, flat=2.5) * sand, (0.84, 0.71, 0.49))
    canvas.over_land(canvas.dots(0.16, 0.013, share=0.35, flat=1.3) * sand, (0.98, 0.72, 0.66))
    canvas.part("things")
    side = 1 if canvas.between(-1, 1) > 0 else -1
    for x in (-0.62 * side, 1.15 * side):
        _palm(canvas, x + canvas.between(-0.06, 0.06), shore - 0.02, canvas.between(0.46, 0.54), side)
    for x in (0.58 * side, -1.2 * side):
        _parasol(canvas, x + canvas.between(-0.08, 0.08), shore - 0.03, 0.24)


def _palm(canvas: Canvas, x: float, foot: float, tall: float, way: int) -> None:
    points = [(x + way * 0.13 * tall * (k / 6) ** 2, foot + tall * k / 6) for k in range(7)]
    trunk = [Stroke(*points[k], *points[k + 1], 0.024 - 0.002 * k, 0.022 - 0.002 * k) for k in range(6)]
    strokes(canvas, trunk, (0.50, 0.36, 0.22), foot=foot)
    cx, cy = points[-1]
    for shade, tilt in (((0.12, 0.42, 0.20), 0.0), ((0.22, 0.58, 0.24), 0.42)):
        leaves = []
        for leaf in range(6):
            turn = tilt + math.pi * (leaf / 5 * 1.3 - 0.15) + canvas.between(-0.1, 0.1)
            mx, my = cx + 0.11 * math.cos(turn), cy + 0.10 * math.sin(turn) + 0.02
            ex, ey = cx + 0.21 * math.cos(turn), cy + 0.15 * math.sin(turn) - 0.06
            leaves += [Stroke(cx, cy, mx, my, 0.010, 0.020), Stroke(mx, my, ex, ey, 0.020, 0.002)]
        strokes(canvas, leaves, shade, foot=foot)


def _parasol(canvas: Canvas, x: float, foot: float, tall: float) -> None:
    strokes(canvas, [Stroke(x, foot, x, foot + tall, 0.008, 0.008)], (0.93, 0.92, 0.88), foot=foot)
    r = 0.15
    at = canvas.near(x - r, x + r, foot + tall - 0.05, foot + tall + r)
    top = at.oval(x, foot + tall - 0.02, r, r * 0.72) * (1 - at.under(foot + tall - 0.015))
    at.over_land(top, (0.95, 0.95, 0.92), foot=foot)
    bend = (at.xs - x).abs() / ((1 - ((at.ys - (foot + tall - 0.02)) / (r * 0.72)).square()).clamp_min(0.01).sqrt() * r)
    stripes = at.cover(((bend * 2.5 + 0.5) % 1.0 - 0.5).abs().sub(0.25) * (r / 2.5))
    at.over_land(top * stripes, (0.92, 0.34, 0.30), foot=foot)


_CORAL: tuple[Colour, ...] = ((0.95, 0.45, 0.42), (0.95, 0.66, 0.35), (0.80, 0.42, 0.72))


def underwater(canvas: Canvas) -> None:
    """Light that falls in rays through blue water on sand, weeds, corals and bubbles."""
    scene, horizon = canvas.scene, canvas.scene.horizon
    part = ((canvas.ys - horizon + 0.15) / 0.6).clamp(0, 1)
    for channel in range(3):
        low, high = canvas.air.bottom[channel], canvas.air.top[channel]
        canvas.sky[channel] = low + (high - low) * part * part
    canvas.part("rays")
    strength = {"morning": 0.34, "day": 0.42, "dusk": 0.24, "night": 0.13}[scene.light]
    for slot in range(7):
        x, lean, wide = (
            -1.3 + 0.4 * slot + canvas.between(-0.12, 0.12),
            canvas.between(0.15, 0.35),
            canvas.between(0.05, 0.1),
        )
        down = 0.5 - canvas.ys
        ray = (1 - ((canvas.xs - x + lean * down) / (wide * (1 + down))).square()).clamp_min(0)
        canvas.over_sky(
            ray * (part + 0.25) * strength,
            canvas.air.top if scene.light != "night" else (0.35, 0.55, 0.75),
        )
    canvas.part("rocks")
    canvas.over_land(canvas.under(canvas.ridge(horizon - 0.02, 0.16, 0.7)), (0.20, 0.42, 0.52), far=0.55)
    canvas.over_land(canvas.under(canvas.ridge(horizon - 0.06, 0.10, 0.45)), (0.18, 0.38, 0.44), far=0.3)
    sand = canvas.under(canvas.ridge(horizon - 0.05, 0.045, 0.8, waves=2))
    canvas.over_land(sand, (0.66, 0.70, 0.58), far=0.15)
    near = ((horizon - canvas.ys) / (horizon + 0.5)).clamp(0, 1)
    canvas.over_land(sand * near, (1.0, 0.90, 0.62))
    canvas.over_land(canvas.dots(0.07, 0.010, share=0.6, flat=6.0) * canvas.under(horizon - 0.05), (0.76, 0.70, 0.50))
    canvas.part("growth")
    for slot in range(9):
        x, foot = -1.3 + 0.32 * slot + canvas.between(-0.1, 0.1), horizon - canvas.between(0.0, 0.06)
        if slot % 2:
            _coral(canvas, x, foot, canvas.between(0.12, 0.19), _CORAL[slot % 3])
        else:
            tall = canvas.between(0.2, 0.36)
            ribbons = [s for k in range(3) for s in weed(canvas, x + 0.035 * (k - 1), foot, tall * (0.7 + 0.15 * k))]
            strokes(canvas, ribbons, (0.14, 0.52, 0.30), far=0.1)
    canvas.part("bubbles")
    for column in range(5):
        x, y = -1.1 + 0.55 * column + canvas.between(-0.2, 0.2), canvas.between(0.0, 0.28)
        for k in range(3):
            _bubble(canvas, x + canvas.between(-0.03, 0.03), y + 0.06 * k, canvas.between(0.010, 0.020))


def _coral(canvas: Canvas, x: float, foot: float, tall: float, colour: Colour) -> None:
    """A fan of thick fingers."""
    fingers = []
    for k in range(5):
        lean = (k - 2) * 0.3 + canvas.between(-0.08, 0.08)
        high = tall * canvas.between(0.75, 1.0)
        knee = (x + 0.4 * high * math.sin(lean * 1.5), foot + 0.45 * high)
        fingers.append(Stroke(x, foot, *knee, tall * 0.075, tall * 0.07))
        fingers.append(
            Stroke(*knee, knee[0] + 0.5 * high * math.sin(lean * 0.7), foot + high, tall * 0.07, tall * 0.06)
        )
    strokes(canvas, fingers, colour, far=0.05)


def _bubble(canvas: Canvas, x: float, y: float, r: float) -> None:
    at = canvas.near(x - 2 * r, x + 2 * r, y - 2 * r, y + 2 * r)
    at.over_land((at.disc(x, y, r) - at.disc(x, y, r * 0.55) * 0.6) * 0.8, (0.85, 0.97, 1.0))
