"""vitascope evaluate: how well a model does what it is told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from vitascope.cli.flags import BadCommand, Flag, Folder, Real, Text, Whole, whole
from vitascope.cli.generate import chosen_device
from vitascope.cli.measures import (
    AGAINST,
    CLOSEST,
    FEWEST,
    FILMS,
    PAGE,
    PICTURE,
    POINTS,
    PROMPTS,
    RESULTS,
    chosen_curves,
    chosen_split,
    fit_together,
    free_folder,
    probe_of,
    shared,
)
from vitascope.cli.progress import Told, telling
from vitascope.cli.tables import show, show_curves
from vitascope.errors import BadData, BadModel
from vitascope.media import filmstrip, sheet, write
from vitascope.shot import Shot
from vitascope.swapping import file_in_place_of

if TYPE_CHECKING:
    from torch import Tensor

    from vitascope.data import Listing
    from vitascope.data.own import Own
    from vitascope.engine import Engine
    from vitascope.evaluation import Curves, Probe, Result
    from vitascope.evaluation.memory import Pair

MOST_STRIPS = 100  # films on the contact sheet
SHEETS = {FILMS: "The films", CLOSEST: "The films that are nearest to a training clip, each above its clip"}


@dataclass(frozen=True)
class Command:
    """Measure a model: whether its films show what was asked for, keep still what should not change, obey the laws of motion,
    are as varied as true films, and are no copies of what it was trained on; and its codec and text tower.

    The films are judged by a probe, a small network that was trained on true films alone and that tells its own accuracy.
    It comes with a model; where it does not, one is trained, which takes some ten minutes.

    vitascope evaluate

    vitascope evaluate --model runs/storybook/bundle --prompts 48 --guidance 6 --out figures

    vitascope evaluate --against runs/earlier/bundle --out figures

    vitascope evaluate --model runs/mine/bundle --data my-films --out figures

    vitascope evaluate --curves guidance,negative --films 32 --out figures
    """

    model: Text = None
    """A shipped model's name or a bundle's folder."""
    against: Text = None
    """Another model, measured likewise by the same probe and told beside it."""
    prompts: Whole = None
    """How many films are made, with the seeds 0, 1, 2 and so on; 200 if not given, 4 at least."""
    split: Text = None
    """withheld: combinations that were kept out of all training; seen: others. withheld if not given."""
    seeds: Whole = None
    """How many films more are made of each of four prompts, to see how they differ; 16 if not given, 1 for none;
    with --first none are."""
    moving: Whole = None
    """How many films more are made for each law of motion that they are to obey; 12 if not given."""
    training: Whole = None
    """How many training clips are searched for copies; all if not given."""
    data: Folder = None
    """The folder of films that the model was trained on, if it was trained on somebody's own: copies are looked for among those,
    in films that their captions ask for."""
    first: Flag = False
    """Give each film the first picture of its scene's true one, as generate --image does, and measure what it makes of it."""
    curves: Text = None
    """Measure steering curves instead: all, or some of guidance, steps, length, order, contradiction, complexity, negative
    and emphasis, with commas between. With --out it goes on where it was stopped."""
    films: Whole = None
    """How many films are made for each point of a curve, and of each of the four scenes of length; 16 if not given."""
    steps: Whole = None
    """How many steps the solver takes."""
    solver: Text = None
    """Who walks the field."""
    guidance: Text = None
    """How strongly the prompts are followed."""
    shift: Real = None
    """How far the steps lean towards noise."""
    probe: Folder = None
    """The probe's folder, or the name of a model that ships, for that one's; a folder that is not there is made, and the probe
    trained. The model's own if not given."""
    probe_steps: Whole = None
    """How long a probe is trained, if one has to be."""
    out: Folder = None
    """A folder for results.json, page.html with the plots, and contact sheets, or for curves.json, curves.svg and page.html;
    nothing is kept if not given."""
    device: Text = None
    """auto, cpu, cuda, cuda:1 or mps."""
    json: Flag = False
    """As JSON, for a program to read."""
    force: Flag = False
    """Replace what is in the folder."""


@dataclass(frozen=True)
class _Asked:
    """What the flags say, checked."""

    device: str
    prompts: int
    split: Any
    seeds: int
    moving: int
    training: int | None
    data: Listing | None
    first: bool
    curves: tuple[str, ...]
    films: int
    like: dict[str, Any]
    out: Path | None


def run(command: Command) -> None:
    """Prints the figures. What flags and folders alone tell is refused before the weights are read; what depends on the models
    and on the probe, after that and before any film is made."""
    fit_together(command)
    names = chosen_curves(command.curves)
    from vitascope.data import listing

    asked = _Asked(
        device=chosen_device(command.device),
        prompts=whole("--prompts", command.prompts, 200, 10_000, FEWEST, says=PROMPTS),
        split=chosen_split(command.split),
        seeds=whole("--seeds", command.seeds, 16, 10_000),
        moving=whole("--moving", command.moving, 12, 10_000),
        training=None if command.training is None else whole("--training", command.training, 12_000, 10_000_000),
        data=listing(Path(command.data)).ensure_films() if command.data is not None else None,
        first=command.first,
        curves=names,
        films=whole("--films", command.films, 16, 10_000),
        like=shared(command),
        out=free_folder(Path(command.out), command.force, bool(names)) if command.out is not None else None,
    )
    from vitascope.engine import Engine
    from vitascope.evaluation import probe_for
    from vitascope.evaluation.lessons import STEPS

    steps = whole("--probe-steps", command.probe_steps, STEPS, 1_000_000)
    folder = probe_of(command.probe) if command.probe is not None else None
    with telling() as told:
        engine = Engine.load(command.model, asked.device)
        other = Engine.load(command.against, asked.device) if command.against is not None else None
        for each in (engine, other):
            if each is not None:
                each.prepare(Shot.model_validate({"prompt": "a film", **asked.like}))
                if asked.first and "image" not in each.system.takes:
                    raise BadCommand(
                        f"--first: {each.system.name} was not trained to begin with a picture; leave it out, or take a model "
                        "that was."
                    )
        if other is not None:
            _comparable(engine, other)
        _tell_of_probe(command, folder, engine, told)
        probe = probe_for(engine, folder, steps=steps, watch=told.step)
        if names:
            curves = _measured_curves(engine, probe, asked, told, command.force)
        else:
            results = _measured(engine, other, probe, asked, told)
    if names:
        print(curves.json(), end="") if command.json else show_curves(curves)
    elif command.json:
        print(
            results[0].json() if other is None else "[" + ",".join(r.json() for r in results).rstrip() + "]\n", end=""
        )
    else:
        show(*results)


def _measured(
    engine: Engine, other: Engine | None, probe: Probe, asked: _Asked, told: Told
) -> tuple[Result] | tuple[Result, Result]:
    """All measures of one model or of two, and what is kept of them."""
    from vitascope.evaluation import evaluate
    from vitascope.evaluation.adherence import fits

    if other is not None:
        fits(probe, other)
    strips: list[Any] = []
    records: list[Any] = []
    closest: list[Any] = []

    def film(shot: Shot, frames: Tensor) -> None:
        if asked.out is not None and len(strips) < MOST_STRIPS:
            strips.append(filmstrip(frames))
            records.append(engine.record(shot))

    def pair(_: Pair, made: Tensor, clip: Tensor) -> None:
        closest.append(sheet([filmstrip(made), filmstrip(clip)], 1, gap=1))

    like: dict[str, Any] = {
        "prompts": asked.prompts,
        "split": asked.split,
        "like": asked.like,
        "seeds": asked.seeds,
        "moving": asked.moving,
        "searched": asked.training,
        "begun": asked.first,
    }
    curves = _kept(asked.out, engine, (POINTS,))[2] if asked.out is not None else None
    with cut_clips(asked.data, engine, told) as own:
        result = evaluate(engine, probe, **like, own=own, watch=told.step, film=film, pair=pair)
    second = None
    if other is not None:
        with cut_clips(None, other, told):
            second = evaluate(other, probe, **like, watch=told.step)
    if asked.out is not None:
        asked.out.mkdir(parents=True, exist_ok=True)
        write(asked.out / FILMS, [sheet(strips, 4)[None]], 1.0, {"sheet": records})
        if result.memory:
            pairs = [asdict(each) for each in result.memory.pairs[: len(closest)]]
            write(asked.out / CLOSEST, [sheet(closest, 3)[None]], 1.0, {"pairs": pairs})
        else:
            (asked.out / CLOSEST).unlink(missing_ok=True)
        if second is not None:
            _put(asked.out / AGAINST, second.json())
        else:
            (asked.out / AGAINST).unlink(missing_ok=True)
        _put(asked.out / RESULTS, result.json())
        _put_page(asked.out, result, second, curves)
    return (result,) if second is None else (result, second)


def _comparable(one: Engine, other: Engine) -> None:
    """Raises BadModel for two models of whose films no probe can see both."""

    def shape(engine: Engine) -> str:
        video = engine.recipe.video
        return f"{video.frames} frames of {video.width}x{video.height} of the world '{engine.recipe.world}'"

    first, second = shape(one), shape(other)
    if first != second:
        raise BadModel(
            f"--against: {one.recipe.name} makes {first}, {other.recipe.name} {second}, and one probe cannot see both; measure "
            "the two apart."
        )


def _tell_of_probe(command: Command, folder: Path | None, engine: Engine, told: Told) -> None:
    """Says so where a probe will be trained. Raises BadCommand for a number of steps where none will be."""
    from vitascope.evaluation.probe import ABOUT

    place = folder or (engine.folder / "probe" if engine.folder else None)
    if place is not None and (place / ABOUT).is_file():
        if command.probe_steps is not None:
            raise BadCommand(
                f"--probe-steps: there is a probe in {place} already, so none is trained; leave this flag out, or name a new "
                "folder with --probe."
            )
    elif place is None or not place.exists() or (place.is_dir() and not any(place.iterdir())):
        where = "" if place is None else f", and kept in {place}"
        told.note(f"there is no probe yet: one is trained first, which takes some ten minutes{where}")


@contextmanager
def cut_clips(films: Listing | None, engine: Engine, told: Told) -> Iterator[Own | None]:
    """The clips that somebody's films were learned as, for as long as the block; None without films. Of what else the model
    learned from films it is told that no copies of it are looked for.

    Raises:
        BadData: when no film there can be used, or none was learned from.
    """
    from vitascope.data.own import own_clips
    from vitascope.evaluation.report import strangers
    from vitascope.learned import learned_by, redrawn
    from vitascope.training.stages import measure_of

    name, unseen = engine.recipe.name, strangers(engine)
    if redrawn(learned_by(engine.recipe, engine.folder)):
        told.warn(f"the storybook draws otherwise than when {name} learned from it, so that copies may be missed")
    with TemporaryDirectory() as place:
        own = None
        if films is not None:
            if not unseen:
                raise BadData(f"--data: {name} learned from the storybook and from nobody's films; leave --data out.")
            path, measure = Path(place) / "own.u8", measure_of(engine.recipe)
            own = own_clips(path, films, measure, lambda done, of: told.step("reading films", done, of))
            unseen = strangers(engine, own.training.source)
        if unseen:
            told.warn(
                f"{name} learned from {unseen} {'other ' if own else ''}clips of somebody's own films, and copies of those are not "
                "looked for; give their folder with --data"
            )
        yield own


def _measured_curves(engine: Engine, probe: Probe, asked: _Asked, told: Told, force: bool) -> Curves:
    """The curves, kept after every point where there is a folder; those that are there go on."""
    from vitascope.evaluation.curves import measure_curves
    from vitascope.evaluation.page import picture

    names = (RESULTS, AGAINST) if force else (RESULTS, AGAINST, POINTS)
    result, against, before = _kept(asked.out, engine, names) if asked.out is not None else (None, None, None)

    def keep(curves: Curves) -> None:
        if asked.out is not None:
            asked.out.mkdir(parents=True, exist_ok=True)
            _put(asked.out / POINTS, curves.json())

    curves = measure_curves(
        engine, probe, asked.curves, asked.films, asked.like, before=before, watch=told.step, keep=keep
    )
    if asked.out is not None:
        _put(asked.out / PICTURE, picture(curves))
        _put_page(asked.out, result, against, curves)
    return curves


def _kept(out: Path, engine: Engine, names: Sequence[str]) -> tuple[Result | None, Result | None, Curves | None]:
    """What a folder holds already under these names, of this model and of the one beside it, so that its page can go on
    showing it.

    Raises:
        BadModel: when it cannot be read, or is of another model.
    """
    from vitascope.bundle import fingerprint
    from vitascope.evaluation import Curves, Result

    texts = {
        name: (out / name).read_text(encoding="utf-8", errors="replace") for name in names if (out / name).is_file()
    }
    result, against = (Result.parse(texts[name]) if name in texts else None for name in (RESULTS, AGAINST))
    curves = Curves.parse(texts[POINTS]) if POINTS in texts else None
    for name, each in ((RESULTS, result), (POINTS, curves)):
        if each is not None and each.weights != fingerprint(engine.weights):
            raise BadModel(
                f"--out {out}: {name} there is of other weights than those of {engine.recipe.name}, and one page cannot show "
                "both; name another folder."
            )
    return result, against, curves


def _put_page(out: Path, result: Result | None, against: Result | None, curves: Curves | None) -> None:
    """The page, of all that the folder holds."""
    from vitascope.evaluation.page import page

    images = {name: told for name, told in SHEETS.items() if (out / name).is_file()} if result is not None else {}
    _put(out / PAGE, page(result, against, curves, images))


def _put(path: Path, text: str) -> None:
    """Write a text whole, or not at all."""
    with file_in_place_of(path) as partial:
        partial.write_text(text, encoding="utf-8")
