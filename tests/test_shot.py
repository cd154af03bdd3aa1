"""Shot: what can be asked for, how a mistake is answered, and that every way to say a shot says the same."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitascope.errors import BadPrompt, BadShot
from vitascope.shot import LARGEST_SEED, LONGEST_PROMPT, SOLVER_NAMES, Given, Guidance, Shot

scales = st.floats(-100, 100, allow_nan=False)
times = st.floats(0, 1, allow_nan=False)


def guidances() -> st.SearchStrategy[Guidance]:
    return st.builds(
        lambda start, end, ends: Guidance(start, end, min(ends), max(ends)), scales, scales, st.tuples(times, times)
    )


# What was asked, and what the answer must name: the field, and a way out.
FAULTS: list[tuple[dict[str, Any], str, str]] = [
    ({"prompt": ""}, "empty prompt", "--unconditional"),
    ({"prompt": " \n\t"}, "empty prompt", "--unconditional"),
    ({"prompt": "a ball", "unconditional": True}, "--unconditional", "leave one"),
    ({"prompt": "x" * 10_000_000}, "10,000,000 characters", "a few sentences"),
    ({"negative": "x" * 10_000_000}, "negative", "a few sentences"),
    ({"prompt": "a\0b"}, "U+0000", "remove it"),
    ({"prompt": "a\x1b[2Jb"}, "U+001B", "remove it"),
    ({"prompt": "a\ud800"}, "U+D800", "remove it"),
    ({"negative": "\udfff"}, "U+DFFF", "remove it"),
    ({"prompt": 3}, "prompt 3", "text"),
    ({"frames": 0}, "frames 0", "17"),
    ({"frames": -1}, "frames -1", "17"),
    ({"frames": 10**9}, "frames 1000000000", "17"),
    ({"frames": 2.5}, "frames 2.5", "17"),
    ({"frames": "many"}, "frames 'many'", "17"),
    ({"frames": True}, "frames True", "leave it out"),
    ({"height": 0}, "height 0", "64"),
    ({"height": 1, "width": 1}, "height 1", "64"),
    ({"width": 10**6}, "width 1000000", "128"),
    ({"steps": 0}, "steps 0", "30"),
    ({"steps": 10**6}, "steps 1000000", "30"),
    ({"guidance": math.nan}, "guidance nan", "4 is usual"),
    ({"guidance": math.inf}, "guidance inf", "4 is usual"),
    ({"guidance": "-inf"}, "guidance '-inf'", "7 > 2"),
    ({"guidance": "1e309"}, "guidance inf", "4 is usual"),
    ({"guidance": "6 in 0.8..0.2"}, "0.8..0.2", "0.2..0.8"),
    ({"guidance": "6 in 2..8"}, "2..8", "0.2..0.8"),
    ({"guidance": "7 >"}, "guidance '7 >'", "7 > 2"),
    ({"guidance": "(6)"}, "guidance '(6)'", "7 > 2"),
    ({"guidance": "9" * 10_000}, "guidance", "7 > 2"),
    ({"guidance": [6]}, "guidance [6]", "7 > 2"),
    ({"seed": 2**64}, "seed 18446744073709551616", "7"),
    ({"seed": -2}, "seed -2", "7"),
    ({"seed": 10**6000}, "seed", "7"),
    ({"seed": "9" * 6000}, "seed", "7"),
    ({"fps": 0}, "fps 0", "8"),
    ({"fps": 1e9}, "fps 1000000000", "8"),
    ({"fps": math.nan}, "fps nan", "8"),
    ({"shift": 0}, "shift 0", "3"),
    ({"shift": math.inf}, "shift inf", "3"),
    ({"solver": "dpmpp_2n"}, "solver 'dpmpp_2n'", "the nearest is dpmpp_2m"),
    ({"solver": "dpm++"}, "solver 'dpm++'", "the nearest is dpmpp_2m."),
    ({"solver": "DPM-Solver++"}, "solver 'DPM-Solver++'", "the nearest is dpmpp_2m."),
    ({"solver": "dpmsolver++"}, "solver 'dpmsolver++'", "the nearest is dpmpp_2m."),
    ({"solver": "dpmpp"}, "solver 'dpmpp'", "the nearest is dpmpp_2m."),
    ({"solver": "DPM++ 2M SDE"}, "solver 'DPM++ 2M SDE'", "the nearest is dpmpp_2m_sde."),
    ({"solver": "euler_a"}, "solver 'euler_a'", "the nearest is ddpm."),
    ({"solver": "euler_ancestral"}, "solver 'euler_ancestral'", "the nearest is ddpm."),
    ({"solver": "DDIM"}, "solver 'DDIM'", "the nearest is ddim"),
    ({"solver": 7}, "solver 7", "unipc"),
    ({"stpes": 30}, "field 'stpes'", "the nearest is steps"),
    ({"unconditional": "perhaps"}, "unconditional 'perhaps'", "leave it out"),
]


@pytest.mark.parametrize(
    ("fields", "names", "way_out"), FAULTS, ids=lambda value: "-".join(value) if isinstance(value, dict) else ""
)
def test_a_fault_is_one_sentence_with_a_way_out(fields: dict[str, Any], names: str, way_out: str) -> None:
    begin = time.monotonic()
    with pytest.raises(BadShot) as caught:
        Shot.model_validate({"prompt": "a ball", **fields})
    sentence = str(caught.value)
    assert names in sentence
    assert way_out in sentence
    assert sentence.count("; ") >= 1, "what would do comes after a semicolon"
    assert sentence.endswith(".")
    assert sentence.isprintable(), "it goes onto a terminal and into a log"
    assert len(sentence) < 400
    assert time.monotonic() - begin < 1
    assert isinstance(caught.value, BadPrompt) == any(
        isinstance(fields.get(name), str) for name in ("prompt", "negative")
    )


def test_the_largest_that_is_allowed_is_allowed() -> None:
    shot = Shot(prompt="x" * LONGEST_PROMPT, seed=LARGEST_SEED, steps=1000, guidance=100, frames=10_000)
    assert shot.seed == 2**63 - 1


@pytest.mark.parametrize("prompt", ["(((((", "(a:nan)", "None", "-1", "caf\xe9 \u6f22 \U0001f600", "a\nb"])
def test_odd_text_is_still_text(prompt: str) -> None:
    assert Shot(prompt=prompt).prompt == prompt


def test_solver_names_are_the_table_of_solvers() -> None:
    from vitascope.physics.solvers import SOLVERS

    assert set(SOLVER_NAMES) == set(SOLVERS)
    assert len(SOLVER_NAMES) == len(set(SOLVER_NAMES))


def test_no_torch_is_needed() -> None:
    code = "import sys, vitascope.shot; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_filled_takes_what_was_not_asked_for_and_nothing_else() -> None:
    shot = Shot(prompt="a", steps=3, negative="")
    full = shot.filled({"steps": 30, "frames": 17, "negative": "blur", "layers": 8, "guidance": "7>2", "seed": None})
    assert (full.steps, full.frames, full.guidance, full.negative, full.seed) == (3, 17, "7 > 2", "", None)
    assert shot.frames is None
    with pytest.raises(BadShot, match="steps 0"):
        Shot(prompt="a").filled({"steps": 0})


def test_a_seed_is_drawn_once_and_only_where_there_is_none() -> None:
    assert {Shot(prompt="a", seed=seed).seed for seed in (-1, None)} == {None}
    assert Shot.model_validate({"prompt": "a", "seed": "-1"}).seed is None
    drawn = [Shot(prompt="a").seeded() for _ in range(8)]
    assert len({shot.seed for shot in drawn}) > 1
    assert all(shot.seed is not None and shot.seeded() == shot for shot in drawn)
    assert Shot(prompt="a", seed=0).seeded().seed == 0


@given(guidances(), st.integers(0, LARGEST_SEED), st.text(st.characters(codec="utf-8", exclude_categories=["Cc"])))
def test_a_shot_survives_json_and_text_forms(guidance: Guidance, seed: int, prompt: str) -> None:
    shot = Shot(prompt="a" + prompt, guidance=str(guidance), seed=seed, fps=23.976)
    assert Shot.model_validate_json(shot.model_dump_json()) == shot
    assert Shot.model_validate(shot.model_dump()) == shot
    as_typed = {name: str(value) for name, value in shot.told.items() if value is not None}
    assert Shot.model_validate(shot.told) == shot
    assert Shot.model_validate(as_typed) == shot


def test_what_a_film_is_given_is_told_only_where_something_is() -> None:
    plain = Shot(prompt="a")
    assert not {"image", "last", "video", "mask", "references", "control", "preset", "loras"} & plain.told.keys()
    name = "sha256:" + "0" * 64
    import torch

    whole = Shot(prompt="a", last=name, references=(name,), loras=((name, 0.5),), preset="official", control=0.5)
    assert {"last", "references", "loras", "preset", "control"} <= whole.told.keys()
    assert Shot.model_validate(whole.told) == whole
    with pytest.raises(BadShot, match="preset 'oficial': there is no such preset; the nearest is official"):
        Shot.model_validate({"prompt": "a", "preset": "oficial"})
    assert not Given()
    assert not Given(references=())
    assert Given(mask=torch.zeros(1, 2, 2))


@given(guidances())
def test_guidance_is_read_back_as_it_was_written(guidance: Guidance) -> None:
    assert Guidance.parse(str(guidance)) == guidance
    assert Guidance.parse(guidance.plain()) == guidance
    assert isinstance(guidance.plain(), float) == guidance.constant


@pytest.mark.parametrize(
    ("text", "guidance"),
    [
        ("6", Guidance(6, 6)),
        (" -0.5 ", Guidance(-0.5, -0.5)),
        ("7>2", Guidance(7, 2)),
        ("7 > 2", Guidance(7, 2)),
        ("6 in 0.2..0.8", Guidance(6, 6, 0.2, 0.8)),
        ("6 in .2 .. 1", Guidance(6, 6, 0.2, 1)),
        ("1e1 > 2 in 0..0.5", Guidance(10, 2, 0, 0.5)),
    ],
)
def test_the_grammar_of_guidance(text: str, guidance: Guidance) -> None:
    assert Guidance.parse(text) == guidance


def test_guidance_over_time() -> None:
    falling = Guidance.parse("7 > 2")
    assert [falling.at(t) for t in (1.0, 0.5, 0.0)] == [7.0, 4.5, 2.0]
    interval = Guidance.parse("6 in 0.2..0.8")
    assert [interval.at(t) for t in (1.0, 0.8, 0.5, 0.2, 0.1)] == [1.0, 6.0, 6.0, 6.0, 1.0]
    assert Shot(prompt="a").scale.at(0.3) == 1.0
    assert Shot(prompt="a", guidance=3).scale == Guidance(3, 3)


@given(guidances(), times)
def test_a_film_is_guided_where_the_scale_is_anything_but_1(guidance: Guidance, t: float) -> None:
    assert guidance.guided or guidance.at(t) == 1.0


@pytest.mark.parametrize(
    ("text", "guided"),
    [
        ("1", False),
        ("1 in 0.2..0.8", False),
        ("6", True),
        ("0", True),
        ("1 > 5", True),
        ("5 > 1", True),
        ("6 in 0.2..0.8", True),
    ],
)
def test_what_is_guided(text: str, guided: bool) -> None:
    assert Guidance.parse(text).guided == guided


@given(guidances(), times)
def test_guidance_means_what_the_physics_means(guidance: Guidance, t: float) -> None:
    from vitascope.physics.guidance import falling, interval

    inside = guidance.low <= t <= guidance.high
    assert guidance.at(t) == (falling(guidance.start, guidance.end)(t) if inside else 1.0)
    if guidance.start == guidance.end:
        assert math.isclose(guidance.at(t), interval(guidance.start, guidance.low, guidance.high)(t))
