"""A look at a folder of films before anything is trained: all that training would find, and nothing is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vitascope.data.folder import Fault, Listing
from vitascope.data.own import Entry, entries, held_out, nothing_left
from vitascope.media.fitting import Measure
from vitascope.text import Words


@dataclass(frozen=True)
class Survey:
    """What is in a folder, what is wrong with which file, and what would be trained."""

    found: Listing
    measure: Measure
    used: tuple[Entry, ...]
    held_out: tuple[bool, ...]
    """Of each film that is used, whether it is kept out of training."""
    faults: tuple[Fault, ...]
    unknown: dict[str, int]
    """Words that the model's tokeniser lacks, of captions that are trained on, and in how many of these each stands."""
    notes: tuple[Fault, ...]
    """What is worth a look and no fault."""

    def windows(self, held: bool) -> int:
        """How many clips are trained on, or held out."""
        return sum(len(entry.windows) for entry, apart in zip(self.used, self.held_out) if apart == held)

    def ensure_trainable(self) -> Survey:
        """Itself. Raises BadData where no film can be trained on."""
        if not self.used:
            self.found.ensure_films()
            raise nothing_left(self.found, self.faults[-1])
        return self

    def json(self) -> dict[str, Any]:
        """As a program reads it."""
        return {
            "measure": self.measure._asdict(),
            "films": [
                {"name": e.name, "caption": e.caption, "sha256": e.sha256, "clips": len(e.windows), "held_out": held}
                | (e.seen or {})
                for e, held in zip(self.used, self.held_out)
            ],
            "faults": [fault._asdict() for fault in self.faults],
            "notes": [note._asdict() for note in self.notes],
            "unknown": self.unknown,
            "clips": {"training": self.windows(False), "held_out": self.windows(True)},
        }


def survey(
    found: Listing, measure: Measure, words: Words | None = None, watch: Callable[[int, int], None] | None = None
) -> Survey:
    """Examine a listed folder, every film of it decoded to its end; `words` is the tokeniser that captions would meet."""
    films = found.films
    read: list[Entry] = []
    for entry in entries(films, measure, lambda _: None):
        read.append(entry)
        if watch:
            watch(len(read), len(films))
    used = tuple(entry for entry in read if entry.windows)
    apart = tuple(held_out([entry.windows for entry in used]))
    aside = (Fault(entry.name, entry.why) for entry in read if not entry.windows)
    return Survey(
        found,
        measure,
        used,
        apart,
        (*found.faults, *aside),
        unknown_words(words, [entry.caption for entry, held in zip(used, apart) if not held]) if words else {},
        tuple(_notes(used, measure)),
    )


def unknown_words(words: Words, captions: list[str]) -> dict[str, int]:
    """The words of captions that a tokeniser lacks, the most frequent first."""
    return dict(Counter(word.lower() for text in captions for word in words.unknown_words(text)).most_common())


def _notes(used: tuple[Entry, ...], measure: Measure) -> list[Fault]:
    notes, first = [], {}
    for entry in used:
        same = next((first[digest] for digest in entry.windows if digest in first), None)
        if same:
            notes.append(
                Fault(entry.name, f"it shows what {same} shows, so that both are on the same side of the split.")
            )
        for digest in entry.windows:
            first.setdefault(digest, entry.name)
        seen = entry.seen or {}
        if seen.get("width", 0) < measure.width or seen.get("height", 0) < measure.height:
            notes.append(
                Fault(
                    entry.name,
                    f"its pictures are {seen['width']}x{seen['height']} and are enlarged to {measure.width}x{measure.height}.",
                )
            )
        if seen.get("hdr"):
            notes.append(Fault(entry.name, "it has a high dynamic range, which is brought down to the usual one."))
    return notes
