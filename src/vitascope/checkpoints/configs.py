"""What config.json files say, in the original and in the diffusers layout, held against the shapes of the weights.

Nothing in a config is followed: no class is imported, no path opened, no size believed before the weights have it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from vitascope.checkpoints.recognition import Network, Shapes, transformer
from vitascope.errors import BadModel
from vitascope.models.vae import VAEConfig

LARGEST = 1_000_000
"""Bytes of the longest config.json that is read."""
MOST = 2**20
"""The largest size that a config may name: above the words of any text encoder."""

WAN_MEAN = (
    *(-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508),
    *(0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921),
)
WAN_STD = (
    *(2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743),
    *(3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160),
)
"""Of Wan 2.1's latents, channel by channel: they stand in the published code, and in diffusers' vae/config.json."""

Config = dict[str, Any]


def read(path: Path) -> Config:
    """A config.json as a table. Raises BadModel for what is none, or holds NaN or infinities."""
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise BadModel(f"{path}: it has {size:,} bytes, as no config.json has; fetch it again.")
        table = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except (OSError, ValueError, RecursionError) as error:
        raise BadModel(
            f"{path}: it is no JSON that can be read ({' '.join(str(error).split())[:200]}); fetch it again."
        ) from error
    if not isinstance(table, dict):
        raise BadModel(f"{path}: it holds no table of names; fetch it again.")
    return table


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON")


def network(shapes: Shapes, origin: str, config: Config | None = None, said: str = "config.json") -> Network:
    """The transformer that has these tensors (under our names), with what its config adds; None: there is none.

    `said` names the config in messages. Raises BadModel where the two disagree.
    """
    if config is None:
        return transformer(shapes, origin)
    read = _Reader(config, said)
    diffusers = "num_attention_heads" in config
    known = _DIFFUSERS if diffusers else _ORIGINAL
    heads = read.whole("num_attention_heads" if diffusers else "num_heads")
    if heads is None:
        raise BadModel(
            f"{said}: it does not say num_heads, so it is no config of a Wan transformer; take the one that came with it."
        )
    found = transformer(shapes, origin, heads)
    for key, fact in known.items():
        read.agrees(key, fact(found), origin)
    # A layer's width divided among its heads shows in no shape, so this is checked by itself.
    wide = read.whole("attention_head_dim")
    if wide is not None and wide * heads != found.config.width:
        raise BadModel(
            f"{said}: {heads} heads of {wide} are {heads * wide} wide and the weights {found.config.width}; take the "
            "config.json that came with the weights."
        )
    read.must("window_size", [-1, -1], "attention within windows is not run here")
    read.must("text_len", 512, "Wan's texts are 512 tokens long")
    eps = read.number("eps", 0.0, 0.1)
    kind = config.get("model_type")
    # Early first-and-last-frame files call themselves i2v.
    if isinstance(kind, str) and kind != found.variant and (kind, found.variant) != ("i2v", "flf2v"):
        raise BadModel(
            f"{said}: it says model_type {kind[:40]!r} and the weights in {origin} are those of {found.variant!r}; take the "
            "config.json that came with the weights."
        )
    layers = _vace_layers(read, found, origin)
    full = dataclasses.replace(found.config, eps=found.config.eps if eps is None else eps)
    told = read.unknown((*known, *_SILENT))
    return dataclasses.replace(found, config=full, vace_layers=layers, notices=[*found.notices, *told])


_Fact = Callable[[Network], Any]
_BOTH: dict[str, _Fact] = {
    "num_layers": lambda n: n.config.layers,
    "ffn_dim": lambda n: n.config.ffn,
    "freq_dim": lambda n: n.config.freq_width,
    "text_dim": lambda n: n.config.text_width,
    "cross_attn_norm": lambda n: n.config.cross_norm,
    "patch_size": lambda n: list(n.config.patch),
}
_ORIGINAL: dict[str, _Fact] = _BOTH | {
    "dim": lambda n: n.config.width,
    "num_heads": lambda n: n.config.heads,
    "in_dim": lambda n: n.config.in_channels,
    "out_dim": lambda n: n.config.out_channels,
    "qk_norm": lambda n: n.config.qk_norm,
    "vace_in_dim": lambda n: n.vace_in,
}
_DIFFUSERS: dict[str, _Fact] = _BOTH | {
    "num_attention_heads": lambda n: n.config.heads,
    "in_channels": lambda n: n.config.in_channels,
    "out_channels": lambda n: n.config.out_channels,
    "image_dim": lambda n: n.config.image_width,
    "pos_embed_seq_len": lambda n: n.config.image_tokens,
    "added_kv_proj_dim": lambda n: n.config.width if n.config.image_width else None,
    "qk_norm": lambda n: "rms_norm_across_heads" if n.config.qk_norm else None,
    "vace_in_channels": lambda n: n.vace_in,
}
_SILENT = (
    *("_class_name", "_diffusers_version", "model_type", "eps", "attention_head_dim", "window_size", "text_len"),
    *("rope_max_seq_len", "vace_layers"),
)
"""Known too, and not to be held against a shape."""


def _vace_layers(read: _Reader, found: Network, origin: str) -> tuple[int, ...]:
    told = read.config.get("vace_layers")
    if told is None or not found.vace_layers:
        return found.vace_layers
    whole = isinstance(told, list) and all(type(n) is int and 0 <= n < found.config.layers for n in told)
    if not whole or sorted(set(told)) != told or len(told) != len(found.vace_layers) or told[0] != 0:
        raise BadModel(
            f"{read.said}: its vace_layers are {str(told)[:60]} where {len(found.vace_layers)} numbers of blocks are wanted, "
            f"0 the first, as {origin} has blocks of hints; take the config.json that came with the weights."
        )
    return tuple(told)


class _Reader:
    """Takes values out of a config, each checked for its kind."""

    def __init__(self, config: Config, said: str) -> None:
        self.config, self.said = config, said

    def whole(self, key: str) -> int | None:
        value = self.config.get(key)
        if value is None:
            return None
        if type(value) is not int or not 1 <= value <= MOST:
            raise BadModel(self.wrong(key, value, f"a whole number from 1 to {MOST:,}"))
        return value

    def number(self, key: str, least: float, most: float) -> float | None:
        """Above `least`, up to `most`."""
        value = self.config.get(key)
        if value is None:
            return None
        if type(value) not in (int, float) or not least < value <= most:
            raise BadModel(self.wrong(key, value, f"a number above {least:g} and up to {most:g}"))
        return float(value)

    def agrees(self, key: str, fact: Any, origin: str) -> None:
        """A key that is absent, or null where the weights have something, says nothing."""
        value = self.config.get(key)
        if value is None and (fact is None or key not in ("image_dim", "added_kv_proj_dim", "qk_norm")):
            return
        if key in self.config and (type(value) is not type(fact) or value != fact):
            raise BadModel(
                f"{self.said}: it says {key} is {_shown(value)} and the weights in {origin} have {_shown(fact)}; take the "
                "config.json that came with the weights."
            )

    def must(self, key: str, wanted: Any, why: str) -> None:
        if key in self.config and self.config[key] != wanted:
            raise BadModel(
                f"{self.said}: it says {key} is {_shown(self.config[key])}, and {why}; take a model with {_shown(wanted)}."
            )

    def unknown(self, known: tuple[str, ...]) -> list[str]:
        """A notice of the keys that nobody here knows, with the one that was perhaps meant."""
        strange = [str(key)[:40] for key in self.config if key not in known]
        if not strange:
            return []
        likely = get_close_matches(strange[0], known, n=1, cutoff=0.8) if len(strange) == 1 else []
        hint = f" (is {likely[0]} meant?)" if likely else ""
        rest = f" and {len(strange) - 10} more" if len(strange) > 10 else ""
        return [f"{self.said}: nothing is made of {', '.join(strange[:10])}{rest}{hint}"]

    def wrong(self, key: str, value: Any, wanted: str) -> str:
        """The sentence for a value that is not what is wanted."""
        return f"{self.said}: its {key} is {_shown(value)} where {wanted} is wanted; take the config.json that came with the weights."


def _shown(value: Any) -> str:
    return json.dumps(value)[:60]


def autoencoder(
    config: Config, found: VAEConfig, origin: str, said: str
) -> tuple[tuple[float, ...], tuple[float, ...], list[str]]:
    """The whitening of the latents, mean and deviation of each channel, and notices, from diffusers' vae/config.json.

    The sizes that it tells must be those that were `found` in the weights. Raises BadModel.
    """
    read = _Reader(config, said)
    facts = {
        "z_dim": found.z,
        "base_dim": found.base,
        "dim_mult": list(found.mults),
        "num_res_blocks": found.blocks,
        "temperal_downsample": list(found.temporal),
        "is_residual": found.residual,
        "decoder_base_dim": found.decoder_base or found.base,
        "in_channels": found.pixels * found.patch**2,
        "out_channels": found.pixels * found.patch**2,
    }
    for key, fact in facts.items():
        read.agrees(key, fact, origin)
    if config.get("patch_size") is not None:
        read.agrees("patch_size", found.patch, origin)
    read.must("attn_scales", [], "attention between its levels is not run here")
    mean, std = (_channels(read, key, found.z) for key in ("latents_mean", "latents_std"))
    if min(std) <= 0:
        raise BadModel(
            f"{said}: a deviation in latents_std is not above 0; take the config.json that came with the weights."
        )
    known = (
        *facts,
        "latents_mean",
        "latents_std",
        "patch_size",
        "attn_scales",
        "dropout",
        "_class_name",
        "_diffusers_version",
    )
    silent = (*known, "scale_factor_temporal", "scale_factor_spatial")
    return mean, std, read.unknown(silent)


def _channels(read: _Reader, key: str, channels: int) -> tuple[float, ...]:
    values = read.config.get(key)
    kept = values if isinstance(values, list) and len(values) == channels else []
    if not kept or not all(type(v) in (int, float) and abs(v) < 1e6 for v in kept):  # not so for NaN either
        raise BadModel(read.wrong(key, values, f"a list of {channels} numbers"))
    return tuple(float(v) for v in kept)


def text(config: Config, sizes: Mapping[str, int], origin: str, said: str) -> tuple[dict[str, float | int], list[str]]:
    """What text_encoder/config.json adds to the `sizes` read from the weights (`furthest`, `eps`), and notices.

    Raises BadModel where the two disagree, and for an encoder of another form.
    """
    read = _Reader(config, said)
    facts = {
        "vocab_size": "vocab",
        "d_model": "width",
        "d_kv": "head_width",
        "d_ff": "ffn",
        "num_layers": "layers",
        "num_heads": "heads",
        "relative_attention_num_buckets": "buckets",
    }
    for key, ours in facts.items():
        read.agrees(key, sizes[ours], origin)
    read.must("model_type", "umt5", "only UMT5 is run here")
    read.must("feed_forward_proj", "gated-gelu", "only gated GELU is run here")
    read.must("pad_token_id", 0, "UMT5's padding is 0")
    read.must("eos_token_id", 1, "UMT5's end of a text is 1")
    added: dict[str, float | int] = {}
    if (furthest := read.whole("relative_attention_max_distance")) is not None:
        added["furthest"] = furthest
    if (eps := read.number("layer_norm_epsilon", 0.0, 0.1)) is not None:
        added["eps"] = eps
    # transformers writes every default that it has; only what could run code deserves a word.
    hostile = [key for key in ("auto_map", "_attn_implementation", "trust_remote_code") if key in config]
    return added, [f"{said}: nothing is made of {', '.join(hostile)}"] if hostile else []


def scheduler(config: Config, said: str) -> tuple[dict[str, Any], list[str]]:
    """From scheduler_config.json: `name`, `flow_shift` (None where it says none), `solver_order`; and notices.

    Raises BadModel where it is for a model that predicts anything but the velocity.
    """
    read = _Reader(config, said)
    name = config.get("_class_name")
    if name is not None and not isinstance(name, str):
        raise BadModel(read.wrong("_class_name", name, "a name"))
    read.must("prediction_type", "flow_prediction", "Wan predicts the velocity")
    read.must("use_flow_sigmas", True, "Wan's noise is that of a flow")
    shift = read.number("flow_shift", 0.0, 1000.0)
    shift = read.number("shift", 0.0, 1000.0) if shift is None else shift
    facts = {"name": name[:60] if name else None, "flow_shift": shift, "solver_order": read.whole("solver_order")}
    return facts, read.unknown(_SCHEDULER)


_SCHEDULER = (
    *("_class_name", "_diffusers_version", "prediction_type", "use_flow_sigmas", "flow_shift", "shift", "solver_order"),
    *("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "solver_type", "solver_p"),
    *(
        "predict_x0",
        "thresholding",
        "dynamic_thresholding_ratio",
        "sample_max_value",
        "lower_order_final",
        "steps_offset",
    ),
    *("disable_corrector", "final_sigmas_type", "timestep_spacing", "rescale_betas_zero_snr", "use_karras_sigmas"),
    *(
        "use_exponential_sigmas",
        "use_beta_sigmas",
        "use_dynamic_shifting",
        "time_shift_type",
        "base_shift",
        "max_shift",
    ),
    *("base_image_seq_len", "max_image_seq_len", "shift_terminal", "invert_sigmas", "stochastic_sampling", "sigma_min"),
    *("sigma_max", "euler_at_final", "lambda_min_clipped", "algorithm_type", "variance_type"),
)
"""Keys of diffusers' schedulers. Which solver runs, and on which grid, is the shot's to say."""
