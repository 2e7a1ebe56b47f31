"""The shops that a log without impressions allows: one fit under each of several assumptions.

Such a log does not say which of them is right, so that no result holds in one of them alone.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recgym.errors import UserError
from recgym.users.assumptions import assume_pages, check
from recgym.users.sequence import SequenceModel

NAME = "user_model.assumptions"


@dataclass(frozen=True)
class AssumedRange:
    """Each of ``rho`` with each of ``seeds``; `assume_pages` says what these are."""

    rho: tuple[float, ...]
    seeds: tuple[int, ...]
    page_share: float
    num_slots: int
    sessions: int  # in each shop, for each policy

    def all(self) -> list[tuple[float, int]]:
        """Every (rho, seed)."""
        return [(rho, seed) for rho in self.rho for seed in self.seeds]


def assumed_range(settings: Mapping[str, Any], num_slots: int) -> AssumedRange:
    """What ``user_model.assumptions`` of a config says, checked before any work.

    Raises:
        UserError: naming the first setting that cannot be used.
    """
    chosen = settings.get("range") or {}
    rhos = chosen.get("rho")
    if not isinstance(rhos, list) or not rhos:
        raise UserError(f"{NAME}.range.rho={rhos}: expected a list such as [0,0.3,0.6,0.9].")
    for key, least in (("draws", 1), ("sessions", 2)):
        _whole(f"range.{key}", chosen.get(key), least)
    _whole("seed", settings["seed"], 0)
    _number("page_share", settings["page_share"])
    for name, rho in (("rho", settings["rho"]), *(("range.rho", rho) for rho in rhos)):
        _number(name, rho)
        check(rho, settings["page_share"], num_slots)
    seed = settings["seed"]
    return AssumedRange(
        rho=tuple(float(rho) for rho in rhos),
        seeds=tuple(range(seed, seed + chosen["draws"])),
        page_share=settings["page_share"],
        num_slots=num_slots,
        sessions=chosen["sessions"],
    )


def assumed_shop(
    fit: SequenceModel, *, rho: float, page_share: float, seed: int, num_slots: int
) -> SequenceModel:
    """A copy of the fit whose response to showing is assumed; the fit stays as it is."""
    model = copy.deepcopy(fit)
    assume_pages(model, rho=rho, page_share=page_share, seed=seed, num_slots=num_slots)
    return model


def _whole(name: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UserError(f"{NAME}.{name}={value}: expected a whole number of at least {least}.")


def _number(name: str, value: Any) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or math.isnan(value):
        raise UserError(f"{NAME}.{name}={value}: expected a number.")
