"""What principal components of blocks keep of a clip, beside a model's own codec: how many are worth a trained autoencoder?

    python -m vitascope.bench.components [--model storybook] [--clips 48] [--fitted 256] [--components 16,32,48] [--rate 2] \
        [--sheet a.png]

The components are those of blocks as large as the model's latents are, of clips that training could have seen, and nothing else is
learned. All is measured on clips of combinations that were kept out of training, and the probe is the bundle's. With a rate of 2 the
clips have twice the frames in the same time, and the blocks too: a network has as many latents to make as before.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from vitascope.bench.answers import answer
from vitascope.bench.returns import shares
from vitascope.bundle import System
from vitascope.codec import VideoCodec
from vitascope.engine import Engine
from vitascope.errors import BadModel, BadShot
from vitascope.evaluation.fidelity import fidelity, reconstructed
from vitascope.evaluation.report import probe_for
from vitascope.evaluation.scenes import real, scenes
from vitascope.finding import find
from vitascope.media import sheet
from vitascope.models.vae import VAEConfig
from vitascope.pixels import to_pixels

COMPONENTS = (16, 24, 32, 48, 64)
SHOWN = 6
"""Clips that the sheet has a row for."""


def quickened(engine: Engine, rate: int) -> Engine:
    """The engine as if its clips had `rate` times the frames in the same time. Raises BadModel for a model that is no bundle."""
    system, video = _system(engine), engine.recipe.video
    faster = {"frames": (video.frames - 1) * rate + 1, "fps": video.fps * rate}
    recipe = engine.recipe.model_copy(update={"video": video.model_copy(update=faster)})
    return _with(engine, dataclasses.replace(system, recipe=recipe))


def linear(engine: Engine, components: int, clips: int, rate: int = 1) -> Engine:
    """The engine with another codec: so many components of blocks as large as its own, and `rate` times as long, found in `clips`
    clips, and nothing else.

    Raises BadShot where a block has fewer, or cannot be so long; BadModel for a model that is no bundle.
    """
    system, recipe = _system(engine), engine.recipe
    time, side, _ = recipe.codec.stride
    halvings = (time * rate).bit_length() - 1
    if time * rate != 2**halvings or side % 2**halvings:
        raise BadShot(
            f"--rate {rate}: blocks of {time * rate}x{side}x{side} pixels are not to be had; ask for a power of two, so that they are "
            "no longer than wide."
        )
    try:
        config = VAEConfig(
            z=components,
            base=8,
            mults=(1,) * (halvings + 1),
            blocks=1,
            temporal=(True,) * halvings,
            patch=side // 2**halvings,
            linear=True,
        )
    except ValueError as error:
        raise BadShot(f"--components {components}: {error}; ask for fewer.") from None
    codec = VideoCodec(config).to(engine.device)
    codec.vae.zero_residuals()

    def seen() -> Iterator[Tensor]:
        for begin in track(range(0, clips, 8), f"{components} components", console=Console(stderr=True)):
            some = scenes(min(8, clips - begin), "seen", begin, recipe.world)
            yield to_pixels(real(recipe.video, some)).to(engine.device)

    codec.vae.blocks.fit(seen())
    return _with(engine, dataclasses.replace(system, codec=codec))


def _system(engine: Engine) -> System:
    if not isinstance(engine.system, System):
        raise BadModel(
            f"{engine.system.name}: it is no bundle, and its codec did not learn the storybook; name a bundle."
        )
    return engine.system


def _with(engine: Engine, system: System) -> Engine:
    other = copy.copy(engine)
    other.system = system
    return other


def _counts(text: str) -> list[int]:
    found = [int(part) for part in text.split(",") if part.strip().isdecimal() and int(part) > 0]
    if len(found) != len(text.split(",")):
        raise BadShot(f"--components {text}: these are whole numbers from 1 on; give some, with commas between.")
    return found


def _measure(asked: argparse.Namespace) -> tuple[Table, Tensor]:
    """The table, and the contact sheet: a row for each of the first clips, true and as each codec leaves its middle."""
    counts = _counts(asked.components)
    for name in ("clips", "fitted"):
        if getattr(asked, name) < 1:
            raise BadShot(
                f"--{name} {getattr(asked, name)}: without clips there is nothing to measure; ask for at least 1."
            )
    if asked.rate < 1:
        raise BadShot(f"--rate {asked.rate}: it says how many times the frames clips have; ask for 1 or 2.")
    slow = Engine.load(find(asked.model))
    engine, probe = quickened(slow, asked.rate), probe_for(slow)
    # Before minutes of measuring: some may be refused.
    others = [(f"z = {n}", linear(engine, n, asked.fitted, asked.rate)) for n in counts]
    shown = scenes(asked.clips, "withheld", world=engine.recipe.world)
    films, labels = real(engine.recipe.video, shown), [one.shows(probe.config.attributes) for one in shown]
    title = f"of {asked.clips} clips of withheld combinations"
    table = Table("codec", "dB", "where subjects are", "fine detail", "of subjects", "read as it is", title=title)

    def share(found: Tensor) -> str:
        right = shares(probe.read(found), labels)
        return f"{sum(right.values()) / len(right) / len(shown):.1%}"

    table.add_row("none", "", "", "100.0%", "100.0%", share(films))
    versions = [films]
    for name, one in [("its own", engine), *others]:
        left = reconstructed(one, films)
        told = fidelity(one, asked.clips)
        subjects = "" if told.subjects is None else f"{told.subjects:.1f}"
        table.add_row(name, f"{told.psnr:.1f}", subjects, f"{told.thin:.1%}", f"{told.thin_subjects:.1%}", share(left))
        versions.append(left)
    cells = [film[len(film) // 2] for row in zip(*(one[:SHOWN] for one in versions), strict=True) for film in row]
    return table, sheet(cells, len(versions))


def main() -> None:
    """Print the table, and draw the sheet if asked."""
    parser = argparse.ArgumentParser(description="What principal components of blocks keep of a clip.")
    parser.add_argument("--model", default="storybook")
    parser.add_argument("--clips", type=int, default=48)
    parser.add_argument("--fitted", type=int, default=256, help="clips whose blocks the components are found in")
    parser.add_argument("--components", default=",".join(map(str, COMPONENTS)))
    parser.add_argument("--rate", type=int, default=1, help="how many times the frames, in the same time")
    parser.add_argument("--sheet", type=Path, help="a PNG of some clips, true and as each codec leaves them")
    answer(parser.parse_args(), _measure)


if __name__ == "__main__":
    main()
