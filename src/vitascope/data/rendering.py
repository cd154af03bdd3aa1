"""Rendering many clips of the storybook: on the device, or by several processes where there are cores for them.

A scene is hundreds of small tensors, so that cores help more than threads do, and more than one GPU does.
"""

from __future__ import annotations

import hashlib
import signal
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache
from multiprocessing import get_context

import torch

from vitascope.physics.noise import key
from vitascope.storybook import render, scene
from vitascope.storybook.scenes import Split

WORTHWHILE = 512
"""Fewer clips than this are drawn before a second process has imported torch."""

Job = tuple[int, range, Split, str, tuple[int, int, int]]
"""Seed, indices, split and world of the scenes; frames, height and width of their clips."""


def drawn(job: Job, device: str = "cpu") -> bytes:
    """The clips of a job, uint8 [n t h w c] as bytes: the same ones wherever they are drawn."""
    seed, indices, split, world, (frames, height, width) = job
    scenes = [scene(seed, index, split, world) for index in indices]
    return render(scenes, frames=frames, height=height, width=width, device=device).cpu().numpy().tobytes()


@cache
def look(world: str) -> str:
    """A name for how a world is drawn today: it changes when its pictures do. SHA-256 over a few small ones."""
    scenes = [scene(key(0, "look"), index, "any", world) for index in range(48)]
    pixels = render(scenes, frames=2, height=18, width=32)
    return hashlib.sha256(pixels.numpy().tobytes()).hexdigest()[:16]


def drawn_in_order(jobs: list[Job], device: str, workers: int) -> Generator[bytes, None, None]:
    """What `drawn` gives of each job, in their order, by up to `workers` processes.

    Whoever asks for several runs as a script must be guarded by `if __name__ == "__main__"`, as each process imports it.
    """
    if workers < 2 or sum(len(job[1]) for job in jobs) < WORTHWHILE:
        yield from (drawn(job, device) for job in jobs)
        return
    # Not by fork: a copy of a process whose threads compute may wait for ever on a lock that one of them held.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_alone) as pool:
        ahead = 2 * workers
        try:
            with unheard():  # until they ignore it themselves
                coming = deque(pool.submit(drawn, job) for job in jobs[:ahead])
            for later in [*jobs[ahead:], *[None] * min(ahead, len(jobs))]:
                yield coming.popleft().result()
                if later is not None:
                    coming.append(pool.submit(drawn, later))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def unheard() -> Iterator[None]:
    """What starts within it hears no Ctrl-C, which is for the process that waits: a terminal sends it to all of them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _alone() -> None:
    """One thread for each process, and Ctrl-C is for the one that waits for them."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
