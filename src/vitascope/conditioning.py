"""What a film is made from beside words: a first picture, a last one, a film with a mask, pictures to refer to.

From pixels to the keyword arguments of Wan 2.1's networks. Pictures are uint8 [h w 3], films uint8 [t h w 3], as `media`
gives them; nothing here is drawn at random. Both programs that Wan's models are run with are followed, each to its own
numbers (`As`): they scale pictures differently, and crop what the image tower sees differently.

Source: the code published with Wan 2.1 (arXiv:2503.20314, section 5.1) and with VACE (arXiv:2503.07598, section 3.2).
Nothing is taken over that is a slip there: the published first-and-last-frame code knows films of 81 frames only, and pads
a last picture of another size instead of scaling it; diffusers loses part of the mask where there are more pictures to
refer to than latent frames.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from vitascope.errors import BadShot
from vitascope.media.pictures import fitted
from vitascope.media.resampling import resampled
from vitascope.models.clip import OPENAI_MEAN, OPENAI_STD, VisionTransformer
from vitascope.pixels import from_bytes

As = Literal["official", "diffusers"]
"""Whose numbers: those of Wan's own code, or of diffusers' pipelines."""


MASK_ALONE = "a mask without a film: it says which parts of a film stay; give the film too (--video)."
"""What is said where a film is given a mask and nothing that it could be of."""


class FilmEncoder(Protocol):
    """What is asked of a codec here: `codec.VideoCodec` is one."""

    @property
    def stride(self) -> tuple[int, int, int]: ...
    def encode_chunks(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]: ...
    def latent_shape(
        self, frames: int, height: int, width: int, patch: tuple[int, int, int] = ...
    ) -> tuple[int, ...]: ...


def size_like(
    picture: Tensor, area: int, codec: FilmEncoder, patch: tuple[int, int, int] = (1, 2, 2), as_: As = "official"
) -> tuple[int, int]:
    """Height and width of about `area` pixels in the shape of a picture uint8 [h w 3].

    The published code rounds down what may be a hair below a whole number, and makes 464 x 832 of a picture of 480 x 832;
    diffusers rounds that first, and keeps it.
    """
    ratio = picture.shape[0] / picture.shape[1]
    sides = []
    for side, stride, join in zip((math.sqrt(area * ratio), math.sqrt(area / ratio)), codec.stride[1:], patch[1:]):
        pixels = round(side) if as_ == "diffusers" else side
        sides.append(max(1, int(pixels // stride // join)) * join * stride)
    return sides[0], sides[1]


def image_to_video(
    codec: FilmEncoder,
    tower: VisionTransformer | None,
    first: Tensor,
    last: Tensor | None = None,
    *,
    frames: int,
    size: tuple[int, int],
    as_: As = "official",
) -> dict[str, Tensor]:
    """What an image-to-video network is told of a film's first picture, and of its last where there is one.

    first, last  uint8 [h w 3], of any size
    tower        reads the pictures for networks that take image tokens; None for those that do not
    size         height and width of the film

    Gives `concat` [1 4+c t' h' w'], which latent frames are given and the latent of the film in which all others are grey;
    and `image` [1 n d], the tower's states, n = 257 or twice that. Raises BadShot where the codec cannot make this size.
    """
    shape = codec.latent_shape(frames, *size)
    if last is not None:
        ensure_both_ends(frames)
        if as_ == "official" and last.shape != first.shape:
            # The published code means to scale the last picture to cover the first, and then cuts it; so it is done here.
            last = fitted(last, first.shape[0], first.shape[1])
    device = _device_of(codec)
    given = [framed(picture, size, as_).to(device) for picture in (first, last) if picture is not None]
    latent = torch.cat(list(codec.encode_chunks(_between(given, frames, codec.stride[0]))), dim=2)
    mask = torch.zeros(1, codec.stride[0], *shape[1:], device=device)
    mask[:, :, 0] = 1
    if last is not None:
        mask[:, -1, -1] = 1  # a latent frame is as many frames of mask, and the film's last is the last of them
    told = {"concat": torch.cat((mask, latent), dim=1)}
    if tower is not None:
        told["image"] = image_tokens(tower, [first] if last is None else [first, last], as_)
    return told


def ensure_both_ends(frames: int) -> None:
    """Raise BadShot where a film of so many frames cannot begin with one picture and end with another."""
    if frames == 1:
        raise BadShot("1 frame from a first to a last picture: one frame cannot be both; ask for 5 frames or more.")


def framed(picture: Tensor, size: tuple[int, int], as_: As = "official") -> Tensor:
    """A picture uint8 [h w 3] at a film's size: [1 3 height width], about within [-1, 1].

    Stretched where its shape is another. Bicubic without a filter against aliasing, in floats, whose overshoot stays
    (official); or Lanczos' kernel in bytes (diffusers).
    """
    if as_ == "diffusers":
        return _pixels(resampled(picture, *size, "lanczos"))
    return F.interpolate(_pixels(picture), size, mode="bicubic", align_corners=False)


@torch.no_grad()
def image_tokens(tower: VisionTransformer, pictures: Sequence[Tensor], as_: As = "official") -> Tensor:
    """Pictures uint8 [h w 3] to the tower's states one block before its end, one picture behind the other: [1 n d].

    Each is squeezed into the tower's square whole (official), or cut to its middle (diffusers): other tokens, unless it is
    a square itself.
    """
    side = tower.patch * math.isqrt(tower.positional_embedding.shape[0] - 1)
    scaled = torch.cat([_cut(p, side) if as_ == "diffusers" else _squeezed(p, side) for p in pictures])
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (OPENAI_MEAN, OPENAI_STD))
    pixels = ((scaled - mean) / std).to(tower.positional_embedding.device)
    return tower.states(pixels, layers=len(tower.transformer.resblocks) - 1).flatten(0, 1)[None]


def vace(
    codec: FilmEncoder,
    film: Tensor | None = None,
    mask: Tensor | None = None,
    references: Sequence[Tensor] = (),
    *,
    frames: int,
    size: tuple[int, int],
    as_: As = "official",
) -> tuple[dict[str, Tensor], int]:
    """What VACE's network is told, and how many latent frames the references take at the film's beginning.

    film        uint8 [frames height width 3]; None: nothing is given, and all is made anew
    mask        uint8 [frames height width], white (above 127) where the film is made anew and black where it stays; None:
                all of it is made anew, from what the film shows
    references  uint8 [h w 3] each, of any size: scaled to fit, on white, in the order that the program `as_` has them in
                (diffusers' puts the last one first)

    Gives `vace` [1 2c+64 n+t' h' w']: latents of what stays, of what is made anew, and the mask. The network's noise has
    those n latent frames too, before the film's own, and they are taken off before it is decoded.
    Raises BadShot where the codec cannot make this size, or a mask comes without a film.
    """
    codec.latent_shape(frames, *size)
    if mask is not None and film is None:
        raise BadShot(MASK_ALONE)
    for name, given, shape in (("film", film, (frames, *size, 3)), ("mask", mask, (frames, *size))):
        if given is not None and (given.shape != shape or given.dtype != torch.uint8):
            raise ValueError(f"{name}: expected uint8 {list(shape)}, got {given.dtype} {list(given.shape)}")
    device, n = _device_of(codec), len(references)

    def encoded(part: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        return torch.cat(list(codec.encode_chunks(_parts(film, mask, frames, size, codec, part))), dim=2)

    if film is None:  # nothing stays and nothing is shown: both are one and the same grey film
        stays = anew = encoded(lambda pixels, _: pixels)
    else:
        stays = encoded(lambda pixels, new: pixels * (1 - new))
        anew = encoded(lambda pixels, new: pixels * new)
    referred = []
    for picture in references if as_ == "official" else reversed(references):
        if as_ == "diffusers":  # which first makes both sides multiples of the codec's
            tall, broad = (max(s, n - n % s) for n, s in zip(picture.shape, codec.stride[1:]))
            picture = resampled(picture, tall, broad, "lanczos")
        (latent,) = codec.encode_chunks(iter([_on_white(picture, size).to(device).unsqueeze(2)]))
        referred.append(torch.cat((latent, torch.zeros_like(latent)), dim=1))
    latents = torch.cat([*referred, torch.cat((stays, anew), dim=1)], dim=2)
    marks = _mask_channels(mask, frames, size, codec).to(latents)
    marks = torch.cat((marks.new_zeros(1, marks.shape[1], n, *marks.shape[3:]), marks), dim=2)
    return {"vace": torch.cat((latents, marks), dim=1)}, n


def _device_of(codec: FilmEncoder) -> torch.device:
    """Where a codec's weights are; the CPU for one that has none."""
    if isinstance(codec, torch.nn.Module):
        return next((p.device for p in codec.parameters()), torch.device("cpu"))
    return torch.device("cpu")


def _pixels(pictures: Tensor) -> Tensor:
    """uint8 [h w 3] or [t h w 3] to floats in [-1, 1], [1 3 h w] or [1 3 t h w]."""
    return from_bytes(pictures.movedim(-1, 0)[None])


def _between(given: list[Tensor], frames: int, step: int) -> Iterator[Tensor]:
    """A film's chunks: the first picture [1 3 h w], grey, and the last picture if there is one."""
    first, *rest = (picture.unsqueeze(2) for picture in given)
    yield first
    grey = torch.zeros_like(first).expand(-1, -1, step, -1, -1)
    for start in range(1, frames, step):
        final = rest and start + step == frames
        yield torch.cat((grey[:, :, 1:], rest[0]), dim=2) if final else grey


def _parts(
    film: Tensor | None,
    mask: Tensor | None,
    frames: int,
    size: tuple[int, int],
    codec: FilmEncoder,
    part: Callable[[Tensor, Tensor], Tensor],
) -> Iterator[Tensor]:
    """A film's chunks [1 3 n h w], of which `part(pixels, mask)` is kept; no more than one is ever there in floats."""
    step, device = codec.stride[0], _device_of(codec)
    start = 0
    while start < frames:
        end = start + (step if start else 1)
        pixels = torch.zeros(1, 3, end - start, *size) if film is None else _pixels(film[start:end])
        new = torch.ones(1) if mask is None else (mask[start:end] > 127).float()
        yield part(pixels.to(device), new.to(device))
        start = end


def _mask_channels(mask: Tensor | None, frames: int, size: tuple[int, int], codec: FilmEncoder) -> Tensor:
    """A mask uint8 [t h w] as channels of the latents' grid: [1 64 t' h' w'], the 8 x 8 pixels of each place, by row.

    Of every latent frame one picture's mask is taken, the nearest. In shades as it is: only the film is cut in two.
    """
    _, time, rows, columns = codec.latent_shape(frames, *size)
    _, high, wide = codec.stride
    if mask is None:
        return torch.ones(1, high * wide, time, rows, columns)
    moments = torch.arange(frames, dtype=torch.float32, device=mask.device)[None, None]
    taken = F.interpolate(moments, time, mode="nearest-exact")[0, 0].long()
    marks = mask[taken].float() / 255
    marks = marks.reshape(time, rows, high, columns, wide).permute(2, 4, 0, 1, 3)
    return marks.flatten(0, 1)[None]


def _on_white(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """A picture uint8 [h w 3] scaled to fit in the middle of a white frame: [1 3 height width]."""
    height, width = size
    scale = min(height / picture.shape[0], width / picture.shape[1])
    rows, columns = (max(1, int(side * scale)) for side in picture.shape[:2])
    scaled = F.interpolate(_pixels(picture), (rows, columns), mode="bilinear", align_corners=False)
    frame = torch.ones(1, 3, height, width)
    top, left = (height - rows) // 2, (width - columns) // 2
    frame[:, :, top : top + rows, left : left + columns] = scaled
    return frame


def _squeezed(picture: Tensor, side: int) -> Tensor:
    """The whole picture as a square [1 3 side side], bicubic in floats, within about [0, 1]."""
    return F.interpolate(_pixels(picture), (side, side), mode="bicubic", align_corners=False) * 0.5 + 0.5


def _cut(picture: Tensor, side: int) -> Tensor:
    """The picture's middle as a square [1 3 side side] within [0, 1], its shorter edge scaled to that in bytes."""
    tall, broad = picture.shape[:2]
    short = min(tall, broad)
    height, width = (int(side * edge / short) for edge in (tall, broad))
    scaled = resampled(picture, height, width, "bicubic")
    top, left = (height - side) // 2, (width - side) // 2
    return _pixels(scaled[top : top + side, left : left + side]) * 0.5 + 0.5
