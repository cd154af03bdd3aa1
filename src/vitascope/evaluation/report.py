"""Everything that is measured of a model, in one Result that is written and read as JSON.

A measure is a module with one function of the engine that returns a dataclass; here it gets its place in the Result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from vitascope.bundle import fingerprint
from vitascope.engine import Engine
from vitascope.errors import BadModel
from vitascope.evaluation.adherence import Adherence, adherence
from vitascope.evaluation.fidelity import Fidelity, fidelity
from vitascope.evaluation.lessons import STEPS, train_probe
from vitascope.evaluation.probe import ABOUT, Probe, ProbeConfig, Schooling
from vitascope.evaluation.progress import Watch
from vitascope.evaluation.retrieval import Retrieval, retrieval
from vitascope.evaluation.scenes import Split
from vitascope.shot import Shot


@dataclass(frozen=True)
class Result:
    """What was measured, of which weights, and how the films were made. The same weights give the same Result."""

    model: str
    weights: str
    """The fingerprint that films of this model carry."""
    walk: dict[str, Any]
    """Steps, solver, guidance and shift of every film."""
    probe: Schooling | None
    fidelity: Fidelity
    retrieval: Retrieval
    adherence: Adherence

    def json(self) -> str:
        """As JSON text."""
        return _RESULT.dump_json(self, indent=1).decode() + "\n"

    @staticmethod
    def parse(text: str) -> Result:
        """From the text that `json` gave. Raises BadModel."""
        try:
            return _RESULT.validate_json(text)
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"])) or "the whole"
            raise BadModel(
                f"results: the entry '{where}' is not what vitascope evaluate writes; measure the model again"
            ) from error


_RESULT = TypeAdapter(Result)


def evaluate(
    engine: Engine,
    probe: Probe,
    *,
    prompts: int = 200,
    split: Split = "withheld",
    like: Mapping[str, Any] | None = None,
    clips: int = 64,
    pool: int = 100,
    watch: Watch | None = None,
    film: Callable[[Shot, Tensor], None] | None = None,
) -> Result:
    """All measures: the codec on `clips` withheld clips, the text tower among `pool`, and adherence on `prompts` films.

    `like` are fields of a Shot that all films share; `film` is given every generated film, uint8 [t h w c].
    """
    shown = adherence(engine, probe, prompts, split, like, watch=watch, film=film)
    defaults = engine.defaults | dict(like or {})
    return Result(
        model=engine.recipe.name,
        weights=fingerprint(engine.weights),
        walk={name: defaults[name] for name in ("steps", "solver", "guidance", "shift")},
        probe=probe.schooling,
        fidelity=fidelity(engine, clips, watch=watch),
        retrieval=retrieval(engine, pool, watch=watch),
        adherence=shown,
    )


def probe_for(engine: Engine, folder: Path | None = None, *, steps: int = STEPS, watch: Watch | None = None) -> Probe:
    """The probe in `folder`, or the bundle's own; where there is none, one is trained (about ten minutes) and kept there.

    Raises BadModel.
    """
    place = folder or (engine.folder / "probe" if engine.folder else None)
    if place is not None and (place / ABOUT).is_file():
        return Probe.load(place).to(engine.device)
    if place is not None and place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise BadModel(
            f"{place}: there is something there and it is no probe; name a folder that holds one, or that does not exist yet"
        )
    config = ProbeConfig.of(engine.recipe.video, engine.recipe.world)
    probe = train_probe(config, steps=steps, watch=watch, device=engine.device)
    if place is not None:
        probe.save(place)
    return probe.to(engine.device)
