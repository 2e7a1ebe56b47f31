"""What a fit of `recgym.users.ad_law` found, in words, and as a file beside the user model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch

from recgym.errors import UserError
from recgym.files import write_json
from recgym.users.ad_law import AdLaw, Usual
from recgym.users.base import Shoppers
from recgym.users.sponsored import AdShoppers

FILE, SCHEMA_VERSION = "ads.json", 1
Z95 = 1.96  # standard errors of a 95 % interval
MEANING = {
    "level": "log-mass of a slot for holding an ad",
    "blindness": "log-mass of an ad that full distrust takes",
    "memory": "of tiredness, kept from page to page",
    "leave": "logit of leaving a unit of tiredness",
    "back": "logit of coming back that a unit of tiredness takes",
    "trust_rate": "share of the way to an ad's relevance that trust goes",
    "rest_days": "away, in which tiredness halves",
    "position": "log-mass lost a doubling of the position",
    "ordinary": "log-mass of an ordinary item in the first slot",
}


class Estimate(NamedTuple):
    """A number found in a log."""

    value: float
    error: float  # standard

    def interval(self) -> tuple[float, float]:
        """The 95 % interval."""
        return self.value - Z95 * self.error, self.value + Z95 * self.error


@dataclass(frozen=True)
class AdFit:
    """The law of a log's shoppers, and where its numbers come from."""

    law: AdLaw
    usual: Usual  # of the log
    estimates: dict[str, Estimate]  # of the numbers that were fitted, shifts included
    num_sessions: int  # read
    num_ads: int  # shown in them
    gain: float  # nats of log-likelihood of their choices, above the model without ads
    asked: dict[str, Any]  # settings of the fit

    def shoppers(self, model: Shoppers) -> AdShoppers:
        """Those of the learned shop with ads."""
        return AdShoppers(model, self.law, self.usual)

    def assumed(self) -> list[str]:
        """Numbers that the log was not asked for."""
        return [name for name in ("trust_rate", "rest_days", "back") if name not in self.estimates]

    def lines(self) -> list[str]:
        """The report."""
        found = [
            f"ads: {self.num_ads:,} in {self.num_sessions:,} training sessions; what they do gains "
            f"{self.gain:.1f} nats of log-likelihood"
        ]
        for name, meaning in MEANING.items():
            value = getattr(self.law, name)
            if name in self.estimates:
                low, high = self.estimates[name].interval()
                if name == "memory":  # a share, whose error is that of a normal all the same
                    low, high = max(0.0, low), min(1.0, high)
                said = f"fitted   {name} {value:.3f} [{low:.3f}, {high:.3f}]"
                if self.estimates[name].value < 0.0 == value:
                    said += " (below 0 in the fit)"
            elif name in self.assumed():
                said = f"assumed  {name} {value:.3f}"
            else:
                said = f"measured {name} {value:.3f} on the user model"
            found.append(f"  {said}: {meaning}")
        return found


def save_ads(fit: AdFit, folder: Path) -> None:
    """Write the fit beside the user model in ``folder``."""
    share_I, known = fit.usual.ad_share, {f.name: getattr(fit, f.name) for f in fields(fit)}
    ads_A = share_I.nonzero().squeeze(-1).tolist()
    usual = {
        "annoyance": fit.usual.annoyance,
        "num_items": len(share_I),
        "ad_share": {str(item): float(share_I[item]) for item in ads_A},
    }
    known |= {"law": asdict(fit.law), "usual": usual}
    write_json(folder / FILE, {"schema_version": SCHEMA_VERSION, **known})


def load_ads(folder: Path) -> AdFit | None:
    """The fit that `save_ads` wrote; None where there is none.

    Raises:
        UserError: if the file is damaged or of another version.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    remedy = "remove it and fit again"
    try:
        known = json.loads(file.read_text())
        if known.pop("schema_version") != SCHEMA_VERSION:
            raise UserError(f"{file} is of another version of RecGym: {remedy}.")
        law = AdLaw(**known.pop("law"))
        usual = known.pop("usual")
        share_I = torch.zeros(usual["num_items"], dtype=torch.float64)
        for item, share in usual["ad_share"].items():
            share_I[int(item)] = share
        estimates = {name: Estimate(*pair) for name, pair in known.pop("estimates").items()}
        usual = Usual(share_I, usual["annoyance"])
        return AdFit(law=law, usual=usual, estimates=estimates, **known)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UserError(f"{file} is damaged ({error}): {remedy}.") from error
