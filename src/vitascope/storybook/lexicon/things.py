"""Who and what: nouns, colours, sizes, numbers, dress."""

from __future__ import annotations

Noun = tuple[str, str]
"""One of them, several of them."""

NOUNS: dict[str, tuple[Noun, ...]] = {
    "ball": (("ball", "balls"), ("ball", "balls"), ("sphere", "spheres")),
    "box": (("box", "boxes"), ("box", "boxes"), ("crate", "crates")),
    "star": (("star", "stars"),),
    "heart": (("heart", "hearts"),),
    "balloon": (("balloon", "balloons"),),
    "lantern": (("lantern", "lanterns"),),
    "kite": (("kite", "kites"),),
    "woman": (("woman", "women"), ("woman", "women"), ("woman", "women"), ("lady", "ladies")),
    "man": (("man", "men"),),
    "child": (("child", "children"), ("child", "children"), ("kid", "kids")),
    "fox": (("fox", "foxes"),),
    "dog": (("dog", "dogs"),),
    "cat": (("cat", "cats"),),
    "bird": (("bird", "birds"),),
    "butterfly": (("butterfly", "butterflies"),),
    "fish": (("fish", "fish"),),
    "car": (("car", "cars"), ("car", "cars"), ("automobile", "automobiles")),
    "bicycle": (("bicycle", "bicycles"), ("bike", "bikes")),
    "boat": (("boat", "boats"), ("boat", "boats"), ("sailboat", "sailboats"), ("ship", "ships")),
    "rocket": (("rocket", "rockets"), ("rocket", "rockets"), ("spaceship", "spaceships")),
    "tree": (("tree", "trees"),),
    "house": (("house", "houses"), ("house", "houses"), ("cottage", "cottages")),
    "glass": (("glass", "glasses"),),
    "stone": (("stone", "stones"), ("stone", "stones"), ("rock", "rocks")),
}

PERSON: Noun = ("person", "people")
"""What leaves open which of the people it is."""

PRONOUNS: dict[str, str] = {"woman": "she", "man": "he", "child": "the child"}
"""Beside "it" for one and "they" for several."""
OTHER_PRONOUNS = ("it", "they")

COLOURS: dict[str, tuple[str, ...]] = {
    "red": ("red", "red", "red", "red", "crimson", "scarlet"),
    "green": ("green", "green", "green", "emerald"),
    "blue": ("blue", "blue", "blue", "azure"),
    "yellow": ("yellow", "yellow", "yellow", "golden"),
    "purple": ("purple", "purple", "violet"),
    "orange": ("orange",),
    "white": ("white",),
    "black": ("black",),
    "pink": ("pink",),
    "brown": ("brown",),
    "grey": ("grey", "grey", "gray"),
}

GINGER = ("orange", "orange", "ginger")
"""The orange of a cat or a dog."""

SIZES: dict[str, tuple[str, ...]] = {
    "small": ("small", "small", "tiny", "little"),
    "large": ("large", "big", "big", "huge"),
}

COUNTS: dict[str, tuple[str, ...]] = {
    "two": ("two", "two", "two", "a pair of"),
    "three": ("three", "three", "three", "a group of three"),
}
UNCOUNTED = ("", "some")

# {colour} is the coat's or the scarf's; the second form is for several people
DRESS: dict[str, tuple[Noun, ...]] = {
    "coat": (
        ("in a {colour} coat", "in {colour} coats"),
        ("in a {colour} coat", "in {colour} coats"),
        ("wearing a {colour} coat", "wearing {colour} coats"),
        ("dressed in a {colour} coat", "dressed in {colour} coats"),
    ),
    "scarf": (
        ("with a {colour} scarf", "with {colour} scarves"),
        ("with a {colour} scarf", "with {colour} scarves"),
        ("in a {colour} scarf", "in {colour} scarves"),
        ("wearing a {colour} scarf", "wearing {colour} scarves"),
    ),
}
CLOTHED = ("in {colour}", "in {colour}", "dressed in {colour}")
"""The colour of a person in a coat, when the coat is left out."""

ARTICLES = ("a", "a", "a", "a", "a", "a", "the", "the", "one", "")
ELIDED = "an"
DEFINITE = "the"
