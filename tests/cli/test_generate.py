"""vitascope generate: a sentence in, one film out, and nothing at all where it cannot be."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from vitascope.cli.generate import ELSEWHERE, Command, default_output
from vitascope.engine import Engine
from vitascope.evaluation.probe import Probe, ProbeConfig
from vitascope.media import Video, facts, record_of
from vitascope.shot import SOLVER_NAMES, Shot

Run = Callable[..., Any]
PROMPT = "a red ball bounces on the sea"


def digest(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_a_sentence_becomes_a_film(vitascope: Run, toy: Path) -> None:
    told = vitascope("generate", PROMPT, "--model", toy, "--seed", "7")
    assert (told.code, told.out) == (0, "a-red-ball-bounces-on-the-7.mp4\n")
    assert told.files == ["a-red-ball-bounces-on-the-7.mp4"]
    film = facts(told.files[0])
    assert (film.frames, film.height, film.width, film.fps, film.codec) == (5, 32, 48, 8.0, "h264")
    shot = record_of(told.files[0])["shot"]
    assert (shot["prompt"], shot["seed"], shot["steps"]) == (PROMPT, 7, 3)
    walked = [line for line in told.json if line.get("doing") == "walking"]
    assert [(line["step"], line["of"]) for line in walked] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert told.json[-1] == {"doing": "decoding", "step": 5, "of": 5}


def test_the_same_shot_gives_the_same_bytes_and_another_seed_others(vitascope: Run, toy: Path) -> None:
    for name, seed in (("a.mp4", "1"), ("b.mp4", "1"), ("c.mp4", "2")):
        assert vitascope("generate", PROMPT, "--model", toy, "--seed", seed, "--output", name).code == 0
    assert digest("a.mp4") == digest("b.mp4") != digest("c.mp4")


def test_a_drawn_seed_is_told_and_recorded(vitascope: Run, toy: Path) -> None:
    names = [vitascope("generate", "a ball", "--model", toy, "--seed", seed).out.strip() for seed in ("-1", "")]
    names.append(vitascope("generate", "a ball", "--model", toy).out.strip())
    assert len(set(names)) == 3
    for name in names:
        assert name == f"a-ball-{record_of(name)['shot']['seed']}.mp4"


@pytest.fixture(scope="module")
def judged(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy with a probe, of random weights too."""
    folder = tmp_path_factory.mktemp("models") / "judged"
    shutil.copytree(toy, folder)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        Probe(ProbeConfig(frames=5, height=32, width=48)).save(folder / "probe")
    return folder


def test_of_several_takes_the_film_is_that_of_the_best_seed(
    vitascope: Run, judged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []

    def last(self: Probe, films: torch.Tensor) -> dict[str, torch.Tensor]:
        looked.append(len(films))
        ball = list(self.config.attributes["subject"]).index("ball")
        told = {name: torch.zeros(len(films), len(values)) for name, values in self.config.attributes.items()}
        told["subject"][:, ball] = float(len(looked))
        return told

    monkeypatch.setattr(Probe, "told", last)
    asked = ("generate", PROMPT, "--model", judged, "--seed", "7")
    told = vitascope(*asked, "--takes", "3")
    assert told.code == 0
    best = record_of(told.out.strip())["shot"]["seed"]
    assert best == 9
    assert told.files == [told.out.strip()] == [f"a-red-ball-bounces-on-the-{best}.mp4"]
    note = next(line["note"] for line in told.json if "note" in line)
    assert note.startswith(f"seed {best}: the probe reads ")
    tried = [line for line in told.json if line.get("doing") == "trying takes"]
    assert (tried[0]["step"], tried[-1]["step"], tried[-1]["of"]) == (0, 9, 9)
    vitascope("generate", PROMPT, "--model", judged, "--seed", str(best), "--output", "alone.mp4")
    assert digest("alone.mp4") == digest(told.out.strip())
    assert vitascope(*asked, "--takes", "3", "--output", "named.mp4").out == "named.mp4\n"
    assert digest("named.mp4") == digest("alone.mp4")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--takes", "1"], "--takes '1': it is a whole number from 2 to 64; 4 would do."),
        (["--takes", "many"], "--takes 'many': it is"),
        (
            ["--takes", "2", "--frames", "9"],
            "takes: the probe that chooses among them reads 5 frames of 48x32, and this film has frames 9; leave that out",
        ),
        (["--takes", "2", "--fps", "4"], "fps 4: this model's films have 8 frames a second"),
    ],
)
def test_takes_that_cannot_be_chosen_are_refused(
    vitascope: Run, judged: Path, flags: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "sample", lambda *_, **__: pytest.fail("a take was begun"))
    told = vitascope("generate", PROMPT, "--model", judged, *flags)
    assert (told.code, told.files) == (2, [])
    assert told.err[-1].startswith(says)


def test_takes_are_refused_before_any_weights_are_read(
    vitascope: Run, toy: Path, judged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "load", lambda *_, **__: pytest.fail("weights were read"))
    told = vitascope("generate", PROMPT, "--model", toy, "--takes", "4")
    assert (told.code, told.files) == (2, [])
    assert "takes: a probe that says what films show chooses among them, and toy has none beside it" in told.err[-1]
    told = vitascope("generate", "sports", "--model", judged, "--takes", "4")
    assert (told.code, told.files) == (2, [])
    assert "nothing in this prompt is among what the probe knows" in told.err[-1]
    told = vitascope("generate", PROMPT, "--model", judged, "--takes", "4", "--frames", "1")
    assert (told.code, told.files) == (2, [])
    assert "reads 5 frames of 48x32, and this film has frames 1; leave that out" in told.err[-1]
    Path("a-red-ball-bounces-on-the-9.mp4").write_bytes(b"mine")
    told = vitascope("generate", PROMPT, "--model", judged, "--takes", "4", "--seed", "7")
    assert told.code == 2
    assert "a-red-ball-bounces-on-the-9.mp4" in told.err[-1]


def test_every_field_of_a_shot_is_a_flag() -> None:
    flags = {ELSEWHERE.get(name, name) for name in Shot.model_fields}
    assert flags <= set(Command.__dataclass_fields__)
    assert set(Command.__dataclass_fields__) - flags == {
        "model", "output", "from_", "device", "force", "vae", "text_encoder", "tokenizer", "image_encoder", "dtype", "offload",
        "tile", "takes",
    }  # fmt: skip


def test_every_flag_reaches_the_record(vitascope: Run, toy: Path) -> None:
    said = {
        "negative": "white boat",
        "frames": 9,
        "height": 48,
        "width": 32,
        "fps": 8.0,
        "steps": 2,
        "solver": "euler",
        "guidance": "7 > 2 in 0.2..0.8",
        "shift": 2.5,
        "seed": 2**63 - 1,
    }
    flags = [word for name, value in said.items() for word in (f"--{name}", str(value))]
    told = vitascope("generate", PROMPT, "--model", toy, "--output", "a.webm", *flags)
    assert (told.code, told.out) == (0, "a.webm\n")
    assert record_of("a.webm")["shot"] == {"prompt": PROMPT, "unconditional": False, **said}
    assert facts("a.webm")[2:5] == (9, 32, 48)


@pytest.mark.parametrize("name", ["a.gif", "a.webm", "A.MP4"])
def test_the_suffix_says_what_kind_of_film(vitascope: Run, toy: Path, name: str) -> None:
    assert vitascope("generate", PROMPT, "--model", toy, "--output", name).out == f"{name}\n"
    assert facts(name).format == name[2:].lower()


def test_one_frame_is_a_picture(vitascope: Run, toy: Path) -> None:
    told = vitascope("generate", PROMPT, "--model", toy, "--frames", "1", "--output", "a.png")
    assert (told.code, told.files) == (0, ["a.png"])
    assert record_of("a.png")["shot"]["frames"] == 1


def test_a_film_without_a_prompt(vitascope: Run, toy: Path) -> None:
    told = vitascope("generate", "--unconditional", "--model", toy, "--seed", "3")
    assert (told.code, told.out) == (0, "unconditional-3.mp4\n")
    assert record_of("unconditional-3.mp4")["shot"]["unconditional"] is True


def test_more_frames_a_second_are_interpolated_and_labelled(vitascope: Run, toy: Path) -> None:
    assert vitascope("generate", PROMPT, "--model", toy, "--fps", "60", "--output", "a.mp4").code == 0
    assert (facts("a.mp4").frames, facts("a.mp4").fps) == (38, 60.0)
    record = record_of("a.mp4")
    assert record["interpolated"] == {"from": 8.0, "to": 60.0, "by": "minterpolate"}
    assert record["shot"]["frames"] == 5


# ------------------------------------------------------------------------------------------- the same film again


@pytest.mark.parametrize(
    "flags", [[], ["--fps", "60"], ["--unconditional"], ["--solver", "ddpm", "--guidance", "3 > 1"]]
)
def test_a_film_is_made_again_from_its_own_record(vitascope: Run, toy: Path, flags: list[str]) -> None:
    prompt = [] if "--unconditional" in flags else [PROMPT]
    vitascope("generate", *prompt, "--model", toy, "--output", "a.mp4", *flags)
    told = vitascope("generate", "--from", "a.mp4", "--model", toy, "--output", "b.mp4")
    assert (told.code, told.out) == (0, "b.mp4\n")
    assert not [line for line in told.json if "warning" in line]
    assert digest("a.mp4") == digest("b.mp4")


def test_flags_change_what_they_name(vitascope: Run, toy: Path) -> None:
    vitascope("generate", PROMPT, "--model", toy, "--output", "a.mp4", "--seed", "5", "--negative", "boat")
    before = record_of("a.mp4")["shot"]
    for flags, changes in (
        (["--steps", "2"], {"steps": 2}),
        (["the sea"], {"prompt": "the sea"}),
        (["--negative", ""], {"negative": ""}),
        (["--unconditional"], {"prompt": "", "unconditional": True}),
    ):
        assert (
            vitascope("generate", *flags, "--from", "a.mp4", "--model", toy, "--output", "b.mp4", "--force").code == 0
        )
        assert record_of("b.mp4")["shot"] == before | changes
    vitascope("generate", "--from", "b.mp4", PROMPT, "--model", toy, "--output", "c.mp4")
    assert record_of("c.mp4")["shot"] == before


def test_another_model_or_version_is_told(vitascope: Run, toy: Path) -> None:
    vitascope("generate", PROMPT, "--model", toy, "--output", "a.mp4")
    film = Video.load("a.mp4")
    assert film.record is not None
    for name in ("vitascope", "weights"):
        Video(film.frames, 8.0, {**film.record, name: "\x1b[31mother"}).save("b.mp4")
        told = vitascope("generate", "--from", "b.mp4", "--model", toy, "--output", "c.mp4", "--force")
        assert told.code == 0
        [warning] = [line["warning"] for line in told.json if "warning" in line]
        assert f"another {name}" in warning
        assert warning.isprintable()


@pytest.mark.parametrize("model", ["storybook", "toy", "/models/toy", "../toy", 3])
def test_a_record_never_chooses_a_folder(
    vitascope: Run, toy: Path, monkeypatch: pytest.MonkeyPatch, model: Any
) -> None:
    record = {"shot": {"prompt": "a"}, "model": str(toy) if model == "toy" else model}
    Video(torch.zeros(1, 16, 16, 3, dtype=torch.uint8), 8.0, record).save("a.png")
    names: list[Any] = []
    load = Engine.load
    monkeypatch.setattr(Engine, "load", lambda name, device, **_: names.append(name) or load(toy, device))
    told = vitascope("generate", "--from", "a.png", "--output", "b.mp4")
    ships = model == "storybook"
    assert (told.code, names) == ((0, ["storybook"]) if ships else (2, []))
    assert ships or "which is none of those that ship; give the folder" in told.err[0]


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (None, "carries no record"),
        ({"sheet": []}, "tells of no shot"),
        ({"shot": 3}, "tells of no shot"),
        ({"shot": {"prompt": "a", "lora": "x"}}, "no such field"),
        ({"shot": {"prompt": "a", "frames": 10**9}}, "frames 1000000000"),
        ({"shot": {"prompt": "a\0"}}, "U+0000"),
    ],
)
def test_a_record_that_is_no_shot_is_refused(vitascope: Run, record: dict[str, Any] | None, says: str) -> None:
    Video(torch.zeros(1, 16, 16, 3, dtype=torch.uint8), 8.0, record).save("a.png")
    told = vitascope("generate", "--from", "a.png")
    assert (told.code, told.out, told.files) == (2, "", ["a.png"])
    assert len(told.err) == 1
    assert says in told.err[0]


# ------------------------------------------------------------------------------------------- what cannot be made

FAULTS: list[tuple[list[str], str]] = [
    ([], "--unconditional"),
    ([""], "--unconditional"),
    (["a", "--unconditional"], "leave one of the two out"),
    (["x" * 10_000_000], "10,000,000 characters"),
    (["a\0b"], "U+0000"),
    (["a\ud800"], "U+D800"),
    (["a", "--negative", "\udc80"], "U+DC80"),
    (["a", "--frames", "0"], "frames 0"),
    (["a", "--frames", "-1"], "frames -1"),
    (["a", "--frames", "2"], "the nearest are 1 and 5"),
    (["a", "--frames", "80"], "the nearest are 77 and 81"),
    (["a", "--frames", "1000000000"], "frames 1000000000"),
    (["a", "--frames", "many"], "frames 'many'"),
    (["a", "--height", "0"], "height 0"),
    (["a", "--height", "1", "--width", "1"], "height 1"),
    (["a", "--height", "63", "--width", "65"], "63"),
    (["a", "--height", "1000000", "--width", "1000000"], "height 1000000"),
    (["a", "--frames", "9997", "--height", "8192", "--width", "8192"], "memory"),
    (["a", "--steps", "0"], "steps 0"),
    (["a", "--steps", "1000000"], "steps 1000000"),
    (["a", "--guidance", "nan"], "guidance 'nan'"),
    (["a", "--guidance", "inf"], "guidance 'inf'"),
    (["a", "--guidance", "6 in 2..3"], "0.2..0.8"),
    (["a", "--seed", "18446744073709551616"], "seed 18446744073709551616"),
    (["a", "--seed", "-2"], "seed -2"),
    (["a", "--solver", "dpmpp"], "the nearest is dpmpp_2m"),
    (["a", "--as", "foo"], "--as 'foo': there is no such preset"),
    (["a", "--output", "."], "that is a folder; name a file in it."),
    (["a", "--output", "film"], "no film can be written as a file without an ending; end"),
    (
        ["a", "--frames", "1", "--fps", "60", "--output", "a.png"],
        "this film has 8; leave --fps out, or end the name in .mp4.",
    ),
    (["a", "--video", "missing.mp4"], "video: toy was not trained to follow a film"),
    (["a", "--lora", "a, missing.safetensors:x"], "--lora 'missing.safetensors:x'"),
    (["a", "--fps", "4"], "8 or more"),
    (["a", "--fps", "0"], "fps 0"),
    (["a", "--shift", "0"], "shift 0"),
    (["a", "--device", "tpu"], "cpu"),
    (["a", "--device", "cuda:99"], "cpu"),
    (["a", "--output", "a.mp5"], "the nearest is .mp4"),
    (["a", "--output", "nowhere/a.mp4"], "make it first"),
    (["a", "--output", "here.mp4"], "--force"),
    (["a", "--output", "a.png"], "one frame"),
    (["a", "--output", "a.gif", "--fps", "60"], "at most 50"),
    (["a", "--output", "http://localhost/a.mp4"], "only files of this machine are written; name one, and upload"),
    (["--from", "missing.mp4"], "no such file"),
    (["--from", "here.mp4"], "cannot be read"),
    (["a", "--stpes", "3"], "the nearest is --steps"),
    (["a", "--frame", "3"], "the nearest is --frames"),
    (["a", "--seed"], "--seed INT"),
    (["a", "--seed", "--steps", "3"], "--seed INT"),
    (["a", "--seed", "1", "--seed", "2"], "--seed twice"),
    (["a", "--force=yes"], "--force alone"),
    (["a", "red", "ball"], "in quotes"),
]


@pytest.mark.parametrize(
    ("argv", "says"), FAULTS, ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else ""
)
def test_a_fault_is_one_line_and_nothing_is_written(vitascope: Run, toy: Path, argv: list[str], says: str) -> None:
    Path("here.mp4").write_bytes(b"not a film, and not to be lost")
    told = vitascope("generate", *argv, "--model", toy)
    assert (told.code, told.out) == (2, "")
    assert len(told.err) == 1
    assert says in told.err[0]
    assert "; " in told.err[0]
    assert len(told.err[0]) < 500
    assert told.files == ["here.mp4"]
    assert Path("here.mp4").read_bytes() == b"not a film, and not to be lost"


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--last-image", "a.png"), "--last-image: toy was not trained to end with a picture"),
        (("--reference", "a.png, a.png"), "--reference: toy was not trained to be given pictures"),
        (("--image", "a.png", "--frames", "2"), "2 frames: "),
    ],
)
def test_a_refusal_begins_with_the_flag_that_was_typed(
    vitascope: Run, toy: Path, flags: tuple[str, ...], says: str
) -> None:
    Video(torch.zeros(1, 8, 8, 3, dtype=torch.uint8), 1.0).save("a.png")
    told = vitascope("generate", "a", *flags, "--model", toy)
    assert (told.code, told.out, len(told.err), told.files) == (2, "", 1, ["a.png"])
    assert told.err[0].startswith(says)


def test_more_frames_a_second_than_a_picture_holds(vitascope: Run, toy: Path) -> None:
    one = ("generate", "a", "--model", toy, "--frames", "1")
    assert vitascope(*one, "--fps", "9", "--output", "a.png").code == 0, "one frame of 1/8 s is one at 9 a second"
    assert vitascope(*one, "--fps", "60", "--output", "a.mp4").code == 0


def test_what_holds_no_weights_is_told_to_be_that(vitascope: Run, tmp_path: Path) -> None:
    folder = tmp_path / "wrong"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "notes.txt").write_text("mine")
    (tmp_path / "film.mp4").write_bytes(b"a film")
    for name, says in (
        ("wrong", "there is no recipe.json in it, as in a bundle, and no"),
        ("film.mp4", "no file of weights"),
    ):
        for command in ("generate", "plan"):
            told = vitascope(command, *(["a"] if command == "generate" else []), "--model", tmp_path / name)
            assert (told.code, told.out, len(told.err)) == (2, "", 1)
            assert says in told.err[0]
            assert told.err[0].endswith("give a model's name, its folder or its file.")


def test_help_names_every_solver(vitascope: Run) -> None:
    text = " ".join(vitascope("generate", "--help").out.replace("│", " ").split())
    assert all(f"{name}," in text or f"{name}." in text for name in SOLVER_NAMES)
    assert "which vitascope models tells" in text


def test_an_unknown_model_is_refused(vitascope: Run) -> None:
    told = vitascope("generate", "a", "--model", "storybok-maxi")
    assert (told.code, told.out, told.files, len(told.err)) == (2, "", [], 1)


@pytest.mark.parametrize("prompt", ["-5 degrees on the sea", "None", "-1", "(((((", "(a:nan)", "--frames"])
def test_odd_prompts_are_prompts(vitascope: Run, toy: Path, prompt: str) -> None:
    words = ["--", prompt] if prompt.startswith("--") else [prompt]
    told = vitascope("generate", "--model", toy, "--output", "a.mp4", "--steps", "1", *words)
    assert told.code == 0
    assert record_of("a.mp4")["shot"]["prompt"] == prompt


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("(a:1e309)", "'(a:1e309)': what stands behind the colon is no weight"),
        ("a (dog:50)", "'dog' with weight 50"),
        ("(a dog:0)", "an empty prompt"),
    ],
)
def test_weights_beyond_reason_are_refused(vitascope: Run, toy: Path, prompt: str, said: str) -> None:
    told = vitascope("generate", prompt, "--model", toy, "--output", "a.mp4")
    assert (told.code, told.out, told.files, len(told.err)) == (2, "", [], 1)
    assert said in told.err[0]


def test_a_film_is_named_by_what_is_said(vitascope: Run, toy: Path) -> None:
    told = vitascope("generate", "a (red:2) ball (rolls)", "--model", toy, "--seed", "1", "--steps", "1")
    assert told.files == ["a-red-ball-rolls-1.mp4"]
    assert record_of("a-red-ball-rolls-1.mp4")["shot"]["prompt"] == "a (red:2) ball (rolls)"


def test_unknown_words_are_told_and_the_film_is_made(vitascope: Run, toy: Path) -> None:
    told = vitascope("generate", "a red ball rolls for sports", "--model", toy, "--seed", "1", "--output", "a.mp4")
    assert told.code == 0
    warnings = [line["warning"] for line in told.json if "warning" in line]
    assert any("'sports' is unknown" in warning for warning in warnings)
    assert vitascope("generate", "a red ball rolls", "--model", toy, "--seed", "1", "--output", "b.mp4").code == 0
    films = [Video.load(Path(name)).frames for name in ("a.mp4", "b.mp4")]
    assert torch.equal(films[0], films[1])


@pytest.mark.parametrize("prompt", ["un ballon rouge", "(((((", "🔴⚽"])
def test_a_prompt_of_which_nothing_is_known_is_told(vitascope: Run, toy: Path, prompt: str) -> None:
    told = vitascope("generate", prompt, "--model", toy, "--output", "a.mp4", "--steps", "1")
    warnings = [line["warning"] for line in told.json if "warning" in line]
    assert told.code == 0
    assert warnings[-1] == "nothing in the prompt is known to toy: the film is of anything"


def test_a_negative_prompt_without_effect_is_told(vitascope: Run, toy: Path) -> None:
    for guidance, told_of in (("1", True), ("4", False), ("4 in 0.2..0.8", False)):
        told = vitascope(
            "generate", "a ball", "--negative", "rain", "--guidance", guidance, "--model", toy, "--steps", "1",
            "--output", "a.mp4", "--force",
        )  # fmt: skip
        warnings = [line["warning"] for line in told.json if "warning" in line]
        assert ("with guidance 1 a negative prompt has no effect; ask for more, such as 4" in warnings) == told_of


def test_a_film_in_tiles_is_made_again_in_tiles(vitascope: Run, toy: Path) -> None:
    first = ("generate", PROMPT, "--model", toy, "--seed", "1", "--height", "64", "--tile", "32", "--output", "a.mp4")
    assert vitascope(*first).code == 0
    assert record_of("a.mp4")["tile"] == 32
    assert vitascope("generate", "--from", "a.mp4", "--model", toy, "--output", "b.mp4").code == 0
    assert Path("a.mp4").read_bytes() == Path("b.mp4").read_bytes()


def test_a_record_chooses_no_folder_of_this_machine(vitascope: Run, toy: Path) -> None:
    assert vitascope("generate", PROMPT, "--model", toy, "--output", "a.mp4").code == 0
    shutil.copytree(toy, "toy")  # as the record calls its model
    told = vitascope("generate", "--from", "a.mp4", "--output", "b.mp4")
    assert (told.code, len(told.err)) == (2, 1)
    assert "it was made with a model called 'toy', which is none of those that ship; give the folder" in told.err[0]
    assert vitascope("generate", "--from", "a.mp4", "--model", "toy", "--output", "b.mp4").code == 0


def test_an_older_film_is_replaced_only_by_force(vitascope: Run, toy: Path) -> None:
    Path("a.mp4").write_bytes(b"old")
    flags = ["generate", "a ball", "--model", toy, "--output", "a.mp4"]
    assert vitascope(*flags).code == 2
    assert Path("a.mp4").read_bytes() == b"old"
    assert vitascope(*flags, "--force").code == 0
    assert facts("a.mp4").frames == 5


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("A red BALL, bounces: across a snowfield at dusk", "a-red-ball-bounces-across-a-1.mp4"),
        ("../../etc/passwd", "etc-passwd-1.mp4"),
        ("(((((", "film-1.mp4"),
        ("\u6f22" * 200, "\u6f22" * 26 + "-1.mp4"),
        ("a\nb\tc", "a-b-c-1.mp4"),
        ("caf\u0065\u0301 .hidden", "caf\xe9-hidden-1.mp4"),
    ],
)
def test_a_film_is_named_after_its_first_words(prompt: str, name: str) -> None:
    path = default_output(Shot(prompt=prompt, seed=1))
    assert str(path) == name
    assert path.name == str(path)
    assert len(path.name.encode()) < 200


# ------------------------------------------------------------------------------------------- broken off


@pytest.mark.parametrize("part", ["sample", "frames"])
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (KeyboardInterrupt(), 130),
        (OSError(28, "No space left on device"), 1),
        (torch.OutOfMemoryError("out of memory"), 1),
        (MemoryError(), 1),
        (RuntimeError("a fault of the program"), 1),
    ],
    ids=["ctrl-c", "disk", "accelerator", "memory", "program"],
)
def test_what_breaks_off_leaves_nothing(
    vitascope: Run, toy: Path, monkeypatch: pytest.MonkeyPatch, part: str, fault: BaseException, code: int
) -> None:
    whole = getattr(Engine, part)

    def breaks(self: Engine, given: Any, **more: Any) -> Iterator[Any]:
        yield next(iter(whole(self, given, **more)))
        raise fault

    monkeypatch.setattr(Engine, part, breaks)
    told = vitascope("generate", PROMPT, "--model", toy)
    assert (told.code, told.out, told.files) == (code, "", [])
    assert ("Traceback" in "".join(told.err)) == isinstance(fault, RuntimeError) or "memory" in told.err[-1]


def test_a_stopped_process_leaves_nothing(vitascope: Run, toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Engine.frames

    def stopped(self: Engine, latent: Any) -> Iterator[Any]:
        yield next(iter(whole(self, latent)))
        os.kill(os.getpid(), signal.SIGTERM)
        yield from whole(self, latent)

    monkeypatch.setattr(Engine, "frames", stopped)
    before = signal.getsignal(signal.SIGTERM)
    told = vitascope("generate", PROMPT, "--model", toy)
    assert (told.code, told.out, told.files) == (143, "", [])
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_walk_that_leaves_the_numbers_is_never_a_black_film(
    vitascope: Run, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Engine.sample

    def poisoned(self: Engine, shot: Shot, **more: Any) -> Iterator[Any]:
        for step in whole(self, shot, **more):
            yield step._replace(x=step.x * torch.nan) if step.index == 1 else step

    monkeypatch.setattr(Engine, "sample", poisoned)
    told = vitascope("generate", PROMPT, "--model", toy)
    assert (told.code, told.out, told.files) == (1, "", [])
    assert "step 2" in told.err[-1]
