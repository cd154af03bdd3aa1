"""Where, when, in which weather, in which mood; what changes around the subject, and what it leaves behind."""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """How a place is said: where something is; what something crosses; what something flies over; its name."""

    at: tuple[str, ...]
    across: tuple[str, ...]
    above: tuple[str, ...]
    name: tuple[str, ...]


PLACES: dict[str, Place] = {
    "meadow": Place(
        ("in a meadow", "in a meadow", "in the meadow", "on the grass", "in a grassy field"),
        ("across a meadow", "across the meadow", "through the grass", "through a meadow"),
        ("over a meadow", "above a meadow", "over the grass"),
        ("a meadow", "a meadow", "a grassy field"),
    ),
    "snowy park": Place(
        ("in a snow-covered park", "in a snow-covered park", "in a snowy park", "in a park in winter", "in a winter park"),
        ("through a snow-covered park", "through a snow-covered park", "through a snowy park", "across a snowy park"),
        ("over a snow-covered park", "above a snowy park"),
        ("a snow-covered park", "a snowy park", "a park in winter"),
    ),
    "snowfield": Place(
        ("on a snowfield", "on a snowfield", "on the snow", "on fresh snow", "in a snowy field", "in the snow"),
        ("across a snowfield", "across the snow", "across fresh snow", "across fresh snow", "through the snow"),
        ("over a snowfield", "above a snowfield", "over the snow"),
        ("a snowfield", "a snowy field", "a snowy plain"),
    ),
    "forest": Place(
        ("in a forest", "in a forest", "in the forest", "in the woods", "among the trees of a forest"),
        ("through a forest", "through the forest", "through the woods"),
        ("over a forest", "above the woods"),
        ("a forest", "a forest", "the woods"),
    ),
    "desert": Place(
        ("in a desert", "in the desert", "in the desert", "in the dunes", "in a sandy desert"),
        ("across a desert", "across the desert", "through the desert", "over the dunes"),
        ("over a desert", "above the desert", "over the dunes"),
        ("a desert", "the desert", "a sandy desert"),
    ),
    "beach": Place(
        ("on a beach", "on the beach", "at the beach", "on a sandy beach", "on the shore"),
        ("along a beach", "along the beach", "across the beach", "along the shore"),
        ("over a beach", "above the beach"),
        ("a beach", "a beach", "a sandy beach"),
    ),
    "city street": Place(
        ("on a city street", "on a city street", "on a street", "on the street", "in the city"),
        ("along a city street", "along the street", "down the street", "through the city"),
        ("over a city street", "above the street", "over the city"),
        ("a city street", "a city street", "a street in the city"),
    ),
    "sea": Place(
        ("on the sea", "on the sea", "at sea", "on the water", "on the ocean"),
        ("across the sea", "across the water", "over the waves", "across the ocean"),
        ("over the sea", "above the sea", "over the waves"),
        ("the sea", "the ocean", "the open sea"),
    ),
    "underwater": Place(
        ("underwater", "underwater", "under water", "under the sea", "deep under the sea", "on the sea floor"),
        ("underwater", "under the sea", "along the sea floor"),
        ("underwater", "under the sea"),
        ("an underwater scene", "the bottom of the sea"),
    ),
    "room": Place(
        ("in a room", "in a room", "in a living room", "in a living room", "indoors"),
        ("across a room", "through a living room", "through the room"),
        ("in a room", "in a living room"),
        ("a room", "a living room"),
    ),
    "outer space": Place(
        ("in outer space", "in outer space", "in space", "on the moon", "on the moon"),
        ("through outer space", "through space", "across the moon"),
        ("through outer space", "over the moon"),
        ("outer space", "the moon"),
    ),
    "night sky": Place(
        ("in the night sky", "in the night sky", "under the night sky", "in a starry sky", "against the night sky"),
        ("across the night sky", "through the night sky", "across a starry sky"),
        ("in the night sky", "across the night sky"),
        ("the night sky", "a starry sky"),
    ),
}  # fmt: skip

LIGHTS: dict[str, tuple[str, ...]] = {
    "morning": (
        "in the morning",
        "in the morning",
        "at dawn",
        "at sunrise",
        "in the early morning",
        "in morning light",
    ),
    "day": ("during the day", "by day", "in daylight", "at noon", "at midday", "in the daytime"),
    "dusk": ("at dusk", "at dusk", "at sunset", "at twilight", "in the evening", "in the twilight"),
    "night": ("at night", "at night", "by night", "in the dark", "at midnight"),
}
LIGHT_SENTENCES: dict[str, tuple[str, ...]] = {
    "morning": ("it is morning", "it is early morning"),
    "day": ("it is day", "it is daytime"),
    "dusk": ("it is dusk", "it is evening"),
    "night": ("it is night", "it is dark"),
}

# inside the sentence; in its own; both with the light: "on a foggy morning"
WEATHERS: dict[str, tuple[str, ...]] = {
    "clear": ("under a clear sky", "in clear weather"),
    "cloudy": (
        "under a cloudy sky",
        "under a cloudy sky",
        "under an overcast sky",
        "in cloudy weather",
        "under clouds",
    ),
    "rain": ("in the rain", "in the rain", "in rain", "in heavy rain", "while it rains", "as rain falls"),
    "snow": ("while it snows", "while it snows", "in snowfall", "in falling snow", "as snow falls", "in snowy weather"),
    "fog": ("in the fog", "in fog", "in thick fog", "in the mist", "in foggy weather"),
    "wind": ("in the wind", "in the wind", "in a strong wind", "in windy weather", "while the wind blows"),
}
WEATHER_SENTENCES: dict[str, tuple[str, ...]] = {
    "clear": ("the sky is clear", "the weather is clear"),
    "cloudy": ("the sky is cloudy", "the sky is overcast", "it is cloudy", "clouds cover the sky"),
    "rain": ("it is raining", "it rains", "rain falls", "rain is falling", "rain pours down"),
    "snow": ("it is snowing", "it snows", "snow falls", "snow is falling", "snowflakes fall"),
    "fog": ("it is foggy", "fog hangs in the air", "the air is misty", "there is thick fog"),
    "wind": ("it is windy", "the wind blows", "the wind is blowing", "a strong wind blows"),
}
WEATHER_KINDS: dict[str, tuple[str, ...]] = {
    "clear": ("clear",),
    "cloudy": ("cloudy", "cloudy", "overcast"),
    "rain": ("rainy",),
    "snow": ("snowy",),
    "fog": ("foggy", "foggy", "misty"),
    "wind": ("windy",),
}
LIGHT_NOUNS: dict[str, tuple[str, ...]] = {
    "morning": ("morning",), "day": ("day",), "dusk": ("evening",), "night": ("night",),
}  # fmt: skip
SUNNY = ("on a sunny day", "on a bright sunny day", "on a bright day")
"""A clear day."""

# what changes; the second half also says how it was before
TURNS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "dusk falls": (
        ("dusk falls", "dusk falls", "the sun sets", "the sun goes down", "evening comes"),
        ("day turns to dusk", "day turns to dusk", "day turns into evening"),
    ),
    "night falls": (
        ("night falls", "night falls", "it gets dark", "night comes"),
        ("dusk turns to night", "evening turns into night"),
    ),
    "day breaks": (
        ("day breaks", "the sun rises", "the sun comes up", "morning comes"),
        ("night turns to morning", "night turns into morning"),
    ),
    "rain begins": (
        ("it begins to rain", "it starts to rain", "it starts raining", "rain begins to fall"),
        ("clouds turn to rain",),
    ),
    "rain ends": ((), ("the rain stops", "the rain stops", "the rain ends", "it stops raining")),
    "snow begins": (
        ("it begins to snow", "it starts to snow", "it starts snowing", "snow begins to fall"),
        ("clouds turn to snow",),
    ),
    "snow ends": ((), ("the snow stops", "it stops snowing", "it stops snowing", "the snowfall ends")),
}
TURN_JOINTS = ("as", "as", "while")

# inside the sentence; apart from it; in a sentence
MOODS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "neutral": (("in natural colours",), ("natural colours",), ("the colours are natural",)),
    "warm": (
        ("in warm colours", "in warm colours", "in warm tones", "in a warm mood"),
        ("warm colours", "warm mood", "warm tones", "warm colors"),
        ("the mood is warm", "the colours are warm"),
    ),
    "cold": (
        ("in cold colours", "in cold colours", "in cold tones", "in a cold mood", "in cool tones"),
        ("cold colours", "cold mood", "cold tones", "cool colors"),
        ("the mood is cold", "the colours are cold"),
    ),
    "dreamy": (
        ("in a dreamy mood", "in soft dreamy colours", "as in a dream"),
        ("dreamy mood", "dreamy", "soft and dreamy", "dreamlike"),
        ("the mood is dreamy", "it looks like a dream"),
    ),
    "stark": (
        ("in stark contrast", "with high contrast", "in a stark mood"),
        ("stark mood", "stark contrast", "high contrast", "harsh contrast"),
        ("the mood is stark", "the contrast is high"),
    ),
}  # fmt: skip

TRACES: dict[str, tuple[str, ...]] = {
    "footprints": ("leaving footprints", "leaving footprints", "leaving a trail of footprints"),
    "wheels": ("leaving wheel tracks", "leaving tyre tracks"),
    "groove": ("leaving a trail", "leaving a long trail"),
    "wake": ("leaving a wake", "leaving a long wake"),
}
"""What one leaves behind, by `Scene.trace`."""
RINGS = ("making rings on the water", "as rings spread on the water")
INTO_SOFT: dict[str, str] = {
    "snowy park": "in the snow", "snowfield": "in the snow", "desert": "in the sand", "beach": "in the sand",
}  # fmt: skip
"""Ground that keeps traces, and where they then are."""

LAMPS = (
    "under lit street lamps", "with warm street lights", "by the light of street lamps", "between glowing street lights",
)  # fmt: skip
TREES = ("among bare trees", "between bare trees")
LAMPS_AND_TREES = (
    "with warm street lights filtering through bare trees",
    "with street lamps glowing between bare trees",
)
"""In the park in the evening."""
