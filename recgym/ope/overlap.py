"""Whether a log can say anything of a policy: how much of it the policy could have written."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from recgym.ope.weights import effective_sample_size

LEAST_SIZE = 200.0  # effective sessions: below, a mean's interval is no better than its tail
LARGEST_SHARE = 0.05  # of all weight in one session: above, one shopper decides
LEAST_MASS = 0.8  # mean weight, which is 1 where the log holds all that the policy shows


@dataclass(frozen=True)
class Overlap:
    """Of the weights of sessions, or of other units."""

    sessions: int  # how many units there are
    effective: float  # of the policy's own that would say as much
    mean_weight: float | None  # 1 on average, where everything the policy shows could be logged
    largest: float  # share of all weight in the heaviest one
    clipped: float  # share of them whose weight was cut
    unit: str = "logged sessions"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def warning(self) -> str | None:
        """One sentence where the log says too little; None where it says enough."""
        of_them = f"of {self.sessions:,} {self.unit}"
        if self.effective == 0.0:
            return (
                f"none {of_them} could have come from this policy: the log says nothing of it; "
                "log its pages at random now and then, or evaluate a softened version."
            )
        if self.effective < LEAST_SIZE or self.largest > LARGEST_SHARE:
            return (
                f"{of_them} an effective {self.effective:.0f} speak for this policy (the heaviest "
                f"has {self.largest:.0%} of the weight): its interval is too narrow to trust; "
                "evaluate a softer version, or log more under a softer policy."
            )
        if self.mean_weight is not None and self.mean_weight < LEAST_MASS:
            return (
                f"the mean weight is {self.mean_weight:.2f} and should be 1: about "
                f"{1 - self.mean_weight:.0%} of what this policy shows is never seen {of_them}."
            )
        return None


def overlap(weight_B: Tensor, clip: float | None = None, unit: str = "logged sessions") -> Overlap:
    """Of weights of sessions, or of other units, which may have been clipped at ``clip``."""
    total = float(weight_B.double().sum())
    return Overlap(
        sessions=len(weight_B),
        effective=effective_sample_size(weight_B),
        mean_weight=total / len(weight_B),
        largest=float(weight_B.max()) / total if total else 0.0,
        clipped=0.0 if clip is None else float((weight_B >= clip).double().mean()),
        unit=unit,
    )
