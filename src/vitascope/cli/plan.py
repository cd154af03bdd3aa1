"""vitascope plan: what a film would take on this machine, and how it would be made."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vitascope.cli.flags import BadCommand, File, Flag, Real, Text, Whole, among
from vitascope.cli.generate import PARTS, chosen_device, ensure_wan, parts
from vitascope.shot import Shot

if TYPE_CHECKING:
    from vitascope.planning import Plan, Sizes

DTYPES = ("bfloat16", "float16", "float32")  # as `checkpoints.assembly` has them, without torch
UNKNOWN = "there is no such choice"
OFFLOADS = ("none", "component", "block", "disk")  # as `planning` has them


@dataclass(frozen=True)
class Command:
    """Tell what a film would take here: operations, memory and time at each stage, and how it would be made to fit.

    vitascope plan --frames 81

    vitascope plan --shape wan-14b --height 720 --width 1280 --no-measure

    Nothing of the model is loaded. To tell the time, a small part of the work is done, for a second or two.
    """

    model: Annotated[Text, tyro.conf.arg(help_behavior_hint="")] = None
    """A shipped model's name, a bundle's folder, or the folder or file of a Wan 2.1 model."""
    vae: File = None
    """Parts of a Wan model that do not lie beside its transformer: the autoencoder,"""
    text_encoder: File = None
    """the text encoder,"""
    tokenizer: File = None
    """its tokeniser,"""
    image_encoder: File = None
    """the image encoder."""
    shape: Text = None
    """Instead of a model, a published shape: wan-1.3b, wan-14b, wan-i2v-14b, wan-flf2v-14b, wan-vace-1.3b, wan-vace-14b."""
    frames: Whole = None
    """How many frames; as the model prefers if not given, here and below."""
    height: Whole = None
    """Height in pixels."""
    width: Whole = None
    """Width in pixels."""
    steps: Whole = None
    """How many steps the solver takes."""
    solver: Text = None
    """Who walks the field."""
    guidance: Real = None
    """How strongly the prompt is followed; at 1 the network is asked half as often."""
    begins: Flag = False
    """Whether the film begins with a picture."""
    dtype: Text = None
    """bfloat16, float16 or float32; what this machine is fastest in if not given."""
    offload: Text = None
    """none, component, block or disk: where weights wait; the fastest that fits if not given."""
    device: Text = None
    """auto, cpu, cuda, cuda:1 or mps."""
    no_measure: Flag = False
    """Do no work to tell the time; then there is no time."""
    json: Flag = False
    """As JSON, for a program to read."""


def run(command: Command) -> None:
    """Prints a line for each stage, then what was chosen and why."""
    for flag, typed, choices in (("--offload", command.offload, OFFLOADS), ("--dtype", command.dtype, DTYPES)):
        if typed is not None:
            among(flag, typed, choices, UNKNOWN)
    device = chosen_device(command.device)
    said = {name: getattr(command, name) for name in ("frames", "height", "width", "steps", "solver", "guidance")}
    shot = Shot.model_validate({"prompt": "plan", **{name: value for name, value in said.items() if value is not None}})
    if command.model is not None and command.shape is not None:
        raise BadCommand("--model and --shape: a plan is for one of the two; leave the other out.")
    if command.shape is not None:
        for name in PARTS:
            if getattr(command, name) is not None:
                raise BadCommand(
                    f"--{name.replace('_', '-')} and --shape: a published shape has no files; leave one of the two out."
                )
    made = planned(command, shot, device)
    if command.json:
        print(json.dumps(made.json()))
    else:
        show(made)


def planned(command: Command, shot: Shot, device: str) -> Plan:
    """The plan of a shot. Raises BadShot where it cannot be made, BadModel where the model or the device is not there."""
    import torch

    from vitascope.engine import choose_device
    from vitascope.planning import Ask, best_dtype, here, measured, plan
    from vitascope.precision import has_bf16

    sizes, defaults, path = _system(command)
    full = shot.filled(defaults)
    place = choose_device(device)
    bundled = sizes.stored is not None
    own = torch.bfloat16 if has_bf16(place.type) else torch.float32  # as the engine has a bundle
    dtype = getattr(torch, command.dtype) if command.dtype else own if bundled else best_dtype(place)
    sizes = replace(sizes, codec_bytes=dtype.itemsize) if bundled else sizes
    ask = Ask(
        full.frames or 0, full.height or 0, full.width or 0, full.steps or 0, full.solver or "unipc",
        full.scale.guided, command.begins or sizes.image is not None,
    )  # fmt: skip
    offload = command.offload or ("none" if bundled else None)  # the engine holds a bundle whole
    made = plan(sizes, ask, here(place), dtype=dtype, offload=offload)  # type: ignore[arg-type]  # checked in run
    if command.no_measure:
        return made
    from vitascope.planning.machine import reading

    pace = measured(sizes, ask.frames, ask.height, ask.width, place, dtype)
    disk = reading(path) if path is not None and made.offload == "disk" else None
    return plan(sizes, ask, here(place), pace=pace, disk=disk, dtype=dtype, offload=made.offload)


def _system(command: Command) -> tuple[Sizes, dict[str, object], Path | None]:
    """The sizes of what is asked about, what a shot gets where it says nothing, and the network's file."""
    from vitascope import bundle
    from vitascope.checkpoints.makers import run_with
    from vitascope.engine import located
    from vitascope.planning import SHAPE_NAMES, shape

    if command.shape is not None:
        among("--shape", command.shape, SHAPE_NAMES, UNKNOWN)
        return shape(command.shape), run_with("t2v", small=True), None
    path = located(command.model)
    if path.is_file() or not (path / bundle.RECIPE).is_file():
        from vitascope.checkpoints.layout import look
        from vitascope.checkpoints.wan_system import defaults, sizes_found
        from vitascope.checkpoints.weights import opened

        found = look(path, parts(command)).complete()
        return sizes_found(found), defaults(found), opened(found.transformer).files[0]
    folder = path
    recipe, _ = bundle.described(folder)
    ensure_wan(command, recipe.name)
    return bundle.sizes(recipe, 2), recipe.video.model_dump() | recipe.defaults.model_dump(), folder / bundle.NETWORK


def show(plan: Plan) -> None:
    """A table of the stages, then a line for each choice."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from vitascope.planning import gib

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 110, highlight=False, markup=False)
    console.print(f"{plan.model}: {plan.film}, {plan.tokens:,} tokens", soft_wrap=True)
    told = f"{plan.calls} forwards of {operations(plan.per_call)} each, {operations(plan.flops)} in all"
    console.print(told, soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("stage")
    for name in ("operations", "weights", "beside them", "memory", "time"):
        table.add_column(name, justify="right")
    for stage in plan.stages:
        sizes = (gib(stage.weights), gib(stage.activations), gib(stage.memory))
        table.add_row(stage.name, operations(stage.flops), *sizes, duration(stage.seconds))
    table.add_section()
    table.add_row("in all", operations(plan.flops), "", "", gib(plan.memory), duration(plan.seconds))
    console.print(table)
    for reason in plan.why:
        console.print(reason, soft_wrap=True)


def operations(count: float) -> str:
    """Floating-point operations as a person reads them."""
    for unit, name in ((1e15, "P"), (1e12, "T"), (1e9, "G")):
        if count >= unit:
            return f"{count / unit:.3g} {name}FLOP"
    return f"{count / 1e6:.3g} MFLOP"


def duration(seconds: float | None) -> str:
    """A time as a person reads it."""
    if seconds is None:
        return "not measured"
    if seconds < 90:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.3g} min" if seconds < 5400 else f"{seconds / 3600:.3g} h"
