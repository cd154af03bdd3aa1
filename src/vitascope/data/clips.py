"""Clips on disk: one flat file of bytes, read through a memory map, and what it holds beside it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from vitascope.data.rendering import Job, drawn_in_order
from vitascope.errors import BadRun
from vitascope.storybook import Scene, caption, plain, presence, scene
from vitascope.storybook.scenes import Split
from vitascope.storybook.worlds import DEFAULT

CHUNK = 32

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


class Origin(Protocol):
    """What clips are and where they are from; the same words for the same bytes."""

    @property
    def count(self) -> int: ...
    @property
    def frames(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...


class Clips(Protocol):
    """Captioned clips of one shape, to learn from."""

    @property
    def source(self) -> Origin:
        """Their shape and number; its `repr` names their content."""
        ...

    @property
    def prompts(self) -> Sequence[str]:
        """What previews ask for; nothing where the usual prompts will do."""
        ...

    def __len__(self) -> int: ...

    def view(self, index: int) -> Pixels:
        """Clip `index` where it lies on disk, uint8 [t h w c]: only what is cut out of it is read."""
        ...

    def pixels(self, index: int) -> Tensor:
        """Clip `index`, uint8 [t h w c]."""
        ...

    def caption(self, index: int, epoch: int = 0) -> str:
        """A true caption of clip `index`, in other words for each epoch where there are any."""
        ...

    def plain(self, index: int) -> str:
        """The caption of clip `index` that says the most."""
        ...

    def shows(self, index: int) -> Mapping[str, str]:
        """What clip `index` shows of each of the storybook's attributes, as of "camera"; nothing where nobody knows."""
        ...

    def presence(self, index: int, height: int, width: int) -> Tensor | None:
        """Where its subjects are in clip `index`, bool [t h w] over a grid laid on each frame; None where nobody knows."""
        ...


@dataclass(frozen=True)
class Source:
    """What a file of clips was rendered from; two equal sources give the same bytes."""

    seed: int
    count: int
    frames: int
    height: int
    width: int
    split: Split = "train"
    world: str = DEFAULT
    look: str = ""
    """How the storybook draws (`rendering.look`), where that is to be remembered: clips drawn otherwise are other clips."""


class StoryClips:
    """Clips of the storybook; `scene(i)` says what clip i shows."""

    prompts: Sequence[str] = ()

    def __init__(self, path: Path, source: Source) -> None:
        self.source = source
        shape = (source.count, source.frames, source.height, source.width, 3)
        self.bytes = np.memmap(path, dtype=np.uint8, mode="r", shape=shape)

    def __len__(self) -> int:
        return self.source.count

    def scene(self, index: int) -> Scene:
        """The scene that clip `index` was rendered from."""
        return scene(self.source.seed, index, self.source.split, self.source.world)

    def caption(self, index: int, epoch: int = 0) -> str:
        """Caption number `epoch` of clip `index`."""
        return caption(self.scene(index), epoch)

    def plain(self, index: int) -> str:
        """The canonical caption of clip `index`."""
        return plain(self.scene(index))

    def shows(self, index: int) -> Mapping[str, str]:
        """The labels of the scene of clip `index`."""
        return self.scene(index).shows()

    def presence(self, index: int, height: int, width: int) -> Tensor:
        """Where the subjects of clip `index` are, by their exact tracks."""
        return presence(self.scene(index), self.source.frames, height, width)

    def view(self, index: int) -> Pixels:
        """Clip `index` on disk, uint8 [t h w c]."""
        return self.bytes[index]

    def pixels(self, index: int) -> Tensor:
        """Clip `index`, uint8 [t h w c]."""
        return torch.from_numpy(np.array(self.bytes[index]))


def story_clips(
    path: Path,
    source: Source,
    watch: Callable[[int, int], None] | None = None,
    device: str = "cpu",
    workers: int = 1,
) -> StoryClips:
    """The storybook's clips, rendered to `path` unless they are there already, by up to `workers` processes.

    Rendering that was cut off goes on from the last whole chunk; `watch(done, of)` hears of each. Raises BadRun when the
    file there was rendered from something else or is not whole, and when the disk cannot hold it.
    """
    label, partial = path.with_suffix(".json"), path.with_suffix(".partial")
    size = source.frames * source.height * source.width * 3
    if path.is_file():
        if read_label(label) != asdict(source):
            raise BadRun(
                f"{path}: these clips were rendered for another recipe, or by a storybook that drew otherwise; give another --out "
                "folder, or delete them."
            )
        if path.stat().st_size != size * source.count:
            raise BadRun(
                f"{path}: it has {path.stat().st_size:,} bytes and {source.count:,} clips take {size * source.count:,}; "
                "delete it, to have them rendered again."
            )
        return StoryClips(path, source)
    path.parent.mkdir(parents=True, exist_ok=True)
    if read_label(label) != asdict(source):
        partial.unlink(missing_ok=True)
    done = partial.stat().st_size // (size * CHUNK) * CHUNK if partial.is_file() else 0
    _fits(path.parent, (source.count - done) * size)
    label.write_text(json.dumps(asdict(source)))
    with partial.open("r+b" if partial.is_file() else "w+b") as file:
        file.truncate(done * size)
        file.seek(done * size)
        shape = (source.frames, source.height, source.width)
        chunks = [range(at, min(at + CHUNK, source.count)) for at in range(done, source.count, CHUNK)]
        jobs: list[Job] = [(source.seed, indices, source.split, source.world, shape) for indices in chunks]
        with closing(drawn_in_order(jobs, device, workers)) as drawn:
            for indices, clips in zip(chunks, drawn, strict=True):
                file.write(clips)
                if watch:
                    watch(indices.stop, source.count)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    return StoryClips(path, source)


def _fits(folder: Path, need: int) -> None:
    free = shutil.disk_usage(folder).free
    if need > free:
        raise BadRun(
            f"{folder}: the clips take {need / 1e9:.1f} GB and {free / 1e9:.1f} GB are free there; free some space, give "
            "another --out folder, or ask for fewer clips in the recipe."
        )


def read_label(path: Path) -> object:
    """What the label beside a file of data says, or None where there is none that can be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
