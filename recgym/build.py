"""The one place where a config becomes an object: an upgrade of Hydra is one edit here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.utils import get_object, instantiate

from recgym.errors import UserError
from recgym.settings import check, keywords


def build(config: Mapping[str, Any], *, recursive: bool = True, **changed: Any) -> Any:
    """What the config's ``_target_`` makes of its keywords and of ``changed``.

    Lists arrive as plain Python lists, so that no constructor meets a config.
    """
    # keywords that are records must not pass through Hydra: it takes dataclasses for configs
    make = instantiate(config, _convert_="all", _partial_=True, _recursive_=recursive)
    known = keywords(make.func)
    unknown = sorted(set(make.keywords) - known) if known else []
    if unknown:
        raise UserError(
            f"{config['_target_']} takes no {', '.join(unknown)}: expected keywords among "
            f"{', '.join(sorted(known))}."
        )
    return make(**changed)


def target_of(config: Mapping[str, Any]) -> Any:
    """The class or function that a config's ``_target_`` names."""
    return get_object(config["_target_"])


def keywords_of(config: Mapping[str, Any]) -> set[str]:
    """Names of the keywords that the config's ``_target_`` takes."""
    return keywords(target_of(config))


def check_settings(path: str, config: Mapping[str, Any]) -> None:
    """Hold a config's values against the annotations of its ``_target_``, before any work.

    Raises:
        UserError: naming the first setting that cannot be used.
    """
    values = {key: value for key, value in config.items() if not key.startswith("_")}
    check(path, values, target_of(config))
