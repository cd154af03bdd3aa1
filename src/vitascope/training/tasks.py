"""What is learned in each stage: the codec, CLIP, the diffusion network. A batch is a function of the step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vitascope.codec import VideoCodec
from vitascope.data.clips import Clips
from vitascope.data.latents import Latents
from vitascope.diffusion import Diffusion
from vitascope.models.clip import contrastive
from vitascope.models.dit import along
from vitascope.physics.field import Condition
from vitascope.physics.noise import Noise, key
from vitascope.pixels import to_pixels
from vitascope.recipe import StageSettings
from vitascope.text import ClipText
from vitascope.training.cuts import corner


@dataclass(frozen=True)
class Order:
    """Which clips make up the batch of a step: every clip once in each epoch, each epoch in an order of its own."""

    seed: int
    count: int
    batch: int | tuple[int, ...]
    """Clips of a step, or of several that come in turn."""

    def at(self, step: int) -> tuple[list[int], list[int]]:
        """The clips of a step and the epoch that each belongs to."""
        sizes = self.batch if isinstance(self.batch, tuple) else (self.batch,)
        rounds, turn = divmod(step, len(sizes))
        first = rounds * sum(sizes) + sum(sizes[:turn])
        places = range(first, first + sizes[turn])
        epochs = [place // self.count for place in places]
        orders = {epoch: self._order(epoch) for epoch in set(epochs)}
        return [int(orders[e][p % self.count]) for p, e in zip(places, epochs)], epochs

    def _order(self, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(key(self.seed, "order", epoch))
        return torch.randperm(self.count, generator=generator)


class Crops(NamedTuple):
    """Pixels [b 3 t h w], and how much errors count at each, [b 1 t h w]; None: all alike."""

    pixels: Tensor
    weight: Tensor | None


class CodecTask:
    """Reconstruct crops: L1 on pixels and, weighted, on their differences; a light penalty keeps latents bounded.

    With `focus` errors count more where subjects are, and every other crop is around one: what moves is a small part of a
    picture, and the first thing that is lost of it.
    """

    def __init__(
        self, codec: VideoCodec, clips: Clips, settings: StageSettings, seed: int, device: str = "cpu"
    ) -> None:
        self.model = codec.vae
        self.clips, self.settings, self.device = clips, settings, device
        self.spans = settings.frames or (clips.source.frames,)
        # Where they are shorter, there are more of them, for the same work.
        counts = tuple(settings.batch * max(self.spans) // span for span in self.spans)
        self.order = Order(seed, len(clips), counts)
        self.seed = seed

    def batch(self, step: int) -> Crops:
        """The step's crops, of one length."""
        span = self.spans[step % len(self.spans)]
        indices, _ = self.order.at(step)
        pixels, weights = zip(*(self._crop(i, span, step, row) for row, i in enumerate(indices)))
        weight = 1 + self.settings.focus * torch.stack(weights).unsqueeze(1) if self.settings.focus else None
        return Crops(to_pixels(torch.stack(pixels).to(self.device)), None if weight is None else weight.to(self.device))

    def _crop(self, index: int, span: int, step: int, row: int) -> tuple[Tensor, Tensor]:
        """Pixels uint8 [t h w c] and where subjects are in them, bool [t h w]."""
        source = self.clips.source
        frames, height, width = source.frames, source.height, source.width
        side = self.settings.crop
        rows, columns = (height, width) if side is None else (min(side, height), min(side, width))
        draw = key(self.seed, f"crop {row}", step)
        top, left, start = (
            draw % (height - rows + 1),
            (draw >> 16) % (width - columns + 1),
            (draw >> 32) % (frames - span + 1),
        )
        there = self.clips.presence(index, height, width) if self.settings.focus else None
        if there is None:
            there = torch.zeros(frames, height, width, dtype=torch.bool)
        elif row % 2:
            top, left = corner(there[start : start + span].amax(0), (rows, columns), (1, 1), draw)
        cut = (slice(start, start + span), slice(top, top + rows), slice(left, left + columns))
        return torch.tensor(self.clips.view(index)[cut]), there[cut]

    def loss(self, batch: Crops, *, noise: Noise, step: int) -> tuple[Tensor, dict[str, float]]:
        true, weight = batch
        decoded, mu = self.model.reconstruct(true, lambda mu: self._roughened(mu, noise))
        decoded, mu = decoded.float(), mu.float()
        off = decoded - true
        loss = weighed(off.abs(), weight) + self.settings.quiet * mu.square().mean()
        if self.settings.square:
            loss = loss + self.settings.square * weighed(off.square(), weight)
        if self.settings.edges:
            loss = loss + self.settings.edges * edges(decoded, true, weight)
        with torch.no_grad():
            error = (decoded.clamp(-1, 1) - true).square().mean()
        return loss, {"psnr": float(-10 * torch.log10(error / 4)), "latent_std": float(mu.detach().std())}

    def _roughened(self, mu: Tensor, noise: Noise) -> Tensor:
        """Latents [b c t h w] with noise of a deviation that is drawn for each, up to `rough` times what they are whitened by."""
        if not self.settings.rough:
            return mu
        if self.model.config.linear:
            whitened = self.model.blocks.scale.sqrt().view(1, -1, 1, 1, 1)
        else:  # nearly: the whitening itself is measured when the stage is over
            whitened = mu.detach().float().std((0, 2, 3, 4), correction=0, keepdim=True)
        rows = noise.of(len(mu))
        much = self.settings.rough * rows.uniform("rough", 0).to(whitened).view(-1, 1, 1, 1, 1)
        return mu + (much * whitened * rows.like("off", 0, whitened.expand_as(mu))).to(mu.dtype)


def weighed(errors: Tensor, weight: Tensor | None) -> Tensor:
    """The mean of errors [b c t h w] that count by weight [b 1 t h w]; None: all alike."""
    return errors.mean() if weight is None else (errors * weight).sum() / (weight.sum() * errors.shape[1])


def edges(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """The L1 distance between the differences of neighbouring pixels, in space and in time: thin things weigh more."""
    total = torch.zeros((), device=a.device)
    for axis in (2, 3, 4):
        count = a.shape[axis]
        if count > 1:
            beside = None if weight is None else weight.narrow(axis, 1, count - 1)
            total = total + weighed((a.diff(dim=axis) - b.diff(dim=axis)).abs(), beside)
    return total


class ClipTask:
    """Pull a clip and its own caption together, and apart from the batch's others (Radford et al. 2021, arXiv:2103.00020)."""

    def __init__(self, text: ClipText, clips: Clips, settings: StageSettings, seed: int, device: str = "cpu") -> None:
        self.text = text
        self.model = text.clip
        self.clips, self.settings, self.device = clips, settings, device
        self.order = Order(seed, len(clips), settings.batch)

    def batch(self, step: int) -> tuple[Tensor, list[str]]:
        """Pixels [b 3 n h w] of n frames spread over each clip, and a caption each."""
        indices, epochs = self.order.at(step)
        frames = self.clips.source.frames
        spans = self.settings.frames or (frames,)
        count = min(spans[step % len(spans)], frames)
        chosen = torch.linspace(0, frames - 1, count).round().long().tolist()
        pixels = torch.stack([torch.tensor(self.clips.view(i)[chosen]) for i in indices])
        return to_pixels(pixels.to(self.device)), captions(self.clips, indices, epochs)

    def loss(self, batch: tuple[Tensor, list[str]], *, noise: Noise, step: int) -> tuple[Tensor, dict[str, float]]:
        video, prompts = batch
        clip = self.model
        seen = clip.encode_video(video)
        told = self.text.embed(prompts)
        loss = contrastive(seen.float(), told.float(), clip.scale)
        with torch.no_grad():
            nearest = (told.float() @ seen.float().T).argmax(1).cpu()
            hits = (nearest == torch.arange(len(prompts))).double().mean()
        return loss, {"top1": float(hits), "scale": float(clip.scale.detach())}


class Lot(NamedTuple):
    """Latents [b c t h w], a caption each, and how much more errors count at each of their places [b t h w], or None.

    Where they are pieces of larger ones, `starts` [b] are the frames of latents with which they begin, and `within` tells where
    they are in those, as a network wants it.
    """

    latents: Tensor
    prompts: list[str]
    focus: Tensor | None
    starts: Tensor | None = None
    within: Tensor | None = None


class Piece(NamedTuple):
    """How much of each clip a step sees: frames, rows and columns of its latents."""

    frames: int
    rows: int
    columns: int


class DiffusionTask:
    """Flow matching on cached latents, under captions, a share of which is dropped so that guidance has its other end."""

    def __init__(
        self,
        diffusion: Diffusion,
        text: ClipText,
        clips: Clips,
        latents: Latents,
        settings: StageSettings,
        seed: int,
        device: str = "cpu",
        stride: tuple[int, int, int] = (4, 8, 8),
        patch: tuple[int, int] = (2, 2),
    ) -> None:
        """`stride`: how many frames, rows and columns of pixels are one of latents, the first frame apart; `patch`: how many
        rows and columns of latents are one of tokens."""
        self.diffusion, self.text = diffusion, text
        self.model = diffusion.net
        self.clips, self.latents, self.settings, self.device = clips, latents, settings, device
        self.patch = patch
        source = clips.source
        self.whole = Piece(1 + (source.frames - 1) // stride[0], source.height // stride[1], source.width // stride[2])
        spans = [1 + (frames - 1) // stride[0] for frames in settings.frames or (source.frames,)]
        self.pieces = [self.whole._replace(frames=span) for span in spans]
        if settings.crop:
            sides = (min(settings.crop // each, most) for each, most in zip(stride[1:], self.whole[1:]))
            self.pieces.append(Piece(self.whole.frames, *sides))
        self.epoch = frequent(clips, settings.often)
        counts = tuple(settings.batch * math.prod(self.whole) // math.prod(piece) for piece in self.pieces)
        self.order = Order(seed, len(self.epoch), counts)
        self.seed = seed
        self._present: dict[int, Tensor] = {}  # a clip comes back each epoch, and a kilobyte is sooner found than drawn

    def batch(self, step: int) -> Lot:
        """The clips of a step, or stretches of more of them; the caption of some is the empty one."""
        places, epochs = self.order.at(step)
        indices = [self.epoch[place].clip for place in places]
        tellings = [epoch * self.epoch[place].of + self.epoch[place].time for place, epoch in zip(places, epochs)]
        prompts = captions(self.clips, indices, tellings)
        for row, index in enumerate(indices):
            if self._happens("drop", row, step, self.settings.dropout):
                prompts[row] = ""
            elif self._happens("plain", row, step, self.settings.plain):
                prompts[row] = self.clips.plain(index)
        latents = self.latents.batch(indices).to(self.device)
        lot = Lot(latents, prompts, self._focus(indices, latents.shape[2:]) if self.settings.focus else None)
        piece = self.pieces[step % len(self.pieces)]
        return lot if piece == self.whole else self._cut(lot, indices, piece, step)

    def _cut(self, lot: Lot, indices: Sequence[int], piece: Piece, step: int) -> Lot:
        """Of each row a piece, from a moment that is drawn, around a place where a subject is at some moment."""
        starts: list[int] = []
        latents, focus, within = [], [], []
        axes = [along(n) for n in (self.whole.frames, *(n // p for n, p in zip(lot.latents.shape[3:], self.patch)))]
        for row, index in enumerate(indices):
            first = key(self.seed, f"start {row}", step) % (self.whole.frames - piece.frames + 1)
            there = self._presence_of(index, lot.latents.shape[2:]).amax(0)
            draw = key(self.seed, f"corner {row}", step)
            top, left = corner(there, (piece.rows, piece.columns), self.patch, draw)
            cut = (slice(first, first + piece.frames), slice(top, top + piece.rows), slice(left, left + piece.columns))
            latents.append(lot.latents[row][:, *cut])
            if lot.focus is not None:
                focus.append(lot.focus[row][cut])
            tokens = (cut[0], *(slice(s.start // p, s.stop // p) for s, p in zip(cut[1:], self.patch)))
            within.append(torch.cat([axis[part] for axis, part in zip(axes, tokens)]))
            starts.append(first)
        weights = torch.stack(focus) if focus else None
        told = torch.stack(within).to(self.device)
        return Lot(torch.stack(latents), lot.prompts, weights, torch.tensor(starts), told)

    def _focus(self, indices: Sequence[int], shape: Sequence[int]) -> Tensor:
        """How much more errors count at each place [b t h w] of latents: the recipe's `focus` where subjects are."""
        return self.settings.focus * torch.stack([self._presence_of(index, shape) for index in indices]).to(self.device)

    def _presence_of(self, index: int, shape: Sequence[int]) -> Tensor:
        if index not in self._present:
            self._present[index] = self._presence(index, *shape)
        return self._present[index]

    def _presence(self, index: int, frames: int, height: int, width: int) -> Tensor:
        """Where subjects are in any of the frames that one of the latent's is made of, bool [t h w]."""
        found = torch.zeros(frames, height, width, dtype=torch.bool)
        there = self.clips.presence(index, height, width)
        if there is not None:
            found[0] = there[0]
            if frames > 1:
                found[1:] = there[1:].unflatten(0, (frames - 1, -1)).any(1)
        return found

    def _happens(self, what: str, row: int, step: int, share: float) -> bool:
        return key(self.seed, f"{what} {row}", step) / 2**63 < share

    def loss(self, batch: Lot, *, noise: Noise, step: int) -> tuple[Tensor, dict[str, float]]:
        x0, prompts, focus, starts, within = batch
        with torch.no_grad():
            condition = self.text(prompts)
        if self.settings.compile:
            condition = filled(condition, self.text.config.text_length)
        begun = torch.tensor([self._happens("first", row, step, self.settings.first) for row in range(len(prompts))])
        if starts is not None:
            # A first frame that is given is a film's first, and there is one after it to be asked for.
            begun &= (starts == 0) & (x0.shape[2] > 1)
        told = condition if within is None else {**condition, "within": within}
        losses = self.diffusion.loss(x0, told, noise=noise.of(len(prompts)), begun=begun, focus=focus)
        return losses.mean(), {}


class Turn(NamedTuple):
    """A clip's place in an epoch: time `time` of the `of` times that a clip comes in it, at most."""

    clip: int
    time: int
    of: int


def frequent(clips: Clips, often: Mapping[str, Mapping[str, int]]) -> list[Turn]:
    """The clips of one epoch: each once, or as often as the largest of the numbers that `often` has for what it shows."""
    times = [1] * len(clips)
    if often:
        for index in range(len(clips)):
            shown = clips.shows(index)
            times[index] = max([1, *(values.get(shown.get(name, ""), 1) for name, values in often.items())])
    most = max(times, default=1)
    return [Turn(clip, time, most) for clip, count in enumerate(times) for time in range(count)]


def filled(condition: Condition, length: int) -> Condition:
    """A condition whose texts all have `length` tokens, the new ones masked: a compiled network is made for one shape."""
    context, mask = condition["context"], condition["mask"]
    missing = length - mask.shape[1]
    return {"context": F.pad(context, (0, 0, 0, missing)), "mask": F.pad(mask, (0, missing))}


def captions(clips: Clips, indices: Sequence[int], epochs: Sequence[int]) -> list[str]:
    """A caption of each clip; each epoch says it in other words, where there are any."""
    return [clips.caption(i, epoch) for i, epoch in zip(indices, epochs)]
