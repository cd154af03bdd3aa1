"""The measures: known values, and films whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vitascope.engine import Engine
from vitascope.errors import BadModel, BadShot
from vitascope.evaluation.adherence import Adherence, adherence, fits
from vitascope.evaluation.continuity import continuity
from vitascope.evaluation.curves import measured
from vitascope.evaluation.distribution import Likeness, distribution, features
from vitascope.evaluation.fidelity import SAME, detail, fidelity, psnr, reconstructed
from vitascope.evaluation.films import ROWS, generated, prepared, show
from vitascope.evaluation.first import Onset, first, onset
from vitascope.evaluation.laws import laws
from vitascope.evaluation.probe import Probe, ProbeConfig, Schooling
from vitascope.evaluation.report import Result, evaluate
from vitascope.evaluation.retrieval import found, retrieval
from vitascope.evaluation.rounding import rounded
from vitascope.evaluation.scenes import SEED, real, scenes, siblings
from vitascope.evaluation.share import Share
from vitascope.evaluation.steering import CURVES, SOLVERS, STEPS
from vitascope.physics.solvers import Step
from vitascope.pixels import to_pixels
from vitascope.recipe import ClipShape, Recipe
from vitascope.shot import Given, Shot
from vitascope.storybook import ATTRIBUTES, plain, withheld
from vitascope.system import Guides, hashes
from vitascope.training.beginning import complete, fresh

VIDEO = ClipShape(frames=5, height=16, width=32, fps=8)
STAGE = {"steps": 1, "batch": 1, "clips": 1, "lr": 1e-3}
TABLE: dict[str, Any] = {
    "name": "small",
    "seed": 11,
    "video": VIDEO.model_dump(),
    "codec": {
        "z": 4,
        "base": 8,
        "mults": [1, 1, 1],
        "blocks": 1,
        "temporal": [True, True],
        "patch": 2,
        "residual": True,
    },
    "text": {
        "vocab": 0,
        "text_length": 32,
        "text_width": 16,
        "text_layers": 1,
        "text_heads": 2,
        "image": [16, 32],
        "patch": 16,
        "vision_width": 16,
        "vision_layers": 1,
        "vision_heads": 2,
        "embed": 16,
        "causal": False,
    },
    "network": {
        "width": 24,
        "heads": 1,
        "layers": 1,
        "ffn": 32,
        "text_width": 16,
        "freq_width": 16,
        "in_channels": 4,
        "out_channels": 4,
    },
    "defaults": {"steps": 2, "solver": "euler"},
    "stages": {"codec": STAGE, "clip": STAGE, "diffusion": STAGE},
}


@cache
def truth(count: int) -> Tensor:
    return real(VIDEO, scenes(count))


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(fresh(complete(Recipe.of(TABLE))).settle(autocast=False))


class Oracle(Probe):
    """A probe that knows the true films of the evaluation's scenes, and reads the first value in all others."""

    def __init__(self, count: int, accuracy: Mapping[str, float] | None = None) -> None:
        super().__init__(
            ProbeConfig(VIDEO.frames, VIDEO.height, VIDEO.width, look=(4, 4, 8), motion=(4, 4, 8), maps=2, hidden=4)
        )
        shown = scenes(count)
        self.shows = {f.numpy().tobytes(): s for f, s in zip(truth(count), shown)}
        accuracy = dict.fromkeys(ATTRIBUTES, 0.99) | dict(accuracy or {})
        self.schooling = Schooling(0, 1, 1, 1000, accuracy, accuracy)

    def read(self, films: Tensor, rows: int = 16) -> list[dict[str, str]]:
        found = [self.shows.get(film.numpy().tobytes()) for film in films]
        return [{name: getattr(s, name) if s else values[0] for name, values in ATTRIBUTES.items()} for s in found]


class Perfect:
    """The part of an engine that makes films: its latents are pixels, its codec changes nothing, and the film of seed i is
    the true film of scene i + `off`."""

    def __init__(self, count: int, off: int = 0, spoil: float = 0.0) -> None:
        self.films = to_pixels(truth(count)).roll(-off, 0)
        self.spoil = spoil
        self.recipe = SimpleNamespace(video=VIDEO, world="first")
        self.device = torch.device("cpu")
        self.codec = SimpleNamespace(encode=lambda video: video, decode=lambda latent: iter(latent.split(2, dim=2)))
        self.prompts: list[str] = []

    def prepare(self, shot: Shot) -> Shot:
        return shot.filled(VIDEO.model_dump() | {"steps": 4, "guidance": 1.0, "solver": "euler", "shift": 1.0})

    def sample(self, *shots: Shot, guides: Guides | None = None) -> Iterator[Step]:
        assert guides is None
        self.prompts += [shot.prompt for shot in shots]
        x = self.films[[shot.seed for shot in shots if shot.seed is not None]] + self.spoil
        yield Step(3, 0.0, x, x)


def told(count: int, off: int = 0, accuracy: Mapping[str, float] | None = None) -> Adherence:
    return adherence(show(cast(Engine, Perfect(count, off)), scenes(count)), Oracle(count, accuracy))


def test_psnr_has_its_known_values() -> None:
    black = torch.zeros(3, 2, 4, 4, 3, dtype=torch.uint8)
    other = black.clone()
    other[1] = 1
    other[2] = 255
    assert psnr(black, other).tolist() == pytest.approx([math.inf, 20 * math.log10(255), 0.0])
    with pytest.raises(ValueError, match="uint8 of one shape"):
        psnr(black, other.float())
    with pytest.raises(ValueError, match="uint8 of one shape"):
        psnr(black, other[:1])


def test_fidelity_of_a_codec_that_changes_nothing_and_of_one_that_does() -> None:
    perfect = fidelity(cast(Engine, Perfect(1)), 10)
    assert (perfect.psnr, perfect.lowest) == (SAME, SAME)
    duller = Perfect(1)
    duller.codec.decode = lambda latent: iter([latent * 0.9])
    measured = fidelity(cast(Engine, duller), 10)
    films = real(VIDEO, scenes(10))
    each = psnr(films, reconstructed(cast(Engine, duller), films, rows=3))
    assert measured.psnr == pytest.approx(float(each.mean()))
    assert measured.lowest == pytest.approx(float(each.min()))
    counts = {name: sum(s.weather == name for s in scenes(10)) for name in measured.weather}
    together = sum(value * counts[name] for name, value in measured.weather.items()) / 10
    assert together == pytest.approx(measured.psnr)


def test_fine_detail_is_what_a_blur_takes() -> None:
    """A line one pixel wide is all detail but for its own fifth of the blur; a slope has none."""
    line, slope = torch.zeros(1, 1, 15, 15, 3, dtype=torch.uint8), torch.zeros(1, 1, 15, 15, 3, dtype=torch.uint8)
    line[..., 7, :] = 200
    slope[:] = (8 * torch.arange(15, dtype=torch.uint8))[:, None]
    assert detail(line)[0, 0, :, 7].tolist() == pytest.approx([160.0] * 15)
    assert detail(line)[0, 0, 5, :].sum() == pytest.approx(0)
    assert detail(slope)[..., 2:-2].abs().max() < 1e-9


def test_of_detail_a_codec_that_blurs_leaves_less_and_one_that_dulls_its_share() -> None:
    perfect = fidelity(cast(Engine, Perfect(1)), 10)
    assert (perfect.thin, perfect.thin_subjects, perfect.subjects) == (pytest.approx(1), pytest.approx(1), None)
    duller, blurred = Perfect(1), Perfect(1)
    duller.codec.decode = lambda latent: iter([0.5 * latent])
    blurred.codec.decode = lambda latent: iter([F.avg_pool3d(latent, (1, 3, 3), 1, (0, 1, 1), count_include_pad=False)])
    half, less = (fidelity(cast(Engine, each), 10) for each in (duller, blurred))
    assert half.thin == pytest.approx(0.5, abs=0.02)
    assert half.thin_subjects == pytest.approx(0.5, abs=0.02)
    assert set(half.thin_weather) == set(half.weather)
    assert less.psnr > half.psnr, "a blur is nearer in all,"
    assert less.thin < half.thin, "and has lost more of what is thin"
    assert less.subjects is not None
    assert less.subjects < less.psnr


def test_retrieval_of_perfect_wrong_and_empty_embeddings() -> None:
    perfect = torch.eye(20)
    assert tuple(vars(found(perfect, perfect)).values()) == (1.0, 1.0)
    wrong = found(perfect, perfect.roll(1, 0))
    assert (wrong.top1, wrong.top5) == (0.0, 0.0)
    empty = torch.ones(20, 3)
    assert found(empty, empty).top5 == 0.0, "vectors that are all the same know nothing"
    third = torch.eye(20) + 2 * torch.eye(20).roll(1, 1) + 2 * torch.eye(20).roll(2, 1)
    assert (found(perfect, third.T).top1, found(perfect, third.T).top5) == (0.0, 1.0)


def test_retrieval_asks_for_each_clip_with_its_own_caption(engine: Engine) -> None:
    shown = scenes(12)
    vectors = dict(zip([plain(s) for s in shown], torch.eye(12)))
    films = to_pixels(real(VIDEO, shown))
    rows = {film.numpy().tobytes(): row for film, row in zip(films, torch.eye(12))}
    clip = SimpleNamespace(encode_video=lambda v: torch.stack([rows[film.numpy().tobytes()] for film in v]))
    text = SimpleNamespace(clip=clip, embed=lambda prompts: torch.stack([vectors[p] for p in prompts]))
    knowing = SimpleNamespace(text=text, recipe=engine.recipe, device=engine.device)
    measured = retrieval(cast(Engine, knowing), 12)
    assert (measured.video.top1, measured.text.top1) == (1.0, 1.0)
    assert measured.chance.top1 == pytest.approx(1 / 12)
    assert measured.chance.top5 == pytest.approx(5 / 12)


def test_a_share_knows_how_sure_it_is() -> None:
    assert Share(0, 10).interval == pytest.approx((0.0, 0.27753), abs=1e-4)
    assert Share(5, 10).interval == pytest.approx((0.23659, 0.76341), abs=1e-4)
    assert Share(160, 200).interval == pytest.approx((0.73923, 0.84959), abs=1e-4)
    assert math.isnan(Share(0, 0).value)


def test_scenes_are_withheld_or_not_as_asked_and_always_the_same() -> None:
    for split in ("withheld", "seen"):
        shown = scenes(30, split)
        assert {withheld(s.subject, s.colour, s.action, s.place) for s in shown} == {split == "withheld"}
        assert shown == scenes(40, split)[:30]
        assert scenes(10, split, start=20) == shown[20:]
    assert SEED > 2**32, "no recipe's seed"


def test_siblings_share_their_labels_and_nothing_else() -> None:
    shown = scenes(1)[0]
    others = siblings(shown, 40)
    for name in ATTRIBUTES:
        assert {getattr(other, name) for other in others} == {getattr(shown, name)}
    for name in ("radius", "x", "floor", "horizon", "vigour", "phase", "detail"):
        assert len({getattr(other, name) for other in others}) == 40
    assert siblings(shown, 3, start=5) == others[5:8]
    assert shown not in others


def test_films_that_are_true_reach_what_the_probe_reads_of_true_films() -> None:
    measured = told(20)
    for row in measured.attributes:
        assert row.generated == row.real == row.codec == Share(20, 20)
        assert sum(share.of for share in row.values.values()) == 20
    assert (measured.mean, measured.whole) == (1.0, Share(20, 20))
    assert [film.seed for film in measured.films] == list(range(20))
    assert [film.prompt for film in measured.films] == [plain(s) for s in scenes(20)]


def test_films_that_are_true_measure_as_true_films_do() -> None:
    shown = show(cast(Engine, Perfect(30)), scenes(30))
    probe = Oracle(30)
    still = continuity(shown, probe, VIDEO)
    assert rounded(still.made) == rounded(still.codec) == rounded(still.real)
    lawful = laws(shown, VIDEO)
    assert lawful.laws
    assert all(rounded(law.made) == rounded(law.codec) == rounded(law.real) for law in lawful.laws)
    reference = features(probe, real(VIDEO, scenes(30, start=30)))
    alike = distribution({name: features(probe, films) for name, films in shown.versions.items()}, reference)
    assert rounded(alike.made) == rounded(alike.codec) == rounded(alike.real)


def test_rounding_reaches_every_number_and_nothing_else() -> None:
    told = rounded(Likeness(1.23456789, -1e-9 / 3, 1 / 3, 1.0))
    assert told == Likeness(1.23457, -3.33333e-10, 0.333333, 1.0)
    assert rounded({"a": (1 / 3, 7, "x", None)}) == {"a": (0.333333, 7, "x", None)}
    assert rounded(Share(2, 3)) == Share(2, 3)


def test_films_of_other_scenes_reach_chance() -> None:
    count = 100
    measured = told(count, off=1)
    for row in measured.attributes:
        assert row.real.value == 1.0
        low, high = row.generated.interval
        assert low - 0.05 < row.chance < high + 0.05, row.attribute
        assert row.generated.value < 0.6
    assert measured.whole.value < 0.05


def test_films_begin_with_the_pictures_of_their_own_true_films(engine: Engine) -> None:
    with pytest.raises(BadShot, match="not trained to begin with a picture"):
        show(engine, scenes(1), begun=True)
    asked = scenes(ROWS + 2)
    begins = TABLE | {"stages": TABLE["stages"] | {"diffusion": STAGE | {"first": 0.5}}}
    engine = Engine(fresh(complete(Recipe.of(begins))).settle(autocast=False))
    shown = show(engine, asked, begun=True)
    pictures = real(VIDEO, asked)[:, 0]
    assert [shot.image for shot in shown.shots] == [hashes(Given(image=picture))["image"] for picture in pictures]
    # The first picture of a film is what the codec leaves of that of its own scene, whatever the network says.
    assert (shown.made[:, 0].int() - shown.codec[:, 0].int()).abs().max() <= 1
    apart = (shown.made[1:, 0].int() - shown.codec[:-1, 0].int()).abs().flatten(1).amax(1)
    assert (apart > 1).all()
    words = show(engine, asked)
    assert torch.equal(words.real, shown.real)
    assert all(shot.image is None for shot in words.shots)
    assert first(words) is None
    measured = first(shown)
    assert measured is not None
    assert measured.films == ROWS + 2
    assert measured.made.kept == pytest.approx(measured.codec.kept, abs=0.1)
    assert measured.real.kept is None


def test_a_film_that_leaves_its_picture_jumps() -> None:
    even = torch.arange(0, 60, 10, dtype=torch.uint8).view(1, 6, 1, 1, 1).expand(2, 6, 4, 4, 3).contiguous()
    assert onset(even, even) == Onset(None, 1.0)
    off = even.clone()
    off[:, 1:] += 30
    assert onset(off, even) == Onset(None, 4.0)
    brighter = onset(even + 1, even)
    assert brighter.kept == pytest.approx(20 * math.log10(255))
    assert brighter.jump == 1.0
    still = even[:, :1].expand(2, 6, 4, 4, 3)
    assert onset(still, even).jump is None
    assert onset(even[:, :2], even[:, :2]).jump is None, "there is no later change"


def test_a_few_wrong_films_are_counted_where_they_are_wrong() -> None:
    right, wrong = scenes(20), scenes(20)[1:] + scenes(20)[:1]
    measured = told(20, off=1)
    for row in measured.attributes:
        hits = dict.fromkeys(row.values, 0)
        for a, b in zip(right, wrong):
            hits[getattr(a, row.attribute)] += getattr(a, row.attribute) == getattr(b, row.attribute)
        assert {value: share.hits for value, share in row.values.items()} == hits
        assert row.generated.hits == sum(hits.values())


def test_what_the_probe_reads_badly_is_called_unmeasured_and_not_counted() -> None:
    measured = told(20, off=1, accuracy={"colour": 0.969, "place": 0.97})
    assert {row.attribute: row.measured for row in measured.attributes} == {n: n != "colour" for n in ATTRIBUTES}
    counted = [row.generated.value for row in measured.attributes if row.attribute != "colour"]
    assert measured.mean == pytest.approx(sum(counted) / len(counted))
    nothing = told(8, accuracy=dict.fromkeys(ATTRIBUTES, 0.5))
    assert nothing.mean is None


def test_a_probe_of_another_shape_is_refused() -> None:
    probe = Probe(ProbeConfig(frames=9, height=16, width=32))
    with pytest.raises(BadModel, match="9 frames of 32x16 and this model makes 5 of 32x16; "):
        fits(probe, cast(Engine, Perfect(1)))
    fits(Probe(ProbeConfig(frames=3, height=16, width=32)), cast(Engine, Perfect(1)))


@pytest.mark.parametrize("attributes", [{"mood": ("warm", "cold")}, {"light": ("night", "day", "dusk", "morning")}])
def test_a_probe_of_another_world_is_refused(attributes: dict[str, tuple[str, ...]]) -> None:
    probe = Probe(ProbeConfig(VIDEO.frames, VIDEO.height, VIDEO.width, attributes))
    with pytest.raises(BadModel, match=f"'{next(iter(attributes))}' is not what the storybook shows; "):
        fits(probe, cast(Engine, Perfect(1)))


def test_a_walk_that_leaves_the_numbers_is_told() -> None:
    with pytest.raises(FloatingPointError, match="seeds 0 to 2 left the numbers"):
        show(cast(Engine, Perfect(3, spoil=math.nan)), scenes(3))


def test_films_are_those_of_the_engine(engine: Engine) -> None:
    shown = scenes(3)
    (batch,) = generated(engine, [prepared(engine, plain(s), i, {"steps": 3}) for i, s in enumerate(shown)])
    shots, films = batch
    assert [(shot.prompt, shot.seed, shot.steps) for shot in shots] == [(plain(s), i, 3) for i, s in enumerate(shown)]
    alone = engine.generate(shots[2]).frames
    assert (films[2].int() - alone.int()).abs().max() <= 1
    with pytest.raises(BadShot, match="steps"):
        show(engine, shown, {"steps": 0})


def test_every_solver_of_the_curves_makes_films(engine: Engine) -> None:
    fewest = [point for point in CURVES["steps"].points(4, "first") if point.x == min(STEPS)]
    assert [point.line for point in fewest] == list(SOLVERS)
    found = [measured(engine, Oracle(1), point, {}) for point in fewest]
    assert all(point.finite and point.films == 4 for point in found)
    assert len({point.saturation for point in found}) > 1, "noise on the way is seen, even in films of no training"


def test_everything_together_is_deterministic_and_survives_json(engine: Engine) -> None:
    heard: list[tuple[str, int, int]] = []
    seen: list[tuple[int, ...]] = []
    probe = Oracle(3, {"light": 0.5})

    def everything() -> Result:
        return evaluate(
            engine,
            probe,
            prompts=3,
            like={"guidance": 2.0},
            clips=4,
            pool=4,
            seeds=2,
            moving=1,
            searched=20,
            watch=lambda *what: heard.append(what),
            film=lambda shot, frames: seen.append((shot.seed or 0, *frames.shape)),
        )

    first, again = everything(), everything()
    assert first == again
    assert Result.parse(first.json()) == first
    assert first.walk == {"steps": 2, "solver": "euler", "guidance": 2.0, "shift": 3.0}
    assert seen == [(seed, 5, 16, 32, 3) for seed in (0, 1, 2)] * 2
    assert first.memory is not None
    assert (first.memory.clips, first.memory.of) == (1, 1), "this recipe has one training clip"
    assert first.diversity is not None
    assert first.diversity.seeds == 2
    for doing in {doing for doing, _, _ in heard}:
        counts = [(step, of) for what, step, of in heard if what == doing]
        assert counts[-1][0] == counts[-1][1], f"{doing} ends when it is done"
    with pytest.raises(BadModel, match="the entry"):
        Result.parse('{"model": "small"}')
    with pytest.raises(BadModel):
        Result.parse("not json")
