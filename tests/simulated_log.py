"""Sessions as a log would hold them, straight from a roll-out and without files."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from recgym.lanes import Record, joined
from recgym.logging_policy import LoggingPolicy
from recgym.rollout import rollout
from recgym.simulator import SimState, Simulator
from recgym.spaces import ObservationSpec
from recgym.types import Event, Kind, Observation, Outcome, Page, Policy, Sessions, Split
from recgym.users.base import Shoppers
from recgym.users.likelihood import Steps, cart_counts, expectations, gather_steps
from recgym.users.lstm import LSTMUserModel
from recgym.users.surprises import Expectation


class Recorder:
    """Collects each step's session, event, page, time and, where there is one, encoder state."""

    def __init__(self) -> None:
        self.steps: list[tuple[Tensor, Tensor, Event, Page, Tensor, Tensor]] = []
        self.encoders: list[Record] = []

    def __call__(
        self, index_N: Tensor, state: SimState, observation: Observation, outcome: Outcome
    ) -> None:
        visit = state.visit
        self.steps.append(
            (index_N, visit.page_number, outcome.event, outcome.page, visit.time_ms,
             state.arrival.profile)
        )  # fmt: skip
        if state.encoder is not None:
            self.encoders.append(state.encoder)


def simulate(
    simulator: Simulator,
    policy: Policy,
    num_sessions: int,
    *,
    first_seed: int = 0,
    shares: tuple[float, float] = (0.8, 0.1),
    mark: Callable[[Page], Page] | None = None,
) -> tuple[Sessions, Recorder, Tensor]:
    """Sessions of different shoppers, what was recorded and the order [S] that sorts it by step.

    ``shares`` are those of training and validation; the rest is for testing. ``mark`` says which
    slots hold an ad, if any do.
    """
    seed_B = torch.arange(num_sessions) + first_seed
    recorder = Recorder()
    spec = ObservationSpec(simulator, "history")
    session_B = torch.zeros_like(seed_B)
    rollout(spec, policy, seed_B, session_B, on_step=recorder, lanes=num_sessions, mark=mark)
    index, number, events, pages, times, profiles = zip(*recorder.steps, strict=True)
    index_S, number_S = torch.cat(index), torch.cat(number)
    order_S = (index_S * 1000 + number_S).argsort()
    event, page = joined(list(events)).lanes(order_S), joined(list(pages)).lanes(order_S)
    assert isinstance(event, Event) and isinstance(page, Page)
    # a log does not say when a shopper left
    event.gap[event.kind == Kind.LEAVE] = 0.0
    length_B = torch.bincount(index_S, minlength=num_sessions)
    offset = torch.cat([torch.zeros(1, dtype=torch.int64), length_B.cumsum(0)])
    split_B = torch.full((num_sessions,), int(Split.TEST))
    split_B[: int(sum(shares) * num_sessions)] = int(Split.VALID)
    split_B[: int(shares[0] * num_sessions)] = int(Split.TRAIN)
    sessions = Sessions(
        event=event,
        page=page,
        time_ms=torch.cat(times)[order_S],
        offset=offset,
        shopper=torch.arange(num_sessions),
        profile=torch.cat(profiles)[order_S][offset[:-1]],
        split=split_B,
    )
    return sessions, recorder, order_S


def logging_policy(shop: Shoppers, num_slots: int) -> LoggingPolicy:
    """A mixture of affinity, even popularity, chance and empty pages."""
    return LoggingPolicy(
        shop.catalog,
        torch.ones(shop.catalog.num_items, dtype=shop.catalog.price.dtype),
        num_slots=num_slots,
    )


@torch.no_grad()
def foreseen(
    model: LSTMUserModel, policy: Policy, num_slots: int, num_sessions: int = 4000
) -> tuple[Steps, Expectation]:
    """Steps of the model's own shoppers, and what it expected of each."""
    dtype = model.items.own.dtype
    simulator = Simulator(model, num_slots=num_slots, expected_revenue=False, dtype=dtype)
    sessions, _, _ = simulate(simulator, policy, num_sessions)
    steps = gather_steps(sessions, cart_counts(sessions), torch.arange(num_sessions))
    return steps, expectations(model, steps)


def with_room(steps: Steps) -> Tensor:
    """Steps that do not begin with a full cart, which takes no more than the law knows of, [n]."""
    return (steps.visit.cart_item < 0).any(-1)


def assert_zero_on_average(surprise_nX: Tensor) -> None:
    """Within four standard errors; rows are steps, whose surprises do not correlate."""
    error_X = surprise_nX.std(0) / len(surprise_nX) ** 0.5
    z_X = surprise_nX.mean(0) / error_X.clamp(min=1e-12)
    assert bool((z_X.abs() <= 4).all()), z_X.tolist()


def without_pages(sessions: Sessions) -> Sessions:
    """The same sessions as a log without impressions would hold them."""
    none = sessions.page.item[:, :0]
    event = {**vars(sessions.event), "slot": torch.full_like(sessions.event.slot, -1)}
    return Sessions(
        **{
            **vars(sessions),
            "event": Event(**event),
            "page": Page(none, sessions.page.price[:, :0]),
        }
    )
