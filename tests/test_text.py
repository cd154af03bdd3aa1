"""Words: what goes in comes out, what is unknown is told as it was typed, what did not fit is told."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitascope.errors import BadModel
from vitascope.models.clip import CLIPConfig
from vitascope.storybook import caption, scene, vocabulary
from vitascope.text import END, PAD, UNKNOWN, ClipText, Words

WORDS = Words.of(("a", "ball", "red", "bounces", "it's"))


def back(words: Words, tokens: list[int]) -> list[str]:
    names = {index: word for word, index in words.tokenizer.get_vocab().items()}
    return [names[token] for token in tokens]


def test_words_come_back() -> None:
    tokens, cut = WORDS.tokens("A red  BALL, bounces!", 16)
    assert back(WORDS, tokens) == ["a", "red", "ball", "bounces", END]
    assert cut == ""


def test_every_caption_of_the_storybook_is_known_and_comes_back() -> None:
    words = Words.of(vocabulary())
    for index in range(60):
        text = caption(scene(3, index), index)
        tokens, cut = words.tokens(text, 128)
        assert (words.unknown_words(text), cut) == ([], "")
        plain = "".join(letter if letter.isalnum() else " " for letter in text).split()
        assert back(words, tokens) == [*plain, END]


@pytest.mark.parametrize(
    ("prompt", "unknown"),
    [
        ("a red ball", []),
        ("a Zeppelin and a Dragon, a Zeppelin", ["Zeppelin", "and", "Dragon"]),
        ("a café, naïve", ["café", "naïve"]),
        ("ﬁne red", ["ﬁne"]),
        ("[pad] [end] red", ["pad", "end"]),
        ("红色 ball 😀", ["红色"]),
        ("it's red", []),
        ("", []),
    ],
)
def test_unknown_words_are_told_as_they_were_typed(prompt: str, unknown: list[str]) -> None:
    assert WORDS.unknown_words(prompt) == unknown


def test_one_text_is_no_list_of_texts() -> None:
    """Its letters would be ten prompts, in silence."""
    with pytest.raises(TypeError, match=r"write \['a red ball'\]"):
        WORDS.batch("a red ball", 16)
    assert WORDS.batch([], 16)[0].shape == (0, 1)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_cut_into_words(prompt: str) -> None:
    tokens, cut = WORDS.tokens(prompt, 6)
    assert tokens[-1] == WORDS.end
    assert WORDS.end not in tokens[:-1]
    assert WORDS.pad not in tokens
    assert len(tokens) <= 6
    assert prompt.endswith(cut)
    for word in WORDS.unknown_words(prompt):
        assert word in prompt


def test_a_word_that_was_never_learned_leaves_no_trace() -> None:
    said = WORDS.tokens("a red ball bounces", 9)
    assert WORDS.tokens("a photorealistic red, 8k ball bounces wildly", 9) == said
    assert WORDS.tokens("zebra", 9) == WORDS.tokens("", 9) == ([WORDS.end], "")
    # Nor does it take the place of one that was: what is cut off is what follows the words that fit.
    assert WORDS.tokens("some red zebra ball bounces here", 3) == (WORDS.tokens("red ball", 3)[0], "bounces here")


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5])
def test_what_does_not_fit_is_told_as_it_was_typed(length: int) -> None:
    prompt = "A red ball Bounces!"
    tokens, cut = WORDS.tokens(prompt, length)
    assert len(tokens) == length
    typed = prompt.split()[length - 1 :]
    assert cut == (prompt[prompt.index(typed[0]) :] if typed else "")


def test_a_batch_pads_and_masks() -> None:
    tokens, mask = WORDS.batch(["a red ball", "", "a"], 8)
    assert tokens.shape == (3, 4)
    assert mask.tolist() == [[True] * 4, [True, False, False, False], [True, True, False, False]]
    assert (tokens[~mask] == WORDS.pad).all()
    assert (tokens[mask] != WORDS.pad).all()


def test_a_file_says_the_same_words() -> None:
    again = Words.parse(WORDS.json())
    assert again.json() == WORDS.json()
    assert again.tokens("a red zebra", 9) == WORDS.tokens("a red zebra", 9)


def spoiled(change: str) -> str:
    table = json.loads(WORDS.json())
    words = table["model"]["vocab"]
    if change == "number":
        words["ball"] = 10**9
    elif change == "twice":
        words["ball"] = words["red"]
    elif change in (PAD, UNKNOWN, END):
        words[change.replace("[", "(")] = words.pop(change)
    elif change == "kind":
        table["model"] = {"type": "BPE", "vocab": words, "merges": []}
    return json.dumps(table)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is no tokeniser"),
        ("{}", "it is no tokeniser"),
        ("[1, 2]", "it is no tokeniser"),
        ("<!DOCTYPE html>", "it is no tokeniser"),
        (spoiled("number"), "are not numbered from 0 to 7"),
        (spoiled("twice"), "are not numbered from 0 to 7"),
        (spoiled(PAD), r"it lacks the token \[pad\]"),
        (spoiled(END), r"it lacks the token \[end\]"),
        (spoiled("kind"), "does not cut a text into words"),
    ],
)
def test_a_broken_tokenizer_is_refused(text: str, why: str) -> None:
    with pytest.raises(BadModel, match=why) as told:
        Words.parse(text, "some/tokenizer.json")
    assert str(told.value).startswith("some/tokenizer.json: ")


def test_a_file_cannot_have_prompts_cut_or_padded() -> None:
    table = json.loads(WORDS.json())
    table["truncation"] = {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0}
    pad = {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None}
    table["padding"] = pad | {"pad_id": 0, "pad_type_id": 0, "pad_token": PAD}
    assert Words.parse(json.dumps(table)).tokens("a red ball", 9) == WORDS.tokens("a red ball", 9)


def encoder() -> ClipText:
    torch.manual_seed(0)
    towers = CLIPConfig(
        vocab=len(WORDS),
        text_length=8,
        text_width=16,
        text_layers=1,
        text_heads=2,
        image=(16, 16),
        patch=16,
        vision_width=16,
        vision_layers=1,
        vision_heads=2,
        embed=8,
        causal=False,
    )
    return ClipText(towers, WORDS).requires_grad_(False)


def test_a_prompt_does_not_depend_on_its_neighbours() -> None:
    text = encoder()
    alone, both = text(["a ball"]), text(["a ball", "a red ball bounces"])
    torch.testing.assert_close(both["context"][:1, :3], alone["context"], atol=1e-6, rtol=0)
    assert both["mask"].tolist() == [[True] * 3 + [False] * 2, [True] * 5]
    torch.testing.assert_close(
        text.embed(["a ball", "a red ball bounces"])[:1], text.embed(["a ball"]), atol=1e-6, rtol=0
    )


def test_the_tokenizer_and_the_tower_belong_together() -> None:
    with pytest.raises(BadModel, match="same bundle"):
        ClipText(encoder().config, Words.of(("a",)))


def test_the_words_beside_their_states_say_what_the_states_may_lose() -> None:
    sizes = {"text_length": 16, "text_width": 32, "text_layers": 2, "text_heads": 2, "image": (16, 16), "patch": 8}
    sizes |= {"vision_width": 16, "vision_layers": 1, "vision_heads": 2, "causal": False}
    torch.manual_seed(0)
    alone = ClipText(CLIPConfig(vocab=len(WORDS), **sizes), WORDS)
    both = ClipText(CLIPConfig(vocab=len(WORDS), context="words+states", **sizes), WORDS)
    both.load_state_dict(alone.state_dict())
    prompts = ["a red ball bounces", "a ball"]
    states, found = alone(prompts)["context"], both(prompts)["context"]
    assert found.shape == (2, 5, both.config.context_width)
    assert both.config.context_width == 64
    torch.testing.assert_close(found[..., 32:], states)
    words = found[..., :32]
    torch.testing.assert_close(words.mean(-1), torch.zeros(2, 5), atol=1e-5, rtol=0)
    torch.testing.assert_close(words.var(-1, correction=0), torch.ones(2, 5), atol=0.05, rtol=0)
    # A word is the same whatever stands beside it, as its state is not.
    other = both(["a red ball red"])["context"]
    torch.testing.assert_close(other[0, :3, :32], words[0, :3])
    assert not torch.allclose(other[0, :3, 32:], found[0, :3, 32:])
    assert not torch.allclose(other[0, 3, :32], words[0, 3])
