"""Clips of somebody's own films: read once, kept as bytes like rendered ones, and split by what they show.

Films are cut to the recipe's measure one by one; one that cannot be is set aside, and the others go on. Work that was cut
off goes on with the film that it was at. What each film was is kept beside the bytes, so that a file that was changed, a
caption that was rewritten and a film that came or went are noticed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from vitascope.data.clips import Pixels, read_label
from vitascope.data.folder import Fault, Film, Listing
from vitascope.errors import BadData, BadMedia, BadRun
from vitascope.media.confined import Confined
from vitascope.media.fitting import Measure

HELD_OUT = 10
"""One film of so many is held out of training, to measure on."""
_PIECE = 2**26  # bytes of a film that are hashed between two looks at whether to go on


@dataclass(frozen=True)
class Entry:
    """What became of one film: the SHA-256 of its file and of each of its windows, or why it was set aside."""

    name: str
    size: int
    mtime: int
    caption: str
    sha256: str = ""
    windows: tuple[str, ...] = ()
    seen: dict[str, Any] | None = None
    why: str = ""

    def tells_of(self, film: Film) -> bool:
        """Whether the film is still the one that was read, as far as the file system tells."""
        return (self.name, self.size, self.mtime, self.caption) == (film.name, film.size, film.mtime, film.caption)

    @staticmethod
    def of(table: Any) -> Entry:
        """From what `asdict` gave, through JSON."""
        return Entry(**(table | {"windows": tuple(table["windows"])}))


@dataclass(frozen=True)
class OwnSource:
    """What a set of own clips is: `digest` is the SHA-256 over those of its windows."""

    count: int
    frames: int
    height: int
    width: int
    digest: str


class OwnClips:
    """Some of the windows in a file of own clips, with their films' captions."""

    def __init__(self, path: Path, measure: Measure, total: int, rows: Sequence[tuple[int, str, str]]) -> None:
        """`total` windows are in the file; `rows` are (place, caption, digest) of those that belong to this set."""
        self.bytes = np.memmap(
            path, dtype=np.uint8, mode="r", shape=(total, measure.frames, measure.height, measure.width, 3)
        )
        self.places = [place for place, _, _ in rows]
        self.captions = [caption for _, caption, _ in rows]
        whole = hashlib.sha256("".join(digest for _, _, digest in rows).encode()).hexdigest()
        self.source = OwnSource(len(rows), measure.frames, measure.height, measure.width, whole)
        self.prompts: Sequence[str] = tuple(dict.fromkeys(self.captions))

    def __len__(self) -> int:
        return len(self.places)

    def view(self, index: int) -> Pixels:
        """Clip `index` on disk, uint8 [t h w c]."""
        return self.bytes[self.places[index]]

    def pixels(self, index: int) -> Tensor:
        """Clip `index`, uint8 [t h w c]."""
        return torch.from_numpy(np.array(self.view(index)))

    def caption(self, index: int, epoch: int = 0) -> str:
        """The caption of the film that clip `index` is from; it has but one."""
        return self.captions[index]

    def plain(self, index: int) -> str:
        """The same caption."""
        return self.captions[index]

    def shows(self, index: int) -> dict[str, str]:
        """Nothing: somebody's films are labelled by their captions alone."""
        return {}

    def presence(self, index: int, height: int, width: int) -> None:
        """None: nobody knows where in somebody's film its subjects are."""


@dataclass(frozen=True)
class Own:
    """Own clips to train on and, where there are films enough, to measure on; and the films that were set aside."""

    training: OwnClips
    held_out: OwnClips | None
    faults: tuple[Fault, ...]


def own_clips(
    path: Path,
    found: Listing,
    measure: Measure,
    watch: Callable[[int, int], None] | None = None,
    heed: Callable[[], None] | None = None,
) -> Own:
    """The clips of a listed folder, cut to `path` unless they are there already; `watch(done, of)` counts films.

    `heed` is called with every window and every 64 MiB that are hashed, since a film may be long, and ends the work by what
    it raises.

    Raises BadRun when the clips there are of other films than the folder now holds, or for another recipe, and when the disk
    cannot hold them; BadData when no film can be used.
    """
    label = path.with_suffix(".json")
    if path.is_file():
        entries = kept_entries(label, measure)
        check_unchanged(entries, found, path, heed)
        total = sum(len(entry.windows) for entry in entries)
        if path.stat().st_size != total * measure.bytes:
            raise BadRun(
                f"{path}: it has {path.stat().st_size:,} bytes and its clips take {total * measure.bytes:,}; delete it, to "
                "have the films read again."
            )
    else:
        try:
            entries = _read(path, found.ensure_films(), measure, watch, heed)
        except OSError as error:
            raise BadRun(f"{path}: the clips could not be written ({error}); free some space and resume.") from error
    return _split(path, measure, entries, found.faults)


def kept_entries(label: Path, measure: Measure) -> list[Entry]:
    """What the label beside own clips says of each film. Raises BadRun when it is none, or for another measure."""
    table = read_label(label)
    try:
        if not isinstance(table, dict) or table["measure"] != list(measure):
            raise BadRun(
                f"{label}: these clips were cut for another recipe; give another --out folder, or delete them."
            )
        return [Entry.of(entry) for entry in table["films"]]
    except (KeyError, TypeError) as error:
        raise BadRun(
            f"{label}: it cannot be read; delete it and the clips beside it, to read the films again."
        ) from error


def check_unchanged(
    entries: Sequence[Entry], found: Listing, path: Path, heed: Callable[[], None] | None = None
) -> None:
    """Raise BadRun unless the folder's films and captions are those that were read. A file that was only touched is the same:
    it is hashed, and `heed` is called meanwhile, and ends the work by what it raises."""
    before, now = {entry.name: entry for entry in entries}, {film.name: film for film in found.films}
    changes = [
        *(f"{name} is gone, or has no caption any more" for name in before if name not in now),
        *(f"{name} is new" for name in now if name not in before),
    ]
    for name in before.keys() & now.keys():
        entry, film = before[name], now[name]
        if entry.caption != film.caption:
            changes.append(f"{name} has another caption")
        elif not entry.tells_of(film) and (entry.size != film.size or entry.sha256 != _digest(film.path, heed)):
            changes.append(f"{name} is another film")
    if changes:
        more = f" and {len(changes) - 1} more changes" if len(changes) > 1 else ""
        raise BadRun(
            f"{found.folder}: {sorted(changes)[0]}{more} since this run read its films; give another --out folder, or delete "
            f"{path} to have them read again."
        )


def entries(
    films: Iterable[Film],
    measure: Measure,
    sink: Callable[[bytes], object],
    heed: Callable[[], None] | None = None,
) -> Iterator[Entry]:
    """Cut films one by one, their windows into `sink`. For one that is set aside in the middle `sink` has heard too much.

    `heed` is called while a large film is hashed, and ends the work by what it raises."""
    with Confined(measure) as confined:
        for film in films:
            digests: list[str] = []

            def take(window: bytes, digests: list[str] = digests) -> None:
                sink(window)
                digests.append(hashlib.sha256(window).hexdigest())

            sha256 = ""
            try:
                _check_still(film)
                sha256 = _digest(film.path, heed)
                seen = confined.cut(film.path, take)
                _check_still(film)
                yield _entry(film, sha256, tuple(digests), seen)
            except BadMedia as error:
                why = str(error).removeprefix(f"{film.path}: ")
                yield _entry(film, sha256, why=why)


def _entry(
    film: Film, sha256: str, windows: tuple[str, ...] = (), seen: dict[str, Any] | None = None, why: str = ""
) -> Entry:
    return Entry(film.name, film.size, film.mtime, film.caption, sha256, windows, seen, why)


def _check_still(film: Film) -> None:
    try:
        now = film.path.stat()
    except OSError as error:
        raise BadMedia(f"{film.path}: it is gone since the folder was listed; put it back.") from error
    if (now.st_size, now.st_mtime_ns) != (film.size, film.mtime):
        raise BadMedia(f"{film.path}: it changed after the folder was listed; begin again once it stands still.")


def _digest(path: Path, heed: Callable[[], None] | None = None) -> str:
    whole = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                whole.update(piece)
                if heed and len(piece) == _PIECE:
                    heed()
        return whole.hexdigest()
    except OSError as error:
        raise BadMedia(
            f"{path}: it cannot be read ({(error.strerror or '').lower()}); check who may read it."
        ) from error


def _read(
    path: Path,
    found: Listing,
    measure: Measure,
    watch: Callable[[int, int], None] | None,
    heed: Callable[[], None] | None,
) -> list[Entry]:
    """Cut every film to `path`; each that is done goes into a journal, and work that was cut off goes on after the last."""
    partial, journal, label = (path.with_suffix(end) for end in (".partial", ".journal", ".json"))
    path.parent.mkdir(parents=True, exist_ok=True)
    done = _journalled(journal, found.films, measure) if partial.is_file() else []
    with partial.open("r+b" if done else "w+b") as file, journal.open("w", encoding="utf-8") as lines:
        lines.write(json.dumps(list(measure)) + "\n" + "".join(_line(entry) for entry in done))
        lines.flush()
        place = _cut_back(file, done, measure)

        def take(window: bytes) -> None:
            file.write(window)
            if heed:
                heed()

        for entry in entries(found.films[len(done) :], measure, take, heed):
            done.append(entry)
            place += len(entry.windows) * measure.bytes
            file.seek(place)
            file.truncate()  # what a film that was set aside had given already
            file.flush()
            lines.write(_line(entry))
            lines.flush()
            if watch:
                watch(len(done), len(found.films))
        os.fsync(file.fileno())
    if not any(entry.windows for entry in done):
        for left in (partial, journal):
            left.unlink()
        raise nothing_left(found, Fault(done[-1].name, done[-1].why))
    label.write_text(
        json.dumps({"measure": list(measure), "films": [asdict(entry) for entry in done]}), encoding="utf-8"
    )
    os.replace(partial, path)
    journal.unlink()
    return done


def nothing_left(found: Listing, last: Fault) -> BadData:
    """Why a folder cannot be trained on of which every film was set aside, the last one for this reason."""
    return BadData(
        f"{found.folder}: none of its {len(found.films)} captioned films can be used, {last.name} for instance because "
        f"{last.why.rstrip('.')}; see what vitascope data says of each."
    )


def _line(entry: Entry) -> str:
    return json.dumps(asdict(entry)) + "\n"


def _cut_back(file: BinaryIO, done: Sequence[Entry], measure: Measure) -> int:
    place = sum(len(entry.windows) for entry in done) * measure.bytes
    file.truncate(place)
    return file.seek(place)


def _journalled(journal: Path, films: Sequence[Film], measure: Measure) -> list[Entry]:
    """The films that were done before the work was cut off, up to the first that is not as it was."""
    try:
        first, *lines = journal.read_text(encoding="utf-8").splitlines()
        if json.loads(first) != list(measure):
            return []
    except (OSError, ValueError):
        return []
    done: list[Entry] = []
    for line, film in zip(lines, films):
        try:
            entry = Entry.of(json.loads(line))
        except (ValueError, TypeError, KeyError):
            break
        if not entry.tells_of(film):
            break
        done.append(entry)
    return done


def _split(path: Path, measure: Measure, entries: Sequence[Entry], faults: Sequence[Fault]) -> Own:
    used = [entry for entry in entries if entry.windows]
    apart = held_out([entry.windows for entry in used])
    rows: tuple[list[tuple[int, str, str]], list[tuple[int, str, str]]] = ([], [])
    place = 0
    for entry, held in zip(used, apart):
        for digest in entry.windows:
            rows[held].append((place, entry.caption, digest))
            place += 1
    training, held = (OwnClips(path, measure, place, each) if each else None for each in rows)
    assert training is not None
    aside = [Fault(entry.name, entry.why) for entry in entries if not entry.windows]
    return Own(training, held, (*faults, *aside))


def held_out(films: Sequence[Sequence[str]]) -> list[bool]:
    """Which films are held out, one in ten, given the digests of each one's windows.

    Films that share a window, byte for byte, are on the same side, and so are those that share one with them: the same
    content is never in both. Which ones it is depends on the content alone, not on names or order.
    """
    root = list(range(len(films)))

    def top(film: int) -> int:
        while root[film] != film:
            film = root[film]
        return film

    first: dict[str, int] = {}
    for film, digests in enumerate(films):
        for digest in digests:
            root[top(film)] = top(first.setdefault(digest, film))
    groups: dict[int, str] = {}
    for film, digests in enumerate(films):
        groups[top(film)] = min([groups.get(top(film), "g"), *digests])  # "g" comes after every hexadecimal digit
    chosen = sorted(groups, key=lambda group: groups[group])[: len(groups) // HELD_OUT]
    return [top(film) in chosen for film in range(len(films))]
