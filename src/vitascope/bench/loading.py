"""What it costs to load a Wan transformer of full size: time, peak of memory, and one forward.

    python -m vitascope.bench.loading write some-folder
    python -m vitascope.bench.loading measure some-folder

The first writes Wan 2.1 T2V-1.3B's form with random weights in bf16 (2.8 GB); the second loads it in a process of its own,
whose peak nothing else has raised, and asks the network once about 17 frames of 256x256.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from vitascope.checkpoints import wan
from vitascope.checkpoints.layout import look
from vitascope.models.dit import DiT, DiTConfig
from vitascope.models.outline import outlined

CONFIG = DiTConfig(width=1536, heads=12, layers=30, ffn=8960)
FRAMES, SIZE = 17, 256
NAME = "diffusion_pytorch_model.safetensors"


def write(folder: Path, config: DiTConfig = CONFIG) -> Path:
    """A folder in the official layout with random weights in bf16; the file of the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    with outlined():
        shapes = {name: value.shape for name, value in DiT(config).state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in shapes.items():
        scale = 1.0 if len(shape) == 1 else shape[1:].numel() ** -0.5
        state[name] = torch.randn(shape, generator=generator).mul_(scale).bfloat16()
    save_file(state, folder / NAME, {"format": "pt"})
    told = {"_class_name": "WanModel", "dim": config.width, "ffn_dim": config.ffn, "freq_dim": config.freq_width}
    told |= {"in_dim": config.in_channels, "out_dim": config.out_channels, "model_type": "t2v", "eps": config.eps}
    told |= {"num_heads": config.heads, "num_layers": config.layers, "text_len": 512}
    (folder / "config.json").write_text(json.dumps(told, indent=2) + "\n")
    return folder / NAME


def peak() -> int:
    """Bytes of memory that this process held at its most."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def measure(
    folder: Path, dtype: wan.Precision = "bfloat16", frames: int = FRAMES, side: int = SIZE
) -> dict[str, float]:
    """Seconds to load, growth of the peak over the file's size, seconds of one forward, and the peak after it."""
    found = look(folder)
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    before, started = peak(), time.perf_counter()
    net = wan.load_transformer(found, dtype)
    loaded, after = time.perf_counter() - started, peak()
    config = net.config
    shape = (1, config.in_channels, 1 + (frames - 1) // 4, side // 8, side // 8)
    context = torch.randn(1, 512, config.text_width)
    started = time.perf_counter()
    with torch.inference_mode():
        answer = net(torch.randn(shape), torch.tensor([500.0]), context=context)
    forward = time.perf_counter() - started
    if not torch.isfinite(answer).all():
        raise SystemExit("the forward gave numbers that are not finite")
    return {
        "file, GB": size / 1e9,
        "load, s": loaded,
        "peak of loading / file": (after - before) / size,
        f"forward {frames} frames {side}x{side}, s": forward,
        "peak of all, GB": peak() / 1e9,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The two commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("write", "measure"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="bfloat16")
    parser.add_argument("--layers", type=int, default=CONFIG.layers, help="fewer than the published 30, to try it out")
    given = parser.parse_args(arguments)
    if given.what == "write":
        print(write(given.folder, DiTConfig(CONFIG.width, CONFIG.heads, given.layers, CONFIG.ffn)))
        return
    print("| what | figure |\n|---|---|")
    for what, figure in measure(given.folder, given.dtype).items():
        print(f"| {what} | {figure:.2f} |")


if __name__ == "__main__":
    main()
