"""The one place where a config becomes an object: an upgrade of Hydra is one edit here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.utils import instantiate


def build(config: Mapping[str, Any], **changed: Any) -> Any:
    """What the config's ``_target_`` makes of its keywords and of ``changed``.

    Lists arrive as plain Python lists, so that no constructor meets a config.
    """
    return instantiate(config, _convert_="all", **changed)
