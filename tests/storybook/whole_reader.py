"""An independent reader of the whole world's captions: what each phrase says, by patterns written apart from the grammar."""

from __future__ import annotations

import re

CAMERA = {
    "pans left": r"camera (pans|panning)( to the)? left|pan to the left|pan(ning)? left|the camera moves to the left",
    "pans right": r"camera (pans|panning)( to the)? right|pan to the right|pan(ning)? right|the camera moves to the right",
    "tilts up": r"(camera tilt(s|ing)|tilt) up(ward)?|upward tilt|camera looks up",
    "tilts down": r"(camera tilt(s|ing)|tilt) down(ward)?|downward tilt|camera looks down",
    "zooms in": r"zoom(s|ing)? in( slowly)?|the camera moves closer",
    "zooms out": r"zoom(s|ing)? out( slowly)?|the camera moves back",
    "tracks": r"tracking shot|camera (follows|tracks|following|tracking|moves along with)( the \w+)?",
    "circles": r"(orbit|arc) shot|camera (orbits|arcs|orbiting)( around)?( the \w+)?",
    "still": r"static (camera|shot)|still shot|fixed camera|camera is still|camera does not move|camera stays fixed",
}
MOOD = {
    "neutral": r"colours are natural|natural colours",
    "warm": r"mood is warm|warm (mood|tones|colou?rs)|colours are warm",
    "cold": r"mood is cold|(cold|cool) (mood|tones|colou?rs)|colours are cold",
    "dreamy": r"dream(y|like)?|mood is dreamy|soft",
    "stark": r"stark|contrast",
}
TURN = {
    "dusk falls": r"dusk falls|sun (sets|goes down)|evening comes|day turns (to dusk|into evening)",
    "night falls": r"night falls|gets dark|night comes|dusk turns to night|evening turns into night",
    "day breaks": r"day breaks|sun (rises|comes up)|morning comes|night turns (in)?to morning",
    "rain begins": r"(begins|starts) to rain|starts raining|rain begins to fall|clouds turn to rain",
    "rain ends": r"rain (stops|ends)|stops raining",
    "snow begins": r"(begins|starts) to snow|starts snowing|snow begins to fall|clouds turn to snow",
    "snow ends": r"snow stops|stops snowing|snowfall ends",
}
LAMPS = r"with warm street lights( filtering through bare trees)?|lit street lamps|light of street lamps|glowing street lights"
LAMPS += r"|street lamps glowing between bare trees"
TREES = r"bare trees"
FOOTPRINTS = r"leaving (a trail of )?footprints( in the (snow|sand))?"
WHEELS = r"leaving (wheel|tyre) tracks( in the (snow|sand))?"
TRAIL = r"leaving a (long )?trail( in the (snow|sand))?"
WAKE = r"leaving a (long )?wake"
WEATHER = {
    "clear": r"clear (sky|weather)|sky is clear|weather is clear|clear (?=(morning|day|evening|night))|sunny|bright",
    "cloudy": r"cloud\w*|overcast",
    "rain": r"rain\w*( falls| is falling| pours down)?",
    "snow": r"snowing|it snows|falling snow|snowfall|snow (is )?fall(ing|s)|snowy weather|snowflakes fall"
    r"|snowy (?=(morning|day|evening|night))",
    "fog": r"fog\w*( hangs in the air)?|mist\w*|the air is misty",
    "wind": r"wind\w*",
}
PLACE = {
    "meadow": r"meadow|grass\w*( field)?",
    "snowy park": r"snow-covered park|snowy park|park in winter|winter park",
    "snowfield": r"snowfield|the snow\b|fresh snow|snowy (field|plain)",
    "forest": r"(trees of a )?forest|woods",
    "desert": r"(sandy )?desert|dunes",
    "beach": r"(sandy )?beach|shore",
    "city street": r"(down the )?(city )?street( in the city)?|the city",
    "underwater": r"(deep )?under (the sea|water)|underwater( scene)?|sea floor|bottom of the sea",
    "sea": r"(the|at|open) sea|(on|across|through|in) the water|(?<=into )the water|ocean|waves",
    "room": r"(living )?room|indoors",
    "outer space": r"(outer )?space\b|the moon",
    "night sky": r"night sky|starry sky",
}
LIGHT = {
    "morning": r"morning|dawn|sunrise",
    "day": r"\bday\b|daylight|daytime|noon|midday",
    "dusk": r"dusk|sunset|twilight|evening",
    "night": r"\bnight\b|\bdark\b|midnight",
}
COLOUR = {
    "red": r"red|crimson|scarlet", "green": r"green|emerald", "blue": r"blue|azure", "yellow": r"yellow|golden",
    "purple": r"purple|violet", "orange": r"orange|ginger", "white": r"white", "black": r"black", "pink": r"pink",
    "brown": r"brown", "grey": r"gr[ea]y",
}  # fmt: skip
SIZE = {"small": r"small|tiny|little", "large": r"large|big|huge"}
NOUNS = {
    "ball": ("ball sphere", "balls spheres"), "box": ("box crate", "boxes crates"), "star": ("star", "stars"),
    "heart": ("heart", "hearts"), "balloon": ("balloon", "balloons"), "lantern": ("lantern", "lanterns"),
    "kite": ("kite", "kites"), "woman": ("woman lady", "women ladies"), "man": ("man", "men"),
    "child": ("child kid", "children kids"), "fox": ("fox", "foxes"), "dog": ("dog", "dogs"), "cat": ("cat", "cats"),
    "bird": ("bird", "birds"), "butterfly": ("butterfly", "butterflies"), "fish": ("fish", "fish"),
    "car": ("car automobile", "cars automobiles"), "bicycle": ("bicycle bike", "bicycles bikes"),
    "boat": ("boat sailboat ship", "boats sailboats ships"), "rocket": ("rocket spaceship", "rockets spaceships"),
    "tree": ("tree", "trees"), "house": ("house cottage", "houses cottages"), "glass": ("glass", "glasses"),
    "stone": ("stone rock", "stones rocks"),
}  # fmt: skip
COUNT = {"two": r"two|pair", "three": r"three"}
BEAT = {
    "waits": r"\b(wait|paus)(s|es|e|ing)?\b( a moment)?|stay(s|ing)? still(?=.*\bthen )",
    "stops": r"(, then|and then|and) (stop\w*|com\w+ to a stop|stay\w* still)",
    "speeds up": r"speed(s|ing)? up|break(s|ing)? into a run",
    "falls": r"then (fall|drop)\w*( down again)?|and com(e|es|ing) down again",
    "shrinks": r"then (shrink\w*( again)?|get\w* smaller)",
}
OTHER = rf"an? (\w+ )?({'|'.join(form for one, _ in NOUNS.values() for form in one.split())})( in \w+)?"
RELATION = {
    "left of": rf"(to the |on the )?left of\b|with {OTHER} (on|to) the right",
    "right of": rf"(to the |on the )?right of\b|with {OTHER} (on|to) the left",
    "behind": r"\bbehind\b|in front|in the foreground",
    "follows": r"follow(s|ing|ed by)?\b|(walk)(s|ing)? after",
    "chases": r"chas(e|es|ing|ed by)\b|(run)(s|ning)? after",
}
HEADING = {
    "left": r"(to|towards) the left|\bleft\b",
    "right": r"(to|towards) the right|\bright\b",
}
STILL = r"(stay|stand|remain)\w* (still|motionless)|\bstand(s|ing)?\b|\brest(s|ing)?\b"
# read in this order, each cut out before the next
ACTION = {
    "approaches": r"approach\w*|(\w+ )?towards (the camera|us)|(com|get)\w* closer",
    "leaves": r"\w+ away( from the camera)?|(\w+ )?(off )?into the distance|reced\w+|\bleav(e|es|ing)\b",
    "shatters": r"(fall|drop)\w* and (shatter|break)\w*( to pieces| into fragments)?|shatter\w*( into pieces)?",
    "splashes": r"(drop|fall|splash)\w* into (the )?_( with a splash)?",
    "orbits": r"go\w* around in circles|\w+ in circles|\w+ round and round|\w+ in a circle|circl\w+ around|orbit\w*",
    "swings": r"swing\w*( back and forth| to and fro| from side to side)?( like a pendulum)?",
    "floats": r"(float|hover|flutter)\w* in (the (air|water)|place)|\bfl\w+ in place|bob\w* (up and down|on the)"
    r"|hover\w*|\bfloat(s|ing)?\b(?! up)",
    "bounces": r"(bounc|\bhop|jump)\w*( up and down)?",
    "spins": r"spin\w*|rotat\w*|turn\w* around|whirl\w*",
    "rises": r"\bris(e|es|ing)\b( up)?|ascend\w*|\w+ up\b|launch\w*|lift\w* off",
    "falls": r"\bfall\w*|\bdrop\w*|\w+ down\b|sink\w*",
    "rolls": r"\broll\w*( along)?|tumbl\w*",
    "grows": r"grow\w*( larger)?|get\w* (bigger|larger)|expand\w*",
    "shrinks": r"shrink\w*|get\w* smaller",
    "stays still": STILL,
    "walks": r"walk\w*|stroll\w*|wander\w*|trot\w*( along)?",
    "runs": r"\brun\w*|jog\w*|sprint\w*|dash\w*",
    "moves": r"\bmov(e|es|ing)|\bgo(es|ing)?\b|sli(de|des|ding)\b|glid\w*|\bfly\w*|\bflies|\bflutter\w*|swim\w*"
    r"|driv(e|es|ing)\b|rid(e|es|ing)\b( along)?|sail(s|ing)?\b|drift\w*",
}


def cut(text: str, table: dict[str, str], *, whole: bool = False) -> tuple[set[str], str]:
    """The values that a text names, and the text without them. `whole`: the patterns are whole words."""
    found = set()
    for value, pattern in table.items():
        pattern = rf"\b({pattern})\b" if whole else pattern
        if re.search(pattern, text):
            found.add(value)
            text = re.sub(r"\s+", " ", re.sub(pattern, " _ ", text))
    return found, text


def read(text: str, *, related: bool, passing: bool) -> tuple[dict[str, set[str]], str]:
    """What a caption says, by attribute, and the words between. `related`: there is another one; `passing`: a second beat."""
    said: dict[str, set[str]] = {}
    said["camera"], rest = cut(text, CAMERA)
    said["lamps"], rest = cut(rest, {"lamps": LAMPS})
    said["trees"], rest = cut(rest, {"trees": TREES})
    said["mood"], rest = cut(rest, MOOD)
    said["turn"], rest = cut(rest, TURN)
    said["trace"], rest = cut(rest, {"footprints": FOOTPRINTS, "wheels": WHEELS, "wake": WAKE, "trail": TRAIL})
    rest = re.sub(r"rings on the water|rings spread on the water", " ", rest)
    said["weather"], rest = cut(rest, WEATHER)
    rest = re.sub(r"\bthe sky\b|\bthe air is\b", " ", rest)
    said["beat"], rest = cut(rest, BEAT) if passing else (set(), rest)
    said["relation"], rest = cut(rest, RELATION) if related else (set(), rest)
    said["place"], rest = cut(rest, PLACE)
    said["light"], rest = cut(rest, LIGHT)
    said["heading"], rest = cut(re.sub(r"from (left|right) to ", "to the ", rest), HEADING)
    said["colour"], rest = cut(rest, COLOUR, whole=True)
    said["size"], rest = cut(rest, SIZE, whole=True)
    said["dress"], rest = cut(rest, {"coat": "coats?", "scarf": "scarf|scarves"}, whole=True)
    said["count"], rest = cut(rest, COUNT, whole=True)
    said["action"], left = cut(rest, ACTION)
    return said, left
