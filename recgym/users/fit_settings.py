"""How a user model is fitted: the settings of ``user_model.fit``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from recgym.errors import at_least_1
from recgym.settings import Count, Positive, Share, Within

AtLeast0 = Annotated[float, Within(0.0)]


@dataclass(frozen=True)
class FitSettings:
    """How a user model is fitted.

    Attributes:
        epochs: at most; the best one on the validation sessions is kept.
        patience: epochs without a better validation likelihood before stopping early.
        batch_steps: page views of one batch, about.
        least_updates: of an epoch; the batches of a small log are smaller.
        learning_rate: AdamW's peak; warmed up over the first 5 % of updates, then a cosine.
        weight_decay: AdamW's, on weight matrices.
        clip: largest norm of a gradient.
        calm_share: share of the epochs, at the end, that run without dropout.
    """

    epochs: Count = 10
    patience: Annotated[int, Within(0)] = 2
    batch_steps: Count = 2048
    least_updates: Count = 100
    learning_rate: Positive = 5e-3
    weight_decay: AtLeast0 = 0.1
    clip: Positive = 1.0
    calm_share: Share = 0.4

    def __post_init__(self) -> None:
        """Refuse numbers that no fit can use."""
        for name in ("epochs", "batch_steps", "least_updates"):
            at_least_1(f"user_model.fit.{name}", getattr(self, name))
