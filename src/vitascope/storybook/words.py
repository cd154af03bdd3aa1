"""The words of the storybook: how each label can be said.

Everything a caption can contain stands in these tables, so that `captions.vocabulary` is read off them. What stands
twice is said twice as often. A word stands for one value of an attribute only; where a phrase shares a word with
another attribute ("snow falls", "the camera moves left"), the rest of the phrase tells which is meant.
"""

from __future__ import annotations

NOUNS: dict[str, tuple[str, ...]] = {
    "ball": ("ball", "ball", "ball", "sphere"),
    "box": ("box", "box", "box", "crate", "parcel"),
    "star": ("star",),
    "heart": ("heart",),
    "balloon": ("balloon",),
    "car": ("car", "car", "car", "automobile"),
    "fish": ("fish",),
    "boat": ("boat", "boat", "boat", "sailboat", "ship"),
    "tree": ("tree",),
}

COLOURS: dict[str, tuple[str, ...]] = {
    "red": ("red", "red", "red", "red", "crimson", "scarlet"),
    "green": ("green", "green", "green", "green", "emerald"),
    "blue": ("blue", "blue", "blue", "blue", "azure"),
    "yellow": ("yellow", "yellow", "yellow", "yellow", "golden"),
    "purple": ("purple", "purple", "purple", "violet"),
    "orange": ("orange",),
    "white": ("white",),
    "black": ("black",),
}

# (third person, gerund)
VERBS: dict[str, tuple[tuple[str, str], ...]] = {
    "rises": (
        ("rises", "rising"),
        ("rises", "rising"),
        ("rises up", "rising up"),
        ("ascends", "ascending"),
        ("goes up", "going up"),
        ("floats up", "floating up"),
        ("moves up", "moving up"),
        ("flies upwards", "flying upwards"),
    ),
    "falls": (
        ("falls", "falling"),
        ("falls", "falling"),
        ("falls down", "falling down"),
        ("drops", "dropping"),
        ("drops to the ground", "dropping to the ground"),
        ("comes down", "coming down"),
        ("goes down", "going down"),
    ),
    "bounces": (
        ("bounces", "bouncing"),
        ("bounces", "bouncing"),
        ("bounces up and down", "bouncing up and down"),
        ("hops", "hopping"),
        ("jumps", "jumping"),
        ("jumps up and down", "jumping up and down"),
    ),
    "rolls": (
        ("rolls", "rolling"),
        ("rolls", "rolling"),
        ("rolls along", "rolling along"),
        ("rolls over and over", "rolling over and over"),
        ("tumbles", "tumbling"),
    ),
    "spins": (
        ("spins", "spinning"),
        ("spins", "spinning"),
        ("spins around", "spinning around"),
        ("rotates", "rotating"),
        ("turns around", "turning around"),
        ("whirls", "whirling"),
        ("twirls", "twirling"),
    ),
    "moves left": (
        ("moves left", "moving left"),
        ("moves left", "moving left"),
        ("moves to the left", "moving to the left"),
        ("drifts left", "drifting left"),
        ("slides to the left", "sliding to the left"),
        ("glides left", "gliding left"),
        ("goes left", "going left"),
        ("travels to the left", "travelling to the left"),
    ),
    "moves right": (
        ("moves right", "moving right"),
        ("moves right", "moving right"),
        ("moves to the right", "moving to the right"),
        ("drifts right", "drifting right"),
        ("slides to the right", "sliding to the right"),
        ("glides right", "gliding right"),
        ("goes right", "going right"),
        ("travels to the right", "travelling to the right"),
    ),
    "grows": (
        ("grows", "growing"),
        ("grows", "growing"),
        ("grows larger", "growing larger"),
        ("gets bigger", "getting bigger"),
        ("gets larger", "getting larger"),
        ("becomes larger", "becoming larger"),
        ("expands", "expanding"),
    ),
    "stays still": (
        ("stays still", "staying still"),
        ("stays still", "staying still"),
        ("stands still", "standing still"),
        ("rests", "resting"),
        ("remains still", "remaining still"),
        ("sits still", "sitting still"),
        ("waits", "waiting"),
        ("stands motionless", "standing motionless"),
    ),
}

# a subject's own way of moving sideways
OWN_VERBS: dict[str, tuple[str, str]] = {
    "car": ("drives", "driving"),
    "fish": ("swims", "swimming"),
    "boat": ("sails", "sailing"),
    "balloon": ("floats", "floating"),
}

SIDES: dict[str, tuple[str, ...]] = {
    "moves left": ("left", "to the left"),
    "moves right": ("right", "to the right"),
}

TRAVELS = ("bounces", "rolls", "moves left", "moves right")
"""Actions after which a place can follow with "across"."""

PLACES: dict[str, tuple[str, ...]] = {
    "meadow": ("in a meadow", "in a meadow", "on a meadow", "in the meadow", "on the grass", "in a grassy field"),
    "snowfield": (
        "on a snowfield",
        "on a snowfield",
        "in a snowfield",
        "in the snow",
        "on the snow",
        "in a snowy field",
        "on a snowy plain",
    ),
    "desert": ("in a desert", "in the desert", "in the desert", "on the sand", "in the dunes", "in a sandy desert"),
    "sea": ("on the sea", "on the sea", "at sea", "on the water", "on the ocean", "over the waves", "at the sea"),
    "forest": ("in a forest", "in a forest", "in the forest", "in the woods", "by a forest", "in a pine forest"),
    "night sky": (
        "in the night sky",
        "in the night sky",
        "under a night sky",
        "under the night sky",
        "in a starry sky",
        "against the night sky",
        "above the clouds at night",
    ),
}

ACROSS: dict[str, tuple[str, ...]] = {
    "meadow": ("across a meadow", "across the meadow", "through the grass", "over a meadow"),
    "snowfield": ("across a snowfield", "across the snow", "through the snow", "over a snowfield"),
    "desert": ("across a desert", "across the desert", "through the desert", "over the sand"),
    "sea": ("across the sea", "across the water", "over the sea", "over the ocean"),
    "forest": ("through a forest", "through the forest", "through the woods", "across a forest"),
    "night sky": ("across the night sky", "through the night sky", "across a starry sky"),
}

PLACE_NAMES: dict[str, tuple[str, ...]] = {
    "meadow": ("a meadow", "the meadow", "a grassy field"),
    "snowfield": ("a snowfield", "the snowfield", "a snowy field"),
    "desert": ("a desert", "the desert", "a sandy desert"),
    "sea": ("the sea", "the ocean", "the open sea"),
    "forest": ("a forest", "the forest", "the woods"),
    "night sky": ("the night sky", "a night sky", "a starry sky"),
}

LIGHTS: dict[str, tuple[str, ...]] = {
    "morning": (
        "in the morning",
        "in the morning",
        "at dawn",
        "at sunrise",
        "in the early morning",
        "in morning light",
    ),
    "day": ("during the day", "by day", "in daylight", "at noon", "at midday", "in the daytime", "in bright daylight"),
    "dusk": ("at dusk", "at dusk", "at sunset", "at twilight", "in the evening", "in the twilight"),
    "night": ("at night", "at night", "by night", "by moonlight", "in the dark", "in the moonlight"),
}

LIGHT_SENTENCES: dict[str, tuple[str, ...]] = {
    "morning": ("it is morning", "it is early morning", "the morning is pale"),
    "day": ("it is day", "it is a bright day", "the day is bright"),
    "dusk": ("it is dusk", "the sun sets", "the evening glows"),
    "night": ("it is night", "it is dark", "the moon shines"),
}

# inside the sentence
WEATHERS: dict[str, tuple[str, ...]] = {
    "clear": ("under a clear sky", "in clear weather", "below a clear sky"),
    "rain": ("in the rain", "in the rain", "in rain", "in rainy weather", "while it rains", "as rain falls"),
    "snow": ("while it snows", "while it snows", "in snowfall", "in falling snow", "as snow falls", "in snowy weather"),
}

WEATHER_SENTENCES: dict[str, tuple[str, ...]] = {
    "clear": ("the sky is clear", "the weather is clear", "it is clear"),
    "rain": ("it is raining", "it rains", "rain falls", "rain is falling", "the weather is rainy", "rain pours down"),
    "snow": ("it is snowing", "it snows", "snow falls", "snow is falling", "snowflakes fall", "snow comes down"),
}

PLAIN_WEATHER = {"clear": "the sky is clear", "rain": "rain falls", "snow": "snow falls"}

# inside the sentence
CAMERAS: dict[str, tuple[str, ...]] = {
    "still": ("in a still shot", "with a fixed camera", "with a static camera"),
    "pans left": ("as the camera pans left", "while the camera pans left", "with a pan to the left"),
    "pans right": ("as the camera pans right", "while the camera pans right", "with a pan to the right"),
    "zooms in": ("as the camera zooms in", "while the camera zooms in", "with a zoom in"),
    "zooms out": ("as the camera zooms out", "while the camera zooms out", "with a zoom out"),
}

CAMERA_SENTENCES: dict[str, tuple[str, ...]] = {
    "still": ("the camera is still", "the camera does not move", "the camera stays fixed", "static camera"),
    "pans left": (
        "the camera pans left",
        "the camera pans left",
        "the camera pans to the left",
        "the camera moves to the left",
        "panning left",
        "camera panning left",
    ),
    "pans right": (
        "the camera pans right",
        "the camera pans right",
        "the camera pans to the right",
        "the camera moves to the right",
        "panning right",
        "camera panning right",
    ),
    "zooms in": (
        "the camera zooms in",
        "the camera zooms in",
        "the camera zooms in slowly",
        "the camera moves closer",
        "zooming in",
        "camera zooming in",
    ),
    "zooms out": (
        "the camera zooms out",
        "the camera zooms out",
        "the camera zooms out slowly",
        "the camera moves away",
        "zooming out",
        "camera zooming out",
    ),
}

ARTICLES = ("a", "a", "a", "a", "a", "a", "a", "the", "the", "one", "", "")
ELIDED = "an"

# {who} a subject with its article, {verb} and {doing} what it does; {where} stands for whatever follows in the sentence
SENTENCES = (
    "{who} {verb} {where}",
    "{who} {verb} {where}",
    "{who} {verb} {where}",
    "{who} {doing} {where}",
    "{who} {doing} {where}",
    "{who} is {doing} {where}",
    "{where}, {who} {verb}",
    "{where}, {who} is {doing}",
    "{who} that {verb} {where}",
    "there is {who} {doing} {where}",
    "a video of {who} {doing} {where}",
    "a clip of {who} that {verb} {where}",
    "{who} {where}, {doing}",
    "{who} {where} {verb}",
)
IDLE_SENTENCES = ("{who} {where}", "there is {who} {where}", "a video of {who} {where}", "{where}, there is {who}")
TWO_SENTENCES = ("{who} {where}. it {verb}", "there is {who} {where}. it is {doing}", "we see {who} {where}. it {verb}")
SCENES = ("{place_name} {light}", "this is {place_name} {light}", "a video of {place_name} {light}")
JOINTS = (", ", ", ", ", and ", ". ", ". ", " and ")
