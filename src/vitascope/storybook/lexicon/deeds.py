"""What is done: verbs in their plain form, which `inflection` conjugates.

The first word of a phrase is the verb; another one has a "+" before it. A subject's own verbs replace the general ones. "moves" is
what "moves left" and "moves right" share.
"""

from __future__ import annotations

Deeds = dict[str, tuple[str, ...]]

GENERAL: Deeds = {
    "moves": ("move", "move", "go", "slide", "glide"),
    "rolls": ("roll", "roll", "roll along", "tumble", "roll over and over"),
    "rises": ("rise", "rise", "rise up", "go up", "move up", "ascend"),
    "falls": ("fall", "fall", "fall down", "drop", "come down"),
    "bounces": ("bounce", "bounce", "bounce up and down", "hop", "jump up and down"),
    "spins": ("spin", "spin", "spin around", "rotate", "turn around", "whirl"),
    "approaches": ("approach", "approach", "come closer", "come towards the camera", "move towards the camera", "get closer"),
    "leaves": ("move away", "leave", "go away", "recede", "recede into the distance", "move away from the camera"),
    "swings": ("swing", "swing back and forth", "swing from side to side", "swing like a pendulum", "swing to and fro"),
    "floats": ("float", "float", "float in the air", "hover", "hover in place"),
    "orbits": ("go around in circles", "circle around", "circle around", "orbit", "move in a circle", "go round and round"),
    "grows": ("grow", "grow", "grow larger", "get bigger", "get larger", "expand"),
    "shrinks": ("shrink", "shrink", "get smaller", "get smaller and smaller"),
    "stays still": ("stay still", "stay still", "stand still", "rest", "remain still", "stand motionless"),
    "shatters": (
        "shatter", "fall and +shatter", "fall and +shatter", "drop and +break to pieces", "shatter into pieces",
        "fall and +break into fragments",
    ),
    "splashes": (
        "drop into the sea with a splash", "fall into the water with a splash", "splash into the water", "splash into the sea",
        "splash into the ocean", "fall into the water",
    ),
}  # fmt: skip

_PERSON: Deeds = {
    "walks": ("walk", "walk", "walk", "stroll", "stroll", "wander"),
    "runs": ("run", "run", "run", "jog", "sprint", "dash"),
    "bounces": ("jump", "jump up and down", "hop", "hop up and down", "bounce up and down"),
    "spins": ("spin", "spin around", "turn around", "whirl around"),
    "approaches": ("approach", "come closer", "walk towards the camera", "walk towards the camera", "come towards us"),
    "leaves": ("walk away", "walk away", "leave", "walk away from the camera", "walk off into the distance", "go away"),
    "stays still": ("stand still", "stand still", "stay still", "stand", "stand motionless", "remain still"),
}
_ANIMAL: Deeds = _PERSON | {
    "walks": ("walk", "walk", "trot", "trot", "trot along", "wander"),
    "runs": ("run", "run", "run", "sprint", "dash", "dash"),
    "approaches": ("approach", "come closer", "trot towards the camera", "walk towards the camera", "come towards us"),
    "leaves": ("walk away", "leave", "trot away", "trot off into the distance", "go away"),
}
_WINGED: Deeds = {
    "moves": ("fly", "fly", "fly", "glide"),
    "rises": ("rise", "fly up", "fly up", "ascend"),
    "floats": ("hover", "hover in the air", "float in the air"),
    "orbits": ("fly in circles", "fly in circles", "circle around", "fly round and round"),
    "approaches": ("approach", "come closer", "fly towards the camera", "fly towards us"),
    "leaves": ("fly away", "fly away", "leave", "fly off into the distance"),
    "stays still": ("stay still", "stay still", "remain still"),
}

OWN: dict[str, Deeds] = {
    "woman": _PERSON,
    "man": _PERSON,
    "child": _PERSON,
    "fox": _ANIMAL,
    "dog": _ANIMAL,
    "cat": _ANIMAL,
    "bird": _WINGED,
    "butterfly": _WINGED | {"moves": ("fly", "flutter", "flutter"), "floats": ("hover in the air", "flutter in the air")},
    "fish": {
        "moves": ("swim", "swim", "swim", "glide"),
        "rises": ("rise", "swim up", "swim up"),
        "falls": ("sink", "sink", "swim down"),
        "floats": ("float", "float in place", "hover in place"),
        "orbits": ("swim in circles", "swim in circles", "circle around", "swim round and round"),
        "approaches": ("approach", "come closer", "swim towards the camera", "swim towards us"),
        "leaves": ("swim away", "swim away", "leave", "swim off into the distance"),
        "stays still": ("stay still", "stay still", "remain still"),
    },
    "car": {
        "moves": ("drive", "drive", "drive", "go"),
        "approaches": ("approach", "come closer", "drive towards the camera", "drive towards us"),
        "leaves": ("drive away", "drive away", "leave", "drive off into the distance"),
        "stays still": ("stand still", "stand still", "stay still", "remain still"),
    },
    "bicycle": {
        "moves": ("ride", "ride", "ride along", "go"),
        "stays still": ("stand still", "stand still", "stay still", "remain still"),
    },
    "boat": {
        "moves": ("sail", "sail", "sail", "glide"),
        "floats": ("float", "bob up and down", "bob up and down", "bob up and down"),
        "approaches": ("approach", "come closer", "sail towards the camera", "sail towards us"),
        "leaves": ("sail away", "sail away", "leave", "sail off into the distance"),
    },
    "rocket": {
        "rises": ("rise", "launch", "launch", "lift off", "lift off"),
        "falls": ("fall", "come down", "sink"),
        "floats": ("float", "hover", "hover in place"),
        "approaches": ("approach", "come closer", "fly towards the camera", "fly towards us"),
        "leaves": ("fly away", "leave", "fly off into the distance"),
    },
    "balloon": {
        "moves": ("drift", "drift", "drift", "move", "glide"),
        "rises": ("rise", "rise", "float up", "drift up", "go up"),
    },
    "lantern": {"rises": ("rise", "float up", "go up"), "stays still": ("stay still", "stand still", "remain still")},
    "kite": {
        "moves": ("fly", "fly", "drift", "glide"),
        "rises": ("rise", "fly up", "fly up", "ascend"),
        "floats": ("float in the air", "float in the air", "hover", "fly in place"),
    },
    "tree": {"stays still": ("stand still", "stand", "stand", "stay still")},
    "house": {"stays still": ("stand still", "stand", "stand", "stay still")},
}  # fmt: skip

ALOFT: Deeds = {"rises": ("rise", "fly up", "fly up", "ascend")}
"""What a rocket does where there is no ground to leave."""

# how the two halves of a shot are said: {first} comes before where it happens, the rest after it
STOPS = (
    "{first} / , then +stop", "{first} / , then +stop", "{first} / and then +stop", "{first} / and +come to a stop",
    "{first} / , then +stay still",
)  # fmt: skip
WAITS = (
    "wait / , then +{first}", "wait / and then +{first}", "wait a moment / , then +{first}", "pause / , then +{first}",
    "stay still / , then +{first}",
)  # fmt: skip
BEATS: dict[str, tuple[str, ...]] = {
    "stops": STOPS,
    "waits": WAITS,
    "speeds up": (
        "{first} / , then +speed up", "{first} / , then +speed up", "{first} / and then +speed up",
        "{first} / , then +break into a run",
    ),
    "falls": (
        "{first} / , then +fall", "{first} / , then +fall", "{first} / and then +fall down again", "{first} / , then +drop",
        "{first} / and +come down again",
    ),
    "shrinks": (
        "{first} / , then +shrink", "{first} / , then +shrink", "{first} / and then +shrink again",
        "{first} / and then +get smaller",
    ),
}  # fmt: skip

PURSUITS: dict[str, tuple[str, ...]] = {
    "follows": ("follow {other}", "follow {other}", "follow {other}", "walk after {other}"),
    "chases": ("chase {other}", "chase {other}", "chase {other}", "run after {other}"),
}
"""What is done to {other}, the second subject with its article; "after" tells that it walks or runs."""
