"""Files of Wan that are known by their SHA-256, so that one can be told from another that only looks like it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vitascope.errors import BadModel

Watch = Callable[[int, int], object]
"""Told of the bytes done and of all there are."""

_CHUNK = 1 << 22
_MOST = 1000
_COMMON = ("diffusion_pytorch_model", "tokenizer.json", "spiece.model")
"""How names begin that files of many models have."""
"""Hashes that are kept; the oldest go first."""
SMALL = 1 << 25
"""Bytes of the largest file that is hashed unasked."""


@dataclass(frozen=True)
class Known:
    """A file as it was published."""

    name: str
    """What it is."""
    file: str
    """What it is called where it was published."""
    size: int
    sha256: str


# Source: pins of the hub's metadata in public files, three of which agree.
KNOWN: tuple[Known, ...] = (
    Known(
        "Wan2.1-T2V-1.3B transformer",
        "diffusion_pytorch_model.safetensors",
        5_676_070_424,
        "96b6b242ca1c2f24e9d02cd6596066fab6d310e2d7538f33ae267cb18d957e8f",
    ),
    Known(
        "Wan2.1-T2V-1.3B config", "config.json", 249, "ab37994c43740513f94b3ba6233a784035a67b43c8cde83c8f31aa90468c67ce"
    ),
    Known(
        "Wan2.1 VAE", "Wan2.1_VAE.pth", 507_609_880, "38071ab59bd94681c686fa51d75a1968f64e470262043be31f7a094e442fd981"
    ),
    Known(
        "Wan2.1 VAE as saved again with Wan2.2-Animate-14B",
        "Wan2.1_VAE.pth",
        507_609_928,
        "acf6c5aa49ad281d4b561e10656e2397c446a8ba4b8d8f19d3dd125c2628bc6a",
    ),
    Known(
        "Wan2.2 VAE",
        "Wan2.2_VAE.pth",
        2_818_839_170,
        "20eb789667fa5e60e7516bf509512f6cb61f01b0aa0695eadaea930c13892b36",
    ),
    Known(
        "UMT5-XXL encoder",
        "models_t5_umt5-xxl-enc-bf16.pth",
        11_361_920_418,
        "7cace0da2b446bbbbc57d031ab6cf163a3d59b366da94e5afe36745b746fd81d",
    ),
    Known(
        "CLIP ViT-H with XLM-RoBERTa",
        "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth",
        4_772_359_047,
        "628c9998b613391f193eb67ff68da9667d75f492911e4eb3decf23460a158c38",
    ),
    Known("UMT5 pieces", "spiece.model", 4_548_313, "e3909a67b780650b35cf529ac782ad2b6b26e6d1f849d3fbb6a872905f452458"),
    Known(
        "UMT5 tokeniser",
        "tokenizer.json",
        16_837_417,
        "6e197b4d3dbd71da14b4eb255f4fa91c9c1f2068b20a2de2472967ca3d22602b",
    ),
    Known(
        "XLM-RoBERTa pieces",
        "sentencepiece.bpe.model",
        5_069_051,
        "cfc8146abe2a0488e9e2a0c56de7952f7c11ab059eca145a0a727afce0db2865",
    ),
    Known(
        "Apache-2.0 licence", "LICENSE.txt", 11_357, "c71d239df91726fc519c6eb72d318ec65820627232b2f796219e87dcf35d0ab4"
    ),
    *(
        Known(
            f"Wan2.1-T2V-14B transformer, shard {k} of 6",
            f"diffusion_pytorch_model-0000{k}-of-00006.safetensors",
            size,
            sha,
        )
        for k, size, sha in (
            (1, 9_887_603_256, "569d54a07279b89f8281421fccf27ee2459ea853ce6845d3536b8664b0070078"),
            (2, 9_839_059_648, "b17ff172f262b4da91c31e8c46d3b7707f62cecfff6e18dd0072ab29eb350e46"),
            (3, 9_839_059_744, "741fd1508cd0288f0bb0f4fb3df6734da521d5ff23746170c848564a367e2cea"),
            (4, 9_839_059_744, "47b08ba289b127fc64979bc877ee07e1c87aeb8eb8cd47bcfd112682847981ba"),
            (5, 9_839_059_744, "29e35f4cf0e3a61f4726c960f1babf71d65677a8c99fe704257d665c9498ee88"),
            (6, 7_910_235_256, "91ac087a40b814331e87f5f015af11ba999275d48d2af49591b6bf7727d3c146"),
        )
    ),
)


def hash_state(path: Path, *, watch: Watch | None = None) -> str:
    """ "known: NAME" or "unknown". A file of a size that no known one has is not read at all."""
    found = recognised(path, watch=watch)
    return f"known: {found.name}" if found else "unknown"


def known_so_far(path: Path, *, most: int | None = None, watch: Watch | None = None) -> str:
    """`hash_state` of a file hashed before, of up to `most` bytes (SMALL), or of a size that no known one has.

    Of others "size of NAME, not hashed yet". Bytes of the right size that are not the published ones are told so.
    """
    size = _size(path)
    like = [known.name for known in KNOWN if known.size == size]
    if like and size > (SMALL if most is None else most) and remembered(path) is None:
        return f"size of {' or '.join(like)}, not hashed yet"
    found = hash_state(path, watch=watch)
    return f"unknown: size of {' or '.join(like)}, other bytes" if like and found == "unknown" else found


def recognised(path: Path, *, watch: Watch | None = None) -> Known | None:
    """The published file that this is, byte for byte; None if it is none of them."""
    like = [known for known in KNOWN if known.size == _size(path)]
    if not like:
        return None
    sha256 = digest(path, watch=watch)
    return next((known for known in like if known.sha256 == sha256), None)


def notice(path: Path, *, watch: Watch | None = None) -> str | None:
    """What to tell of a file that is not known, with the known ones of its name or its size; None for one that is.

    Never a reason to refuse: people convert and save again, and what they get works as well.
    """
    if recognised(path, watch=watch):
        return None
    size = _size(path)
    like = [known for known in KNOWN if path.name == known.file or size == known.size]
    if not like:
        return f"{path}: its hash is not among the known ones, so nothing is known of where it is from."
    right = [known for known in like if known.size == size]
    told = " or ".join(f"{known.name} ({known.size:,} bytes, {known.sha256[:12]}...)" for known in like)
    reason = "has its size and other bytes" if right else f"has {size:,} bytes"
    return f"{path}: it looks like {told} and {reason}; if films come out wrong, fetch it again."


def altered(path: Path, *, watch: Watch | None = None) -> str | None:
    """`notice` of a file that has the size of a published one, or a name that no other model's file has; None for all others."""
    size, own = _size(path), not path.name.startswith(_COMMON)
    like = any(size == known.size or (own and path.name == known.file) for known in KNOWN)
    return notice(path, watch=watch) if like else None


def remembered(path: Path) -> str | None:
    """The SHA-256 that `digest` found the last time, if the file has not changed since. Raises BadModel if it cannot be read."""
    try:
        return _remembered().get(_place(path, path.stat()))
    except OSError as error:
        raise BadModel(f"{path}: it cannot be read ({error}); copy it again.") from error


def digest(path: Path, *, watch: Watch | None = None) -> str:
    """SHA-256 of a file's bytes in hexadecimal, from the cache if path, size and time of change are those of the last time.

    Raises BadModel where it cannot be read.
    """
    try:
        state = path.stat()
        place, table = _place(path, state), _remembered()
        if place in table:
            return table[place]
        found, done = hashlib.sha256(), 0
        with path.open("rb") as file:
            while piece := file.read(_CHUNK):
                found.update(piece)
                done += len(piece)
                if watch is not None:
                    watch(done, state.st_size)
    except OSError as error:
        raise BadModel(f"{path}: it cannot be read ({error}); copy it again.") from error
    _remember(place, found.hexdigest())
    return found.hexdigest()


def cache_folder() -> Path | None:
    """The user's cache of this package: in XDG_CACHE_HOME or ~/.cache; None where there is no home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):
        return Path(base) / "vitascope"
    try:
        return Path.home() / ".cache" / "vitascope"
    except RuntimeError:
        return None


def _place(path: Path, state: os.stat_result) -> str:
    return f"{path.resolve()}|{state.st_size}|{state.st_mtime_ns}"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise BadModel(f"{path}: it cannot be read ({error}); look at the path again.") from error


def _remembered() -> dict[str, str]:
    """The cache; nothing where it cannot be read, or is no table of hashes."""
    folder = cache_folder()
    try:
        table = json.loads((folder / "hashes.json").read_bytes()) if folder else {}
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(table, dict):
        return {}
    return {place: sha for place, sha in table.items() if isinstance(sha, str) and len(sha) == 64}


def _remember(place: str, sha256: str) -> None:
    """Keep a hash. That it cannot be kept is no reason to stop: it is found again the next time."""
    folder = cache_folder()
    if folder is None:
        return
    table = dict([*_remembered().items(), (place, sha256)][-_MOST:])
    partial = folder / f".hashes.{os.getpid()}.partial"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_text(json.dumps(table, indent=1), encoding="utf-8")
            os.replace(partial, folder / "hashes.json")
        finally:
            partial.unlink(missing_ok=True)
