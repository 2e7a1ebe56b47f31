"""recgym.locks: jobs that share a cache make each entry once, whoever is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from recgym.locks import LOCKS, held, made_once

HOLDER = """
import sys, time
from pathlib import Path
from recgym.locks import made_once

def make():
    beside = Path({folder!r}).parent / ".entry.1234.tmp"
    beside.mkdir()
    print("making", flush=True)
    time.sleep(60)

made_once(Path({folder!r}), "whole", make)
"""


class Maker:
    """Writes an entry slowly, and counts how often it was asked to."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.times = folder, 0

    def __call__(self) -> None:
        self.times += 1
        time.sleep(0.05)
        beside = self.folder.with_name(f".{self.folder.name}.5678.tmp")
        beside.mkdir()
        (beside / "whole").write_text("")
        beside.rename(self.folder)


def test_one_of_many_makes_an_entry_and_all_others_find_it(tmp_path: Path) -> None:
    # Why: a fit takes minutes to hours, and every job of a sweep asks for it at once.
    make = Maker(tmp_path / "entry")
    found: list[bool] = []
    jobs = [
        threading.Thread(target=lambda: found.append(made_once(make.folder, "whole", make)))
        for _ in range(5)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert make.times == 1 and sorted(found) == [False, True, True, True, True]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["entry", LOCKS]


def test_a_killed_maker_blocks_nobody_and_leaves_nothing(tmp_path: Path) -> None:
    # Why: an entry whose maker was killed by the memory's end must be made by the next job, and
    # what it had written by then must not fill the disk for ever.
    folder = tmp_path / "entry"
    program = [sys.executable, "-c", HOLDER.format(folder=str(folder))]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "making\n"
        held_by_it = threading.Thread(target=lambda: made_once(folder, "whole", Maker(folder)))
        held_by_it.start()
        held_by_it.join(0.2)
        assert held_by_it.is_alive()  # it waits for the one who holds the lock
        holder.send_signal(signal.SIGKILL)
    held_by_it.join(10)
    assert not held_by_it.is_alive() and (folder / "whole").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["entry", LOCKS]


def test_a_maker_that_fails_leaves_the_entry_to_the_next(tmp_path: Path) -> None:
    # Why: a job that fails must not make the others fail, nor leave half an entry to believe.
    def fail() -> None:
        raise ValueError("no room")

    folder = tmp_path / "entry"
    try:
        made_once(folder, "whole", fail)
    except ValueError as error:
        assert str(error) == "no room"
    assert not folder.exists() and not made_once(folder, "whole", Maker(folder))
    with held(tmp_path / LOCKS / "entry.lock", "entry"):  # and no lock is left behind
        assert made_once(folder, "whole", fail)
