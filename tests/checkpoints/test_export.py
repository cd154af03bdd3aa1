"""An exported folder is what diffusers' own classes load, runs there to the same film, and comes back byte for byte."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vitascope import bundle, exchange
from vitascope.bundle import FILES, RECIPE, SHIPPED, System
from vitascope.checkpoints import export
from vitascope.diffusion import Diffusion
from vitascope.errors import BadModel
from vitascope.exchange import from_diffusers, text_tower, to_diffusers
from vitascope.physics.guidance import guide
from vitascope.physics.noise import Noise
from vitascope.physics.solvers import SOLVERS
from vitascope.physics.times import wan_diffusers
from vitascope.recipe import Recipe
from vitascope.training.beginning import complete, fresh

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
    from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
    from diffusers.pipelines.wan.pipeline_wan import WanPipeline

PROMPTS = ("a red ball bounces across a snowfield at dusk", "a boat")
FORMS: dict[str, dict[str, dict[str, Any]]] = {
    "tiny": {},
    "plain": {
        "codec": {"residual": False, "patch": 1, "mults": [1, 2, 4], "decoder_base": 12, "temporal": [False, True]},
        "network": {"cross_norm": False, "eps": 1e-5, "heads": 2},
    },
    "places": {"network": {"places": True}},
}
"""Where the tiny recipe may be otherwise: Wan 2.1's plain autoencoder, with two frames to a latent one, and another transformer;
a transformer that is told of places, for which diffusers' class has no tensor."""
CONFIGS = (export.INDEX, export.SCHEDULER, export.TRANSFORMER_CONFIG, export.AUTOENCODER_CONFIG)


class Made(NamedTuple):
    system: System
    bundle: Path
    folder: Path


def grown(recipe: Recipe) -> System:
    """A system as training would leave it: nothing silent, latents that are not white by themselves, weights as kept."""
    system = fresh(complete(recipe))
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in system.parts().values():
            for value in module.parameters():
                value.add_(0.05 * torch.randn(value.shape, generator=draw))
        system.codec.mean.copy_(torch.linspace(-0.3, 0.4, system.codec.channels))
        system.codec.std.copy_(torch.linspace(0.7, 1.9, system.codec.channels))
    return system


@pytest.fixture(scope="module", params=FORMS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    table = Recipe.read("tiny").model_dump(mode="json")
    for part, changes in FORMS[request.param].items():
        table[part] |= changes
    home = tmp_path_factory.mktemp(request.param)
    bundle.save(home / "bundle", grown(Recipe.of(table)))
    system = bundle.load(home / "bundle").settle(autocast=False)
    to_diffusers(system, home / "exported")
    return Made(system, home / "bundle", home / "exported")


@pytest.fixture
def folder(made: Made, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(made.folder, tmp_path / "exported"))


def error(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    assert theirs.std() > 0.01, "a constant is equal to another too easily"
    return float((ours - theirs).norm() / theirs.norm())


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def told(folder: Path) -> str:
    """The one sentence with which a folder is refused."""
    with pytest.raises(BadModel) as refused:
        from_diffusers(folder)
    said = str(refused.value)
    assert str(folder) in said
    assert "\n" not in said
    return said


def walked(system: System, prompts: tuple[str, ...], latents: Tensor, steps: int, scale: float) -> Tensor:
    """Our own field of several prompts at once, the shorter padded under a mask, on the times and clock of diffusers."""
    grid = wan_diffusers(steps, system.recipe.defaults.shift)
    own = system.diffusion
    diffusion = Diffusion(own.net, own.schedule, own.predicts, own.density, lambda t: grid.told(float(t)))
    field = guide(diffusion.field(system.text(prompts)), diffusion.field(system.text([""])), lambda _: scale)
    *_, last = SOLVERS["unipc"](field, latents, grid.times)
    return last.x


def piped(folder: Path, system: System, prompt: str, latents: Tensor, steps: int, scale: float, output: str) -> Tensor:
    """What WanPipeline makes of one prompt, its text embedded by the exported tower."""
    pipe = pipeline(folder)
    text, video = text_tower(folder), system.recipe.video
    return pipe(
        prompt_embeds=text([prompt])["context"],
        negative_prompt_embeds=text([""])["context"],
        latents=latents,
        height=video.height,
        width=video.width,
        num_frames=video.frames,
        num_inference_steps=steps,
        guidance_scale=scale,
        output_type=output,
    ).frames  # type: ignore[union-attr]


def pipeline(folder: Path) -> Any:
    pipe = WanPipeline.from_pretrained(folder, text_encoder=None, tokenizer=None)
    told_places(folder, pipe.transformer)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def told_places(folder: Path, transformer: Any) -> None:
    if exchange.is_export(folder) and json.loads((folder / exchange.OURS / RECIPE).read_text())["network"]["places"]:
        transformer.patch_embedding.register_forward_hook(exchange.places_told(folder))


def start(system: System, rows: int) -> Tensor:
    video = system.recipe.video
    return normal(rows, *system.codec.latent_shape(video.frames, video.height, video.width))


@torch.no_grad()
def test_its_autoencoder_loads_it_and_says_the_same(made: Made) -> None:
    found: Any = AutoencoderKLWan.from_pretrained(made.folder / "vae", output_loading_info=True)
    other, loaded = found
    assert not any(loaded.values()), loaded
    codec, video = made.system.codec, made.system.recipe.video
    pixels = normal(1, 3, video.frames, video.height, video.width).clamp(-1, 1)
    mean, std = (torch.tensor(other.config[f"latents_{name}"]).view(1, -1, 1, 1, 1) for name in ("mean", "std"))
    latents = (other.encode(pixels).latent_dist.mean - mean) / std
    assert error(codec.encode(pixels), latents) < 1e-5
    assert error(torch.cat(list(codec.decode(latents)), 2), other.decode(latents * std + mean).sample) < 1e-5
    scales = other.config.scale_factor_temporal, other.config.scale_factor_spatial
    assert scales == codec.stride[:2]


@torch.no_grad()
def test_its_transformer_loads_it_and_says_the_same(made: Made) -> None:
    found: Any = WanTransformer3DModel.from_pretrained(made.folder / "transformer", output_loading_info=True)
    other, loaded = found
    assert not any(loaded.values()), loaded
    told_places(made.folder, other)
    x, context = start(made.system, 1), made.system.text(PROMPTS[:1])["context"]
    for clock in (1.0, 640.0, 999.0):
        ours = made.system.diffusion.net(x, torch.tensor([clock]), context=context)
        assert error(ours, other(x, torch.tensor([clock]), context).sample) < 1e-5


def test_its_pipeline_makes_the_same_film(made: Made) -> None:
    """Four guided steps; ours of two prompts at once, under a mask, and theirs one by one, without padding."""
    x = start(made.system, len(PROMPTS))
    ours = walked(made.system, PROMPTS, x, 4, 3.0)
    pixels = torch.cat(list(made.system.codec.decode(ours)), 2).movedim(1, 2) / 2 + 0.5
    for row, prompt in enumerate(PROMPTS):
        arguments = (made.folder, made.system, prompt, x[row : row + 1], 4, 3.0)
        assert error(ours[row : row + 1], piped(*arguments, output="latent")) < 1e-4
        assert error(pixels[row : row + 1], piped(*arguments, output="pt")) < 1e-4


def test_the_model_that_ships_goes_there_and_back(tmp_path: Path) -> None:
    system = bundle.load(SHIPPED).settle(autocast=False)
    to_diffusers(system, tmp_path / "exported")
    x, scale = start(system, 1), 4.0
    ours = walked(system, PROMPTS[:1], x, 4, scale)
    assert error(ours, piped(tmp_path / "exported", system, PROMPTS[0], x, 4, scale, "latent")) < 1e-4
    bundle.save(tmp_path / "back", from_diffusers(tmp_path / "exported"))
    back, ships = bundle.digests(tmp_path / "back"), bundle.digests(SHIPPED)
    assert bundle.described(tmp_path / "back")[0] == bundle.described(SHIPPED)[0]
    # The recipe's text may since have got lines for settings that it did not name; what it says is the same.
    assert {name: sha for name, sha in back.items() if name != RECIPE} == {
        name: sha for name, sha in ships.items() if name != RECIPE
    }


def test_it_comes_back_byte_for_byte(made: Made, tmp_path: Path) -> None:
    system = from_diffusers(made.folder)
    bundle.save(tmp_path / "back", system)
    for name in FILES:
        assert (tmp_path / "back" / name).read_bytes() == (made.bundle / name).read_bytes(), name
    assert exchange.rounded(system, tmp_path / "back") == []


def test_it_comes_back_from_what_diffusers_saves(made: Made, tmp_path: Path) -> None:
    pipeline(made.folder).save_pretrained(tmp_path / "saved")
    shutil.copytree(made.folder / exchange.OURS, tmp_path / "saved" / exchange.OURS)
    bundle.save(tmp_path / "back", from_diffusers(tmp_path / "saved"))
    assert bundle.digests(tmp_path / "back") == bundle.digests(made.bundle)


def test_what_was_learned_elsewhere_comes_back_and_rounding_is_told(folder: Path, tmp_path: Path) -> None:
    path = folder / export.TRANSFORMER
    tensors = load_file(path)
    tensors["proj_out.weight"] = tensors["proj_out.weight"] + 1e-6
    save_file(tensors, path)
    system = from_diffusers(folder)
    assert torch.equal(system.diffusion.net.get_parameter("head.head.weight"), tensors["proj_out.weight"])
    bundle.save(tmp_path / "back", system)
    assert exchange.rounded(system, tmp_path / "back") == ["head.head.weight"]


def test_its_readme_runs(folder: Path, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    code = re.findall(r"^```python\n(.*?)^```$", Path(export.README).read_text(), re.DOTALL | re.MULTILINE)
    assert len(code) == 1
    names: dict[str, Any] = {}
    exec(compile(code[0], export.README, "exec", dont_inherit=True), names)
    assert Path("film.mp4").stat().st_size > 0
    video, defaults = made.system.recipe.video, made.system.recipe.defaults
    assert names["film"].shape == (1, video.frames, 3, video.height, video.width)
    x = Noise((7,)).normal("start", 0, tuple(start(made.system, 1).shape[1:]))
    ours = walked(made.system, PROMPTS[:1], x, defaults.steps, float(defaults.guidance))
    pixels = torch.cat(list(made.system.codec.decode(ours)), 2).movedim(1, 2) / 2 + 0.5
    assert error(pixels, names["film"]) < 1e-4


def test_a_readme_says_which_guidance_cannot_be_followed() -> None:
    recipe = Recipe.read("tiny")
    falling = recipe.model_copy(update={"defaults": recipe.defaults.model_copy(update={"guidance": "7 > 2"})})
    assert "guidance_scale=7.0,  # the model's own is 7 > 2, which WanPipeline cannot follow\n" in export.readme(
        falling
    )
    assert "guidance_scale=3.0,\n" in export.readme(recipe)


def test_a_readme_asks_for_a_size_that_the_pipeline_takes() -> None:
    recipe = Recipe.read("tiny")
    odd = recipe.model_copy(
        update={
            "video": recipe.video.model_copy(update={"height": 40, "width": 72}),
            "codec": replace(recipe.codec, patch=1),
        }
    )
    assert "height=48, width=80, num_frames=5,\n" in export.readme(odd)
    assert '"start", 0, (4, 2, 12, 20)' in export.readme(odd)


def _change(place: str, **changes: object) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        table = json.loads((folder / place).read_text()) | changes
        (folder / place).write_text(json.dumps(table))

    return spoil


def _lose(place: str, name: str, put: Tensor | None = None) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        tensors = load_file(folder / place)
        lost = tensors.pop(name)
        save_file(tensors if put is None else tensors | {name: put.expand_as(lost).contiguous()}, folder / place)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: (folder / export.INDEX).unlink(), "it is no folder that `vitascope export` wrote"),
        (lambda folder: shutil.rmtree(folder / exchange.OURS), "it is no folder that `vitascope export` wrote"),
        (lambda folder: (folder / export.TRANSFORMER).unlink(), "there is no such file"),
        (lambda folder: (folder / export.AUTOENCODER).write_bytes(b"PK\x03\x04" * 99), "zip archive"),
        (lambda folder: (folder / export.SCHEDULER).write_text("{"), "cannot be read as JSON"),
        (lambda folder: (folder / export.AUTOENCODER_CONFIG).write_text("[]"), "no table of names"),
        (_change(export.TRANSFORMER_CONFIG, eps=0.5), "it has 0.5 as eps where"),
        (
            _change(export.SCHEDULER, flow_shift=9.0),
            "it has 9.0 as flow_shift where vitascope/recipe.json beside it makes",
        ),
        (_change(export.INDEX, _class_name="WanVACEPipeline"), '"WanVACEPipeline" as _class_name'),
        (_change(export.AUTOENCODER_CONFIG, latents_mean=[0.0]), "latents_mean are not 4 finite numbers"),
        (_change(export.AUTOENCODER_CONFIG, latents_mean=[1e39] * 4), "latents_mean are not 4 finite numbers"),
        (_change(export.AUTOENCODER_CONFIG, latents_std=[1.0, 1.0, 0.0, 1.0]), "not all above 0"),
        (_change(f"{exchange.OURS}/{bundle.RECIPE}", name="a/b"), "'name' cannot be used"),
        (_lose(export.TRANSFORMER, "proj_out.bias"), "it lacks proj_out.bias"),
        (_lose(export.AUTOENCODER, "quant_conv.bias"), "it lacks quant_conv.bias"),
        (_lose(export.AUTOENCODER, "quant_conv.weight", torch.tensor(torch.nan)), "not finite"),
        (_lose(export.TRANSFORMER, "proj_out.weight", torch.tensor(torch.inf)), "not finite"),
    ],
)
@pytest.mark.parametrize("made", ["tiny"], indirect=True)
def test_what_is_wrong_is_told(folder: Path, spoil: Callable[[Path], object], says: str) -> None:
    spoil(folder)
    assert says in told(folder)


@pytest.mark.parametrize("made", ["tiny"], indirect=True)
def test_a_folder_is_written_whole_or_not_at_all(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    to_diffusers(made.system, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(BadModel, match="there is an export already; add --force"):
        to_diffusers(made.system, out)

    def full(path: Path, content: str | bytes) -> None:
        if path.name == bundle.RECIPE:
            raise OSError(28, "No space left on device")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    with monkeypatch.context() as patch:
        patch.setattr(exchange, "put", full)
        for place in (out, tmp_path / "new"):
            with pytest.raises(BadModel, match="No space left on device"):
                to_diffusers(made.system, place, replace=True)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    (out / export.README).write_text("old")
    to_diffusers(made.system, out, replace=True)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("made", ["tiny"], indirect=True)
def test_what_is_no_export_stays_even_so(made: Made, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("dear diary")
    (tmp_path / "file").write_text("x")
    for name, says in (("mine", "holds notes.txt and no export"), ("file", "a file of this name is in the way")):
        with pytest.raises(BadModel, match=says):
            to_diffusers(made.system, tmp_path / name, replace=True)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "mine", "notes.txt"]
    (tmp_path / "empty").mkdir()
    to_diffusers(made.system, tmp_path / "empty")
    assert all((tmp_path / "empty" / place).is_file() for place in CONFIGS)


def test_what_their_classes_cannot_be_is_refused(tmp_path: Path) -> None:
    table = Recipe.read("tiny").model_dump(mode="json")
    table["network"] |= {"qk_norm": False}
    with pytest.raises(BadModel, match="qk_norm = false and WanTransformer3DModel norms"):
        to_diffusers(grown(Recipe.of(table)), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_bad_file_of_places_is_told(tmp_path: Path) -> None:
    table = Recipe.read("tiny").model_dump(mode="json")
    table["network"] |= FORMS["places"]["network"]
    to_diffusers(grown(Recipe.of(table)), tmp_path / "exported")
    path = tmp_path / "exported" / exchange.OURS / "places.safetensors"
    good = load_file(path)["place_embedding.weight"]
    for bad, said in (
        (good * float("nan"), "not finite"),
        (good[:, 1:].contiguous(), r"place_embedding\.weight \("),
        (None, "places"),
    ):
        path.unlink()
        if bad is not None:
            save_file({"place_embedding.weight": bad}, path)
        for ask in (from_diffusers, exchange.places_told):
            with pytest.raises(BadModel, match=said) as refused:
                ask(tmp_path / "exported")
            assert str(path) in str(refused.value)


def test_a_model_that_is_told_of_no_places_has_no_hook(folder: Path) -> None:
    if not json.loads((folder / exchange.OURS / RECIPE).read_text())["network"]["places"]:
        with pytest.raises(BadModel, match="told of no places"):
            exchange.places_told(folder)
