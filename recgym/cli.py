"""What the mains share: Hydra, and errors as one sentence instead of a traceback."""

from __future__ import annotations

import difflib
import errno
import functools
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from recgym.errors import UserError

REFUSED = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR,
    errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG,
)  # fmt: skip


def command(config_name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[[], Any]]:
    """Make ``main(cfg)`` a Hydra main over ``conf/<config_name>.yaml``.

    What a user can mend ends as one sentence on standard error and exit code 1.
    """

    def decorate(function: Callable[[DictConfig], Any]) -> Callable[[], Any]:
        @functools.wraps(function)
        def guarded(cfg: DictConfig) -> Any:
            # here and not only around Hydra, which would print a line of its own first
            with _Sentences():
                return function(cfg)

        through_hydra: Callable[[], Any] = hydra.main(
            version_base="1.3", config_path="pkg://conf", config_name=config_name
        )(guarded)

        @functools.wraps(function)
        def main() -> Any:
            # Hydra then lets its exceptions through, where it would print several lines and exit
            os.environ.setdefault("HYDRA_FULL_ERROR", "1")
            with _Sentences():
                return through_hydra()

        return main

    return decorate


class _Sentences:
    """Ends the program with one sentence where the user can mend what went wrong."""

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Print and exit, or let a bug through with its traceback."""
        known = isinstance(error, UserError | OmegaConfBaseException | HydraException)
        if isinstance(error, Exception) and (known or any(of(error) for of in OTHERS)):
            print(f"error: {sentence(error)}", file=sys.stderr)
            sys.exit(1)


def sentence(error: Exception) -> str:
    """What, where, expected, remedy; of a bug what Python says of it."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        known = f"expected one of {', '.join(error.options)}" if error.options else "none exists"
        return f"{group}={name} is unknown: {known}."
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override} cannot be read: expected KEY=VALUE; put quotes around a value with "
            "spaces, brackets or equals signs."
        )
    cause = error.__cause__
    if isinstance(error, ConfigCompositionException) and isinstance(cause, OmegaConfBaseException):
        if cause.full_key and isinstance(cause.parent_node, Mapping):
            return _unknown_key(cause.full_key, map(str, cause.parent_node))
        return _one_line(f"{error}: {cause}")
    if _of_place(error):
        assert isinstance(error, OSError)
        place = error.filename2 or error.filename or "a file"
        return (
            f"{place}: {error.strerror}; expected a place that can be read and written, "
            "with free space: see hydra.run.dir, cache_dir and the folder given."
        )
    if _of_search(error):
        return (
            "no trial of the search came to a value: expected at least one job that ends; each "
            "says above why it failed; mend what is common to them, or give hydra.sweeper.params "
            "other ranges."
        )
    if _of_queue(error):
        lines = [line for line in str(error).splitlines() if line.startswith("error: ")]
        said = lines[-1].removeprefix("error: ") if lines else " ".join(str(error).splitlines()[:2])
        return _one_line(f"a job of the queue failed: {said}")
    meant = isinstance(error, UserError | OmegaConfBaseException | HydraException)
    return _one_line(str(error) if meant else f"{type(error).__name__}: {error}")


def _of_queue(error: Exception) -> bool:
    """Whether submitit, which is not always installed, says of a job that it left no result."""
    return any(kind.__name__ == "UncompletedJobError" for kind in type(error).__mro__)


def _of_search(error: Exception) -> bool:
    """Whether Optuna, which is not always installed, looked for the best of no trial at all."""
    return isinstance(error, ValueError) and str(error) == "No trials are completed yet."


def _of_place(error: Exception) -> bool:
    """Whether the file system refused; a file that is missing may be a bug, and shows where."""
    return isinstance(error, OSError) and error.errno in REFUSED


OTHERS = (_of_place, _of_search, _of_queue)  # that a user can mend, of other libraries


def _unknown_key(full_key: str, known: Iterable[str]) -> str:
    parent, _, name = full_key.rpartition(".")
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, 1)
    key = f"{parent}.{nearest[0]}" if parent and nearest else "".join(nearest)
    meant = f"did you mean {key}? If not, " if key else ""
    if not names:
        return f"{full_key} is no setting: {parent} holds a single value."
    where = f"under {parent} " if parent else ""
    return f"{full_key} is no setting: {meant}the settings {where}are {', '.join(names)}."


def _one_line(text: str) -> str:
    return " ".join(text.split())


def check_numbers(cfg: DictConfig, least: Mapping[str, int]) -> None:
    """Stop before any work where a setting is not a whole number of at least ``least[key]``.

    Raises:
        UserError: naming the first such setting.
    """
    for key, smallest in least.items():
        value = OmegaConf.select(cfg, key)
        if not isinstance(value, int) or isinstance(value, bool) or value < smallest:
            raise UserError(f"{key}={value}: expected a whole number of at least {smallest}.")


def check_world(cfg: DictConfig) -> None:
    """Stop where a true shop is asked for and the log is not one that it writes.

    Raises:
        UserError: naming the setting that would have no effect.
    """
    given = [text.lstrip("+~") for text in HydraConfig.get().overrides.task]
    asked = [text for text in given if text.startswith(("world=", "world."))]
    if asked and "world" not in cfg.log:
        raise UserError(
            f"{asked[0]} has no effect on the log {cfg.log.name!r}: a true shop writes log=default "
            "alone; leave one of the two out."
        )


def use_threads(num_threads: int | None) -> None:
    """Limit torch's threads, where a sweep runs several jobs on one machine.

    Raises:
        UserError: if it is no number of threads.
    """
    if num_threads is None:
        return
    if not isinstance(num_threads, int) or isinstance(num_threads, bool) or num_threads < 1:
        raise UserError(
            f"num_threads={num_threads}: expected a whole number of at least 1, or null."
        )
    torch.set_num_threads(num_threads)
