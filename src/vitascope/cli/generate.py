"""vitascope generate: a sentence becomes a film."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import tyro

from vitascope.checkpoints.makers import FPS, following
from vitascope.cli.flags import BadCommand, File, Flag, Real, Text, Whole, whole, word
from vitascope.cli.progress import telling
from vitascope.errors import BadMedia, BadShot
from vitascope.media import check_output, picture, record_of, write
from vitascope.media.controls import control, control_length, control_mask
from vitascope.shipped import shipped
from vitascope.shot import MOST_TAKES, Given, Shot

if TYPE_CHECKING:
    from vitascope.engine import Engine
    from vitascope.evaluation.probe import Probe


@dataclass(frozen=True)
class Command:
    """Make a film of a sentence, and print its path.

    vitascope generate "a red ball bounces across a snowfield at dusk"

    vitascope generate "a white boat moves left on the sea" --seed 7 --guidance "7 > 2" --output boat.webm

    vitascope generate --from boat.webm --steps 60 --output finer.mp4

    vitascope generate "a fox trots across fresh snow" --takes 4

    vitascope generate "it turns to the left" --image boat.webm

    vitascope generate "a fox in the snow" --model Wan2.1-T2V-1.3B --frames 33 --lora style.safetensors:0.8
    """

    prompt: tyro.conf.Positional[Annotated[str | None, word("PROMPT"), tyro.conf.arg(help_behavior_hint="")]] = None
    """What the film shows."""
    negative: Text = None
    """What it should not show."""
    frames: Whole = None
    """How many frames; as the model prefers if not given, here and below, which vitascope models tells."""
    height: Whole = None
    """Height in pixels."""
    width: Whole = None
    """Width in pixels."""
    fps: Real = None
    """Frames a second; more than the model's are filled in by motion interpolation, which the record tells."""
    steps: Whole = None
    """How many steps the solver takes."""
    solver: Text = None
    """Who walks the field: unipc, dpmpp_2m, dpmpp_2m_sde, euler, heun, midpoint, rk4, ddim, ddpm, euler_maruyama, adaptive."""
    guidance: Text = None
    """How strongly the prompt is followed: 6, or "7 > 2" falling, or "6 in 0.2..0.8" and 1 outside."""
    shift: Real = None
    """How far the steps lean towards noise."""
    seed: Whole = None
    """The same seed gives the same film; drawn, and told by the file's name, if not given or -1."""
    takes: Whole = None
    """How many seeds are tried, from this one on; kept is the film that shows most of what was asked, as the model's probe reads it."""
    image: File = None
    """A picture that it begins with, or a film whose last frame it goes on from; cut to the film's size."""
    last_image: File = None
    """A picture that it ends with."""
    video: File = None
    """A film that it follows, such as a depth map, or that is made anew where the mask is white."""
    mask: File = None
    """A film or a picture, white where the video is made anew."""
    reference: File = None
    """Pictures of what is in it, with commas."""
    control: Real = None
    """How strongly the video is followed; 1 is usual."""
    lora: Text = None
    """Files of LoRAs to add to the model, with commas, each with a strength after a colon if not 1: style.safetensors:0.8."""
    as_: Annotated[str | None, word("PROGRAM"), tyro.conf.arg(name="as", help_behavior_hint="")] = None
    """official, diffusers or comfy: its steps, noise and negative prompt, so that a seed gives the film that it gives there."""
    unconditional: Flag = False
    """Make a film without a prompt."""
    model: Annotated[Text, tyro.conf.arg(help_behavior_hint="")] = None
    """A shipped model's name, a bundle's folder, or the folder or file of a Wan 2.1 model."""
    vae: File = None
    """The autoencoder of a Wan model, where it does not lie beside the transformer."""
    text_encoder: File = None
    """Its text encoder, likewise."""
    tokenizer: File = None
    """Its tokeniser, likewise: tokenizer.json or spiece.model, or their folder."""
    image_encoder: File = None
    """Its image encoder, likewise."""
    dtype: Text = None
    """What a Wan model computes in: bfloat16, float16 or float32; what is fastest on the device if not given."""
    offload: Text = None
    """Where the weights of a Wan model wait: none, component, block or disk; the fastest that fits if not given."""
    tile: Whole = None
    """Pixels of a side of the tiles in which frames are decoded where they do not fit whole, a multiple of 32."""
    output: File = None
    """Where to: .mp4, .webm, .gif, or .png for one frame; named after the prompt and the seed if not given."""
    from_: Annotated[str | None, word("FILE"), tyro.conf.arg(name="from", help_behavior_hint="")] = None
    """A film to make again, by the record inside it; other flags change what they name."""
    device: Text = None
    """auto, cpu, cuda, cuda:1 or mps."""
    force: Flag = False
    """Replace the output if there is such a file."""


ELSEWHERE = {"last": "last_image", "references": "reference", "preset": "as_", "loras": "lora"}
"""The flags of those of a Shot's fields that have another name."""


PARTS = ("vae", "text_encoder", "tokenizer", "image_encoder")
"""The flags that name files of a Wan model's parts."""


@contextmanager
def by_flags() -> Iterator[None]:
    """Within it a refusal that begins with the name of a Shot's field begins with the flag that was typed, where they differ."""
    try:
        yield
    except BadShot as error:
        sentence = str(error)
        field = re.match(rf"({'|'.join(ELSEWHERE)})\b", sentence)
        if field is None:
            raise
        flag = ELSEWHERE[field[0]].rstrip("_").replace("_", "-")
        raise type(error)(f"--{flag}{sentence[field.end() :]}") from error


@by_flags()
def run(command: Command) -> None:
    """Makes the film. What flags and files alone tell is refused before the weights are read; what depends on the model, such as
    a size that it cannot make or a flag that it does not take, after that and before the first step."""
    record = record_of(command.from_) if command.from_ is not None else {}
    shot = asked(command, record).seeded()
    model = command.model or _model_of(record, command.from_)
    films = [name for name in ("video", "mask") if getattr(command, name) is not None]
    if films:
        ensure_follows(model, parts(command), films)  # here, so that no film is read for a model that takes none
    if command.video is not None and shot.frames is None:
        # Wan's models alone follow films, so these are its frame rate and its lengths.
        shot = shot.model_copy(update={"frames": following(control_length(command.video, FPS))})
    tile = chosen_tile(command.tile if command.tile is not None or "tile" not in record else str(record["tile"]))
    device = chosen_device(command.device)
    path = output_of(command, shot)
    fits(path, shot, command.force)
    count = whole("--takes", command.takes, 4, MOST_TAKES, 2)
    probe = None if command.takes is None else judging(command, model, shot, count)
    given, added = asked_to_heed(command, shot), loras(command)
    from vitascope.checkpoints.attaching import read_loras
    from vitascope.engine import Engine
    from vitascope.evaluation.takes import takes

    read_loras(added)  # here for what it refuses
    with telling() as told:
        engine = Engine.load(
            model,
            device,
            parts=parts(command),
            dtype=command.dtype or (str(record["dtype"]) if "dtype" in record else None),
            offload=command.offload or "auto",
            tile=tile,
            shot=shot,
            given=[*given.names, *films],
            watch=told.step,
        )
        of_a_bundle(command, engine)
        for sentence in engine.attach(added):
            told.note(sentence)
        shot = shot.model_copy(update={"loras": engine.loras})
        full = engine.prepare(shot, given)
        fits(path, full, command.force, engine.fps)
        full, given = engine.begun(full, followed(command, full, given))
        if probe is None:
            chunks, fps, made = engine.film(full, told.step, given)
        else:
            best = max(takes(engine, full, count, probe, given, told.step), key=lambda take: take.likely)
            told.note(str(best))
            path = output_of(command, best.shot)
            full, (chunks, fps, made) = best.shot, engine.filmed(best.shot, [best.frames])
        for sentence in [*engine.notices, *engine.warnings(full), *_differences(record, made, command.from_)]:
            told.warn(sentence)
        write(path, chunks, fps, made, replace=command.force)
    print(path)


def judging(command: Command, model: str | None, shot: Shot, count: int) -> Probe:
    """Who chooses among so many takes of a shot. Raises BadModel or BadShot where nobody can, BadMedia where a film of one of them
    cannot be written."""
    from vitascope.evaluation.takes import judge, seeds, wanted
    from vitascope.finding import located

    folder = located(model)
    probe = judge(folder, folder.name)
    wanted(shot, probe)
    for seed in seeds(shot.seed or 0, count):
        fits(output_of(command, shot.model_copy(update={"seed": seed})), shot, command.force)
    return probe


def asked_to_heed(command: Command, shot: Shot) -> Given:
    """What the film is given beside words, of its own size.

    Raises BadMedia where it cannot be read, BadShot where the shot wants something and it is not given.
    """
    for name in Given._fields:
        flag = ELSEWHERE.get(name, name)
        if getattr(shot, name) and getattr(command, flag) is None:
            raise BadShot(
                f"{command.from_}: this film is made from a picture or a film, which its record knows only by its hash; give it "
                f"with --{flag.replace('_', '-')}."
            )
    if shot.loras and command.lora is None:
        raise BadShot(
            f"{command.from_}: this film is made with {len(shot.loras)} LoRA{'s' if len(shot.loras) > 1 else ''}, which its record "
            "knows only by hash; give the files with --lora."
        )
    return Given(
        image=None if command.image is None else picture(command.image),
        last=None if command.last_image is None else picture(command.last_image),
        references=tuple(picture(path) for path in listed("reference", command.reference)),
    )


def followed(command: Command, full: Shot, given: Given) -> Given:
    """What the film is given, and with it the film that it follows and its mask, read at the size of the prepared shot.

    Raises BadMedia where one cannot be read, or is too short.
    """
    size = (full.frames or 0, full.height or 0, full.width or 0)
    video = None if command.video is None else control(command.video, *size, FPS)
    mask = None if command.mask is None else control_mask(command.mask, *size, FPS)
    return given._replace(video=video, mask=mask)


def chosen_tile(text: str | None) -> int | None:
    """A number of pixels, or None. Raises BadCommand for what is no such number."""
    says = "it is a whole number of pixels from 1 to 8192; 256 would do"
    return None if text is None else whole("--tile", text, 256, 8192, says=says)


class HasParts(Protocol):
    """A command that can name the files of a Wan model's parts."""

    @property
    def vae(self) -> str | None: ...
    @property
    def text_encoder(self) -> str | None: ...
    @property
    def tokenizer(self) -> str | None: ...
    @property
    def image_encoder(self) -> str | None: ...
    @property
    def dtype(self) -> str | None: ...
    @property
    def offload(self) -> str | None: ...


def parts(command: HasParts) -> dict[str, Path]:
    """The files of a Wan model's parts that were named."""
    named = {name: getattr(command, name) for name in PARTS}
    return {name: Path(path) for name, path in named.items() if path is not None}


def listed(flag: str, value: str | None) -> list[str]:
    """What stands between the commas of a flag. Raises BadCommand where that is nothing."""
    found = [part.strip() for part in (value or "").split(",") if part.strip()]
    if value is not None and not found:
        raise BadCommand(f"--{flag} {value[:60]!r}: there is no name in it; give the file, or leave --{flag} out.")
    return found


def of_a_bundle(command: Command, engine: Engine) -> None:
    """Raises BadCommand for a flag that is for Wan models alone, where the model is a bundle."""
    from vitascope.checkpoints.wan_system import WanSystem

    if not isinstance(engine.system, WanSystem):
        ensure_wan(command, engine.system.name)


def ensure_wan(command: HasParts, model: str) -> None:
    """Raises BadCommand for a flag that is for Wan models alone; `model`: the name of one that is none."""
    for name in (*PARTS, "dtype", "offload"):
        if getattr(command, name) is not None:
            raise BadCommand(
                f"--{name.replace('_', '-')}: {model} has all its parts in its own folder and computes in one way; leave this "
                "flag out, or give a Wan model."
            )


def ensure_follows(model: str | None, files: Mapping[str, Path], films: Collection[str]) -> None:
    """Raises BadShot where a model is given films to follow, or masks of them, and takes none. Only headers are read."""
    from vitascope import bundle, exchange
    from vitascope.checkpoints import wan_system
    from vitascope.checkpoints.layout import look
    from vitascope.engine import located
    from vitascope.system import ensure_taken

    path = located(model)
    if (path / bundle.RECIPE).is_file() or exchange.is_export(path):
        ensure_taken(path.name, (), films)
    elif not path.is_dir() or any(path.iterdir()):
        takes = wan_system.TAKES[look(path, files).variant]
        ensure_taken(path.name, takes, films)


def loras(command: Command) -> list[tuple[Path, float]]:
    """The files and strengths that --lora says. Raises BadCommand for what is no number."""
    found = []
    for word_ in listed("lora", command.lora):
        path, colon, strength = word_.rpartition(":")
        if not colon or os.path.exists(word_):  # a name may hold a colon
            path, strength = word_, "1"
        try:
            found.append((Path(path), float(strength)))
        except ValueError:
            raise BadCommand(
                f"--lora {word_[:80]!r}: what stands behind the colon is a strength, a number; write for instance "
                "style.safetensors:0.8."
            ) from None
    return found


def fits(path: Path, shot: Shot, force: bool, own: float | None = None) -> None:
    """Raises BadMedia when the film of a shot, as far as it is filled, cannot be written there; own: the model's frames a
    second, between which others are filled in."""
    if own and shot.frames == 1 and path.suffix.lower() == ".png" and (made := round((shot.fps or own) / own)) > 1:
        raise BadMedia(
            f"{path}: a PNG holds one frame, and at {shot.fps:g} a second, which are filled in, this film has {made}; leave "
            "--fps out, or end the name in .mp4."
        )
    check_output(path, replace=force, frames=shot.frames, height=shot.height, width=shot.width, fps=shot.fps)


def asked(command: Command, record: Mapping[str, Any]) -> Shot:
    """The shot that the flags say, on top of the one that a film's record says.

    Raises:
        BadShot, BadPrompt: when it cannot be made, whatever the model.
        BadMedia: when the record tells of no shot.
    """
    plain = [name for name in Shot.model_fields if name not in ("unconditional", "preset", "loras", *Given._fields)]
    said = {name: getattr(command, name) for name in plain} | {"preset": command.as_}
    said = {name: value for name, value in said.items() if value is not None}
    if command.unconditional:
        said["unconditional"] = True
    if not record:
        return Shot.model_validate(said)
    before = record.get("shot")
    if not isinstance(before, Mapping):
        raise BadMedia(f"{command.from_}: its record tells of no shot; choose a film that vitascope generate wrote.")
    if "prompt" in said or "unconditional" in said:  # each says that the other no longer holds
        before = {name: value for name, value in before.items() if name not in ("prompt", "unconditional")}
    # What is given anew takes the place of what the record knows by its hash.
    anew = [name for name in Given._fields if getattr(command, ELSEWHERE.get(name, name)) is not None]
    before = {name: value for name, value in before.items() if name not in anew}
    return Shot.model_validate({**before, **said})


def output_of(command: Command, shot: Shot) -> Path:
    """Where the film of a shot goes: as the command says, or by its own name."""
    return Path(command.output) if command.output is not None else default_output(shot)


def default_output(shot: Shot) -> Path:
    """`<first words>-<seed>.mp4`, of letters and digits only."""
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", shot.said("prompt").text).lower().replace("_", " "))[:6]
    text = "-".join(words).encode()[:80].decode(errors="ignore")  # file systems count bytes
    return Path(f"{text or ('unconditional' if shot.unconditional else 'film')}-{shot.seed}.mp4")


def chosen_device(device: str | None) -> str:
    """The device's name, once it looks like one. Whether this machine has it is found out where it is used."""
    name = device or "auto"
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,3})?", name):
        raise BadCommand(
            f"--device {name[:60]!r}: there is no such kind of device; choose auto, cpu, cuda, cuda:1 or mps."
        )
    return name


def _model_of(record: Mapping[str, Any], path: str | None) -> str | None:
    """The model that a record names, if it is one that ships: a file that somebody sent must not choose a folder of this
    machine. Raises BadMedia for another."""
    name = record.get("model")
    if name is None or (isinstance(name, str) and name in shipped()):
        return name
    raise BadMedia(
        f"{path}: it was made with a model called {str(name)[:60]!r}, which is none of those that ship; give the folder of that "
        "model with --model, or another."
    )


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], path: str | None) -> list[str]:
    """Why a film made from a record may not be the same film again, a sentence each."""
    names = [name for name in now if name not in ("shot", "interpolated") and before and before.get(name) != now[name]]
    return [
        f"{path} was made with another {name}, {str(before.get(name))[:60]!r}, and here it is {str(now[name])[:60]!r}: "
        "the film may differ"
        for name in names
    ]
