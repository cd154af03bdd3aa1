"""Subjects, drawn from signed distances.

A subject is one function of local coordinates (x right, y up, everything within the unit circle) and of what its limbs do,
that returns its parts in the order in which they are painted, and one line in the table of its family: `people`, `animals`,
`vehicles`, `things`. A part is a material and a signed distance, negative inside; distances need only be right near the
edge. Solid parts make the silhouette, which gets the outline. A subject that has a front looks right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from vitascope.storybook.animals import ANIMALS
from vitascope.storybook.distances import join
from vitascope.storybook.limbs import MATERIALS, REST, Limbs, Part, Subject
from vitascope.storybook.people import PEOPLE
from vitascope.storybook.things import THINGS
from vitascope.storybook.vehicles import VEHICLES

__all__ = ["MATERIALS", "REST", "SUBJECTS", "Limbs", "Part", "Subject", "depth", "extent", "silhouette"]

SUBJECTS: dict[str, Subject] = {**THINGS, **PEOPLE, **ANIMALS, **VEHICLES}
"""Every subject. To add one: a function and a line in its family, its word in `worlds`, its nouns in
`lexicon.things`."""


def silhouette(parts: Sequence[Part]) -> Tensor:
    """Distance to the union of the solid parts."""
    return join(*(part.distance for part in parts if part.solid))


_TURNS = 360


@cache
def _depths(subject: str) -> tuple[float, ...]:
    """How far below its centre the subject reaches, turned by each whole degree (counter-clockwise), in local units."""
    line = torch.linspace(-1, 1, 161, dtype=torch.float64)
    y, x = torch.meshgrid(line, line, indexing="ij")
    inside = silhouette(SUBJECTS[subject].draw(x, y, REST)) <= 0
    far = torch.cat([torch.where(inside, x, math.inf).argmin(1), torch.where(inside, x, -math.inf).argmax(1)])
    px, py = line[far], line.repeat(2)  # the ends of every row: what is lowest is among them, however it is turned
    filled = inside.any(1).repeat(2)
    px, py = px[filled], py[filled]
    angles = [2 * math.pi * turn / _TURNS for turn in range(_TURNS)]
    sin, cos = (torch.tensor([[law(a)] for a in angles], dtype=torch.float64) for law in (math.sin, math.cos))
    return tuple((-(px * sin + py * cos).amin(1)).tolist())


def depth(subject: str, angle: float) -> float:
    """How far below its centre a subject of radius 1 reaches when turned by `angle` radians (counter-clockwise)."""
    table, turn = _depths(subject), (angle / (2 * math.pi) % 1.0) * _TURNS
    low = int(turn)
    return table[low % _TURNS] + (turn - low) * (table[(low + 1) % _TURNS] - table[low % _TURNS])


def extent(subject: str) -> tuple[float, float]:
    """How far below and above its centre an upright subject of radius 1 reaches."""
    return _depths(subject)[0], _depths(subject)[_TURNS // 2]
