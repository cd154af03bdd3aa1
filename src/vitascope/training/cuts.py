"""Where a piece of a clip is cut out: around a place that was drawn, or anywhere."""

from __future__ import annotations

from torch import Tensor


def corner(there: Tensor, sides: tuple[int, int], units: tuple[int, int], draw: int) -> tuple[int, int]:
    """The upper left of a piece of `sides` rows and columns out of a grid, a multiple of `units`, by a number that was drawn.

    A place of `there` (bool [h w]), as drawn, is anywhere in its middle half, as far as the grid reaches; where there is no such
    place, the piece is anywhere.
    """
    found = there.nonzero()
    place = draw % max(1, len(found))
    corner = []
    for axis, (side, unit) in enumerate(zip(sides, units)):
        draw, chance = divmod(draw, 1 << 16)
        free = there.shape[axis] - side
        at = int(found[place, axis]) - side // 4 - chance % max(1, side // 2) if len(found) else chance % (free + 1)
        corner.append(min(max(0, at), free) // unit * unit)
    return corner[0], corner[1]
