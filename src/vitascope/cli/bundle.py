"""vitascope bundle: the weights of a run on its way, as a bundle that films can be made with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from vitascope.cli.flags import Flag, Folder, Real, Text, Whole, among, real, whole, word
from vitascope.errors import BadMedia

WEIGHTS = ("average", "raw")  # as `training.kept` has them, without torch


@dataclass(frozen=True)
class Command:
    """Write a bundle of a training run as it stands, finished or not, and print its folder.

    A run's own bundle is the running average of its last step. To see what the average gives, and what more steps gave, write
    others and measure them side by side. Earlier steps are there where the recipe's stages.diffusion.keep_every says so.

    vitascope bundle runs/mine --weights raw --out runs/mine-raw

    vitascope bundle runs/mine --step 4000 --out runs/mine-4000

    vitascope bundle runs/mine --strength 0.7 --out runs/mine-milder

    vitascope evaluate --model runs/mine/bundle --against runs/mine-raw --out figures
    """

    run: tyro.conf.Positional[Annotated[str, word("RUN")]]
    """The folder of a run."""
    out: Folder = None
    """The bundle's folder; RUN/bundle-raw, RUN/bundle-average-4000 or the like if not given."""
    weights: Text = None
    """average: the running average of the network, which is what ships; raw: what training moves. average if not given."""
    step: Whole = None
    """The network as it was at this step; as it is now if not given."""
    strength: Real = None
    """Of a run that goes on from a model: how far from that model's network to its own, from 0 to 1; 1 if not given."""
    force: Flag = False
    """Replace a bundle that is there."""


def run(command: Command) -> None:
    """Prints the bundle's folder."""
    weights, step = chosen_weights(command.weights), chosen_step(command.step)
    strength = chosen_strength(command.strength)
    folder = Path(command.run)
    name = "-".join(["bundle", weights, *([str(step)] if step else []), *([f"{strength:g}"] if strength < 1 else [])])
    out = Path(command.out) if command.out is not None else folder / name
    there = out.exists() and not (out.is_dir() and not any(out.iterdir()))
    if there and not command.force:
        raise BadMedia(
            f"--out {out}: there is something there already; name another folder, or replace it with --force."
        )
    from vitascope.training.kept import bundle_of

    print(bundle_of(folder, out, weights, step, strength))


def chosen_weights(text: str | None) -> Any:
    """Raises BadCommand when there are no such weights."""
    if text is None:
        return "average"
    return among("--weights", text, WEIGHTS, "a run has its average and its raw weights")


def chosen_step(text: str | None) -> int | None:
    """Raises BadCommand when it is no step."""
    says = "it is a whole number above 0; write for instance --step 4000"
    return None if text is None else whole("--step", text, 4000, 999_999_999, says=says)


def chosen_strength(text: str | None) -> float:
    """Raises BadCommand when it is no number from 0 to 1."""
    says = (
        "it is a number from 0 (the model that the run goes on from) to 1 (what the run made of it); write for instance "
        "--strength 0.7"
    )
    return 1.0 if text is None else real("--strength", text, lambda strength: 0 <= strength <= 1, says)
