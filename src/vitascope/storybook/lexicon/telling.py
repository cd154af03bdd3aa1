"""How it is told: sentences, sides, relations, the camera."""

from __future__ import annotations

SIDES: dict[str, tuple[str, ...]] = {
    "left": ("to the left", "to the left", "left", "left", "towards the left", "from right to left"),
    "right": ("to the right", "to the right", "right", "right", "towards the right", "from left to right"),
}

# where the subject is beside {other}; then where {other} is beside the subject
RELATIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "left of": (
        ("to the left of {other}", "to the left of {other}", "left of {other}", "on the left of {other}"),
        ("with {other} on the right", "with {other} to the right"),
    ),
    "right of": (
        ("to the right of {other}", "to the right of {other}", "right of {other}", "on the right of {other}"),
        ("with {other} on the left", "with {other} to the left"),
    ),
    "behind": (("behind {other}",), ("with {other} in front", "with {other} in the foreground")),
}
PURSUED: dict[str, tuple[str, ...]] = {"follows": ("followed by",), "chases": ("chased by",)}
"""What the other one is by the subject."""

# inside the sentence; apart from it; in a sentence. {it} is the subject
CAMERAS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "still": (
        ("in a still shot", "with a fixed camera", "with a static camera"),
        ("static camera", "static shot", "fixed camera"),
        ("the camera is still", "the camera does not move", "the camera stays fixed"),
    ),
    "pans left": (
        ("as the camera pans left", "while the camera pans left", "with a pan to the left"),
        ("camera pans left", "camera panning left", "panning left", "pan left"),
        ("the camera pans left", "the camera pans to the left", "the camera moves to the left"),
    ),
    "pans right": (
        ("as the camera pans right", "while the camera pans right", "with a pan to the right"),
        ("camera pans right", "camera panning right", "panning right", "pan right"),
        ("the camera pans right", "the camera pans to the right", "the camera moves to the right"),
    ),
    "tilts up": (
        ("as the camera tilts up", "while the camera tilts up", "with an upward tilt"),
        ("camera tilts up", "camera tilting up", "tilt up"),
        ("the camera tilts up", "the camera tilts upward", "the camera looks up"),
    ),
    "tilts down": (
        ("as the camera tilts down", "while the camera tilts down", "with a downward tilt"),
        ("camera tilts down", "camera tilting down", "tilt down"),
        ("the camera tilts down", "the camera tilts downward", "the camera looks down"),
    ),
    "zooms in": (
        ("as the camera zooms in", "while the camera zooms in", "with a zoom in"),
        ("camera zooms in", "camera zooming in", "zooming in", "slow zoom in"),
        ("the camera zooms in", "the camera zooms in slowly", "the camera moves closer"),
    ),
    "zooms out": (
        ("as the camera zooms out", "while the camera zooms out", "with a zoom out"),
        ("camera zooms out", "camera zooming out", "zooming out", "slow zoom out"),
        ("the camera zooms out", "the camera zooms out slowly", "the camera moves back"),
    ),
    "tracks": (
        ("as the camera follows", "in a tracking shot", "while the camera tracks {it}"),
        ("tracking shot", "tracking shot", "camera following {it}", "camera tracking {it}"),
        ("the camera follows {it}", "the camera tracks {it}", "the camera moves along with {it}"),
    ),
    "circles": (
        ("as the camera orbits", "while the camera arcs around {it}", "in an orbit shot", "in an arc shot"),
        ("orbit shot", "arc shot", "camera orbiting", "camera orbiting around {it}"),
        ("the camera orbits around {it}", "the camera arcs around {it}", "the camera orbits {it}"),
    ),
}  # fmt: skip

# {who} the subject with its article, {new} the same in mid-sentence; {verb}, {doing}, {bare} what it does and where; {is} and {it}
# as its number asks
SENTENCES = (
    "{who} {verb}",
    "{who} {verb}",
    "{who} {verb}",
    "{who} {doing}",
    "{who} {doing}",
    "{who} {is} {doing}",
    "there {is} {new} {doing}",
    "we see {new} {bare}",
    "we watch {new} {bare}",
    "a video of {new} {doing}",
    "a shot of {new} {doing}",
)
# {where}: the place or the time, said first
FRONTED = (
    "{where}, {new} {verb}",
    "{where}, {new} {is} {doing}",
    "{where}, there {is} {new} {doing}",
    "{where}, we see {new} {bare}",
)
TWO_SENTENCES = (
    "{who} {where}. {it} {verb}",
    "there {is} {new} {where}. {it} {is} {doing}",
    "we see {new} {where}. {it} {verb}",
)
IDLE = ("{who} {where}", "{who} {where}", "there {is} {new} {where}", "a video of {new} {where}")
OPENINGS = ("{place} {light}", "{place} {light}", "this is {place} {light}", "a video of {place} {light}")
