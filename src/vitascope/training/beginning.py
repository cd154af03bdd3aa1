"""What a run begins with: fresh weights, or those of a bundle; the words that its text tower knows."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from vitascope import bundle
from vitascope.bundle import System
from vitascope.errors import BadRecipe
from vitascope.models.dit import PLACES
from vitascope.physics.noise import key
from vitascope.recipe import Recipe
from vitascope.storybook import vocabulary
from vitascope.text import Words

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


def described(recipe: str, base: Path | None, name: str | None = None) -> tuple[Recipe, tuple[str, ...]]:
    """A recipe by its name or path, and the stages that it names; with `base` it goes on from that bundle.

    Raises BadRecipe, among others where the weights of the bundle, which messages call `name`, would not fit; BadModel.
    """
    if base is None:
        alone = Recipe.read(recipe)
        return alone, ()
    before, words = bundle.described(base)
    found, stages = Recipe.upon(recipe, before)
    found = complete(found, words_for(found, before, words))
    for table in FITTING:
        wanted, there = dataclasses.asdict(getattr(found, table)), dataclasses.asdict(getattr(before, table))
        for entry, value in wanted.items():
            grown = entry == "vocab" or ((table, entry) == ("network", "places") and value)
            if value != there[entry] and not grown:
                raise BadRecipe(
                    f"recipe {recipe} from {name or base}: {table}.{entry} is {value!r} in the recipe and {there[entry]!r} in "
                    "the bundle, so its weights do not fit; leave the entry out of the recipe, or begin without --from."
                )
    return found, stages


def words_for(recipe: Recipe, before: Recipe, words: Words) -> Words:
    """The words of a run that goes on from a bundle of the recipe `before`: those that it knows, and where the run learns
    another world of the storybook, that world's beside them."""
    return words if recipe.world == before.world else words.with_new(vocabulary(recipe.world))


def words_of(base: Path) -> Words:
    """The words that a bundle's text tower knows. Raises BadModel."""
    return bundle.described(base)[1]


def begun(recipe: Recipe, base: Path) -> System:
    """The recipe's system with the weights of a bundle, its whitening and its words; rows of new words are fresh.

    Raises BadModel.
    """
    before = bundle.load(base)
    system = fresh(recipe, words_for(recipe, before.recipe, before.text.words))
    for name, module in system.parts().items():
        known, own = before.parts()[name].state_dict(), module.state_dict()
        for key_, value in known.items():
            if key_ == ROWS and len(value) < len(own[key_]):
                known[key_] = torch.cat((value, own[key_][len(value) :]))
        if PLACES in own and PLACES not in known:
            known[PLACES] = own[PLACES]
        module.load_state_dict(known)
    return system
