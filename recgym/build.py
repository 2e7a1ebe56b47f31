"""The one place where a config becomes an object: an upgrade of Hydra is one edit here."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from hydra.utils import get_object, instantiate


def build(config: Mapping[str, Any], *, recursive: bool = True, **changed: Any) -> Any:
    """What the config's ``_target_`` makes of its keywords and of ``changed``.

    Lists arrive as plain Python lists, so that no constructor meets a config.
    """
    # keywords that are records must not pass through Hydra: it takes dataclasses for configs
    make = instantiate(config, _convert_="all", _partial_=True, _recursive_=recursive)
    return make(**changed)


def keywords_of(config: Mapping[str, Any]) -> set[str]:
    """Names of the keywords that the config's ``_target_`` takes."""
    return set(inspect.signature(get_object(config["_target_"])).parameters)
