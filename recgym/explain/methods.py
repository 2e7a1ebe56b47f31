"""How much each earlier event has to do with a log-probability, in nats.

- `occlusion` (Zeiler and Fergus 2014, "Visualizing and understanding convolutional networks",
  section 4.2, of events instead of pixels): what is lost without the event alone.
- `integrated_gradients` (Sundararajan, Taly and Yan 2017, "Axiomatic attribution for deep
  networks", equation 1, by captum). The path is not one of inputs: a user model reads an event as a
  surprise, and an input of zeros would be an event too, another one. It runs from a history in
  which no event moved the state to the one in which all did, by one weight for each event (see
  `histories.states`). The attributions add up to the difference. What the site counts, cart and
  pages shown last, comes in whole numbers and has no gradient: its part is by occlusion.
- `attention`: the weights of a model that has them. They add up to 1 and have no sign.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from recgym.errors import UserError
from recgym.explain.histories import History, grows, states, visits
from recgym.explain.questions import Question
from recgym.types import Visit
from recgym.users.base import Shoppers

NUM_NODES = 16  # of the Gauss-Legendre rule along the path


@runtime_checkable
class Attentive(Protocol):
    """A user model that weighs the events of a history."""

    def attention(self, state: Any) -> Tensor:
        """Weights of the last J events in what the state says, [N, J]; of several heads the mean.

        The oldest comes first; events before them have none, and places before the first event of
        a session hold 0.
        """
        ...


@dataclass(frozen=True)
class Asked:
    """A question about the page after a history."""

    model: Shoppers
    history: History  # before the page
    visit: Visit  # before the page, of one lane
    question: Question

    @property
    def num_events(self) -> int:
        """T."""
        return len(self.history.moments)

    def log_prob(self, kept_BT: Tensor) -> Tensor:
        """Without the events that are not kept, [B]."""
        if not grows(self.model, self.history):
            return self._log_prob(kept_BT)
        return torch.cat([self._of_kept(row) for row in kept_BT.split(1)])

    def _log_prob(self, kept_BT: Tensor) -> Tensor:
        state = states(self.model, self.history, kept_BT)
        visit = visits(self.history, self.visit, kept_BT)
        return self.question.log_prob(self.model, state, visit)

    def _of_kept(self, kept_1T: Tensor) -> Tensor:
        """Of a model whose state grows: the other events are not read at all."""
        state: Any = self.model.init_state(self.history.arrival)
        for moment, kept in zip(self.history.moments, kept_1T[0].tolist(), strict=True):
            if kept:
                seen = moment.page, moment.event, moment.visit
                state = self.model.observe(self.model.read(state), *seen)
        visit = visits(self.history, self.visit, kept_1T)
        return self.question.log_prob(self.model, state, visit)

    def all_kept(self) -> Tensor:
        """The history as it was, [1, T]."""
        like = self.visit.gap
        return torch.ones(1, self.num_events, dtype=like.dtype, device=like.device)


@torch.no_grad()
def occlusion(asked: Asked) -> Tensor:
    """What each event adds beside all others, [T]."""
    all_1T = asked.all_kept()
    without_TT = 1.0 - torch.eye(asked.num_events, dtype=all_1T.dtype, device=all_1T.device)
    found = asked.log_prob(torch.cat([all_1T, without_TT]))
    return found[0] - found[1:]


def integrated_gradients(asked: Asked) -> Tensor:
    """Of each event along the path from no event to all, [T].

    Raises:
        UserError: where captum is missing or the model's state grows with each event.
    """
    try:
        from captum.attr import IntegratedGradients
    except ImportError as error:
        raise UserError(
            "integrated gradients need captum: pip install 'recgym[explain]', or ask for "
            "methods=[occlusion]."
        ) from error
    if grows(asked.model, asked.history):
        raise UserError(
            f"integrated gradients need a state of one size, and that of a "
            f"{type(asked.model).__name__} grows with each event: ask for methods=[occlusion]."
        )
    all_1T = asked.all_kept()

    def forward(kept_BT: Tensor) -> Tensor:
        state = states(asked.model, asked.history, kept_BT)
        lane_B = torch.zeros(len(kept_BT), dtype=torch.int64, device=kept_BT.device)
        return asked.question.log_prob(asked.model, state, asked.visit.lanes(lane_B))

    with torch.enable_grad():
        found_1T: Tensor = IntegratedGradients(forward).attribute(
            all_1T, baselines=torch.zeros_like(all_1T), n_steps=NUM_NODES
        )
    return found_1T[0].detach().to(all_1T.dtype) + of_visit(asked)


@torch.no_grad()
def of_visit(asked: Asked) -> Tensor:
    """What each event adds through the site's own counts alone, [T]."""
    all_1T = asked.all_kept()
    without_TT = 1.0 - torch.eye(asked.num_events, dtype=all_1T.dtype, device=all_1T.device)
    kept_BT = torch.cat([all_1T, without_TT])
    state = states(asked.model, asked.history, torch.ones_like(kept_BT))
    visit = visits(asked.history, asked.visit, kept_BT)
    found = asked.question.log_prob(asked.model, state, visit)
    return found[0] - found[1:]


@torch.no_grad()
def attention(asked: Asked) -> Tensor:
    """The model's own weights, [T].

    Raises:
        UserError: where it has none.
    """
    if not isinstance(asked.model, Attentive):
        raise UserError(
            f"attention: a {type(asked.model).__name__} weighs no events; ask for "
            "methods=[occlusion,integrated_gradients]."
        )
    state: Any = asked.model.init_state(asked.history.arrival)
    for moment in asked.history.moments:
        seen = moment.page, moment.event, moment.visit
        state = asked.model.observe(asked.model.read(state), *seen)
    weight_J = asked.model.attention(state)[0, -asked.num_events :]
    return torch.nn.functional.pad(weight_J, (asked.num_events - len(weight_J), 0))


METHODS: dict[str, Callable[[Asked], Tensor]] = {
    "occlusion": occlusion,
    "integrated_gradients": integrated_gradients,
    "attention": attention,
}


def methods_for(model: Shoppers) -> list[str]:
    """Those that the model offers, and what is installed."""
    found = ["occlusion"]
    if importlib.util.find_spec("captum") is not None:
        found.append("integrated_gradients")
    return [*found, "attention"] if isinstance(model, Attentive) else found
