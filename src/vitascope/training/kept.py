"""Bundles of a run on its way: as its average or as the bare weights, as it stands or as it was at a step that was kept.

What ships is the running average of a finished run. Whether the average helps, and whether more steps did, can only be
measured with bundles of the other kinds. Of a run that goes on from a bundle, weights between the two may be asked for: on a
straight line from what a network was to what a short further training made of it the loss has a valley, whose floor often lies
before its end (WiSE-FT, Wortsman et al. 2022, arXiv:2109.01903).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from vitascope import bundle
from vitascope.bundle import System
from vitascope.errors import BadRun
from vitascope.learned import take_note
from vitascope.recipe import STAGES
from vitascope.training import checkpoint
from vitascope.training.basis import other, strange, to_note
from vitascope.training.beginning import begun, fresh
from vitascope.training.folder import START, is_run, known_words, noted_in, recipe_in, words_lost
from vitascope.training.loop import State

Weights = Literal["average", "raw"]
WEIGHTS: tuple[Weights, ...] = ("average", "raw")
KEPT = "kept"
NETWORK_STAGE = "diffusion"
"""The stage of which a bundle may have other weights than the latest averages."""


def keep(folder: Path, stage: str, state: State, about: dict[str, str]) -> None:
    """Keep the weights of a stage as they are at this step, and their average; not what only training needs.

    Raises BadRun when they cannot be written.
    """
    tensors = {name: value for name, value in state.tensors().items() if not name.startswith("optimizer/")}
    checkpoint.save(_path(folder, stage, state.step), tensors, about)


def kept_steps(folder: Path, stage: str = NETWORK_STAGE) -> list[int]:
    """The steps of a stage whose weights a run kept, in their order."""
    names = [path.stem.removeprefix(f"{stage}-") for path in (folder / KEPT).glob(f"{stage}-*.safetensors")]
    return sorted(int(name) for name in names if name.isdigit())


def bundle_of(
    folder: Path, out: Path, weights: Weights = "average", step: int | None = None, strength: float = 1.0
) -> Path:
    """Write a bundle of a run's network as it stands, or as it was at a kept `step`: its running average, or the bare weights
    that training moves. The codec and the text tower are their stages' averages, on whose latents and tokens the network
    learned. The run may go on meanwhile. Of a run that goes on from a bundle and trains other parts alone, the network is the
    bundle's; of one that trains the network, `strength` of the way from the bundle's to its own may be taken: 0 is the bundle's
    network, 1 the run's.

    Returns `out`. Raises BadRun where there is no run, no such step or no network yet, where its parts learned on others than
    these, or where a run that goes on from nothing is to have another strength than 1; BadModel when `out` holds something else.
    """
    system = _system(folder)
    modules: dict[str, nn.Module] = {
        "codec": system.codec.vae,
        "clip": system.text.clip,
        "diffusion": system.diffusion.net,
        "decoder": system.codec.vae,
    }
    continues = (folder / START).is_dir()
    if strength != 1 and not continues:
        raise BadRun(
            f"{folder}: strength {strength:g} of a run that began with no bundle, so there is no network to go back towards; leave "
            "the strength out."
        )
    began, noted = to_note(NETWORK_STAGE, system), list[tuple[str, Mapping[str, str]]]()
    for stage in STAGES:
        path = folder / f"{stage}.safetensors"
        given = continues and not path.is_file() and weights == "average" and step is None
        if stage == NETWORK_STAGE and not given:
            path = _asked(folder, step)
        if stage == NETWORK_STAGE and (given or strength != 1):
            noted.append((stage, began))
        if path.is_file():
            tensors, before = checkpoint.load(path), modules[stage].state_dict()
            noted.append((stage, checkpoint.noted(path).about))
            if stage == NETWORK_STAGE:
                chosen = _between(before, _weights(tensors, weights), strength)
            else:  # the decoder's stage moved the decoder alone: the encoder is its own stage's
                chosen = before | _under(tensors, "average/") if stage == "decoder" else _weights(tensors, "average")
            modules[stage].load_state_dict(chosen)
        elif stage in ("codec", "clip") and not continues:
            raise BadRun(
                f"{folder}: stage {stage} was never trained here, so there is no whole model; go on with --resume."
            )
    for stage, about in noted:
        others = strange(stage, system, about)
        if others:
            raise BadRun(
                f"{folder}: the weights of stage {stage} that this takes learned on {other(others)} than the run has now; train it "
                f"with --resume --stage {stage}, and take what it learns then."
            )
    _whitened(folder, system, continues)
    bundle.save(out, system)
    take_note(noted_in(folder), out)
    return out


def _asked(folder: Path, step: int | None) -> Path:
    """The file of the network's weights: those of today, or of a step that was kept."""
    now = folder / f"{NETWORK_STAGE}.safetensors"
    if step is None:
        if not now.is_file():
            raise BadRun(f"{folder}: the network was never trained here; train it first, with --stage {NETWORK_STAGE}.")
        return now
    there = kept_steps(folder)
    if step not in there:
        known = f"there are {', '.join(map(str, there))}" if there else "no step was kept"
        raise BadRun(
            f"{folder}: the weights of step {step} were not kept, {known}; a recipe's stages.{NETWORK_STAGE}.keep_every says how "
            "often they are."
        )
    return _path(folder, NETWORK_STAGE, step)


def _path(folder: Path, stage: str, step: int) -> Path:
    return folder / KEPT / f"{stage}-{step:06d}.safetensors"


def _weights(tensors: dict[str, Tensor], weights: Weights) -> dict[str, Tensor]:
    """A module's state: as training moves it, or with the average of all that was trained in its place."""
    return _under(tensors, "model/") | (_under(tensors, "average/") if weights == "average" else {})


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _between(began: dict[str, Tensor], came: dict[str, Tensor], strength: float) -> dict[str, Tensor]:
    """`strength` of the way from one module's state to another; at 0 and 1 bit for bit the one and the other."""
    return {name: began[name].lerp(value.to(began[name]), strength) for name, value in came.items()}


def _system(folder: Path) -> System:
    """The run's system as it began."""
    if (folder / bundle.HASHES).is_file():
        raise BadRun(f"{folder}: this is a bundle and no run; give the run's folder, {folder.parent} perhaps.")
    if not is_run(folder):
        raise BadRun(f"{folder}: no run is there; give the folder that vitascope train --out named.")
    recipe, words = recipe_in(folder), known_words(folder)
    if words is None:
        raise words_lost(folder)
    return begun(recipe, folder / START, words) if (folder / START).is_dir() else fresh(recipe, words)


def _whitened(folder: Path, system: System, continues: bool) -> None:
    """Give the codec the whitening that the network learned under."""
    path = folder / "data" / "whitening.safetensors"
    if path.is_file():
        measured = checkpoint.load(path)
        system.codec.mean.copy_(measured["mean"])
        system.codec.std.copy_(measured["std"])
    elif not continues:
        raise BadRun(f"{folder}: the codec's latents were not measured yet; go on with --resume.")
