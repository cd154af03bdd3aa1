"""Places: the scenery around a subject.

A place is one function that paints the sky and the land of a `Canvas`, and one line in `PLACES`; what stands before the
subject is another, in `front.FRONTS`. The parts of a place that the light or the weather leave out are painted within a
`Canvas.part` of their own, so that everything else stays where it is.
"""

from __future__ import annotations

from collections.abc import Callable

from vitascope.storybook.canvas import Canvas, Colour, air, mix, scaled
from vitascope.storybook.places.beyond import outer_space
from vitascope.storybook.places.country import desert, forest, meadow, night_sky, sea, snowfield
from vitascope.storybook.places.front import FRONTS
from vitascope.storybook.places.town import city_street, room
from vitascope.storybook.places.water import beach, underwater
from vitascope.storybook.places.winter import snowy_park

__all__ = ["PLACES", "Canvas", "Colour", "air", "mix", "paint", "scaled"]

PLACES: dict[str, Callable[[Canvas], None]] = {
    "meadow": meadow,
    "snowfield": snowfield,
    "desert": desert,
    "sea": sea,
    "forest": forest,
    "night sky": night_sky,
    "snowy park": snowy_park,
    "beach": beach,
    "underwater": underwater,
    "city street": city_street,
    "room": room,
    "outer space": outer_space,
}
"""Every place. To add one: a function, a line here, its word in `worlds`, its phrases in `lexicon.settings`."""


def paint(canvas: Canvas) -> None:
    """Paint the scenery of the canvas's scene on it and, where its world has that, what stands before the subject."""
    PLACES[canvas.scene.place](canvas)
    if canvas.scene.laws.fronts and canvas.scene.place in FRONTS:
        canvas.part("front")
        FRONTS[canvas.scene.place](canvas.before())
