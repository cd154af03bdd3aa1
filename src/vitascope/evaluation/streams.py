"""How a probe sees: what there is at a few moments, and how it moves between them. Convolutions, attention, one match."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHARP = 20.0  # how much better the best match is than one that is not alike at all, as a logarithm
REACH = 12  # pixels: how far a picture is shifted to see whether it is then the later one
UNLIKE = 0.3  # of 2: a pixel that differs more, of what moves before the scenery, counts no more
CERTAIN = 8.0  # how much better the best shift is than the mean of all, as a logarithm


class Seen(NamedTuple):
    """What a stream tells of each film [b k], and what it is trained on beside the labels, since one who knows where to look
    learns faster what it is: where it found the subject at `moments` (numbers of frames), log shares of the places of a coarse
    grid [b moments h w]."""

    told: Tensor
    moments: list[int]
    found: Tensor


class Look(nn.Module):
    """What there is: pictures at a few moments, each by itself."""

    def __init__(self, frames: int, widths: tuple[int, int, int], moments: int, maps: int) -> None:
        super().__init__()
        a, b, c = widths
        self.moments = sorted({round((frames - 1) * k / max(1, moments - 1)) for k in range(moments)})
        self.features = nn.Sequential(_convolution(3, a, 2), _convolution(a, b, 2), _convolution(b, c, 2))
        self.near, self.far = _convolution(c, c, 1), _convolution(c, c, 1, reach=2)
        self.places = Places(c, maps, 0, c)
        self.told = len(self.moments) * c

    def forward(self, video: Tensor) -> Seen:
        """Video [b 3 t h w]."""
        x = self.features(pictures(video, self.moments))
        x = x + self.near(x)
        x = x + self.far(x)
        told, found = self.places(x)
        return Seen(_films(told, len(video)).flatten(1), self.moments, _films(found, len(video)))


class Motion(nn.Module):
    """How it moves: where the subject is from moment to moment; and each small piece of a picture is looked for in a later one,
    as optical flow is found from all pairs of features (RAFT, Teed & Deng 2020, arXiv:2003.12039), here by one soft match.
    Pictures are a quarter, a half and the whole of the film apart.
    """

    def __init__(self, frames: int, widths: tuple[int, int, int], maps: int) -> None:
        super().__init__()
        a, b, c = widths
        eighths = _parts(frames, 8)
        self.moments = sorted(set(eighths))
        quarters = [self.moments.index(moment) for moment in _parts(frames, 4)]
        self.pairs = [(quarters[i], quarters[i + span]) for span in (1, 2, 4) for i in range(5 - span)]
        self.pieces = nn.Sequential(_convolution(3, a, 4, kernel=4), _convolution(a, b, 2))
        self.near = _convolution(b, b, 1)
        self.step = Places(b, maps, 0, b)
        self.key = nn.Conv2d(b, b, 1)
        self.joined = _convolution(b + 3, c, 1)
        self.pair = Places(c, maps, 9, c)
        self.told = len(self.moments) * b + len(self.pairs) * c

    def forward(self, video: Tensor) -> Seen:
        """Video [b 3 t h w]."""
        rows = len(video)
        x = self.pieces(pictures(video, self.moments))
        x = x + self.near(x)
        step, found = self.step(x)
        now, then = ([pair[side] for pair in self.pairs] for side in (0, 1))
        keys, there = _films(self.key(x), rows), _films(x, rows)[:, now].flatten(0, 1)
        flow = matched(keys[:, now].flatten(0, 1), keys[:, then].flatten(0, 1))
        pair, _ = self.pair(self.joined(torch.cat((there, flow.to(there.dtype)), 1)), moments_of(flow))
        told = torch.cat([_films(part, rows).flatten(1) for part in (step, pair)], 1)
        return Seen(told, self.moments, _films(found, rows))


class Places(nn.Module):
    """Pooling by spatial attention, which also tells where it looked (the spatial soft argmax of Levine et al. 2016,
    arXiv:1504.00702): what a thing is stays apart from where it is. The first map is the subject's."""

    def __init__(self, width: int, maps: int, beside: int, told: int) -> None:
        super().__init__()
        self.maps = maps
        self.where = nn.Conv2d(width, maps, 1)
        self.what = nn.Conv2d(width, width, 1)
        pooled = 3 * width + 2 * maps + beside
        self.told = nn.Sequential(nn.LayerNorm(pooled), nn.Linear(pooled, told), nn.SiLU())

    def forward(self, x: Tensor, *beside: Tensor) -> tuple[Tensor, Tensor]:
        """[n c h w] and what else is known [n k] -> [n told] from all that the subject's place shows, what each map picks, where
        the maps look and the mean over all; and the subject's place, log shares [n h w]."""
        height, width = x.shape[-2:]
        logs = self.where(x).flatten(2).float().log_softmax(-1)
        attention, flat = logs.exp(), x.flatten(2).float()
        subject = torch.einsum("np,ncp->nc", attention[:, 0], flat)
        values = self.what(x).flatten(2).unflatten(1, (self.maps, -1)).float()
        picked = torch.einsum("nmp,nmcp->nmc", attention, values).flatten(1)
        where = (attention @ coordinates(height, width, x.device).T).flatten(1)
        told = self.told(torch.cat((subject, picked, where, flat.mean(2), *beside), 1))
        return told, logs[:, 0].unflatten(1, (height, width))


def _parts(frames: int, count: int) -> list[int]:
    """The frames that cut a film into `count` parts, its first and its last among them."""
    return [round((frames - 1) * k / count) for k in range(count + 1)]


SCENERY = 5
LOUD = 4.0  # so that it is soon heard beside all else


@torch.no_grad()
def scenery(video: Tensor) -> Tensor:
    """How far what is behind went to the right in a quarter of each film [b 3 t h w], in pixels of pictures half as large, the
    median of four, [b SCENERY]: the upper half, the lower, how far either went to whatever side, and how far apart; LOUD
    times that. A pan is 4 or 5 pixels in both halves.

    It is measured and not learned. A camera that stays still is the usual case, and a network that was to find out how far the
    scenery went said of all films that it stayed.
    """
    quarters = [F.avg_pool2d(video[:, :, moment].float(), 2) for moment in _parts(video.shape[2], 4)]
    went = torch.stack([drift(now, then) for now, then in pairwise(quarters)]).sort(0).values[1:3].mean(0)
    upper, lower = went.unbind(1)
    return LOUD * torch.stack((upper, lower, upper.abs(), lower.abs(), (upper - lower).abs()), 1)


def drift(now: Tensor, then: Tensor) -> Tensor:
    """How many pixels to the right the upper and the lower half of each picture [n c h w] went until a later one, [n 2].

    Of all shifts by up to REACH pixels it is the one after which most of the half is alike (block matching), or the mean of
    those that do equally well: for a clear sky 0. A camera that turns moves both halves alike, one that moves does not.
    """
    height, width = now.shape[-2:]
    rows, reach = (height + 1) // 2, min(REACH, width // 2 - 1)
    apart = []
    for by in range(-reach, reach + 1):
        here, there = now[..., max(0, -by) : width - max(0, by)], then[..., max(0, by) : width - max(0, -by)]
        unlike = (here - there).abs().mean(1).clamp(max=UNLIKE).mean(2)
        apart.append(torch.stack((unlike[:, :rows].mean(1), unlike[:, -rows:].mean(1)), 1))
    all_ = torch.stack(apart, 2)
    least = all_.amin(2, keepdim=True)
    likely = (-CERTAIN * (all_ - least) / (all_.mean(2, keepdim=True) - least + 1e-3)).softmax(2)
    return likely @ torch.arange(-reach, reach + 1, dtype=all_.dtype, device=all_.device)


def matched(now: Tensor, then: Tensor) -> Tensor:
    """Features [n c h w] of two pictures -> where each piece of the first went, [n 3 h w]: how many pieces to the right and
    down, and how sure that is."""
    height, width = now.shape[-2:]
    a, b = (F.normalize(x.float().flatten(2), dim=1) for x in (now, then))
    likeness = ((SHARP * a).transpose(1, 2) @ b).softmax(-1)  # [n hw hw]
    grid = coordinates(height, width, now.device)
    pieces = torch.tensor((width / 2, height / 2), device=now.device)
    went = torch.cat(((likeness @ grid.T - grid.T) * pieces, likeness.amax(-1, keepdim=True)), -1)
    return went.transpose(1, 2).unflatten(2, (height, width))


def moments_of(flow: Tensor) -> Tensor:
    """The mean of a flow [n 3 h w] and its first moments, [n 9]: a pan is in the mean, a zoom in how it grows outwards."""
    flat = flow.flatten(2)
    height, width = flow.shape[-2:]
    grid = coordinates(height, width, flow.device)
    return torch.cat((flat.mean(2), (flat @ grid.T).flatten(1) / flat.shape[2]), 1)


def coordinates(height: int, width: int, device: torch.device) -> Tensor:
    """x and y of each place of a grid, [2 hw]: the picture's edges are at -1 and 1."""
    rows = (torch.arange(height, device=device) + 0.5) * (2 / height) - 1
    columns = (torch.arange(width, device=device) + 0.5) * (2 / width) - 1
    return torch.stack((columns.repeat(height), rows.repeat_interleave(width)))


def pictures(video: Tensor, moments: list[int]) -> Tensor:
    """Some frames of each film [b 3 t h w], in a row: [b * moments 3 h w]."""
    return video[:, :, moments].transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)


def _films(x: Tensor, rows: int) -> Tensor:
    return x.unflatten(0, (rows, -1))


def _convolution(inputs: int, outputs: int, stride: int, *, kernel: int = 3, reach: int = 1) -> nn.Module:
    padding = kernel // 2 * reach if kernel % 2 else 0
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, reach, bias=False), nn.BatchNorm2d(outputs), nn.SiLU()
    )
