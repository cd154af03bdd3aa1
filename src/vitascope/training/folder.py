"""A run's folder: one process at a time, one recipe, one beginning.

`start/` is a copy of the bundle that the run began from, so that it goes on from the same weights wherever the bundle went;
`beginning.json` tells its name, and which folder of films is learned from.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from vitascope import bundle
from vitascope.errors import BadModel, BadRecipe, BadRun
from vitascope.recipe import Recipe
from vitascope.swapping import file_in_place_of
from vitascope.text import TOKENIZER, Words

BEGINNING, START, RECIPE, LOCK = "beginning.json", "start", bundle.RECIPE, bundle.LOCK
BUNDLE = "bundle"
"""The folder in a run's that holds what came of it."""


@dataclass(frozen=True)
class Beginning:
    """What a run began with: a bundle by the name that was given, or fresh weights; films in a folder, or the storybook."""

    bundle: str | None = None
    data: str | None = None


def is_run(folder: Path) -> bool:
    """Whether a run began in the folder. What is noted of a beginning counts from then on."""
    return (folder / RECIPE).is_file()


def beginning_of(folder: Path) -> Beginning:
    """What the run in a folder began with; nothing where there is none. Raises BadRun when that cannot be read."""
    path = folder / BEGINNING
    try:
        return Beginning(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Beginning()
    except (OSError, ValueError, TypeError) as error:
        raise BadRun(
            f"{path}: it cannot be read ({error}), so how the run began is not known; give another --out folder."
        ) from (error)


def remember(folder: Path, recipe: Recipe, resume: bool, asked: Beginning, base: Path | None) -> None:
    """Note what the run is, or see that it is the one that is there. `base` is the folder of the bundle that was asked for.

    Raises BadRun where there is a run and `resume` is False, or the run there was begun with something else.
    """
    if is_run(folder):
        if not resume:
            raise BadRun(
                f"{folder}: a run is there already; add --resume to go on with it, or give another --out folder."
            )
        _same_beginning(folder, asked, base)
        if _identity_of(recipe_in(folder)) != _identity_of(recipe):
            raise BadRun(
                f"{folder}: the run there was started from another recipe; give another --out folder, or that recipe."
            )
        asked = Beginning(beginning_of(folder).bundle, asked.data)
    else:  # what a process left that was killed here is of no run
        for name in (BEGINNING, TOKENIZER):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / START, ignore_errors=True)
        if base is not None:
            _keep(base, folder / START)
    if asked != Beginning():
        _put(folder / BEGINNING, json.dumps(asdict(asked)) + "\n")
    if not is_run(folder):
        _put(folder / RECIPE, recipe.json())


def note_words(folder: Path, recipe: Recipe, words: Words) -> None:
    """Note the words that the run in a folder knows from now on, and its recipe, as it is with them. Raises BadRun."""
    _put(folder / RECIPE, recipe.json())
    _put(folder / TOKENIZER, words.json())


def agreed_words(folder: Path, wanted: Words) -> Words:
    """The words of a run that is to learn those that are `wanted`: the words that it knows already, where all that are wanted are
    among them, or else `wanted`.

    Raises BadRun where something was trained there that does not know them all, or of which it cannot be told what it knows.
    """
    known, trained = known_words(folder), _is_trained(folder)
    if known is None:
        if trained and (beginning_of(folder).data or len(wanted) != recipe_in(folder).text.vocab):
            raise words_lost(folder)
        return wanted  # also to runs of the storybook by versions that kept no words, which knew all of its
    there = known.tokenizer.get_vocab()
    new = sorted(wanted.tokenizer.get_vocab().keys() - there.keys())
    if not new or not trained:
        return wanted if new else known
    less = ", or captions without" if beginning_of(folder).data else ""
    raise BadRun(
        f"{folder}: what is trained there does not know {_some(new)}, to be learned from now on, and has no room for another word; "
        f"give another --out folder{less}."
    )


def known_words(folder: Path) -> Words | None:
    """The words that the run in a folder knows: as they are kept there, or where that file is lost in the bundle that was made
    of it. None where neither is there, and where the file is spoiled and nothing was trained yet, so that others may take their
    place.

    Raises BadRun where something was trained, and the words that are kept are not those that it knows.
    """
    path, count = folder / TOKENIZER, recipe_in(folder).text.vocab
    try:
        words = Words.parse(path.read_text(encoding="utf-8"), str(path))
        if len(words) == count:
            return words
        why = f"it has {len(words):,} words and the run knows {count:,}"
    except FileNotFoundError:
        return _copied_words(folder) if _is_trained(folder) else None
    except (OSError, UnicodeDecodeError, BadModel) as error:
        why = f"it cannot be read ({_reason(path, error)})"
    if not _is_trained(folder):
        return None
    raise BadRun(f"{path}: {why}; {_put_back(folder, TOKENIZER, _copied_words(folder) is not None)}.")


def words_lost(folder: Path) -> BadRun:
    """That it cannot be told which words the run in a folder knows."""
    return BadRun(
        f"{folder / TOKENIZER}: it is not there, or spoiled, so which words the run knows cannot be told; "
        f"{_put_back(folder, TOKENIZER, False) if _is_trained(folder) else 'go on with the run, which finds them'}."
    )


def _copied_words(folder: Path) -> Words | None:
    """The words of the bundle that was made of a run, where they can be those that it knows."""
    path = folder / BUNDLE / TOKENIZER
    try:
        words = Words.parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError, BadModel):
        return None
    return words if len(words) == recipe_in(folder).text.vocab else None


def _is_trained(folder: Path) -> bool:
    """Whether there are weights of any stage."""
    return any(folder.glob("*.safetensors"))


def _put_back(folder: Path, name: str, copied: bool) -> str:
    """What would do where a file of a run is lost or spoiled that nothing else can tell of."""
    copy = f", of which {folder / BUNDLE / name} is a copy" if copied else ", or give another --out folder"
    return f"put back the one that was there{copy}"


def _some(words: list[str]) -> str:
    told = [f"'{word[:60]}'" for word in words[:3]]
    return f"{', '.join(told)} and more" if len(words) > 3 else " and ".join(told)


def _reason(path: Path, error: Exception) -> str:
    return str(error).removeprefix(f"{path}: ").partition("; ")[0]


def noted_in(folder: Path) -> Path:
    """Where it is noted what a run's network was learned from: in its own folder once it learns, else with what it began from."""
    return folder if (folder / bundle.LEARNED).is_file() else folder / START


@contextmanager
def undone(folder: Path, what: type[Exception]) -> Iterator[None]:
    """Where the block ends by `what`, the run that was just remembered never began, and the folder is as it was: not there,
    or with what others had put there."""
    try:
        yield
    except what:
        for name in (RECIPE, TOKENIZER, BEGINNING, bundle.LEARNED, LOCK):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / START, ignore_errors=True)
        for left in (folder / "data", folder):
            with suppress(OSError):  # not empty: somebody else's
                left.rmdir()
        raise


def _same_beginning(folder: Path, asked: Beginning, base: Path | None) -> None:
    before = beginning_of(folder)
    if asked.data and not before.data:
        raise BadRun(
            f"{folder}: the run there learns from the storybook; give another --out folder to train on {asked.data}."
        )
    if base is None or base == folder / START:
        return
    if before.bundle is None:
        raise BadRun(
            f"{folder}: the run there began with fresh weights; give another --out folder to begin from {asked.bundle}."
        )
    if bundle.digests(base) != bundle.digests(folder / START):
        raise BadRun(
            f"{folder}: the run there began from other weights ({before.bundle}) than {asked.bundle} holds now; leave --from "
            "out to go on from those, or give another --out folder."
        )


def _keep(base: Path, start: Path) -> None:
    """Copy the files of a bundle, all of them or none."""
    partial = start.with_name(f".{start.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        for name in (*bundle.FILES, bundle.HASHES, bundle.LEARNED):
            if (base / name).is_file():
                shutil.copyfile(base / name, partial / name)
        os.replace(partial, start)
    except OSError as error:
        raise BadRun(
            f"{start}: the weights to begin from could not be copied there ({error}); free some space."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _put(path: Path, text: str) -> None:
    """Write a text whole, or not at all. Raises BadRun."""
    try:
        with file_in_place_of(path) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadRun(
            f"{path}: it could not be written ({error}); free some space, or give another --out folder."
        ) from error


def recipe_in(folder: Path) -> Recipe:
    """The recipe of the run in a folder, as it is noted there. Raises BadRun."""
    path, copy = folder / RECIPE, folder / BUNDLE / RECIPE
    try:
        return Recipe.of(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, BadRecipe) as error:
        raise BadRun(
            f"{path}: it cannot be read ({error}), so what is trained there is not known; "
            f"{_put_back(folder, RECIPE, copy.is_file())}."
        ) from error


_NOT_WHAT_WEIGHTS_MEAN: dict[str, bool | set[str]] = {
    "stages": True,
    "defaults": True,
    "text": {"vocab"},
    "diffusion": {"temperature"},
}


def _identity_of(recipe: Recipe) -> str:
    # Lengths, and how films are made, may be changed between two parts of a run; what the weights mean may not. What a recipe of
    # an older version did not name is as it was then, by its default. How many words there are is found on the way, from what is
    # learned from.
    kept = recipe.model_dump(mode="json", exclude=_NOT_WHAT_WEIGHTS_MEAN)
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The folder, made if need be, for this process alone. Raises BadRun that names the process which has it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = (folder / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise BadRun(f"{folder}: nothing can be written there ({error}); give another --out folder.") from error
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            raise BadRun(
                f"{folder}: process {lock.read().strip()} is training in this folder; wait for it, or give another --out folder."
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
