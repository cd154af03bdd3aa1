"""A folder of somebody's films and their captions: what is there, and what is wrong with which file.

A caption is in `clip.txt` beside `clip.mp4`, or in a line of `metadata.jsonl` or `metadata.csv`, which names its film in
`file_name` (or `video_path`) and says it in `text` (or `caption`, `prompt`). Nothing is opened here but texts.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import stat
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from vitascope.errors import BadData, VitascopeError
from vitascope.media import local_path
from vitascope.shot import Shot

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".apng")
"""What films are called."""
OTHER_FILMS = (".flv", ".wmv", ".ts", ".m2ts", ".mts", ".mpg", ".mpeg", ".ogv", ".3gp", ".vob")
"""What films are called that are not read, and that are told of."""
TABLES = ("metadata.jsonl", "metadata.csv")
FILM_COLUMNS = ("file_name", "video_path")
CAPTION_COLUMNS = ("text", "caption", "prompt")
LARGEST_TEXT = 100_000_000
"""Bytes of the largest file of captions that is read."""
MOST_FAULTS = 100
"""Of so many wrong lines of one table each is told, and of the others how many they are."""


class Fault(NamedTuple):
    """What is wrong with a file, named relative to the folder, perhaps with a line: `metadata.jsonl:17`."""

    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.name}: {self.why}"


@dataclass(frozen=True)
class Film:
    """A film with its caption, and what its file was like when the folder was listed; nothing of it was decoded yet."""

    name: str
    path: Path = field(compare=False)
    caption: str
    size: int
    mtime: int
    """In nanoseconds, as the file system tells it."""


@dataclass(frozen=True)
class Listing:
    """What a folder holds: films with captions in the order of their names, and faults."""

    folder: Path
    films: tuple[Film, ...]
    faults: tuple[Fault, ...]
    uncaptioned: int = 0

    def ensure_films(self) -> Listing:
        """Itself. Raises BadData where there is no film with a caption."""
        if self.films:
            return self
        if self.uncaptioned:
            raise BadData(
                f"{self.folder}: there are films ({self.uncaptioned}) and none has a caption that can be read; write one to "
                f"clip.txt beside each clip.mp4, or a {TABLES[0]} with {FILM_COLUMNS[0]} and {CAPTION_COLUMNS[0]}."
            )
        raise BadData(f"{self.folder}: there is no film in it; give a folder with {', '.join(SUFFIXES[:5])} files.")


_NO_FILM = f"films are read whose names end in {', '.join(SUFFIXES)}; make one of these of it."


class _Names:
    """The files that are there, by their names. A name may be written with its accents apart or in one (NFD, NFC), as a Mac
    and others do, and is the same."""

    def __init__(self, files: Mapping[str, object]) -> None:
        self._files = files
        self._composed = {unicodedata.normalize("NFC", name): name for name in files}

    def find(self, name: str) -> str | None:
        """The file of this name as it is written there, or None."""
        return name if name in self._files else self._composed.get(unicodedata.normalize("NFC", name))


def listing(folder: Path) -> Listing:
    """List a folder and the folders below it. Raises BadData when it is no folder that can be read."""
    local_path(folder)
    files: dict[str, tuple[Path, os.stat_result]] = {}
    faults: list[Fault] = []
    try:
        for name, path, found in _files(folder, faults):
            files[name] = path, found
    except OSError as error:
        reason = "there is no such folder" if isinstance(error, FileNotFoundError) else (error.strerror or "").lower()
        raise BadData(f"{folder}: it cannot be read ({reason}); give a folder of films.") from None
    told: dict[str, str] = {}
    names = _Names(files)
    for name, (path, _) in files.items():
        if path.name in TABLES:
            _read_table(name, path, names, told, faults)
    films, uncaptioned = [], 0
    for name, (path, found) in files.items():
        if path.suffix.lower() in OTHER_FILMS:
            faults.append(Fault(name, _NO_FILM))
        if path.suffix.lower() not in SUFFIXES:
            continue
        beside = names.find(name[: -len(path.suffix)] + ".txt")
        try:
            if name in told:
                caption = told[name]
            elif beside:
                caption = _caption(_text(files[beside][0]))
            else:
                raise ValueError(
                    f"it has no caption; write one to {path.stem}.txt beside it, or a line in {TABLES[0]}."
                )
        except ValueError as error:
            uncaptioned += 1
            faults.append(Fault(beside or name, str(error)))
            continue
        films.append(Film(name, path, caption, found.st_size, found.st_mtime_ns))
    return Listing(folder, tuple(films), tuple(faults), uncaptioned)


def _files(folder: Path, faults: list[Fault]) -> Iterator[tuple[str, Path, os.stat_result]]:
    """Every plain file with its name relative to the folder, sorted; no folder is entered twice, however it is linked."""
    found = folder.stat()
    entered = {(found.st_dev, found.st_ino)}
    files: list[tuple[str, Path, os.stat_result]] = []
    todo = _entries(folder, "")  # and no recursion: folders may lie in each other as deep as a path is long
    while todo:
        name, entry = todo.pop()
        if entry.name.startswith("."):
            continue
        try:
            found = entry.stat()
            if stat.S_ISREG(found.st_mode):
                files.append((name, Path(entry.path), found))
            elif not stat.S_ISDIR(found.st_mode):
                faults.append(Fault(name, "it is no plain file (a pipe, a socket or a device), and is left alone."))
            elif (found.st_dev, found.st_ino) in entered:
                faults.append(Fault(name, "it is a link to a folder that is read already, and is not followed again."))
            else:
                entered.add((found.st_dev, found.st_ino))
                todo += _entries(entry.path, name + "/")
        except OSError as error:
            loop = error.errno == errno.ELOOP
            why = "it is a link that leads back to itself" if loop else (error.strerror or "it is unreadable").lower()
            faults.append(Fault(name, f"it cannot be read ({why}); remove or mend it."))
    yield from sorted(files, key=lambda found: found[0])


def _entries(place: str | Path, prefix: str) -> list[tuple[str, os.DirEntry[str]]]:
    """What is in a folder, the last first."""
    with os.scandir(place) as found:
        # Links after what is really there, so that it is a link that is found to be the second way to a folder.
        ordered = sorted(found, key=lambda entry: (entry.is_symlink(), entry.name), reverse=True)
    return [(prefix + entry.name, entry) for entry in ordered]


def _text(path: Path) -> str:
    """A text file. Raises ValueError with what is wrong with it."""
    try:
        if path.stat().st_size > LARGEST_TEXT:
            raise ValueError(f"it has over {LARGEST_TEXT:,} bytes, as no captions have; make it smaller.")
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"it cannot be read ({(error.strerror or '').lower()}); check who may read it.") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8; save it as UTF-8 text.") from None


def _caption(text: Any) -> str:
    """A caption on one line. Raises ValueError for what could not be a prompt either."""
    if not isinstance(text, str):
        raise ValueError("its caption is no text; write it in quotes.")
    caption = " ".join(text.split())
    if not caption:
        raise ValueError("its caption is empty; write what the film shows.")
    try:
        Shot(prompt=caption)
    except VitascopeError as error:
        raise ValueError(str(error)) from None
    return caption


def _read_table(
    name: str,
    path: Path,
    names: _Names,
    told: dict[str, str],
    faults: list[Fault],
) -> None:
    """Add what a metadata file tells to `told`; what is wrong with a line goes to `faults`, and the others stand."""
    rows = _json_lines(path) if path.suffix == ".jsonl" else _csv_lines(path)
    prefix, wrong = name[: -len(path.name)], 0
    for line, row in rows:
        try:
            if isinstance(row, str):
                raise ValueError(row)
            film = _film_of(row, prefix, path.parent, names)
            if film in told:
                raise ValueError(f"{film} has a caption already; leave one of the two out.")
            said = next((row[column] for column in CAPTION_COLUMNS if row.get(column) is not None), None)
            if said is None:
                raise ValueError(
                    f"it has none of {', '.join(CAPTION_COLUMNS)}; write the film's caption under one of them."
                )
            told[film] = _caption(said)
        except ValueError as error:
            wrong += 1
            if wrong <= MOST_FAULTS:
                faults.append(Fault(f"{name}:{line}" if line else name, str(error)))
    if wrong > MOST_FAULTS:
        faults.append(
            Fault(name, f"{wrong - MOST_FAULTS:,} more of its lines are wrong; mend those that are told first.")
        )


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Each line's number and object, or the sentence that says why it is none."""
    try:
        if path.stat().st_size > LARGEST_TEXT:
            yield 0, f"it has over {LARGEST_TEXT:,} bytes, as no captions have; make it smaller."
            return
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        yield 0, f"it cannot be read ({(error.strerror or '').lower()}); check who may read it."
        return
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            yield number, f"byte {error.start} of this line is not UTF-8; save the file as UTF-8 text."
        except (ValueError, RecursionError) as error:
            yield number, f"this line is no JSON ({' '.join(str(error).split())[:100]}); write one object on each line."
        else:
            yield (
                number,
                row if isinstance(row, dict) else "this line is no JSON object; write one object on each line.",
            )


def _csv_lines(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        text = _text(path)
    except ValueError as error:
        yield 0, str(error)
        return
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        if not set(reader.fieldnames or ()) & set(FILM_COLUMNS):
            yield (
                1,
                f"its first line names no column {FILM_COLUMNS[0]}; begin with a line of {FILM_COLUMNS[0]},{CAPTION_COLUMNS[0]}.",
            )
            return
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        yield reader.reader.line_num, f"this line is no CSV ({error}); mend it: it and what follows are not read."


def _film_of(row: Mapping[str, Any], prefix: str, place: Path, names: _Names) -> str:
    """The film that a row names, relative to the whole folder. Raises ValueError."""
    named = next((row[column] for column in FILM_COLUMNS if row.get(column)), None)
    if not isinstance(named, str):
        raise ValueError(f"it has no {FILM_COLUMNS[0]}; name the film that it tells of.")
    try:
        local_path(named)
    except VitascopeError as error:
        raise ValueError(str(error)) from None
    except UnicodeEncodeError:
        raise ValueError(
            f"its {FILM_COLUMNS[0]} holds half a character, as no file's does; write the name anew."
        ) from None
    if os.path.isabs(named):
        named = os.path.relpath(named, os.path.abspath(place))
    name = os.path.normpath(prefix + named).replace(os.sep, "/")
    if name.startswith("../"):
        raise ValueError(f"{named[:200]} is outside of the folder; move the film into it.")
    found = names.find(name)
    if found is None:
        raise ValueError(f"{named[:200]} is not there; add the film, or remove the line.")
    if not found.lower().endswith(SUFFIXES):
        raise ValueError(f"{named[:200]} cannot be taken: {_NO_FILM}")
    return found
