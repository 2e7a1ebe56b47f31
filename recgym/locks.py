"""One maker at a time of what several jobs share, on one machine or on a file system they share.

`filelock` asks the kernel for the lock (`flock`), which ends with its process: a job that is killed
blocks nobody, and no lock goes stale. Where a file system has no such locks the library falls back
on a file that names its holder. What is made is written beside and renamed in any case, so that a
lock that failed would cost time and never a damaged file.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from recgym import progress

LOCKS = "locks"  # folder in a cache; its empty files stay, for removing one would race


@contextmanager
def held(file: Path, what: str) -> Iterator[None]:
    """Hold the lock of this file until the block ends; wait, and say so, while another has it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        progress.say(f"{what}: another job is at it; waiting")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def made_once(folder: Path, finished: str, make: Callable[[], Any]) -> bool:
    """Have ``make`` write ``folder``, unless it is there; returns whether it was.

    Args:
        folder: an entry of a cache.
        finished: name of the file in it that says that it is whole.
        make: writes it, beside and renamed.
    """
    file = folder / finished
    if file.exists():
        return True
    with held(folder.parent / LOCKS / f"{folder.name}.lock", folder.name):
        if file.exists():  # made while this one waited
            return True
        for left in folder.parent.glob(f".{folder.name}.*"):  # by a maker that was killed
            shutil.rmtree(left, ignore_errors=True)
        make()
    return False
