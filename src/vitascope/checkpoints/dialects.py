"""How the files of eight trainers name what a LoRA changes: every key to Wan's official module and the part it plays.

A key is a prefix, a module and an ending. Each is looked up in a table of its own, so a file may mix what it likes. Where
dots became underscores (kohya's way) the module is looked up whole and never split: `cross_attn_k_img` has no one reading.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from vitascope.checkpoints.names import TRANSFORMER

# fmt: off
Slot = Literal[
    "down", "up", "mid", "up_bias", "alpha", "dora_scale", "diff", "diff_b", "set_weight",
    "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2",
    "lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2",
]
# fmt: on
"""What a tensor is to its module: a factor of a change, a scale of it, or the change itself."""


@dataclass(frozen=True)
class Name:
    """What a key says."""

    module: str
    """The module, or the parameter that belongs to none (`blocks.0.modulation`), as Wan calls it."""
    slot: Slot
    path: str
    """The module as the file calls it, without prefix."""
    expert: Literal[1, 2] = 1
    """Which of Wan 2.2's two transformers it is for; 1 where there is one."""
    flat: bool = False
    """Written with underscores, as kohya's trainers do; these always give an alpha."""


@dataclass(frozen=True)
class Unknown:
    """A key of which nothing can be made."""

    why: str


def parsed(key: str) -> Name | Unknown:
    """What a key of a LoRA file says, in any of the dialects."""
    if key.startswith(_TEXT):
        return Unknown("it is for a text encoder, and only the transformer is changed here")
    found = _ending(key)
    if found is None:
        return Unknown("its ending is that of no LoRA, LoHa, LoKr, DoRA or difference")
    path, slot = found
    bare, expert = _without_prefix(path)
    if "norm_added_q" in bare:
        return Unknown("Wan has no norm_added_q; old diffusers files carry one that nothing reads")
    flat = _FLAT_PREFIX.match(bare) if "." not in bare else None
    module = _of_flat(bare[flat.end() :]) if flat else _of_dotted(bare)
    if key.endswith(".diff_m"):  # LightX2V: the block's own name, and m for its modulation
        module = f"{bare}.modulation" if re.fullmatch(rf"{_BLOCK}|head", bare) else module
        module = module if module and module.endswith(BARE) else None
    if module is None:
        return Unknown("it names nothing that a Wan transformer has")
    return Name(module, slot, bare, expert, flat is not None)


def to_diffusers(module: str) -> str:
    """The name that diffusers gives to an official module. Raises KeyError for what Wan does not have."""
    block = re.fullmatch(rf"({_BLOCK})\.(.+)", module)
    return f"{block[1]}.{IN_BLOCK[block[2]]}" if block else OUTSIDE[module]


# Of the one table of names: what a block holds, a block of hints being the fuller; and what is in no block. `norm3` is the
# norm with weights, and diffusers calls it `norm2`; neither calls anything with weights by the other's word, so both can be
# looked up in one table.
_HINTS = "vace_blocks.*."
IN_BLOCK: dict[str, str] = {
    ours.removeprefix(_HINTS): theirs.removeprefix(_HINTS)
    for ours, theirs in TRANSFORMER.pairs
    if ours.startswith(_HINTS)
}
OUTSIDE: dict[str, str] = {ours: theirs for ours, theirs in TRANSFORMER.pairs if "*" not in ours}

BARE = ("modulation", "emb_pos")
"""Last words of the parameters that belong to no module of their own."""

_BLOCK = r"(?:vace_)?blocks\.(?:0|[1-9][0-9]{0,3})"


def _both(table: dict[str, str]) -> dict[str, str]:
    return {**{theirs: ours for ours, theirs in table.items()}, **{ours: ours for ours in table}}


def _flattened(table: dict[str, str]) -> dict[str, str]:
    return {name.replace(".", "_"): ours for name, ours in _both(table).items()}


_DOTTED_IN, _DOTTED_OUT = _both(IN_BLOCK), _both(OUTSIDE)
_FLAT_IN, _FLAT_OUT = _flattened(IN_BLOCK), _flattened(OUTSIDE)

_ENDINGS: dict[str, Slot] = {
    **{f"{word}.weight": "down" for word in ("lora_A", "lora_down", "lora.down", "lora_linear_layer.down")},
    **{f"{word}.weight": "up" for word in ("lora_B", "lora_up", "lora.up", "lora_linear_layer.up")},
    **{"lora_A": "down", "lora_B": "up", "lora_mid.weight": "mid"},
    **{f"{word}.bias": "up_bias" for word in ("lora_B", "lora_up")},
    **{"alpha": "alpha", "set_weight": "set_weight", "diff": "diff", "diff_b": "diff_b", "diff_m": "diff"},
    **{"w_norm": "diff", "b_norm": "diff_b"},
    **{"dora_scale": "dora_scale", "lora_magnitude_vector": "dora_scale", "lora_magnitude_vector.weight": "dora_scale"},
    **{"hada_w1_a": "hada_w1_a", "hada_w1_b": "hada_w1_b", "hada_w2_a": "hada_w2_a", "hada_w2_b": "hada_w2_b"},
    **{"hada_t1": "hada_t1", "hada_t2": "hada_t2", "lokr_t2": "lokr_t2", "lokr_w1": "lokr_w1", "lokr_w2": "lokr_w2"},
    **{"lokr_w1_a": "lokr_w1_a", "lokr_w1_b": "lokr_w1_b", "lokr_w2_a": "lokr_w2_a", "lokr_w2_b": "lokr_w2_b"},
}
_LONGEST_ENDING = max(ending.count(".") for ending in _ENDINGS) + 1

# peft puts the adapter's name into the middle: lora_A.default.weight.
_ADAPTER = re.compile(r"\.(lora_A|lora_B|lora_down|lora_up|lora_magnitude_vector)\.[^.]+\.(weight|bias)$")

_TEXT = ("text_encoder", "lora_te", "te1.", "te2.", "cond_stage_model.", "conditioner.")
_PREFIXES = (
    *("base_model.model.", "model.", "diffusion_model.", "transformer.", "pipe.dit.", "dit.", "unet.", "module."),
    "_orig_mod.",
)
# VideoX-Fun writes lora_unet__ where others write lora_unet_.
_FLAT_PREFIX = re.compile(r"(?:lora_unet|lora_transformer|lycoris)_+")


def _ending(key: str) -> tuple[str, Slot] | None:
    words = _ADAPTER.sub(r".\1.\2", key).split(".")
    for count in range(min(_LONGEST_ENDING, len(words) - 1), 0, -1):
        slot = _ENDINGS.get(".".join(words[-count:]))
        if slot is not None:
            return ".".join(words[:-count]), slot
    return None


def _without_prefix(path: str) -> tuple[str, Literal[1, 2]]:
    expert: Literal[1, 2] = 1
    while True:
        prefix = next((p for p in (*_PREFIXES, "transformer_2.") if path.startswith(p)), None)
        if prefix is None:
            return path, expert
        if prefix == "transformer_2.":
            expert = 2
        path = path[len(prefix) :]


def _of_dotted(path: str) -> str | None:
    block = re.fullmatch(rf"({_BLOCK})\.(.+)", path)
    if block is None:
        return _DOTTED_OUT.get(path)
    leaf = _DOTTED_IN.get(block[2])
    return None if leaf is None else f"{block[1]}.{leaf}"


def _of_flat(path: str) -> str | None:
    block = re.fullmatch(r"((?:vace_)?blocks)_(0|[1-9][0-9]{0,3})_(.+)", path)
    if block is None:
        return _FLAT_OUT.get(path)
    leaf = _FLAT_IN.get(block[3])
    return None if leaf is None else f"{block[1]}.{block[2]}.{leaf}"
