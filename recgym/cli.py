"""What the mains share: Hydra, and errors as one sentence instead of a traceback."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import hydra
import torch
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from recgym.errors import UserError


def command(config_name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[[], Any]]:
    """Make ``main(cfg)`` a Hydra main over ``conf/<config_name>.yaml``.

    What a user can mend ends as one sentence on standard error and exit code 1.
    """

    def decorate(function: Callable[[DictConfig], Any]) -> Callable[[], Any]:
        @functools.wraps(function)
        def guarded(cfg: DictConfig) -> Any:
            try:
                return function(cfg)
            except (UserError, OmegaConfBaseException, HydraException) as error:
                _stop(error)

        main: Callable[[], Any] = hydra.main(
            version_base="1.3", config_path="pkg://conf", config_name=config_name
        )(guarded)
        return main

    return decorate


def _stop(error: Exception) -> None:
    sentence = " ".join(str(error).split())
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(1)


def use_threads(num_threads: int | None) -> None:
    """Limit torch's threads, where a sweep runs several jobs on one machine."""
    if num_threads:
        torch.set_num_threads(num_threads)
