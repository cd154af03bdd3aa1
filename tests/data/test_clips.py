"""Clips and latents on disk: the same bytes however often the work was cut off, and nothing withheld among them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from vitascope.codec import VideoCodec
from vitascope.data import rendering
from vitascope.data.clips import CHUNK, Source, StoryClips, story_clips
from vitascope.data.latents import ROWS, encode_clips, identity
from vitascope.errors import BadRun
from vitascope.models.vae import VAEConfig
from vitascope.pixels import to_pixels
from vitascope.storybook import render, scene, withheld

SOURCE = Source(seed=3, count=CHUNK + 4, frames=5, height=16, width=32)


class Cut(Exception):
    """The work was cut off."""


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> StoryClips:
    return story_clips(tmp_path_factory.mktemp("clips") / "clips.u8", SOURCE)


@pytest.fixture
def path(rendered: StoryClips, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    for end in (".u8", ".json"):
        shutil.copy(Path(str(rendered.bytes.filename)).with_suffix(end), tmp_path / f"clips{end}")
    return tmp_path / "clips.u8"


def codec(seed: int = 0) -> VideoCodec:
    torch.manual_seed(seed)
    made = VideoCodec(VAEConfig(z=2, base=4, mults=(1, 2, 2), blocks=1, temporal=(True, True), patch=2, residual=True))
    return made.eval().requires_grad_(False)


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_clip_is_its_scene_rendered(rendered: StoryClips) -> None:
    for index in (0, CHUNK, SOURCE.count - 1):
        alone = render([scene(3, index)], frames=5, height=16, width=32)[0]
        assert rendered.scene(index) == scene(3, index)
        assert (rendered.pixels(index).int() - alone.int()).abs().max() <= 1  # a batch may round otherwise
    assert len(rendered) == SOURCE.count


def test_nothing_withheld_is_among_training_clips() -> None:
    source = Source(seed=1, count=3000, frames=1, height=16, width=16)
    scenes = [scene(source.seed, index, source.split) for index in range(source.count)]
    assert not any(withheld(s.subject, s.colour, s.action, s.place) for s in scenes)
    everything = [scene(source.seed, index, "any") for index in range(source.count)]
    share = sum(withheld(s.subject, s.colour, s.action, s.place) for s in everything) / len(everything)
    assert 0.07 < share < 0.13  # so that the line above could have failed


def test_clips_are_rendered_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "render", lambda *_, **__: pytest.fail("rendered again"))
    story_clips(path, SOURCE)


def test_rendering_that_was_cut_off_goes_on_and_gives_the_same_bytes(
    rendered: StoryClips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, heard = tmp_path / "clips.u8", []

    def cut(done: int, of: int) -> None:
        raise Cut

    with pytest.raises(Cut):
        story_clips(path, SOURCE, cut)
    assert not path.exists()
    with path.with_suffix(".partial").open("ab") as file:
        file.write(b"half a clip")
    story_clips(path, SOURCE, lambda done, of: heard.append((done, of)))
    assert heard == [(SOURCE.count, SOURCE.count)]
    assert sha(path) == sha(Path(str(rendered.bytes.filename)))
    assert not path.with_suffix(".partial").exists()


def test_what_was_begun_for_another_source_is_not_gone_on_with(rendered: StoryClips, tmp_path: Path) -> None:
    path = tmp_path / "clips.u8"
    size = SOURCE.frames * SOURCE.height * SOURCE.width * 3
    path.with_suffix(".partial").write_bytes(bytes(size * CHUNK))
    path.with_suffix(".json").write_text(json.dumps({"seed": 4}))
    story_clips(path, SOURCE)
    assert sha(path) == sha(Path(str(rendered.bytes.filename)))


def test_clips_of_another_recipe_are_refused(path: Path) -> None:
    with pytest.raises(BadRun, match="rendered for another recipe"):
        story_clips(path, Source(seed=4, count=SOURCE.count, frames=5, height=16, width=32))
    path.with_suffix(".json").write_text("{")
    with pytest.raises(BadRun, match="rendered for another recipe"):
        story_clips(path, SOURCE)


def test_a_file_that_is_not_whole_is_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BadRun, match="delete it"):
        story_clips(path, SOURCE)


def test_a_disk_that_cannot_hold_them_is_told_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(BadRun, match=r"the clips take 0\.3 GB and 0\.0 GB are free"):
        story_clips(tmp_path / "clips.u8", Source(seed=1, count=170, frames=33, height=96, width=160))
    assert not list(tmp_path.iterdir())


def test_latents_are_what_the_codec_gives(path: Path, tmp_path: Path) -> None:
    clips, model = StoryClips(path, SOURCE), codec()
    latents = encode_clips(tmp_path / "latents.f16", model, clips)
    assert len(latents) == SOURCE.count
    wanted = model.encode(to_pixels(torch.stack([clips.pixels(i) for i in (9, 0)])))
    torch.testing.assert_close(latents.batch([9, 0]), wanted, atol=2e-3, rtol=2e-3)


def test_encoding_that_was_cut_off_goes_on_and_gives_the_same_bytes(path: Path, tmp_path: Path) -> None:
    clips, heard = StoryClips(path, SOURCE), []
    encode_clips(tmp_path / "whole.f16", codec(), clips)

    def cut(done: int, of: int) -> None:
        if done > ROWS:
            raise Cut

    with pytest.raises(Cut):
        encode_clips(tmp_path / "latents.f16", codec(), clips, cut)
    with (tmp_path / "latents.partial").open("ab") as file:
        file.write(b"half a latent")
    encode_clips(tmp_path / "latents.f16", codec(), clips, lambda done, of: heard.append(done))
    assert heard[0] == 3 * ROWS
    assert sha(tmp_path / "latents.f16") == sha(tmp_path / "whole.f16")
    assert {p.name for p in tmp_path.glob("latents*")} == {"latents.f16", "latents.json"}


def test_latents_of_another_codec_are_made_again(path: Path, tmp_path: Path) -> None:
    clips, target, heard = StoryClips(path, SOURCE), tmp_path / "latents.f16", []
    encode_clips(target, codec(), clips)
    first = sha(target)
    encode_clips(target, codec(), clips, lambda *_: pytest.fail("encoded again"))
    encode_clips(target, codec(1), clips, lambda done, of: heard.append(done))
    assert heard[-1] == SOURCE.count
    assert sha(target) != first
    whitened = codec()
    whitened.std.fill_(2.0)
    encode_clips(target, whitened, clips)
    encode_clips(target, codec(), clips)
    assert sha(target) == first


def test_what_was_begun_with_another_codec_is_not_gone_on_with(path: Path, tmp_path: Path) -> None:
    clips, target = StoryClips(path, SOURCE), tmp_path / "latents.f16"

    def cut(done: int, of: int) -> None:
        raise Cut

    with pytest.raises(Cut):
        encode_clips(target, codec(1), clips, cut)
    encode_clips(target, codec(), clips)
    encode_clips(tmp_path / "whole.f16", codec(), clips)
    assert sha(target) == sha(tmp_path / "whole.f16")


def test_identity_hears_of_every_weight() -> None:
    assert identity(codec()) == identity(codec())
    for parameter in (model := codec()).parameters():
        before = identity(model)
        parameter.view(-1)[-1] += 0.1
        assert identity(model) != before
    assert identity(codec(), "a") != identity(codec(), "b")


def test_several_processes_draw_the_same_clips_in_the_same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "WORTHWHILE", 8)
    jobs: list[rendering.Job] = [(3, range(at, at + 2), "train", "whole", (5, 24, 40)) for at in range(0, 12, 2)]
    several = rendering.drawn_in_order(jobs, "cpu", 2)
    assert [next(several) for _ in range(3)] == [rendering.drawn(job) for job in jobs[:3]]
    several.close()  # whoever stops half-way is not kept waiting for the rest
    assert list(rendering.drawn_in_order(jobs, "cpu", 1)) == [rendering.drawn(job) for job in jobs]


def test_clips_that_were_drawn_otherwise_are_refused(tmp_path: Path) -> None:
    now = dataclasses.replace(SOURCE, count=2, look=rendering.look("first"))
    story_clips(tmp_path / "clips.u8", now)
    story_clips(tmp_path / "clips.u8", now)
    with pytest.raises(BadRun, match="drew otherwise"):
        story_clips(tmp_path / "clips.u8", dataclasses.replace(now, look=rendering.look("whole")))
