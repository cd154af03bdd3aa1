"""Everything that is measured of a model, in one Result that is written and read as JSON.

A measure is a module with one function that returns a dataclass, of the films that are made once for all of them, or of
the engine; here it gets its place in the Result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from vitascope.bundle import fingerprint
from vitascope.data.clips import Source
from vitascope.data.own import Own, OwnClips, OwnSource
from vitascope.engine import Engine
from vitascope.errors import BadData, BadModel
from vitascope.evaluation.adherence import Adherence, adherence, fits
from vitascope.evaluation.continuity import Continuity, continuity
from vitascope.evaluation.distribution import Distribution, Diversity, distribution, diversity, features
from vitascope.evaluation.fidelity import Fidelity, fidelity
from vitascope.evaluation.films import Keep, generated, joined, prepared, show
from vitascope.evaluation.first import First, first
from vitascope.evaluation.laws import Laws, lawful_scenes, laws
from vitascope.evaluation.lessons import STEPS, train_probe
from vitascope.evaluation.memory import Cut, Drawn, Memory, Pair, Shelf, Together, memory
from vitascope.evaluation.probe import ABOUT, Probe, ProbeConfig, Schooling
from vitascope.evaluation.progress import Watch
from vitascope.evaluation.retrieval import Retrieval, retrieval
from vitascope.evaluation.rounding import rounded
from vitascope.evaluation.scenes import Split, real, scenes, siblings
from vitascope.learned import learned_by
from vitascope.storybook import Scene, plain

SPOKEN = 4  # prompts whose diversity is measured
MOST_PAIRS = 12  # of films and training clips, to look at
MOST_RECITED = 48  # films that are asked for by captions of own clips
KeepPair = Callable[[Pair, Tensor, Tensor], None]
"""Is given a pair, its film and its training clip, uint8 [t h w c] each."""


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
    continuity: Continuity
    distribution: Distribution
    diversity: Diversity | None
    """None where there is one film of each prompt, or where films begin with a picture."""
    memory: Memory | None
    """None where no clip that it was learned from was at hand."""
    laws: Laws
    first: First | None = None
    """None where films were made of words alone."""

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
    seeds: int = 16,
    moving: int = 12,
    searched: int | None = None,
    own: Own | None = None,
    begun: bool = False,
    watch: Watch | None = None,
    film: Keep | None = None,
    pair: KeepPair | None = None,
) -> Result:
    """All measures. `prompts` films are made once, and looked at by all of them; `seeds` more of each of a few prompts, for
    their diversity, and `moving` more for each law of motion. The codec is measured on `clips` withheld clips and the text
    tower among `pool`; of the training clips all are searched, or the first `searched`, those that were learned last before
    the others. `own` are clips of the films that the model was trained on beside the storybook: then copies of those are looked
    for, in films that their captions ask for, beside those of the films that were held out, where there are any.

    If `begun`, each film is given the first picture of its true one, and no diversity is measured: the world's own scenes of one
    prompt do not begin alike.

    `like` are fields of a Shot that all films share; `film` is given every film of the prompts and `pair` the closest pairs
    of a film and a training clip.

    Raises:
        BadModel: when the probe was trained on films of another shape or world.
        BadData: when the model learned from other films than `own`.
    """
    fits(probe, engine)
    learned = learned_by(engine.recipe, engine.folder)
    _ensure_own(own and own.training, learned, engine.recipe.name)
    video, world = engine.recipe.video, engine.recipe.world
    asked = scenes(prompts, split, world=world)
    shown = show(engine, asked, like, watch, film, begun=begun)
    reference = features(probe, real(video, scenes(prompts, split, prompts, world)))
    more = lawful_scenes(moving, split, video, 2 * prompts, world)
    defaults = engine.defaults | dict(like or {})
    drawn = tuple(Drawn(source, video) for source in reversed(learned) if isinstance(source, Source))
    shelf: Shelf = Cut(own.training) if own else Together(drawn)
    looked = recited(engine, own.training, prompts, like, watch) if own else shown.made
    apart = Cut(own.held_out) if own and own.held_out else None
    true = apart.clips(range(min(len(apart), MOST_RECITED))) if apart else shown.real
    remembered = memory(looked, true, shelf, searched, watch, recited=own is not None) if len(shelf) else None
    if pair and remembered:
        for each in remembered.pairs[:MOST_PAIRS]:
            pair(each, looked[each.film], shelf.clips([each.clip])[0])
    result = Result(
        model=engine.recipe.name,
        weights=fingerprint(engine.weights),
        walk={name: defaults[name] for name in ("steps", "solver", "guidance", "shift")},
        probe=probe.schooling,
        adherence=adherence(shown, probe, split, watch),
        continuity=continuity(shown, probe, video, watch),
        distribution=distribution({name: features(probe, each) for name, each in shown.versions.items()}, reference),
        diversity=diverse(engine, probe, asked[:SPOKEN], seeds, like, watch) if seeds > 1 and not begun else None,
        memory=remembered,
        laws=laws(joined(shown, show(engine, more, like, watch, begun=begun)) if more else shown, video, watch),
        fidelity=fidelity(engine, clips, watch=watch),
        retrieval=retrieval(engine, pool, watch=watch),
        first=first(shown),
    )
    return rounded(result)


def diverse(
    engine: Engine,
    probe: Probe,
    asked: Sequence[Scene],
    seeds: int,
    like: Mapping[str, Any] | None = None,
    watch: Watch | None = None,
) -> Diversity:
    """The diversity of `seeds` films of each scene's full caption, beside as many true films of its labels."""
    shots = [prepared(engine, plain(scene), seed, like) for scene in asked for seed in range(seeds)]
    made = torch.cat([films for _, films in generated(engine, shots, watch)])
    true = torch.cat([real(engine.recipe.video, siblings(scene, seeds)) for scene in asked])
    return diversity(features(probe, made).split(seeds), features(probe, true).split(seeds))


def recited(
    engine: Engine, own: OwnClips, most: int, like: Mapping[str, Any] | None = None, watch: Watch | None = None
) -> Tensor:
    """Films of the captions that own clips were learned under, each in turn, uint8 [n t h w c]: who knows clips by heart says
    them when asked for them."""
    shots = [
        prepared(engine, own.prompts[seed % len(own.prompts)], seed, like) for seed in range(min(most, MOST_RECITED))
    ]
    return torch.cat([films for _, films in generated(engine, shots, watch)])


def strangers(engine: Engine, given: OwnSource | None = None) -> int:
    """How many clips of somebody's own films the model learned from, those that are given apart: in them no copy can be found."""
    learned = learned_by(engine.recipe, engine.folder)
    return sum(source.count for source in learned if isinstance(source, OwnSource) and source != given)


def _ensure_own(own: OwnClips | None, learned: Sequence[Source | OwnSource], name: str) -> None:
    if own is None:
        return
    films = [source for source in learned if isinstance(source, OwnSource)]
    if not films:
        raise BadData(f"{name} learned from nobody's films, and copies of such were asked for; ask for none.")
    if own.source not in films:
        raise BadData(
            f"--data: these are not the films that {name} learned from, of which there are {films[-1].count} clips; give the "
            "folder that it was trained on, as it was."
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
