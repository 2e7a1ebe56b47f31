"""How a user model is fitted: the settings of ``user_model.fit``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

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
        calm_share: share of the epochs, at the end, that run without dropout, masks and adversary.
        window: page views that gradients reach back; see `recgym.users.spans`.
        rare: power by which rare outcomes of a view weigh more, see `switches.outcome_weights`.
        mask: share of events that the memory does not read, see `switches.events_read`.
        propensities: whether slots weigh by what the log says of their chances, see
            `recgym.users.propensities`: ``auto`` where these tell of clicks what the log's other
            columns do not, ``always`` or ``never``.
        most_weight: of a slot, before weights are brought to their mean.
        adversary: how far items' own vectors are moved to where a batch fits worst, see
            `switches.add_adversary`; each update then takes twice as long.
    """

    epochs: Count = 10
    patience: Annotated[int, Within(0)] = 2
    batch_steps: Count = 2048
    least_updates: Count = 100
    learning_rate: Positive = 5e-3
    weight_decay: AtLeast0 = 0.1
    clip: Positive = 1.0
    calm_share: Share = 0.4
    window: Count = 2048
    rare: Share = 0.0
    mask: Share = 0.0
    propensities: Literal["auto", "always", "never"] = "auto"
    most_weight: Annotated[float, Within(1.0)] = 10.0
    adversary: AtLeast0 = 0.0

    def __post_init__(self) -> None:
        """Refuse numbers that no fit can use."""
        for name in ("epochs", "batch_steps", "least_updates", "window"):
            at_least_1(f"user_model.fit.{name}", getattr(self, name))
