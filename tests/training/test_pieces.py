"""What of its clips a step sees: where errors count more, pieces of clips, and some clips more often."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitascope.codec import VideoCodec
from vitascope.data.clips import Pixels, Source, StoryClips, story_clips
from vitascope.diffusion import Diffusion
from vitascope.models.dit import along
from vitascope.physics.noise import Noise, normal
from vitascope.physics.schedule import Linear
from vitascope.physics.times import LogitNormal
from vitascope.pixels import to_pixels
from vitascope.recipe import Recipe, StageSettings
from vitascope.storybook import caption, presence
from vitascope.training.beginning import complete, fresh
from vitascope.training.held_out import MOST, held_out_loss, measuring, parts
from vitascope.training.loop import State
from vitascope.training.tasks import CodecTask, Crops, DiffusionTask, edges, weighed


def settings(**changes: Any) -> StageSettings:
    return StageSettings.model_validate({"steps": 12, "batch": 3, "clips": 8, "lr": 1e-2, "autocast": False, **changes})


class Fixed:
    """Latents that are not looked at."""

    def batch(self, indices: list[int]) -> Tensor:
        return torch.zeros(len(indices), 1)


class Latent:
    """Latents of 1 + 2 frames that are not looked at."""

    def batch(self, indices: list[int]) -> Tensor:
        return torch.zeros(len(indices), 2, 3, 6, 10)


def test_the_focus_is_where_subjects_are_in_any_of_a_latent_frames_frames(tmp_path: Path) -> None:
    clips = story_clips(tmp_path / "clips.u8", Source(seed=1, count=8, frames=9, height=16, width=16))
    diffusion = Diffusion(nn.Identity(), Linear(), "velocity", LogitNormal())
    task = DiffusionTask(diffusion, Fixed(), clips, Latent(), settings(batch=4, clips=8, focus=3.0), seed=2)  # type: ignore[arg-type]
    focus = task.batch(5).focus
    assert focus is not None
    assert focus.shape == (4, 3, 6, 10)
    for row, index in enumerate(task.order.at(5)[0]):
        there = presence(clips.scene(index), 9, 6, 10)
        for frame, group in enumerate((there[:1], there[1:5], there[5:])):
            assert torch.equal(focus[row, frame], 3.0 * group.amax(0))
    assert 0 < focus.mean() < 1.5
    plainly = DiffusionTask(diffusion, Fixed(), clips, Latent(), settings(batch=4, clips=8), seed=2)  # type: ignore[arg-type]
    assert plainly.batch(5).focus is None


class Numbered:
    """Latents of 5 frames, each of which says whose it is and which."""

    def batch(self, indices: list[int]) -> Tensor:
        value = 10.0 * torch.tensor(indices)[:, None] + torch.arange(5)
        return value[:, None, :, None, None].expand(-1, 2, -1, 2, 4).clone()


def test_a_stretch_of_a_clip_is_told_where_it_is_and_more_of_them_make_a_step(tmp_path: Path) -> None:
    clips = story_clips(tmp_path / "clips.u8", Source(seed=1, count=30, frames=17, height=16, width=32))
    diffusion = Diffusion(nn.Identity(), Linear(), "velocity", LogitNormal())
    chosen = settings(batch=4, clips=30, frames=[1, 17, 5], focus=3.0)
    task = DiffusionTask(diffusion, Fixed(), clips, Numbered(), chosen, seed=2)  # type: ignore[arg-type]
    began = set()
    for step in range(24):
        lot, indices = task.batch(step), task.order.at(step)[0]
        span, rows = ((1, 20), (5, 4), (2, 10))[step % 3]
        assert lot.latents.shape == (rows, 2, span, 2, 4)
        assert len(lot.prompts) == len(indices) == rows
        if span == 5:
            assert lot.starts is lot.within is None
            assert torch.equal(lot.latents[:, 0, :, 0, 0], Numbered().batch(indices)[:, 0, :, 0, 0])
            continue
        assert lot.starts is not None
        assert lot.within is not None
        assert lot.focus is not None
        for row, (index, start) in enumerate(zip(indices, lot.starts.tolist())):
            frames = torch.arange(start, start + span)
            assert torch.equal(lot.latents[row, 0, :, 0, 0], 10.0 * index + frames)
            torch.testing.assert_close(lot.within[row], torch.cat(((frames + 0.5) * 0.4 - 1, along(1), along(2))))
            there = task._presence(index, 5, 2, 4)[start : start + span]
            assert torch.equal(lot.focus[row], 3.0 * there)
            began.add((span, start))
    assert began == {(1, start) for start in range(5)} | {(2, start) for start in range(4)}


class Placed:
    """Latents of 3 frames, each place of which says whose it is, its row and its column."""

    def batch(self, indices: list[int]) -> Tensor:
        rows, columns = torch.meshgrid(torch.arange(12.0), torch.arange(20.0), indexing="ij")
        value = torch.stack([torch.stack((torch.full((12, 20), float(i)), rows, columns)) for i in indices])
        return value[:, :, None].expand(-1, -1, 3, -1, -1).clone()


def test_crops_are_around_subjects_and_told_where_they_are(tmp_path: Path) -> None:
    clips = story_clips(tmp_path / "clips.u8", Source(seed=1, count=30, frames=9, height=96, width=160))
    diffusion = Diffusion(nn.Identity(), Linear(), "velocity", LogitNormal())
    chosen = settings(batch=4, clips=30, crop=64, focus=3.0)
    task = DiffusionTask(diffusion, Fixed(), clips, Placed(), chosen, seed=2)  # type: ignore[arg-type]
    corners, seen = set(), 0
    for step in range(12):
        lot, indices = task.batch(step), task.order.at(step)[0]
        if step % 2 == 0:
            assert lot.latents.shape == (4, 3, 3, 12, 20)
            assert lot.within is None
            continue
        assert lot.latents.shape == (15, 3, 3, 8, 8), "as many places as in whole pictures"
        assert lot.within is not None
        assert lot.focus is not None
        assert lot.starts is not None
        assert not lot.starts.any()
        for row, index in enumerate(indices):
            cut = lot.latents[row, :, 0]
            assert bool((cut[0] == index).all())
            top, left = int(cut[1, 0, 0]), int(cut[2, 0, 0])
            assert torch.equal(cut[1:], Placed().batch([0])[0, 1:, 0, top : top + 8, left : left + 8])
            axes = along(3), along(6)[top // 2 : top // 2 + 4], along(10)[left // 2 : left // 2 + 4]
            torch.testing.assert_close(lot.within[row], torch.cat(axes))
            there = task._presence(index, 3, 12, 20)
            assert torch.equal(lot.focus[row], 3.0 * there[:, top : top + 8, left : left + 8])
            seen += bool(lot.focus[row].any()) or not there.any()
            corners.add((top, left))
    assert seen == 6 * 15, "a subject that there is, is seen"
    assert all(top % 2 == left % 2 == 0 for top, left in corners), "tokens are whole"
    assert len({top for top, _ in corners}) == 3
    assert len({left for _, left in corners}) == 7
    again = task.batch(5)
    assert torch.equal(again.latents, task.batch(5).latents)


def test_crops_of_clips_without_known_subjects_are_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = story_clips(tmp_path / "clips.u8", Source(seed=1, count=30, frames=9, height=96, width=160))
    monkeypatch.setattr(clips, "presence", lambda index, height, width: None)
    diffusion = Diffusion(nn.Identity(), Linear(), "velocity", LogitNormal())
    chosen = settings(batch=8, clips=30, crop=64)
    task = DiffusionTask(diffusion, Fixed(), clips, Placed(), chosen, seed=2)  # type: ignore[arg-type]
    corners = {(int(c[1]), int(c[2])) for step in (1, 3, 5, 7) for c in task.batch(step).latents[:, :, 0, 0, 0]}
    assert corners == {(top, left) for top in (0, 2, 4) for left in range(0, 13, 2)}


def test_a_subjects_place_is_in_the_middle_of_its_crop_and_not_always_at_one_place(tmp_path: Path) -> None:
    clips = story_clips(tmp_path / "clips.u8", Source(seed=1, count=4, frames=9, height=96, width=160))
    diffusion = Diffusion(nn.Identity(), Linear(), "velocity", LogitNormal())
    task = DiffusionTask(diffusion, Fixed(), clips, Placed(), settings(batch=4, clips=4, crop=64), seed=2)  # type: ignore[arg-type]
    for row, column, tops, lefts in ((6, 10, {0, 2, 4}, {4, 6, 8}), (0, 19, {0}, {12})):
        for index in range(4):
            task._present[index] = torch.zeros(3, 12, 20, dtype=torch.bool)
            task._present[index][1, row, column] = True
        found = [task.batch(step).latents[:, :, 0, 0, 0].long() for step in range(1, 16, 2)]
        assert {int(each[1]) for lot in found for each in lot} == tops
        assert {int(each[2]) for lot in found for each in lot} == lefts


class Seen:
    """Clips that remember which of them were looked at."""

    def __init__(self, clips: StoryClips) -> None:
        self.clips, self.indices = clips, list[int]()
        self.source = clips.source

    def __len__(self) -> int:
        return len(self.clips)

    def view(self, index: int) -> Pixels:
        self.indices.append(index)
        return self.clips.view(index)


@pytest.mark.parametrize("frames", [None, [5, 9, 5, 1]])
def test_a_codec_sees_every_clip_once_in_each_epoch(tmp_path: Path, frames: list[int] | None) -> None:
    clips = Seen(story_clips(tmp_path / "clips.u8", Source(seed=1, count=30, frames=9, height=16, width=16)))
    codec = fresh(complete(Recipe.read("tiny"))).codec
    task = CodecTask(codec, clips, settings(batch=4, clips=30, frames=frames), seed=2)  # type: ignore[arg-type]
    sizes = [len(task.batch(step).pixels) for step in range(30)]
    assert sizes[:5] == ([4] * 5 if frames is None else [4 * 9 // 5, 4, 4 * 9 // 5, 4 * 9, 4 * 9 // 5])
    assert len(clips.indices) == sum(sizes), "none was taken and thrown away"
    epochs = [clips.indices[first : first + 30] for first in range(0, len(clips.indices) - 29, 30)]
    assert len(epochs) > 3
    assert all(sorted(epoch) == list(range(30)) for epoch in epochs)


def test_what_is_held_out_is_measured_whole() -> None:
    chosen = settings(batch=8, frames=[1, 9], crop=64, dropout=0.3, often={"light": {"night": 2}})
    measured = measuring(chosen, whole=True)
    assert (measured.dropout, measured.frames, measured.crop, measured.often) == (0.0, None, None, {})
    assert measuring(chosen) == chosen.model_copy(update={"dropout": 0.0, "frames": (9,), "often": {}, "rough": 0.0})


@pytest.mark.parametrize(
    ("count", "batch", "sizes"),
    [(15, 8, (8, 7)), (9, 8, (5, 4)), (16, 8, (8, 8)), (5, 8, (5,)), (17, 4, (4, 4, 3, 3, 3)), (1, 8, (1,))],
)
def test_each_clip_that_is_held_out_counts_once(tmp_path: Path, count: int, batch: int, sizes: tuple[int, ...]) -> None:
    assert parts(count, batch) == sizes
    clips = Seen(story_clips(tmp_path / "clips.u8", Source(seed=1, count=count, frames=5, height=16, width=16)))
    chosen = measuring(settings(batch=batch, clips=count, frames=[1, 5]))
    model = fresh(complete(Recipe.read("tiny"))).codec

    class Told(CodecTask):
        """Its loss is the mean of the numbers of its batch's clips."""

        def loss(self, batch: Crops, *, noise: Noise, step: int) -> tuple[Tensor, dict[str, float]]:
            mine = clips.indices[-len(batch.pixels) :]
            assert len(noise.seeds) == len(mine)
            return torch.tensor(mine).double().mean(), {}

    task = Told(model, clips, chosen, seed=2)  # type: ignore[arg-type]
    task.order = replace(task.order, batch=sizes)
    found = held_out_loss(task, sizes, chosen, State.fresh(model.vae, chosen), 7, "cpu")
    assert sorted(clips.indices) == list(range(count))
    assert found == pytest.approx((count - 1) / 2)


def test_of_many_that_are_held_out_some_are_measured() -> None:
    assert sum(parts(10_000, 24)) == MOST
    assert max(parts(10_000, 24)) - min(parts(10_000, 24)) <= 1


def test_no_clip_is_alone_in_a_batch_where_others_are_to_tell_it_from() -> None:
    assert (parts(3, 2), parts(5, 2), parts(3, 1)) == ((2, 1), (2, 2, 1), (1, 1, 1))
    assert (parts(3, 2, 2), parts(5, 2, 2), parts(4, 1, 2), parts(1, 2, 2)) == ((3,), (3, 2), (2, 2), (1,))
    for count in range(2, 40):
        for batch in range(1, 9):
            sizes = parts(count, batch, 2)
            assert (sum(sizes), min(sizes) >= 2, max(sizes) <= max(batch, 3)) == (count, True, True)
            if batch > 2:
                assert sizes == parts(count, batch)


def test_a_codecs_crops_weigh_subjects_and_every_other_is_around_one(tmp_path: Path) -> None:
    clips = story_clips(tmp_path / "clips.u8", Source(seed=1, count=30, frames=9, height=96, width=160))
    codec = fresh(complete(Recipe.read("tiny"))).codec
    task = CodecTask(codec, clips, settings(batch=10, clips=30, crop=32, frames=[5], focus=4.0), seed=2)
    plainly = CodecTask(codec, clips, settings(batch=10, clips=30, crop=32, frames=[5]), seed=2)
    around, all_ = 0, 0
    for step in range(3):
        pixels, weight = task.batch(step)
        assert pixels.shape == (10, 3, 5, 32, 32)
        assert weight is not None
        assert weight.shape == (10, 1, 5, 32, 32)
        assert set(weight.unique().tolist()) <= {1.0, 5.0}
        same, none = plainly.batch(step)
        assert none is None
        assert torch.equal(pixels[::2], same[::2]), "half of the crops are anywhere"
        for row, index in enumerate(task.order.at(step)[0]):
            film = to_pixels(torch.tensor(clips.view(index))[None])[0]
            there = presence(clips.scene(index), 9, 96, 160)
            cuts = [  # where it may have been cut out, by its pixels: some skies are alike everywhere
                (slice(f, f + 5), slice(y, y + 32), slice(x, x + 32))
                for f in range(5)
                for y, x in (film[:, f, :65, :129] == pixels[row, :, 0, :1, :1]).all(0).nonzero().tolist()
                if torch.equal(film[:, f : f + 5, y : y + 32, x : x + 32], pixels[row])
            ]
            assert any(torch.equal(weight[row, 0], 1 + 4.0 * there[cut]) for cut in cuts)
            if row % 2 and there.any():
                around, all_ = around + int((weight[row] > 1).any()), all_ + 1
    assert around >= 0.9 * all_ > 0, "a subject may come into sight only later"


@pytest.mark.parametrize("linear", [False, True])
def test_a_decoder_sees_latents_as_rough_as_a_network_may_leave_them(linear: bool, tmp_path: Path) -> None:
    clips = story_clips(tmp_path / "clips.u8", Source(seed=1, count=8, frames=5, height=32, width=64))
    codec = fresh(complete(Recipe.read("tiny"))).codec
    if linear:
        codec = VideoCodec(replace(codec.config, z=24, linear=True))
        codec.vae.blocks.fit([to_pixels(torch.tensor(clips.view(0))[None])])
    seen: list[Tensor] = []
    task = CodecTask(codec, clips, settings(batch=8, clips=8, rough=0.3), seed=2)
    codec.vae.conv2.register_forward_pre_hook(lambda _, args: seen.append(args[0].movedim(-1, 1)))
    noise, batch = Noise(tuple(range(8))), task.batch(3)
    with torch.no_grad():
        _, figures = task.loss(batch, noise=noise, step=3)
        mu = codec.vae.encode(batch.pixels)
        again = task.loss(batch, noise=noise, step=3)[1]
        exact = CodecTask(codec, clips, settings(batch=8, clips=8), seed=2).loss(batch, noise=noise, step=3)[1]
    assert figures == again
    assert figures["psnr"] != exact["psnr"]
    scale = codec.vae.blocks.scale.view(1, -1, 1, 1, 1) if linear else torch.ones(1, 4, 1, 1, 1)
    torch.testing.assert_close(seen[2], mu / scale)  # where nothing is rough
    whitened = scale.sqrt() if linear else mu.std((0, 2, 3, 4), keepdim=True)
    off = (seen[0] * scale - mu) / whitened  # as the network would walk it
    each = off.std((1, 2, 3, 4))
    wanted = 0.3 * noise.uniform("rough", 0)
    torch.testing.assert_close(each.double(), wanted.double(), rtol=0.2, atol=0)
    assert each.max() > 2 * each.min()


def test_errors_that_weigh_alike_are_the_mean_and_others_count_by_weight() -> None:
    a, b = normal(1, "a", 0, (2, 3, 4, 6, 8)), normal(1, "b", 0, (2, 3, 4, 6, 8))
    even = torch.full((2, 1, 4, 6, 8), 7.0)
    torch.testing.assert_close(weighed((a - b).abs(), even), (a - b).abs().mean())
    torch.testing.assert_close(edges(a, b, even), edges(a, b))
    lone = torch.zeros(2, 1, 4, 6, 8)
    lone[1, 0, 2, 3, 4] = 2.0
    torch.testing.assert_close(weighed((a - b).abs(), lone), (a - b).abs()[1, :, 2, 3, 4].mean())
    d = a - b
    near = (
        d[1, :, 2, 3, 4] - d[1, :, 1, 3, 4],
        d[1, :, 2, 3, 4] - d[1, :, 2, 2, 4],
        d[1, :, 2, 3, 4] - d[1, :, 2, 3, 3],
    )
    torch.testing.assert_close(edges(a, b, lone), sum((each.abs().mean() for each in near), torch.zeros(())))


class Told(nn.Module):
    """What a network is asked, written down."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.asked: list[tuple[Tensor, Tensor, Tensor | None]] = []

    def forward(self, x: Tensor, clock: Tensor, within: Tensor | None = None) -> Tensor:
        self.asked.append((x, clock, within))
        return x * self.weight


@pytest.mark.parametrize("frames", [1, 5, 17])
def test_only_a_films_own_first_frame_is_given_and_something_is_left_to_ask(tmp_path: Path, frames: int) -> None:
    clips = story_clips(tmp_path / "clips.u8", Source(seed=1, count=30, frames=17, height=16, width=16))
    net = Told()
    diffusion = Diffusion(net, Linear(), "velocity", LogitNormal())
    chosen = settings(batch=4, clips=30, frames=frames, first=1.0)
    task = DiffusionTask(diffusion, lambda prompts: {}, clips, Numbered(), chosen, seed=2)  # type: ignore[arg-type]
    for step in range(6):
        lot = task.batch(step)
        loss, _ = task.loss(lot, noise=Noise((1, 2, 3, 4)), step=step)
        assert float(loss.detach()) > 0
        x, clock, within = net.asked.pop()
        assert (within is None) == (frames == 17)
        given = [row for row in range(len(x)) if torch.equal(x[row, :, 0], lot.latents[row, :, 0])]
        starts = [0] * len(x) if lot.starts is None else lot.starts.tolist()
        assert given == ([] if frames == 1 else [row for row, start in enumerate(starts) if start == 0])
        assert clock.ndim == (2 if given else 1)


def test_what_is_still_missed_comes_more_often(tmp_path: Path) -> None:
    clips = story_clips(tmp_path / "clips.u8", Source(seed=1, count=40, frames=1, height=16, width=16))
    often = {"camera": {"pans left": 3}, "light": {"night": 2}}
    diffusion = Diffusion(nn.Identity(), Linear(), "velocity", LogitNormal())
    chosen = settings(batch=10, clips=40, dropout=0.0, often=often)
    task = DiffusionTask(diffusion, Fixed(), clips, Fixed(), chosen, seed=2)  # type: ignore[arg-type]
    times = {i: 3 if (s := clips.scene(i)).camera == "pans left" else 2 if s.light == "night" else 1 for i in range(40)}
    assert set(times.values()) == {1, 2, 3}
    seen = [
        (place, epoch) for step in range(3 * sum(times.values()) // 10) for place, epoch in zip(*task.order.at(step))
    ]
    first = [task.epoch[place].clip for place, epoch in seen if epoch == 0]
    assert {clip: first.count(clip) for clip in range(40)} == times
    told = {clip: set() for clip in range(40)}
    for step in range(2 * sum(times.values()) // 10):
        for prompt, place in zip(task.batch(step).prompts, task.order.at(step)[0]):
            told[task.epoch[place].clip].add(prompt)
    for clip, prompts in told.items():  # each time in other words, as far as there are any
        assert prompts <= {caption(clips.scene(clip), telling) for telling in range(9)}
    assert sum(len(p) for p in told.values()) > 1.5 * sum(times.values())
