"""A recipe becomes a bundle: a run is planned, its stages are trained in their order, and resumed where they stopped."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vitascope import bundle
from vitascope.data import Listing, listing
from vitascope.data.own import check_unchanged, kept_entries
from vitascope.errors import BadData, BadRecipe, BadRun, nearest
from vitascope.finding import find
from vitascope.learned import take_note
from vitascope.recipe import STAGES, Recipe
from vitascope.training.basis import NEEDS
from vitascope.training.beginning import described
from vitascope.training.course import ensure_together, finish_stage, train_stage
from vitascope.training.folder import BUNDLE, START, Beginning, beginning_of, is_run, locked, noted_in, remember, undone
from vitascope.training.kept import NETWORK_STAGE
from vitascope.training.stages import INTERRUPTED, Run, Stopping, Warn, Watch, measure_of, own_path
from vitascope.training.stages import Stopped as Stopped


def train_recipe(
    recipe: str,
    out: Path | None = None,
    resume: bool = False,
    stages: Sequence[str] | None = None,
    *,
    data: Path | None = None,
    start: str | None = None,
    device: str = "cpu",
    watch: Watch | None = None,
    warn: Warn | None = None,
    minutes: float | None = None,
    workers: int = 1,
) -> Path:
    """Train a recipe's stages (all of them, unless named) in a run folder; returns the bundle's folder.

    `data` is a folder of films to learn from, instead of the storybook. `start` names a bundle to go on from: what the recipe
    leaves out is as there, the stages that it names itself are trained, and all others keep the bundle's weights. A run that
    is resumed remembers both. `workers` is how many processes may render clips; where it is above 1, a script that calls this
    has to be guarded by `if __name__ == "__main__"`.

    Finished stages are kept. Without `resume`, a folder in which something was trained already is refused. Raises BadRecipe,
    BadRun, BadModel, BadData; Stopped after SIGTERM or SIGINT, or once it has run for so many `minutes`, when the state has been
    saved. A second SIGINT ends it at once, by KeyboardInterrupt.
    """
    if minutes is not None and not 0 < minutes < float("inf"):
        raise BadRun(f"{minutes:g} minutes: a run lasts longer than none; give a number above 0, or leave it out.")
    folder = out or Path("runs") / Path(recipe).stem
    plan = _plan(recipe, folder, resume and is_run(folder), stages, data, start)
    about, films = plan.recipe, plan.films
    watch, warn = watch or (lambda *_: None), warn or (lambda _: None)
    with locked(folder), _stoppable(minutes, warn) as stopping:
        if films and resume and own_path(folder).is_file():
            label = own_path(folder).with_suffix(".json")
            check_unchanged(kept_entries(label, measure_of(about)), films, own_path(folder), lambda: _go_on(stopping))
        began = is_run(folder)
        remember(folder, about, resume, plan.beginning, plan.base)
        if resume and not began:
            warn(f"{folder}: there was no run to go on with, so one begins")
        run = Run(folder, about, device, watch, warn, stopping, films, plan.base is not None, workers)
        if films and not began:
            with undone(folder, BadData):
                run.read_films()  # here, so that films of which none can be used leave no run behind
        ensure_together(run, plan.stages)
        for stage in STAGES:
            if run.recipe_has(stage):
                if stage in plan.stages:
                    train_stage(run, stage)
                finish_stage(run, stage)
        _tell_what_is_missing(run)
        bundle.save(folder / BUNDLE, run.system)
        take_note(noted_in(folder), folder / BUNDLE)
    return folder / BUNDLE


@dataclass(frozen=True)
class _Plan:
    """What a run is to do, once all that can be refused before anything is written has been looked at."""

    recipe: Recipe
    stages: tuple[str, ...]
    beginning: Beginning
    base: Path | None
    films: Listing | None


def _plan(
    recipe: str, folder: Path, goes_on: bool, stages: Sequence[str] | None, data: Path | None, start: str | None
) -> _Plan:
    """The plan of a run; one that goes on has the bundle and the films that it remembers, where no others are given."""
    base = find(start) if start else folder / START if goes_on and (folder / START).is_dir() else None
    if (folder / bundle.HASHES).is_file():
        raise BadRun(f"{folder}: this is a bundle and no run; give another --out folder, {folder.parent} perhaps.")
    remembered = beginning_of(folder).data if goes_on else None
    films = listing(data or Path(remembered or "")).ensure_films() if data or remembered else None
    about, named = described(recipe, base, start)
    chosen = _chosen(about, stages, named)
    beginning = Beginning(start, str(films.folder.absolute()) if films else None)
    return _Plan(about, chosen, beginning, base, films)


def _chosen(recipe: Recipe, stages: Sequence[str] | None, named: Sequence[str]) -> tuple[str, ...]:
    """The stages to train: those asked for; else those that a recipe which goes on from a bundle names; else all."""
    for stage in stages or ():
        if stage not in STAGES:
            raise BadRecipe(
                f"stage '{stage}': a recipe has {', '.join(STAGES)}; did you mean '{nearest(stage, STAGES) or STAGES[0]}'?"
            )
        if getattr(recipe.stages, stage) is None:
            has = ", ".join(name for name in STAGES if getattr(recipe.stages, name) is not None)
            raise BadRecipe(f"stage '{stage}': recipe {recipe.name} has no such stage; it has {has}.")
    moved = [stage for stage in NEEDS[NETWORK_STAGE] if stage in named]
    if not stages and moved and NETWORK_STAGE not in named:
        raise BadRecipe(
            f"recipe {recipe.name}: of what it goes on from it trains {' and '.join(moved)} and not {NETWORK_STAGE}, which knows "
            f"what was there before alone; add [stages.{NETWORK_STAGE}], or in place of the codec take its decoder, [stages.decoder]."
        )
    return tuple(stages or named or STAGES)


def _tell_what_is_missing(run: Run) -> None:
    """Warn of a bundle of which not all was trained yet that has to be."""
    into, trained = run.folder / BUNDLE, [stage for stage in STAGES[:3] if run.state_path(stage).is_file()]
    moved = [stage for stage in NEEDS[NETWORK_STAGE] if stage in trained]
    bare = [stage for stage in STAGES[:3] if stage not in trained]
    if bare and not run.continues:
        run.warn(f"{into}: {', '.join(bare)} never trained here, so its films are noise; train the rest with --resume")
    if run.continues and moved and NETWORK_STAGE not in trained:
        run.warn(
            f"{into}: its network is the one that the run began with, and learned on another {' and '.join(moved)} than was trained "
            f"here, so its films are spoiled; train it with --resume --stage {NETWORK_STAGE}"
        )


def _go_on(stopping: Stopping) -> None:
    why = stopping()
    if why:
        raise Stopped(f"{why} while films were compared with those that were read; --resume goes on from there")


@contextmanager
def _stoppable(minutes: float | None, warn: Warn) -> Iterator[Stopping]:
    """Within it, SIGTERM and the first SIGINT no longer end the process but give a reason to stop, as does the end of its minutes."""
    asked: list[int] = []
    started = time.monotonic()

    def why() -> str | None:
        if asked:
            return INTERRUPTED if asked[0] == signal.SIGINT else "stopped"
        if minutes is not None and time.monotonic() - started >= 60 * minutes:
            return f"stopped after {minutes:g} minutes"
        return None

    def heard(number: int, _: object) -> None:
        if number == signal.SIGINT:
            if signal.SIGINT in asked:
                raise KeyboardInterrupt
            warn("interrupted: the run ends when this step is done, and is saved; once more, and it ends now")
        asked.append(number)

    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as behind nohup, or in a script's background
        numbers.append(signal.SIGINT)
    try:
        before = {number: signal.signal(number, heard) for number in numbers}
    except ValueError:  # not the main thread: whoever runs it there stops it by other means
        yield why
        return
    try:
        yield why
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
