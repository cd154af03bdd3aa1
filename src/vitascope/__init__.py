"""vitascope: a prompt becomes a video by walking a learned vector field from noise to data.

The names below are the public surface; what they need is imported when one of them is first touched, so that
`import vitascope` costs nothing and needs no torch. The rooms beneath (`vitascope.physics`, `vitascope.models`,
`vitascope.storybook` and the others) are there for whoever wants the parts.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitascope.diffusion import Diffusion
    from vitascope.engine import Engine
    from vitascope.errors import VitascopeError
    from vitascope.media import Video
    from vitascope.physics.field import Field
    from vitascope.physics.guidance import guide
    from vitascope.physics.noise import Noise
    from vitascope.physics.solvers import SOLVERS, Step
    from vitascope.recipe import Recipe
    from vitascope.shot import Shot

__version__ = "0.1.0"

__all__ = [
    "SOLVERS",
    "Diffusion",
    "Engine",
    "Field",
    "Noise",
    "Recipe",
    "Shot",
    "Step",
    "Video",
    "VitascopeError",
    "guide",
]

_HOMES = {
    "SOLVERS": "physics.solvers",
    "Diffusion": "diffusion",
    "Engine": "engine",
    "Field": "physics.field",
    "Noise": "physics.noise",
    "Recipe": "recipe",
    "Shot": "shot",
    "Step": "physics.solvers",
    "Video": "media",
    "VitascopeError": "errors",
    "guide": "physics.guidance",
}


if not TYPE_CHECKING:  # a checker would take it for a promise that every name is here

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = found  # so that the next look finds it without coming here
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
