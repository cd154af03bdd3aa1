"""How long a step of learning takes, plain and compiled: forward and backward of a bundle's network on a batch of its shape.

    python -m vitascope.bench.learning [--model storybook] [--batch 24] [--runs 5]

Both are timed in turns in one process. Compiling itself takes a minute or two, and is told beside them.
"""

from __future__ import annotations

import argparse
import copy
import time
import warnings
from statistics import median

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from vitascope import bundle
from vitascope.finding import find
from vitascope.precision import bf16
from vitascope.training.tasks import filled


def step(network: nn.Module, latents: Tensor, clock: Tensor, condition: dict[str, Tensor]) -> float:
    """Seconds of one forward and backward pass, in bf16 where that is fast, as in training."""
    started = time.perf_counter()
    with bf16("cpu"):
        network(latents, clock, **condition).square().mean().backward()
    taken = time.perf_counter() - started
    network.zero_grad()
    return taken


def measure(model: str, batch: int, runs: int) -> Table:
    """The table of both."""
    system = bundle.load(find(model))
    video, network = system.recipe.video, system.diffusion.net
    shape = system.codec.latent_shape(video.frames, video.height, video.width)
    latents = torch.randn(batch, *shape, generator=torch.Generator().manual_seed(0))
    clock = torch.linspace(0, 1000, batch)[:, None].repeat(1, shape[1])
    with torch.no_grad():
        condition = dict(filled(system.text(["a red ball bounces"] * batch), system.text.config.text_length))
    compiled = copy.deepcopy(network)
    compiled.compile()
    kinds = {"plain": network.train(), "compiled": compiled.train()}
    first = {name: step(each, latents, clock, condition) for name, each in kinds.items()}
    taken: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(runs):
        for name, each in kinds.items():
            taken[name].append(step(each, latents, clock, condition))
    size = f"{batch} clips of {'x'.join(map(str, shape))}"
    table = Table(title=f"a step of learning, {size}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for column in ("network", "the first", "median", "least", "clips a second"):
        table.add_column(column, justify="left" if column == "network" else "right")
    for name, seconds in taken.items():
        told = median(seconds)
        table.add_row(name, f"{first[name]:.1f} s", f"{told:.2f} s", f"{min(seconds):.2f} s", f"{batch / told:.1f}")
    return table


def main() -> None:
    """The table, on the terminal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="storybook")
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler speaks of its own deprecations
        Console().print(measure(asked.model, asked.batch, asked.runs))


if __name__ == "__main__":
    main()
