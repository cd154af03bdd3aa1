"""Shot: the one description of what determines a film's pixels. Needs no torch.

The flags of the command line, the body of a request, the fields of a form and the record inside a film are all this
class. Where a film is written, on which device and when is not in it. What depends on the codec (how many frames it
can make, which sizes) is checked where the codec is known, by the engine; what can be said without one is said here,
before any work.
"""

from __future__ import annotations

import math
import re
import secrets
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from vitascope.emphasis import Weighed, unmarked, weighed
from vitascope.errors import BadPrompt, BadShot, nearest

if TYPE_CHECKING:
    from torch import Tensor

PresetName = Literal["official", "diffusers", "comfy"]
PRESET_NAMES: tuple[str, ...] = get_args(PresetName)

SolverName = Literal[
    "ddpm",
    "ddim",
    "euler",
    "heun",
    "midpoint",
    "rk4",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "unipc",
    "euler_maruyama",
    "adaptive",
]
SOLVER_NAMES: tuple[str, ...] = get_args(SolverName)

LONGEST_PROMPT = 10_000  # characters: several times what any text encoder reads
LARGEST_SEED = 2**63 - 1
LARGEST_GUIDANCE = 100.0
MOST_TAKES = 64

_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_GUIDANCE = re.compile(
    rf"\s*(?P<start>{_NUMBER})\s*(?:>\s*(?P<end>{_NUMBER})\s*)?"
    rf"(?:in\s+(?P<low>{_NUMBER}?)\s*\.\.\s*(?P<high>{_NUMBER})\s*)?",
    re.ASCII,
)


@dataclass(frozen=True)
class Guidance:
    """How strongly the prompt is followed, as a function of t: linear from `start` at t = 1 to `end` at t = 0 where
    low <= t <= high, and 1 (the plain conditional field) elsewhere.

    As text: `6`; `7 > 2`, falling; `6 in 0.2..0.8`, an interval (Kynkaanniemi et al. 2024, arXiv:2404.07724);
    `7 > 2 in 0.2..0.8`, both.
    """

    start: float
    end: float
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        for scale in (self.start, self.end):
            if not abs(scale) <= LARGEST_GUIDANCE:  # written so that NaN is refused too
                raise BadShot(
                    f"guidance {_plain(scale)}: it is a finite number from -{LARGEST_GUIDANCE:g} to "
                    f"{LARGEST_GUIDANCE:g}; 4 is usual."
                )
        if not 0.0 <= self.low <= self.high <= 1.0:
            raise BadShot(
                f"guidance in {_plain(self.low)}..{_plain(self.high)}: an interval of t lies within 0..1 and its lower "
                "end comes first; write for instance '6 in 0.2..0.8'."
            )

    @classmethod
    def parse(cls, value: float | str) -> Guidance:
        """The guidance that a number or a text says.

        Raises:
            BadShot: when it is neither.
        """
        if isinstance(value, int | float):
            return cls(float(value), float(value))
        found = _GUIDANCE.fullmatch(value) if len(value) <= 200 else None
        if found is None:
            shown = _shown(value)
            raise BadShot(
                f"guidance {shown}: it is a finite number, a fall or an interval; write for instance 6, '7 > 2' or "
                "'6 in 0.2..0.8'."
            )
        start, end, low, high = found.group("start", "end", "low", "high")
        return cls(
            float(start),
            float(start if end is None else end),
            0.0 if low is None else float(low),
            1.0 if high is None else float(high),
        )

    def at(self, t: float) -> float:
        """The scale at solver time t in [0, 1]."""
        return self.end + (self.start - self.end) * t if self.low <= t <= self.high else 1.0

    @property
    def constant(self) -> bool:
        """Whether the scale is one number at every t."""
        return self.start == self.end and (self.low, self.high) == (0.0, 1.0)

    @property
    def guided(self) -> bool:
        """Whether a film made with it is guided: at some t the scale is another one than 1, and so what the prompt is held
        against, the negative or the empty prompt, counts."""
        # It is linear between the ends of its interval, and 1 outside.
        return self.at(self.low) != 1.0 or self.at(self.high) != 1.0

    def plain(self) -> float | str:
        """The form that a Shot stores: the number itself where one number says it, else the text."""
        return self.start if self.constant else str(self)

    def __str__(self) -> str:
        text = _plain(self.start) if self.start == self.end else f"{_plain(self.start)} > {_plain(self.end)}"
        return text if (self.low, self.high) == (0.0, 1.0) else f"{text} in {_plain(self.low)}..{_plain(self.high)}"


class Given(NamedTuple):
    """What a film is given beside words: pictures uint8 [h w 3] and films uint8 [t h w 3], of the film's size."""

    image: Tensor | None = None
    """It begins with this."""
    last: Tensor | None = None
    """It ends with this."""
    video: Tensor | None = None
    """It follows this, where the mask is white."""
    mask: Tensor | None = None
    """Where the video is made anew, uint8 [t h w], 255 or 0; None: everywhere."""
    references: tuple[Tensor, ...] = ()
    """What is in these is in the film."""

    def __bool__(self) -> bool:
        return bool(self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """Of what is there."""
        return tuple(name for name, part in self._asdict().items() if part is not None and part != ())


_Hash = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class Shot(BaseModel):
    """What to make. None means: as the model prefers it (and for the seed: draw one).

    Raises:
        BadShot, BadPrompt: one sentence, whether the Shot is made from keywords or from a mapping (model_validate).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str = Field(default="", description="what the film shows", examples=["a red ball bounces on a meadow"])
    negative: str = Field(default="", description="what the film should not show")
    frames: int | None = Field(default=None, ge=1, le=10_000, description="the number of frames", examples=[17])
    height: int | None = Field(default=None, ge=16, le=8192, description="the height in pixels", examples=[64])
    width: int | None = Field(default=None, ge=16, le=8192, description="the width in pixels", examples=[128])
    fps: float | None = Field(
        default=None, ge=1, le=240, allow_inf_nan=False, description="the rate in frames a second", examples=[8]
    )
    steps: int | None = Field(default=None, ge=1, le=1000, description="the number of solver steps", examples=[30])
    solver: SolverName | None = Field(default=None, description="the solver that walks the field")
    guidance: float | str | None = Field(
        default=None, description="how strongly the prompt is followed", examples=[6, "7 > 2", "6 in 0.2..0.8"]
    )
    shift: float | None = Field(
        default=None,
        ge=0.01,
        le=100,
        allow_inf_nan=False,
        description="the shift of the steps towards noise",
        examples=[3],
    )
    seed: int | None = Field(default=None, ge=0, le=LARGEST_SEED, description="the seed (-1 draws one)", examples=[7])
    unconditional: bool = Field(default=False, description="whether the film is made without a prompt")
    image: _Hash | None = Field(
        default=None,
        description="the picture that the film begins with, by the SHA-256 of its pixels at the film's size",
    )
    last: _Hash | None = Field(default=None, description="the picture that the film ends with, by its hash")
    video: _Hash | None = Field(default=None, description="the film that is followed, by its hash")
    mask: _Hash | None = Field(default=None, description="the film that says where it is made anew, by its hash")
    references: tuple[_Hash, ...] = Field(
        default=(), description="the pictures of what is in the film, by their hashes"
    )
    control: float | None = Field(
        default=None,
        ge=0,
        le=10,
        allow_inf_nan=False,
        description="how strongly the film that is followed is followed",
        examples=[1],
    )
    preset: PresetName | None = Field(default=None, description="the program in whose way the film is made")
    loras: tuple[tuple[_Hash, float], ...] = Field(
        default=(), description="the LoRAs that are added to the model, by their files' hashes, with their strengths"
    )

    @model_validator(mode="wrap")
    @classmethod
    def _in_sentences(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        # Wrapping the whole model means that there is no way to make a Shot that answers in pydantic's words.
        try:
            return handler(data)
        except ValidationError as error:
            raise BadShot(_sentence(error.errors(include_url=False)[0])) from None

    @field_validator("prompt", "negative", mode="before")
    @classmethod
    def _text(cls, value: object, info: Any) -> object:
        if isinstance(value, str):
            _readable(info.field_name, value)
        return value

    @field_validator("frames", "height", "width", "fps", "steps", "shift", "seed", "guidance", "control", mode="before")
    @classmethod
    def _no_truth_values(cls, value: object, info: Any) -> object:
        if isinstance(value, bool):  # pydantic would read True as 1
            raise BadShot(f"{info.field_name} {value}: it is a number; leave it out for the model's own choice.")
        return value

    @field_validator("seed", mode="before")
    @classmethod
    def _random_seed(cls, value: object) -> object:
        return None if value in (-1, "-1", "") else value

    @field_validator("guidance")
    @classmethod
    def _canonical_guidance(cls, value: float | str | None) -> float | str | None:
        return None if value is None else Guidance.parse(value).plain()

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.unconditional and self.prompt.strip():
            raise BadPrompt(
                f"prompt {_shown(self.prompt)} and --unconditional: a film is made with a prompt or without one; "
                "leave one of the two out."
            )
        if not self.unconditional and not self.said("prompt").text.strip():
            raise BadPrompt(
                "an empty prompt: there is nothing to show; write a sentence, or ask for a film without a prompt with "
                "--unconditional."
            )
        return self

    @model_validator(mode="after")
    def _weighs_within_reason(self) -> Self:
        both = self.said("prompt").text, self.said("negative").text
        if self.preset == "comfy" and both != (unmarked(self.prompt), unmarked(self.negative)):
            raise BadPrompt(
                "weights in a prompt --as comfy: ComfyUI moves the words' embeddings by them, which is not done here; leave --as out "
                "to have them heard as vitascope does, or write \\( and \\) for parentheses that mean no weight."
            )
        return self

    def said(self, name: Literal["prompt", "negative"]) -> Weighed:
        """What the prompt or the negative says, and how much its phrases count. To the official code and to diffusers, which know
        no weights, parentheses are text."""
        text = getattr(self, name)
        return weighed(text) if self.preset in (None, "comfy") else Weighed(text)

    def filled(self, defaults: Mapping[str, object]) -> Shot:
        """This shot with each None taken from `defaults` where it has one. What was asked is never changed.

        Raises:
            BadShot: when a default is outside what a Shot can be.
        """
        asked = self.model_dump()
        return Shot.model_validate(asked | {k: v for k, v in defaults.items() if k in asked and asked[k] is None})

    def seeded(self) -> Shot:
        """This shot with a seed: its own, or one drawn now (below 2^32, so that it is easy to copy)."""
        return self if self.seed is not None else self.model_copy(update={"seed": secrets.randbelow(2**32)})

    @property
    def told(self) -> dict[str, Any]:
        """What a film's record says of it: everything that was asked, but nothing of what a plain film is not given."""
        dumped = self.model_dump(mode="json")
        return {name: value for name, value in dumped.items() if name not in _SELDOM or value not in (None, [])}

    @property
    def scale(self) -> Guidance:
        """`guidance` as a function of t; 1 where it is not given."""
        return Guidance.parse(1.0 if self.guidance is None else self.guidance)


_SELDOM = ("image", "last", "video", "mask", "references", "control", "preset", "loras")
"""The fields that a record names only where something is said."""


def ensure_several(prompts: Sequence[str]) -> None:
    """Raises TypeError for one string, whose letters would each be a prompt."""
    if isinstance(prompts, str):
        raise TypeError(f"prompts: expected a list of texts, got one text; write [{prompts[:40]!r}]")


def _readable(field: str, text: str) -> None:
    """Raises BadPrompt unless `text` is text that an encoder can read."""
    if len(text) > LONGEST_PROMPT:
        raise BadPrompt(
            f"{field} of {len(text):,} characters: no text encoder reads more than {LONGEST_PROMPT:,}; "
            "say it in a few sentences."
        )
    for place, character in enumerate(text):
        category = unicodedata.category(character)
        if category == "Cs" or (category == "Cc" and character not in "\t\n\r"):
            kind = "half of a character (a lone surrogate)" if category == "Cs" else "a control character, not text"
            raise BadPrompt(
                f"{field} with U+{ord(character):04X} at position {place}: that is {kind}; remove it and ask again."
            )


def _sentence(error: ErrorDetails) -> str:
    """pydantic's first complaint about a Shot, in the three parts of ours."""
    name, kind, value = str(error["loc"][0]) if error["loc"] else "", error["type"], error["input"]
    if kind == "extra_forbidden":
        close = nearest(name, Shot.model_fields)
        way_out = f"the nearest is {close}" if close else f"its fields are {', '.join(Shot.model_fields)}"
        return f"field {_shown(name)}: a shot has no such field; {way_out}."
    if name not in Shot.model_fields:
        return f"a shot made of {_shown(value)}: it is an object with named fields; give at least a prompt."
    if kind == "literal_error":
        names = PRESET_NAMES if name == "preset" else SOLVER_NAMES
        word = str(value)[:100]
        close = nearest(word, names) if name == "preset" else _ELSEWHERE.get(_letters(word)) or nearest(word, names)
        hint = f"the nearest is {close}" if close else f"there are {', '.join(names)}"
        return f"{name} {_shown(value)}: there is no such {name}; {hint}."
    if name == "guidance":
        return f"guidance {_shown(value)}: it is a number or a text; write for instance 6 or '7 > 2'."
    field = Shot.model_fields[name]
    limits = {type(part).__name__: part for part in field.metadata}
    example = f"{field.examples[0]} would do" if field.examples else "leave it out for the default"
    if "Ge" not in limits:
        what = "true or false" if name == "unconditional" else "text"
        return f"{name} {_shown(value)}: {field.description} is said as {what}; {example}."
    number = "a number" if name in ("fps", "shift", "control") else "a whole number"
    low, high = _plain(limits["Ge"].ge), _plain(limits["Le"].le)
    return f"{name} {_shown(value)}: {field.description} is {number} from {low} to {high}; {example}."


_ELSEWHERE = {
    "dpm": "dpmpp_2m", "dpmpp": "dpmpp_2m", "dpmsolver": "dpmpp_2m", "dpmsolverpp": "dpmpp_2m", "dpmsolver2m": "dpmpp_2m",
    "dpmpp2m": "dpmpp_2m", "dpmpp2msde": "dpmpp_2m_sde", "dpmpp2msdegpu": "dpmpp_2m_sde", "unipcmultistep": "unipc",
    # With all of its noise the ancestral step of k-diffusion is the posterior's, mean and variance, and so is that of ddpm.
    "eulera": "ddpm", "eulerancestral": "ddpm",
}  # fmt: skip
"""What other programs call solvers, by their letters and digits, and the nearest in kind here."""


def _letters(word: str) -> str:
    return re.sub(r"[^a-z0-9]", "", word.lower().replace("++", "pp"))


def _plain(number: float) -> str:
    """A number without a superfluous '.0', exact enough to be read back as itself."""
    return repr(number).removesuffix(".0") if math.isfinite(number) else str(number)


def _shown(value: object) -> str:
    """A value as a sentence can quote it: on one line, printable, and never long."""
    if isinstance(value, float):
        return _plain(value)
    if isinstance(value, int) and value.bit_length() > 256:
        return f"of {value.bit_length()} bits"  # Python refuses to print really large integers
    if isinstance(value, str):
        if len(value) <= 40 and re.fullmatch(_NUMBER, value, re.ASCII):
            return value  # a number that came as text, from a command line or a form
        value = value if len(value) <= 60 else value[:57] + "..."
    return repr(value) if len(repr(value)) <= 100 else f"({type(value).__name__})"
