"""What a policy sees: observable events only, one flat vector, in learned and true shop alike.

Two kinds: `history` (the last views as features) and `encoder` (the fitted user model's state, run
over the observable events).
"""

from __future__ import annotations

import dataclasses
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from recgym.errors import UserError
from recgym.simulator import SimState, Simulator
from recgym.types import Arrival, Catalog, Observation, Past, Visit
from recgym.visit import HISTORY, hour_of_day

NUM_SITE = 8  # features of `site_features`
NUM_PAST = 11  # features of `past_features`


@runtime_checkable
class Encoder(Protocol):
    """A user model whose state can be read as a vector."""

    num_encoded: int

    def encode(self, state: object) -> Tensor:
        """The state as [N, num_encoded]."""
        ...


def site_features(visit: Visit, arrival: Arrival, unit: Tensor) -> Tensor:
    """Cart, page number, hour of arrival and time since the last page, [N, NUM_SITE].

    Money counts in ``unit``, the catalogue's mean price.
    """
    hour_N = hour_of_day(arrival.start_ms, visit.gap.dtype)
    return torch.stack(
        [
            visit.cart_count().to(visit.gap.dtype).log1p(),
            visit.cart_value() / unit,
            (visit.cart_value() / unit).log1p(),
            (visit.page_number == 0).to(visit.gap.dtype),
            visit.page_number.to(visit.gap.dtype).log1p() / 3.0,
            torch.sin(hour_N),
            torch.cos(hour_N),
            visit.gap.log1p() / 5.0,
        ],
        -1,
    )


def past_features(past: Past, num_sessions: int) -> Tensor:
    """What is left of an episode, days away, and the tallies of this session and those before."""
    share_N = past.sessions.to(past.away.dtype) / num_sessions
    last_N = (past.sessions == num_sessions - 1).to(share_N.dtype)
    alone_N3 = torch.stack([share_N, last_N, past.away.log1p() / 3.0], -1)
    return torch.cat([alone_N3, past.tally.log1p() / 2.0, past.before.log1p() / 2.0], -1)


class ObservationSpec:
    """Builds the observations of one simulator.

    Args:
        simulator: whose catalogue, slots and encoder are read.
        kind: `history`, or `encoder` where the simulator has one.
    """

    def __init__(self, simulator: Simulator, kind: str) -> None:
        if kind not in ("history", "encoder"):
            raise UserError(f"observation={kind!r} is unknown: expected 'history' or 'encoder'.")
        if kind == "encoder" and simulator.encoder is None:
            raise UserError(
                "observation='encoder' needs a fitted user model, and this shop has none: use "
                "observation='history', or shop='model:DIR' with the folder of a fit."
            )
        self.simulator, self.kind = simulator, kind
        self.catalog = _of_site(simulator)
        known = simulator if simulator.encoder is None else simulator.encoder
        self.unit = known.catalog.price.mean()
        self._eligible_I = torch.ones_like(self.catalog.category, dtype=torch.bool)
        num_profile = simulator.reset(*_one_lane(self.catalog.category)).arrival.profile.shape[1]
        if kind == "encoder":
            assert isinstance(simulator.encoder, Encoder)
            width = simulator.encoder.num_encoded
        else:
            width = HISTORY * (self.catalog.feature.shape[1] + 6)
        self.num_features = width + num_profile + NUM_SITE
        if simulator.num_sessions > 1:
            self.num_features += NUM_PAST

    def observe(self, state: SimState) -> Observation:
        """What the site knows of each lane before it fills the page."""
        parts = [state.arrival.profile, site_features(state.visit, state.arrival, self.unit)]
        if state.visit.past is not None:
            parts.append(past_features(state.visit.past, self.simulator.num_sessions))
        if self.kind == "encoder":
            assert isinstance(self.simulator.encoder, Encoder)
            parts.append(self.simulator.encoder.encode(state.encoder))
        else:
            parts.append(self._history(state.visit))
        return Observation(
            feature=torch.cat(parts, -1),
            visit=state.visit,
            eligible=self._eligible_I.expand(len(state.noise), -1),
            encoder=state.encoder,
            arrival=state.arrival,
            catalog=self.catalog,
        )

    def _history(self, visit: Visit) -> Tensor:
        """Features, source, what followed and time of the last views, newest first."""
        seen_NL1 = (visit.history_item >= 0).unsqueeze(-1)
        feature_NLE = self.catalog.feature[visit.history_item.clamp(min=0)]
        after_NL4 = torch.nn.functional.one_hot(visit.history_after.clamp(min=0), 4)
        clicked_NL1 = (visit.history_slot >= 0).unsqueeze(-1)
        gap_NL1 = visit.history_gap.unsqueeze(-1).log1p() / 5.0
        row_NLF = torch.cat(
            [feature_NLE, after_NL4.to(gap_NL1.dtype), clicked_NL1.to(gap_NL1.dtype), gap_NL1], -1
        )
        return (row_NLF * seen_NL1).flatten(1)


def _of_site(simulator: Simulator) -> Catalog:
    """What the site knows of its items: all that its log says, and the prices in force.

    A true shop describes its items otherwise than the log does, so a policy that reads features
    there would not be the one that read them in the learned shop.
    """
    shop, encoder = simulator.catalog, simulator.encoder
    if encoder is None:
        return shop
    return dataclasses.replace(encoder.catalog, price=shop.price, start_ms=shop.start_ms)


def _one_lane(like: Tensor) -> tuple[Tensor, Tensor]:
    zero = torch.zeros(1, dtype=torch.int64, device=like.device)
    return zero, zero
