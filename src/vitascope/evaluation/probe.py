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
from torch import Tensor, nn

from vitascope.errors import BadModel
from vitascope.evaluation.streams import SCENERY, Look, Motion, Seen, scenery
from vitascope.pixels import to_pixels
from vitascope.recipe import ClipShape
from vitascope.storybook import ATTRIBUTES, Scene
from vitascope.storybook.worlds import DEFAULT, MIRRORED, world_of
from vitascope.tensors import fill, read, write

WEIGHTS, ABOUT = "probe.safetensors", "probe.json"
LARGEST = 4096  # for any number of a config: far above what is of use, and small enough to build
ENOUGH = 0.97
"""The accuracy on real renders below which an attribute is called unmeasured."""


@dataclass(frozen=True)
class ProbeConfig:
    """What a probe looks at and what it tells apart. Raises ValueError for what cannot be built."""

    frames: int = 17
    height: int = 64
    width: int = 128
    attributes: Mapping[str, Sequence[str]] = field(default_factory=lambda: dict(ATTRIBUTES))
    world: str = DEFAULT
    """The storybook's world that it reads."""
    look: tuple[int, int, int] = (32, 64, 96)
    """Channels where pictures are 2, 4 and 8 times smaller."""
    motion: tuple[int, int, int] = (32, 48, 64)
    """Channels where pictures are 4 and 8 times smaller, and where they are joined with what moved."""
    moments: int = 5
    """How many pictures are looked at sharply."""
    maps: int = 8
    """How many places the probe looks at in each frame."""
    hidden: int = 128

    def __post_init__(self) -> None:
        numbers = (self.frames, self.height, self.width, self.maps, self.hidden, self.moments)
        widths = (*self.look, *self.motion)
        if any(type(n) is not int or not 1 <= n <= LARGEST for n in (*numbers, *widths)):
            raise ValueError(f"expected whole numbers from 1 to {LARGEST}, got {numbers} and the widths {widths}")
        if len(self.look) != 3 or len(self.motion) != 3 or self.look[2] % self.maps or self.motion[2] % self.maps:
            raise ValueError(f"expected three widths a stream, the last divisible by {self.maps} maps, got {widths}")
        if min(self.height, self.width) < 8:
            raise ValueError(f"expected sides of at least 8 pixels, got {self.height}x{self.width}")
        world_of(self.world)
        if not self.attributes or not all(self.attributes.values()):
            raise ValueError(f"expected attributes with their values, got {self.attributes}")

    @staticmethod
    def of(video: ClipShape, world: str = DEFAULT) -> ProbeConfig:
        """For films of this shape, and all attributes of this world."""
        return ProbeConfig(video.frames, video.height, video.width, dict(world_of(world).values), world)

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


def paced(films: Tensor, frames: int) -> Tensor:
    """Films [n t h w c] in so many frames, from the first to the last: frames are left out of longer ones, and shown more than
    once of shorter ones."""
    last = films.shape[1] - 1
    if last + 1 == frames:
        return films
    return films[:, [round(k * last / max(1, frames - 1)) for k in range(frames)]]


class Probe(nn.Module):
    """Two streams and one head an attribute, after SlowFast (Feichtenhofer et al. 2019, arXiv:1812.03982): what there is, seen
    sharply at a few moments, and how it moves, seen coarsely between them."""

    def __init__(self, config: ProbeConfig) -> None:
        super().__init__()
        self.config = config
        self.schooling: Schooling | None = None
        self.look = Look(config.frames, config.look, config.moments, config.maps)
        self.motion = Motion(config.frames, config.motion, config.maps)
        told = self.look.told + self.motion.told
        self.joined = nn.Sequential(nn.LayerNorm(told), nn.Linear(told, config.hidden), nn.SiLU())
        known = config.hidden + SCENERY
        self.heads = nn.ModuleDict({name: nn.Linear(known, len(v)) for name, v in config.attributes.items()})

    def forward(self, video: Tensor) -> dict[str, Tensor]:
        """Video [b 3 t h w] in [-1, 1], of the config's shape -> logits [b n] for each attribute."""
        return self.shown(video)[0]

    def shown(self, video: Tensor) -> tuple[dict[str, Tensor], tuple[Seen, Seen]]:
        """The logits, and what either stream saw."""
        known, seen = self.known(video)
        return {name: head(known).float() for name, head in self.heads.items()}, seen

    def known(self, video: Tensor) -> tuple[Tensor, tuple[Seen, Seen]]:
        """All that the heads know of a video, [b n], and what either stream saw."""
        learned, seen = self.learned(video)
        return torch.cat((learned, scenery(video).to(learned.dtype)), 1), seen

    def learned(self, video: Tensor) -> tuple[Tensor, tuple[Seen, Seen]]:
        """What the heads know of a video, [b hidden], but for how far the scenery went, which is measured; and what either
        stream saw."""
        wanted = (3, self.config.frames, self.config.height, self.config.width)
        if video.ndim != 5 or video.shape[1:] != wanted:
            raise ValueError(f"video: expected [b {' '.join(map(str, wanted))}], got {list(video.shape)}")
        seen = self.look(video), self.motion(video)
        return self.joined(torch.cat([stream.told for stream in seen], 1)), seen

    def reads(self, frames: int) -> bool:
        """Whether films of so many frames are read no worse than what it learned on: those of as many, and those that only show
        the same moments and others between them, which are left out."""
        own = self.config.frames - 1
        return frames - 1 == own or (0 < own < frames and (frames - 1) % own == 0)

    @torch.no_grad()
    def told(self, films: Tensor) -> dict[str, Tensor]:
        """How likely each value of each attribute is in films, uint8 [b t h w c]: logarithms [b n], up to a number of each film.
        They may have any number of frames (`paced`).

        Its mirror image is looked at too, and what is seen there, with left and right exchanged, counts as much. So a film and
        its mirror image are read alike, and the probe errs less often than by one look.
        """
        self.eval()
        video = to_pixels(paced(films, self.config.frames).to(next(self.parameters()).device))
        seen, turned = self(video), self(video.flip(4))
        found = {}
        for name, values in self.config.attributes.items():
            places = {value: place for place, value in enumerate(values)}
            back = [places.get(MIRRORED.get(value, value), place) for value, place in places.items()]
            found[name] = seen[name].log_softmax(1) + turned[name].log_softmax(1)[:, back]
        return found

    def read(self, films: Tensor, rows: int = 16) -> list[dict[str, str]]:
        """What each film, uint8 [b t h w c], shows: a value for each attribute."""
        found: list[dict[str, str]] = []
        for chunk in films.split(rows):
            best = {name: told.argmax(1).tolist() for name, told in self.told(chunk).items()}
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
            probe = Probe(ProbeConfig(**config | {name: tuple(config[name]) for name in ("look", "motion")}))
            probe.schooling = Schooling(**schooling) if schooling else None
            shares = {**probe.schooling.accuracy, **probe.schooling.degraded} if probe.schooling else {}
            if not all(type(share) in (int, float) and 0 <= share <= 1 for share in shares.values()):
                raise ValueError("an accuracy is no share from 0 to 1")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadModel(
                f"{folder}: its {ABOUT} tells of no probe ({error}); name a folder that does not exist yet and one is trained"
            ) from error
        fill(probe, read(folder / WEIGHTS), origin=str(folder / WEIGHTS))
        return probe.eval()
