"""Settings of pages with ads as plain values, so that an environment's id and kwargs are JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from recgym.ads.campaigns import campaigns_of, draw_campaigns
from recgym.ads.records import Campaigns
from recgym.errors import UserError
from recgym.settings import check
from recgym.types import Catalog
from recgym.users.ad_law import AdLaw
from recgym.users.ad_report import load_ads

T = TypeVar("T")
NUM_CAMPAIGNS = 40  # where nobody says
ASSUMED = "mild"  # what ads do to shoppers, where nobody says


def keywords_for(path: str, given: Mapping[str, Any], target: Callable[..., Any]) -> dict[str, Any]:
    """The keywords given, held against what the target takes."""
    if not isinstance(given, Mapping):
        raise UserError(f"{path}={given!r}: expected settings by name.")
    check(path, given, target)
    return {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}


def made(path: str, given: Any, kind: type[T]) -> T:
    """An object of this kind, or one from its keywords; None stands for its defaults."""
    if isinstance(given, kind):
        return given
    return kind(**keywords_for(path, {} if given is None else given, kind))


def campaigns_from(
    given: Mapping[str, Any] | Sequence[Mapping[str, Any]] | Campaigns | None, catalog: Catalog
) -> Campaigns:
    """Campaigns as they are, listed, or drawn by these keywords; None stands for the defaults.

    In a catalogue of fewer items than the defaults have campaigns, each item has one.
    """
    if isinstance(given, Campaigns):
        return given
    if given is None:
        return draw_campaigns(catalog, num_campaigns=min(NUM_CAMPAIGNS, catalog.num_items))
    if isinstance(given, Mapping):
        return draw_campaigns(catalog, **keywords_for("campaigns", given, draw_campaigns))
    return campaigns_of(given, catalog)


def law_of(shop: object) -> AdLaw | str:
    """What was fitted beside the user model of `model:DIR`, else the preset for want of it."""
    kind, _, folder = shop.partition(":") if isinstance(shop, str) else ("", "", "")
    fitted = load_ads(Path(folder)) if kind == "model" else None
    return ASSUMED if fitted is None else fitted.law
