"""What a run begins with: fresh weights, or those of a bundle; the words that its text tower knows."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import torch

from vitascope import bundle
from vitascope.bundle import System
from vitascope.errors import BadRecipe
from vitascope.models.dit import PLACES
from vitascope.physics.noise import key
from vitascope.recipe import Recipe
from vitascope.storybook import vocabulary
from vitascope.text import Words, words_in

FITTING = ("text", "codec", "network")
"""The tables of a recipe that say what weights are and mean."""

ROWS = "token_embedding.weight"
"""The tensor of the text tower that has a row for each word."""


def complete(recipe: Recipe, words: Words | None = None) -> Recipe:
    """The recipe with the number of its words: those of the storybook, unless others are given."""
    words = words or Words.of(vocabulary(recipe.world))
    return recipe.model_copy(update={"text": dataclasses.replace(recipe.text, vocab=len(words))})


def fresh(recipe: Recipe, words: Words | None = None) -> System:
    """The recipe's system before any training: its weights are a function of the recipe's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(recipe.seed, "weights"))
        return bundle.build(recipe, words or Words.of(vocabulary(recipe.world)))


class Described(NamedTuple):
    """What a run is to be: its recipe, but for the number of its words, and the stages that this names where it goes on from a
    bundle."""

    recipe: Recipe
    stages: tuple[str, ...]


def described(recipe: str, base: Path | None, name: str | None = None) -> Described:
    """A run by the name or path of its recipe; with `base` it goes on from that bundle.

    Raises BadRecipe, among others where the weights of the bundle, which messages call `name`, would not fit; BadModel.
    """
    if base is None:
        return Described(Recipe.read(recipe), ())
    before, _ = bundle.described(base)
    found, stages = Recipe.upon(recipe, before)
    for table in FITTING:
        wanted, there = dataclasses.asdict(getattr(found, table)), dataclasses.asdict(getattr(before, table))
        for entry, value in wanted.items():
            grown = entry == "vocab" or ((table, entry) == ("network", "places") and value)
            if value != there[entry] and not grown:
                raise BadRecipe(
                    f"recipe {recipe} from {name or base}: {table}.{entry} is {value!r} in the recipe and {there[entry]!r} in "
                    "the bundle, so its weights do not fit; leave the entry out of the recipe, or begin without --from."
                )
    return Described(found, stages)


def words_for(recipe: Recipe, base: Path | None, captions: Collection[str] | None) -> Words:
    """The words of a run that begins: those of the captions of somebody's own films that it is trained on; None: the storybook's.

    Where it goes on from the bundle `base`, they come behind the words that this knows, and behind those of another world of the
    storybook where the run learns that. Raises BadModel.
    """
    if base is None:
        return Words.of(vocabulary(recipe.world)) if captions is None else Words.found_in(captions)
    before, words = bundle.described(base)
    known = words if recipe.world == before.world else words.with_new(vocabulary(recipe.world))
    return known.with_new(words_in(captions or ()))


def words_of(base: Path) -> Words:
    """The words that a bundle's text tower knows. Raises BadModel."""
    return bundle.described(base)[1]


def begun(recipe: Recipe, base: Path, words: Words) -> System:
    """The recipe's system with the weights of a bundle and its whitening. It knows `words`, which begin with the bundle's own;
    the rows of others are fresh, and stay so where the text tower is not trained: it is enough that no two words are alike, and
    the network learns what each is for.

    Raises BadModel.
    """
    before = bundle.load(base)
    system = fresh(recipe, words)
    for name, module in system.parts().items():
        known, own = before.parts()[name].state_dict(), module.state_dict()
        for key_, value in known.items():
            if key_ == ROWS and len(value) < len(own[key_]):
                known[key_] = torch.cat((value, own[key_][len(value) :]))
        if PLACES in own and PLACES not in known:
            known[PLACES] = own[PLACES]
        module.load_state_dict(known)
    return system
