"""Skies: what hangs over every place that has a ground."""

from __future__ import annotations

from vitascope.storybook.canvas import Canvas, Colour, mix, scaled

_CLOUD: dict[str, Colour] = {
    "morning": (1.0, 0.92, 0.9),
    "day": (1.0, 1.0, 1.0),
    "dusk": (0.78, 0.36, 0.42),
    "night": (0.16, 0.19, 0.34),
}
_SUN: dict[str, Colour] = {"morning": (1.0, 0.95, 0.8), "day": (1.0, 0.97, 0.65), "dusk": (1.0, 0.45, 0.15)}
_SIZE = {"morning": 0.08, "day": 0.075, "dusk": 0.14}


def sky(canvas: Canvas) -> None:
    """Gradient, sun or moon, stars, clouds: as the light and the weather have them."""
    scene, light = canvas.scene, canvas.scene.light
    gradient(canvas, scene.horizon, 0.52)
    canvas.part("sky")
    side = canvas.between(-0.75, 0.75)
    if light == "night":
        _night(canvas, side)
    else:
        height = {"morning": scene.horizon + 0.13, "day": 0.36, "dusk": scene.horizon + 0.06}[light]
        _sun(canvas, side, height, _SIZE[light], _SUN[light])
    if light != "night" or scene.laws.night_clouds:
        canvas.part("clouds")
        clouds(canvas)


def gradient(canvas: Canvas, low: float, high: float) -> None:
    """The sky's two colours, from one height to another."""
    part = ((canvas.ys - low) / (high - low)).clamp(0, 1)
    for channel in range(3):
        bottom, top = canvas.air.bottom[channel], canvas.air.top[channel]
        canvas.sky[channel] = bottom + (top - bottom) * part


def _around(canvas: Canvas, x: float, y: float, r: float) -> Canvas:
    return canvas.near(x - r, x + r, y - r, y + r)


def _night(canvas: Canvas, side: float) -> None:
    dim = canvas.weather.seen
    if not dim:
        return
    canvas.over_sky(canvas.dots(0.13, 0.014, share=0.6) * (0.9 * dim), (0.95, 0.95, 0.85))
    at = _around(canvas, side, 0.3, 0.3)
    at.over_sky(at.glow(side, 0.3, 0.3) * (0.35 * dim), (0.5, 0.58, 0.8))
    moon = at.disc(side, 0.3, 0.085) * (1 - at.disc(side + 0.05, 0.325, 0.075))
    at.over_sky(moon * (0.3 + 0.7 * dim), (0.97, 0.95, 0.82))


def _sun(canvas: Canvas, side: float, height: float, size: float, colour: Colour) -> None:
    dim = canvas.weather.seen
    if not dim:
        return
    at = _around(canvas, side, height, size * 4)
    at.over_sky(at.glow(side, height, size * 4) * (0.5 * dim), colour)
    at.over_sky(at.disc(side, height, size) * dim, colour)


def clouds(canvas: Canvas) -> None:
    """Clouds in the upper half, as many as the weather has; where they close, a soft cover in two tones."""
    weather, light = canvas.weather, canvas.scene.light
    grey = scaled((0.55, 0.57, 0.62), weather.level if light != "night" else 0.36)
    colour, thick = mix(_CLOUD[light], grey, weather.grey), weather.thick * (1.0 if light != "night" else 0.6)
    if not weather.clouds:
        if thick:
            _cover(canvas, colour, thick)
        return
    swept = 1.7 if canvas.scene.weather == "wind" else 1.0
    for _ in range(weather.clouds):
        cx, cy = canvas.between(-1.5, 1.5), canvas.between(0.2, 0.45)
        for _ in range(3):
            wide = canvas.between(0.09, 0.16) * swept
            x, y = cx + canvas.between(-0.15, 0.15) * swept, cy + canvas.between(-0.02, 0.03)
            tall = wide * 0.4 / swept**1.6
            at = canvas.near(x - 1.13 * wide, x + 1.13 * wide, y - 1.13 * tall, y + 1.13 * tall)
            q = ((at.xs - x) / wide).square() + ((at.ys - y) / tall).square()
            at.over_sky(((1.25 - q) * 2).clamp(0, 1) * thick, colour)


def _cover(canvas: Canvas, colour: Colour, thick: float) -> None:
    """A closed cover of clouds down to the horizon."""
    at = canvas.near(-9.0, 9.0, canvas.scene.horizon - 0.1, 9.0)
    high = ((at.ys - canvas.scene.horizon) * 5).clamp(0, 1)
    banks = at.noise(0.21, flat=2.6)
    at.over_sky(((banks - 0.3) * 2.2).clamp(0, 1) * high * thick, scaled(colour, 1.18))
    rolls = at.noise(0.12, flat=3.4)
    at.over_sky(((rolls - 0.4) * 2.4).clamp(0, 1) * high * (0.75 * thick), scaled(colour, 0.8))
