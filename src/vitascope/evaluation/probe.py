"""The Probe: a small network that says what a film shows. It judges whether a generated film shows what was asked for.

It is trained on real renders alone (`lessons.train_probe`), of seeds that no other training uses, and it carries its own
accuracy on renders that it never saw: a measure is worth what its instrument is worth.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitascope.data.clips import to_pixels
from vitascope.errors import BadModel
from vitascope.storybook import ATTRIBUTES, Scene
from vitascope.tensors import fill, read, write

WEIGHTS, ABOUT = "probe.safetensors", "probe.json"
ENOUGH = 0.95
"""The accuracy on real renders below which an attribute is called unmeasured."""


@dataclass(frozen=True)
class ProbeConfig:
    """What a probe looks at and what it tells apart."""

    frames: int = 17
    height: int = 64
    width: int = 128
    attributes: Mapping[str, Sequence[str]] = field(default_factory=lambda: dict(ATTRIBUTES))
    widths: tuple[int, int, int] = (32, 48, 96)
    """Channels of the first three convolutions, which make the picture 4, 4 and 8 times smaller."""
    maps: int = 8
    """How many places the probe looks at in each frame."""
    hidden: int = 96

    def targets(self, scenes: Sequence[Scene]) -> dict[str, Tensor]:
        """The scenes' labels as numbers, [b] for each attribute."""
        return {
            name: torch.tensor([list(values).index(getattr(scene, name)) for scene in scenes])
            for name, values in self.attributes.items()
        }


@dataclass(frozen=True)
class Schooling:
    """How a probe was trained and how well it reads renders that it never saw."""

    seed: int
    """The scenes are of seeds derived from this one, which no model's training derives."""
    steps: int
    batch: int
    held_out: int
    """How many renders the accuracies are measured on."""
    accuracy: Mapping[str, float]
    """The share of held-out renders that are read rightly, for each attribute."""
    degraded: Mapping[str, float]
    """The same when those renders are blurred and smeared as in the lessons."""


class Probe(nn.Module):
    """Convolutions in space and time, a few places that are looked at in each frame, and one head an attribute.

    Pooling is by spatial attention, which also tells where it looked (the spatial soft argmax of Levine et al. 2016,
    arXiv:1504.00702): what an object is stays apart from where it is, and the frames' order is kept to the end, so that
    motion can be read.
    """

    def __init__(self, config: ProbeConfig) -> None:
        super().__init__()
        self.config = config
        self.schooling: Schooling | None = None
        a, b, c = config.widths
        self.features = nn.Sequential(
            _convolution(3, a, (1, 4, 4), (1, 4, 4)),
            _convolution(a, b, (3, 3, 3), (2, 1, 1)),
            _convolution(b, c, (3, 3, 3), (1, 2, 2)),
        )
        self.further = nn.Sequential(_convolution(c, c, (1, 3, 3), (1, 1, 1)), _convolution(c, c, (3, 1, 1), (1, 1, 1)))
        self.where = nn.Conv3d(c, config.maps, 1)
        self.what = nn.Conv3d(c, c, 1)
        moments = (config.frames + 1) // 2
        self.joined = nn.Linear(moments * (2 * c + 2 * config.maps), config.hidden)
        self.heads = nn.ModuleDict({name: nn.Linear(config.hidden, len(v)) for name, v in config.attributes.items()})

    def forward(self, video: Tensor) -> dict[str, Tensor]:
        """Video [b 3 t h w] in [-1, 1], of the config's shape -> logits [b n] for each attribute."""
        wanted = (3, self.config.frames, self.config.height, self.config.width)
        if video.ndim != 5 or video.shape[1:] != wanted:
            raise ValueError(f"video: expected [b {' '.join(map(str, wanted))}], got {list(video.shape)}")
        x = self.features(video.contiguous(memory_format=torch.channels_last_3d))
        x = x + self.further(x)
        told = F.silu(self.joined(self._seen(x).flatten(1)))
        return {name: head(told).float() for name, head in self.heads.items()}

    def _seen(self, x: Tensor) -> Tensor:
        """Features [b c t h w] -> what is seen at each moment [b t 2c+2m]: at the places looked at, their coordinates, and on
        the whole."""
        height, width = x.shape[-2:]
        attention = self.where(x).flatten(3).float().softmax(-1)  # [b m t hw]
        values = self.what(x).unflatten(1, (self.config.maps, -1)).flatten(4).float()  # [b m c/m t hw]
        looked = torch.einsum("bmtp,bmctp->btmc", attention, values).flatten(2)
        rows = torch.linspace(-1, 1, height, device=x.device).repeat_interleave(width)
        columns = torch.linspace(-1, 1, width, device=x.device).repeat(height)
        places = torch.einsum("bmtp,kp->btmk", attention, torch.stack((columns, rows))).flatten(2)
        whole = x.float().mean((-2, -1)).transpose(1, 2)
        return torch.cat((looked, places, whole), -1)

    @torch.no_grad()
    def read(self, films: Tensor, rows: int = 16) -> list[dict[str, str]]:
        """What each film, uint8 [b t h w c], shows: a value for each attribute."""
        self.eval()
        device = self.joined.weight.device
        found: list[dict[str, str]] = []
        for chunk in films.split(rows):
            logits = self(to_pixels(chunk.to(device)))
            best = {name: row.argmax(1).tolist() for name, row in logits.items()}
            found += [{n: str(v[best[n][i]]) for n, v in self.config.attributes.items()} for i in range(len(chunk))]
        return found

    def measures(self, attribute: str) -> bool:
        """Whether this probe reads the attribute well enough for its word to count."""
        return self.schooling is not None and self.schooling.accuracy.get(attribute, 0.0) >= ENOUGH

    @torch.no_grad()
    def slim(self) -> Probe:
        """Round matrices to what the file keeps of them, so that what is measured is what is saved."""
        for parameter in self.parameters():
            if parameter.ndim > 1:
                parameter.copy_(parameter.bfloat16().float())
        return self

    def save(self, folder: Path) -> None:
        """Write the probe: matrices in bf16, vectors in float32, and what is known of it beside."""
        folder.mkdir(parents=True, exist_ok=True)
        kept = {k: v.bfloat16() if v.is_floating_point() and v.ndim > 1 else v for k, v in self.state_dict().items()}
        write(folder / WEIGHTS, kept)
        about = {"config": asdict(self.config), "schooling": asdict(self.schooling) if self.schooling else None}
        (folder / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")

    @staticmethod
    def load(folder: Path) -> Probe:
        """The probe in a folder. Raises BadModel."""
        try:
            about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            config, schooling = about["config"], about["schooling"]
            config["attributes"] = {name: tuple(values) for name, values in config["attributes"].items()}
            probe = Probe(ProbeConfig(**config | {"widths": tuple(config["widths"])}))
            probe.schooling = Schooling(**schooling) if schooling else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadModel(
                f"{folder}: its {ABOUT} tells of no probe ({error}); name a folder that does not exist yet and one is trained"
            ) from error
        fill(probe, read(folder / WEIGHTS), origin=str(folder / WEIGHTS))
        return probe.eval()


def _convolution(inputs: int, outputs: int, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> nn.Module:
    time, rows, columns = (side // 2 if side % 2 else 0 for side in kernel)
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, kernel, stride, (time, rows, columns), bias=False),
        nn.BatchNorm3d(outputs),
        nn.SiLU(),
    )
