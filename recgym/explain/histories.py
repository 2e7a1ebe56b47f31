"""A session's history replayed as if some of its events had not happened.

An event that did not happen leaves the model's state where it was. Pages and times of the other
events stay; what the site itself counts before the page asked about, cart and pages shown last,
is counted without the event.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from recgym import visit
from recgym.lanes import Record
from recgym.types import Arrival, Event, Kind, Page, Visit
from recgym.users.base import Shoppers

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Moment:
    """One page of a session, each record of one lane."""

    page: Page
    event: Event
    visit: Visit  # before the page


@dataclass(frozen=True)
class History:
    """What a site saw of one session."""

    arrival: Arrival  # of one lane
    moments: tuple[Moment, ...]

    def before(self, number: int) -> History:
        """Its first pages."""
        return dataclasses.replace(self, moments=self.moments[:number])


def states(model: Shoppers, history: History, kept_BT: Tensor) -> Record:
    """The model's state after a history of T events, B times.

    Args:
        model: that reads it.
        history: of T events.
        kept_BT: how far each event moves the state: 1 as it did, 0 as if it had not happened; in
            between on the straight line from the state before to the state after.

    Raises:
        ValueError: where the model's state grows with each event, so that there is no such line.
    """
    lane_B = torch.zeros(len(kept_BT), dtype=torch.int64, device=kept_BT.device)
    state: Any = model.init_state(history.arrival.lanes(lane_B))
    for moment, kept_B in zip(history.moments, kept_BT.unbind(1), strict=True):
        now = moment.page.lanes(lane_B), moment.event.lanes(lane_B), moment.visit.lanes(lane_B)
        state = _between(state, model.observe(model.read(state), *now), kept_B)
    return state  # type: ignore[no-any-return]


def grows(model: Shoppers, history: History) -> bool:
    """Whether the model's state has another size after an event."""
    before: Any = model.init_state(history.arrival)
    moment = history.moments[0]
    after = model.observe(model.read(before), moment.page, moment.event, moment.visit)
    return _shapes(before.packed()) != _shapes(after.packed())


def visits(history: History, asked: Visit, kept_BT: Tensor) -> Visit:
    """What the site counts before the page asked about, without the events that are not kept.

    ``asked`` is the visit as it was, of one lane; clock and page number stay as in it.
    """
    lane_B = torch.zeros(len(kept_BT), dtype=torch.int64, device=kept_BT.device)
    clock = [moment.visit for moment in history.moments[1:]] + [asked]
    now = history.moments[0].visit.lanes(lane_B) if history.moments else asked.lanes(lane_B)
    for moment, following, kept_B in zip(history.moments, clock, kept_BT.unbind(1), strict=True):
        event = moment.event.lanes(lane_B)
        moved = visit.advance(now, moment.page.lanes(lane_B), event, following.gap[lane_B])
        merged = _merged(now, moved, kept_B > 0.0)
        now = dataclasses.replace(
            merged,
            time_ms=following.time_ms[lane_B],
            gap=following.gap[lane_B],
            page_number=following.page_number[lane_B],
        )
    return now


def label(event: Event) -> str:
    """An event of one lane in a few words."""
    kind, slot = Kind(int(event.kind)), int(event.slot)
    if kind != Kind.VIEW:
        return {Kind.LEAVE: "left", Kind.CHECKOUT: "paid for the cart"}[kind]
    after = ("", ", favourite", ", into the cart", ", bought")[int(event.after)]
    source = f"clicked {int(event.item)}" if slot >= 0 else f"found {int(event.item)}"
    return source + after


def _between(before: R, after: R, kept_B: Tensor) -> R:
    """``before`` where the event is not kept, ``after`` where it is, and what lies between."""
    changed: dict[str, Any] = {}
    for name, old in vars(before).items():
        new = getattr(after, name)
        if isinstance(old, Record):
            changed[name] = _between(old, new, kept_B)
        elif isinstance(old, Tensor):
            if old.shape != new.shape:
                raise ValueError(f"{name} grows from {list(old.shape)} to {list(new.shape)}")
            weight = kept_B.view(-1, *[1] * (old.dim() - 1))
            exact = torch.where(weight > 0, new, old)
            changed[name] = torch.lerp(old, new, weight) if old.is_floating_point() else exact
    return dataclasses.replace(before, **changed)  # type: ignore[type-var]


def _merged(before: Visit, after: Visit, kept_B: Tensor) -> Visit:
    found: dict[str, Any] = {}
    for name, old in before.packed().items():
        if isinstance(old, Tensor):
            new = getattr(after, name)
            found[name] = torch.where(kept_B.view(-1, *[1] * (old.dim() - 1)), new, old)
    return dataclasses.replace(before, **found)


def _shapes(packed: dict[str, Any]) -> list[Any]:
    return [_shapes(value) if isinstance(value, dict) else value.shape for value in packed.values()]
