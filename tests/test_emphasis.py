"""Weights in a prompt: how they are read, and that a film heeds them: at 1 as without, at 0 as if nothing had been said."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vitascope.emphasis import LARGEST, MOST, USUAL, Phrase, Weighed, weighed
from vitascope.engine import Engine
from vitascope.errors import BadPrompt
from vitascope.recipe import Recipe
from vitascope.shot import Shot
from vitascope.system import Guides
from vitascope.training.beginning import complete, fresh

PROSE = st.text(st.characters(exclude_characters="()\\"), max_size=40)
PHRASE = st.from_regex(r"[a-z]+( [a-z]+){0,3}", fullmatch=True)
REST = st.from_regex(r"(\.\.\.)?[a-z]+(( |, | : )[a-z.]*[a-z]){0,3}( !)?", fullmatch=True)


@given(PROSE)
def test_what_has_no_marks_is_as_it_was(text: str) -> None:
    assert weighed(text) == Weighed(text)


@given(PROSE)
def test_parentheses_as_such_weigh_nothing(text: str) -> None:
    assert weighed(f"{text} \\({text}:2\\)") == Weighed(f"{text} ({text}:2)")


@given(PHRASE, st.floats(-LARGEST, LARGEST).map(lambda weight: round(weight, 3)), REST)
def test_a_phrase_counts_by_its_number(phrase: str, weight: float, rest: str) -> None:
    whole = rest if weight == 0 else f"{rest}, {phrase}"
    expected = () if weight in (0, 1) else (Phrase(phrase, weight, rest),)
    said = weighed(f"{rest}, ({phrase}:{weight:f})")
    assert (said.text, said.phrases) == (whole, expected)
    assert said.wanted == (rest if weight < 0 else whole)
    assert weighed(f"{rest}, ( {phrase}\u00a0: {weight:f} )").phrases == expected


@given(st.lists(PHRASE, min_size=1, max_size=5), REST)
def test_phrases_of_weight_0_were_never_said(phrases: list[str], rest: str) -> None:
    gone = ", ".join(f"({phrase}:0)" for phrase in phrases)
    assert weighed(f"{rest}, {gone}") == Weighed(rest)
    assert weighed(f"{rest}, ({gone}, and (more:3):0)") == Weighed(rest)
    last = weighed(f"{rest}, {gone}, (more:3)")
    assert (last.text, last.phrases) == (f"{rest}, more", (Phrase("more", 3.0, rest),))


@pytest.mark.parametrize(
    ("prompt", "text", "phrases"),
    [
        ("a (dog) runs", "a dog runs", [("dog", USUAL, "a runs")]),
        ("(a (red:1.5) car:0.5) drives", "a red car drives", [("a red car", 0.5, "drives"), ("red", 1.5, "a car drives")]),
        ("(a (red:0) car:0.5) drives", "a car drives", [("a car", 0.5, "drives")]),
        ("(a (red:0):3) car", "a car", [("a", 3.0, "car")]),
        ("((red:0):3) car", "car", []),
        ("a (b) ((b))", "a b b", [("b", USUAL, "a b"), ("b", pytest.approx(USUAL**2), "a b")]),
        ("a dog, (in snow:2), at night", "a dog, in snow, at night", [("in snow", 2.0, "a dog, at night")]),
        ("a dog, in snow (at night:-1).", "a dog, in snow at night.", [("at night", -1.0, "a dog, in snow.")]),
        ("(by night:.5), a dog runs", "by night, a dog runs", [("by night", 0.5, "a dog runs")]),
        ("(a dog:3)", "a dog", [("a dog", 3.0, "")]),
        ("un chien (noir:2) !", "un chien noir !", [("noir", 2.0, "un chien !")]),
        ("a cat says: (hello:2)", "a cat says: hello", [("hello", 2.0, "a cat says:")]),
        ("一个(红色:2)的球", "一个红色的球", [("红色", 2.0, "一个的球")]),
        ("(runner 2049:2) runs", "runner 2049 runs", [("runner 2049", 2.0, "runs")]),
        ("a clock (at 5:30)", "a clock at 5:30", [("at 5:30", USUAL, "a clock")]),  # no weight of thirty
        ("a film (in 16:9)", "a film in 16:9", [("in 16:9", USUAL, "a film")]),
        ("(note: 3 dogs) run", "note: 3 dogs run", [("note: 3 dogs", USUAL, "run")]),
        ("a (red", "a (red", []),
        ("a) dog (", "a) dog (", []),
        ("()", "()", []),
        ("a () dog", "a () dog", []),
        ("a dog (:2)", "a dog (:2)", []),
    ],
)  # fmt: skip
def test_the_grammar(prompt: str, text: str, phrases: list[tuple[str, float, str]]) -> None:
    said = weighed(prompt)
    assert said.text == text
    assert [tuple(each) for each in said.phrases] == phrases


def test_marks_around_marks_multiply() -> None:
    (phrase,) = weighed("((dog)) runs").phrases
    assert (phrase.text, phrase.weight, phrase.without) == ("dog", pytest.approx(USUAL**2), "runs")
    assert weighed("((dog:2):0.5) runs") == Weighed("dog runs")


@pytest.mark.parametrize("tail", [" " * 9900, "\n" * 9900, ", " * 4950, "(" * 9900, "\\(" * 4900, "a : " * 2470])
def test_long_prompts_are_read_at_once(tail: str) -> None:
    begin = time.monotonic()
    assert (
        len(Shot(prompt=" ".join(f"({letter})" for letter in "abcdefgh") + tail + "x").said("prompt").phrases) == MOST
    )
    assert time.monotonic() - begin < 1


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        ("a (dog:10.5)", "'dog' with weight 10.5"),
        ("a (dog:-11)", "'dog' with weight -11"),
        ("(" * 100 + "dog" + ")" * 100, "'dog' with weight 13780.6"),
        ("(" * 4999 + "dog" + ")" * 4998, "'dog' with weight"),
        ("(a\n\tb:50)", r"'a\n\tb' with weight 50"),
        (" ".join(f"({letter})" for letter in "abcdefghi"), f"{MOST + 1} phrases with weights"),
        (" ".join("(a:0)" for _ in range(1600)), "1600 phrases with weights"),
        ("a (dog:1,5)", "'(dog:1,5)': what stands behind the colon is no weight"),
        ("a (dog:2x)", "'(dog:2x)': "),
        ("a (dog:1e3)", "'(dog:1e3)': "),
        ("a (dog:1.5.2 )", "'(dog:1.5.2 )': "),
    ],
)
@pytest.mark.parametrize("field", ["prompt", "negative"])
def test_what_cannot_be_weighed_is_told_in_a_sentence(prompt: str, named: str, field: str) -> None:
    begin = time.monotonic()
    with pytest.raises(BadPrompt) as caught:
        Shot.model_validate({"prompt": "a", field: prompt})
    sentence = str(caught.value)
    assert sentence.startswith(named)
    assert "; " in sentence
    assert sentence.isprintable()
    assert time.monotonic() - begin < 1


def test_a_prompt_that_weighs_nothing_is_empty() -> None:
    with pytest.raises(BadPrompt, match="an empty prompt"):
        Shot(prompt="(a dog:0)")
    assert Shot(prompt="(a dog:0)", preset="official").said("prompt").text == "(a dog:0)"


def test_a_shot_keeps_what_was_written() -> None:
    shot = Shot(prompt="a (dog:2)", negative="(rain)")
    assert shot.prompt == "a (dog:2)"
    assert shot.told["prompt"] == "a (dog:2)"
    assert (shot.said("prompt").text, shot.said("negative").text) == ("a dog", "rain")


def test_other_programs_read_parentheses_in_their_own_way() -> None:
    for preset in ("official", "diffusers"):
        shot = Shot(prompt="a (dog:2)", negative="\\(rain\\)", preset=preset)
        assert (shot.said("prompt"), shot.said("negative")) == (Weighed("a (dog:2)"), Weighed("\\(rain\\)"))
    assert Shot(prompt="a \\(dog\\)", preset="comfy").said("prompt") == Weighed("a (dog)")
    for weight in ("", ":2", ":0"):
        with pytest.raises(BadPrompt, match=r"--as comfy: .*leave --as out"):
            Shot(prompt="a ball", negative=f"snow, (rain{weight})", preset="comfy")


@pytest.fixture(scope="module")
def engine() -> Engine:
    """Of the sizes of `tiny`, untrained, but of a network that heeds words: one that begins to learn answers 0."""
    engine = Engine(fresh(complete(Recipe.read("tiny"))).settle(autocast=False))
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in engine.diffusion.net.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=draw)
    return engine


Latent = Callable[..., torch.Tensor]


@pytest.fixture(scope="module")
def latent(engine: Engine) -> Latent:
    def walked(*prompts: str, negative: str = "", guidance: float | str = 4.0) -> torch.Tensor:
        shots = [
            engine.prepare(
                Shot(prompt=prompt, negative=negative, guidance=guidance, seed=5 + row, steps=3, solver="euler")
            )
            for row, prompt in enumerate(prompts)
        ]
        *_, last = engine.sample(*shots)
        return last.x

    return walked


WHOLE, MOST_OF_IT = "a red ball at night, it is raining", "a red ball at night"


def test_a_weight_of_1_is_no_weight_bit_for_bit(latent: Latent) -> None:
    assert torch.equal(latent("a (red:1) ball at night, (it is raining:1)"), latent(WHOLE))
    assert not torch.equal(latent("a (red:1) ball at night, (it is raining:1.01)"), latent(WHOLE))


def test_a_weight_of_0_is_as_if_it_had_not_been_said(latent: Latent) -> None:
    assert torch.equal(latent("a (red:0) ball (at night:0), (it is raining:0)"), latent("a ball"))


@pytest.mark.parametrize("guidance", [1.0, 4.0, "7 > 2 in 0.2..0.8"])
def test_the_less_it_weighs_the_nearer_it_is_to_that(latent: Latent, guidance: float | str) -> None:
    whole, rest = latent(WHOLE, guidance=guidance), latent(MOST_OF_IT, guidance=guidance)
    nearly = latent(f"{MOST_OF_IT}, (it is raining:0.001)", guidance=guidance)
    assert (nearly - rest).norm() < 0.01 * (whole - rest).norm()


def test_all_that_is_said_with_a_weight_is_guidance_times_the_weight(latent: Latent) -> None:
    torch.testing.assert_close(
        latent(f"({WHOLE}:1.5)", guidance=4.0), latent(WHOLE, guidance=6.0), rtol=1e-4, atol=1e-4
    )


def test_a_negative_prompt_has_weights_too(latent: Latent) -> None:
    whole, without = latent(MOST_OF_IT, negative="snow at night"), latent(MOST_OF_IT, negative="snow")
    assert torch.equal(latent(MOST_OF_IT, negative="snow (at night:0)"), without)
    assert torch.equal(latent(MOST_OF_IT, negative="snow (at night:1)"), whole)
    assert not torch.allclose(latent(MOST_OF_IT, negative="snow (at night:2)"), whole, atol=1e-3)


def test_a_field_is_linear_in_a_weight(engine: Engine) -> None:
    x = torch.randn(
        1, *engine.latent_shape(engine.prepare(Shot(prompt="a"))), generator=torch.Generator().manual_seed(1)
    )

    def field(weight: float) -> torch.Tensor:
        return engine.field(engine.prepare(Shot(prompt=f"{MOST_OF_IT}, (it is raining:{weight:f})", guidance=3)))(
            x, 0.7
        )

    torch.testing.assert_close(field(2.5) - field(0), 2.5 * (field(1) - field(0)), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(field(-1) - field(0), field(0) - field(1), rtol=1e-3, atol=1e-4)


def test_films_of_one_walk_have_weights_of_their_own(latent: Latent) -> None:
    prompts = (f"{MOST_OF_IT}, (it is raining:3)", "a (blue:2) ball (at night:0.5)", WHOLE)
    together = latent(*prompts)
    for row, prompt in enumerate(prompts):
        alone = latent(*["a"] * row, prompt)[row]
        torch.testing.assert_close(together[row], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rows", [1, 2])
def test_few_rows_at_once_make_the_same_film(engine: Engine, latent: Latent, rows: int) -> None:
    prompt = "a (red:2) ball, (it is raining:0.5)"
    whole = latent(prompt)
    engine.rows = rows
    try:
        torch.testing.assert_close(latent(prompt), whole, rtol=1e-4, atol=1e-4)
    finally:
        engine.rows = None


def test_memory_is_asked_for_all_rows(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(engine, "_rows", lambda shot, count, guides: asked.append(count))
    plain, stressed = (
        engine.prepare(Shot(prompt=prompt, negative="(snow:2) at night")) for prompt in (WHOLE, "a (red:2) (ball:2)")
    )
    engine.field(plain)
    engine.field(plain, stressed)
    assert asked == [3, 10]


def test_texts_are_read_at_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[list[str]] = []
    text = engine.text
    monkeypatch.setattr(engine.system, "text", lambda prompts: (read.append(list(prompts)), text(prompts))[1])
    engine.field(
        *(engine.prepare(Shot(prompt=prompt)) for prompt in ("a (red:2) ball (rolls:2)", "a (blue:2) ball", "a ball"))
    )
    assert read == [
        ["a red ball rolls", "a blue ball", "a ball"],
        ["a ball rolls", "a red ball", "a ball", "a blue ball"],
        ["", "", ""],
    ]


def test_a_film_that_begins_with_a_picture_has_weights_too(engine: Engine) -> None:
    channels, frames, *size = engine.latent_shape(engine.prepare(Shot(prompt="a")))
    draw = torch.Generator().manual_seed(2)
    guides = Guides(first=torch.randn(1, channels, 1, *size, generator=draw))
    x = torch.randn(1, channels, frames, *size, generator=draw)

    def field(prompt: str) -> torch.Tensor:
        return engine.field(engine.prepare(Shot(prompt=prompt, guidance=3)), guides=guides)(x, 0.7)

    at = {weight: field(f"{MOST_OF_IT}, (it is raining:{weight})") for weight in (0, 1, 2)}
    assert torch.equal(at[1], field(WHOLE))
    torch.testing.assert_close(at[2] - at[0], 2 * (at[1] - at[0]), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(at[2][:, :, 0], at[1][:, :, 0], msg="the picture is what it was")


def test_each_phrase_is_one_row_more(engine: Engine, latent: Latent) -> None:
    rows: list[int] = []
    handle = engine.diffusion.net.register_forward_pre_hook(lambda net, args: rows.append(len(args[0])))
    try:
        latent(WHOLE)
        latent(f"{MOST_OF_IT}, (it is raining:2)")
        latent("a (red:2) ball (at night:2), (it is raining:2)", negative="(snow:2) at night")
        latent(f"{MOST_OF_IT}, (it is raining:2)", guidance=1.0)
    finally:
        handle.remove()
    assert rows[::3] == [2, 3, 6, 2]


def test_marks_are_no_words(engine: Engine) -> None:
    shot = engine.prepare(Shot(prompt="a (glorious:2.5) ball", negative="(murky) rain"))
    assert engine.unknown_words(shot) == ["glorious", "murky"]
    assert engine.warnings(shot) == [f"'{word}' is unknown to tiny and was ignored" for word in ("glorious", "murky")]


def test_who_reads_parentheses_as_text_is_told_so(engine: Engine) -> None:
    for prompt, told in (("a red ball (at night:2)", True), ("a red ball (at night)", False), ("a ball", False)):
        warnings = engine.warnings(Shot(prompt=prompt, preset="official", seed=1, **engine.recipe.video.model_dump()))
        assert any("no weights; leave --as out" in each for each in warnings) == told
