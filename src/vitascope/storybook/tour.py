"""A tour of a world: for each value of an attribute a scene that shows it, with as little else as can be."""

from __future__ import annotations

from collections.abc import Iterator

from vitascope.storybook.scenes import Scene, scene
from vitascope.storybook.worlds import world_of

_QUIET = ("weather", "camera", "mood", "size", "count", "relation", "change")
"""The attributes of which nothing is to be seen where they have their usual value."""
_BRIGHT = ("day", "morning")
_MOST = 200_000


def tour(world: str, attribute: str, seed: int = 0) -> Iterator[tuple[str, Scene]]:
    """Each value of the attribute and the first scene of the seed that shows it and is quiet otherwise, by daylight if it can.

    Raises ValueError for a world or an attribute that there is not.
    """
    values = world_of(world).values
    if attribute not in values:
        raise ValueError(f"attribute is one of {', '.join(values)}, got {attribute!r}")
    missing = list(values[attribute])
    found, dark = dict[str, Scene](), dict[str, Scene]()
    for index in range(_MOST):
        made = scene(seed, index, "any", world)
        value = getattr(made, attribute)
        if value in found or not _quiet(made, attribute):
            continue
        if attribute == "light" or made.light in _BRIGHT:
            found[value] = made
        else:
            first = dark.setdefault(value, made)
            if index > 3000:  # some places know no day
                found[value] = first
        while missing[0] in found:
            yield missing[0], found[missing.pop(0)]
            if not missing:
                return
    raise RuntimeError(f"no quiet scene of {world} has {attribute} {missing[0]!r} among the first {_MOST:,}")


def _quiet(made: Scene, attribute: str) -> bool:
    # A turn of the weather begins under clouds or in rain; whoever shows changes shows it all the same.
    free = {attribute, "weather"} if attribute == "change" else {attribute}
    return all(made.usual(name) for name in _QUIET if name in made.laws.values and name not in free)
