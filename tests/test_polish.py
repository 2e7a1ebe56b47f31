"""recgym.users.polish: a fit ends at a maximum, and segments tell what nothing else can."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from probe_shop import learned_shop
from simulated_log import logging_policy, simulate
from torch import Tensor

from recgym.simulator import Simulator
from recgym.types import Catalog, Observation, Sessions
from recgym.users.likelihood import cart_counts, expectations, gather_steps, log_prob
from recgym.users.lstm import LSTMUserModel
from recgym.users.polish import Collected, collect, log_likelihood, polish

F64 = torch.float64
SESSIONS, SLOTS = 800, 3
PAGE_WEIGHT = 0.8


def shop_of(segments: int) -> LSTMUserModel:
    """Untrained, of ten items that all sell and show alike; leaving does not heed the state."""
    catalog = Catalog(
        price=torch.full((1, 10), 5.0),
        category=torch.zeros(10, dtype=torch.int64),
        feature=torch.zeros(10, 1),
        start_ms=0,
        num_categories=1,
    )
    torch.manual_seed(0)
    model = LSTMUserModel(
        catalog, torch.ones(10, dtype=torch.bool), torch.zeros(1, 1),
        torch.zeros(1, dtype=torch.int64), hidden=2, embedding=2, classes=1, segments=segments,
    )  # fmt: skip
    with torch.no_grad():
        model.heads.linear.weight.zero_()
        model.heads.linear.bias.zero_()
        model.items.own.zero_()
        model.heads.segment_offset.zero_()
        model.heads.of("level")[1].copy_(torch.tensor([-0.5, -3.0, -3.0, -3.0, 0.0, 0.0, 0.0]))
        model.heads.of("upper")[1].fill_(-1.0)
    return model.to(F64).eval()


class HalfEmpty:
    """Full pages to one half of the shoppers and empty ones to the other, all session long."""

    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        shown_N1 = (observation.arrival.seed % 2 == 0).unsqueeze(-1)
        return torch.where(shown_N1, torch.arange(SLOTS), -1)


@pytest.fixture(scope="module")
def two_kinds() -> Sessions:
    """A log of impatient and of patient shoppers, whom a full page holds alike."""
    truth = shop_of(2)
    with torch.no_grad():
        truth.heads.offset("upper")[:, 0] = torch.tensor([1.5, -1.5], dtype=F64)
        truth.answers.page_weight.fill_(PAGE_WEIGHT)
    simulator = Simulator(truth, num_slots=SLOTS, expected_revenue=False, dtype=F64)
    return simulate(simulator, HalfEmpty(), SESSIONS)[0]


def polished(model: LSTMUserModel, sessions: Sessions) -> LSTMUserModel:
    count = len(sessions.split)
    polish(model, sessions, torch.arange(count), torch.Generator().manual_seed(0))
    return model.eval()


def test_segments_tell_patience_from_the_pull_of_a_page(two_kinds: Sessions) -> None:
    # Why: on good pages impatient shoppers stay longer, so that an average shopper seems not to
    # heed pages; a policy trained on that would not either.
    start = shop_of(2)
    with torch.no_grad():
        start.heads.offset("upper")[:, 0] = torch.tensor([0.3, -0.3], dtype=F64)
    apart = polished(start, two_kinds)
    alike = polished(shop_of(1), two_kinds)
    error, other = (
        abs(model.answers.page_weight.item() - PAGE_WEIGHT) for model in (apart, alike)
    )  # fmt: skip
    assert error < 0.15 and error < other / 2, (error, other)
    found = apart.heads.offset("upper")[:, 0].detach()
    assert float(found[0] - found[1]) == pytest.approx(3.0, abs=0.5)


def parameters(model: LSTMUserModel, found: Collected, before: LSTMUserModel) -> dict[str, Tensor]:
    """What `log_likelihood` reads, of a model whose fit began as another one."""
    free = {
        "cart": model.answers.of_cart.weight,
        "page_weight": model.answers.page_weight,
        "offset": model.heads.offset("upper"),
        "level": (model.heads.offset("level") - before.heads.offset("level"))[:, 1:4],
    }
    for name in ("upper", "gate"):
        weight, free[f"{name}_bias"] = model.heads.of(name)
        free[f"{name}_weight"] = weight[:, : model.heads.known]  # they do not read what was viewed
    return {name: value.detach() for name, value in free.items()}


@pytest.fixture(scope="module")
def logged() -> Sessions:
    shop = learned_shop(F64)
    simulator = Simulator(shop, num_slots=SLOTS, expected_revenue=False, dtype=F64)
    return simulate(simulator, logging_policy(shop, SLOTS), 150)[0]


@torch.no_grad()
def test_what_is_maximised_is_the_likelihood(logged: Sessions) -> None:
    # Why: it is written a second time, for a fixed LSTM, and must not become another law.
    model, row_B = learned_shop(F64), torch.arange(150)
    found = collect(model, logged, row_B)
    value = log_prob(model, gather_steps(logged, cart_counts(logged), row_B))
    expected = float((value.choice + value.after).sum())
    ours = float(log_likelihood(parameters(model, found, model), found))
    assert ours == pytest.approx(expected, abs=1e-6)


@torch.no_grad()
def test_it_is_the_likelihood_of_what_is_moved_too(logged: Sessions) -> None:
    # Why: what is maximised must rise and fall as the model's own law does; what it expected, and
    # with it its states, stays.
    model, row_B = learned_shop(F64), torch.arange(150)
    before = copy.deepcopy(model)
    found = collect(model, logged, row_B)
    steps = gather_steps(logged, cart_counts(logged), row_B)
    expected = expectations(model, steps)
    torch.manual_seed(0)
    model.heads.offset("level")[:, 1:4] += torch.randn(model.num_segments, 3, dtype=F64)
    model.heads.offset("upper").add_(torch.randn(model.num_segments, 2, dtype=F64))
    model.answers.of_cart.weight.add_(0.1)
    for name in ("upper", "gate"):
        weight, bias = model.heads.of(name)
        weight.add_(0.3 * torch.randn(weight.shape, dtype=F64))
        bias.add_(0.1)
    value = log_prob(model.eval(), steps, expected)
    ours = float(log_likelihood(parameters(model, found, before), found))
    assert ours == pytest.approx(float((value.choice + value.after).sum()), abs=1e-6)


@pytest.mark.parametrize("page_weight", [None, 0.9])
@pytest.mark.parametrize("repelled", [False, True])
def test_a_polish_never_lowers_what_it_maximises(
    logged: Sessions, page_weight: float | None, repelled: bool
) -> None:
    # Why: a line search may end anywhere, and a page weight that wants to be negative has to stay
    # at 0, where the others have another maximum.
    model, row_B = learned_shop(F64), torch.arange(150)
    with torch.no_grad():
        if page_weight is not None:
            model.answers.page_weight.fill_(page_weight)
    sessions = logged
    if repelled:  # those who met full pages leave at once
        full_S = (sessions.page.item >= 0).any(-1)
        kind = torch.where(full_S & (sessions.event.kind == 2), 2, sessions.event.kind)
        shown_SK = torch.where((kind == 0).unsqueeze(-1), torch.arange(SLOTS), -1)
        page = dataclasses.replace(sessions.page, item=shown_SK)
        slot = torch.full_like(sessions.event.slot, -1)
        event = dataclasses.replace(sessions.event, slot=slot)
        sessions = dataclasses.replace(sessions, page=page, event=event)
    model.eval()
    before = copy.deepcopy(model)
    found = collect(before, sessions, row_B)
    polished(model, sessions)
    assert 0.0 <= model.answers.page_weight.item() <= 1.0
    if repelled:
        assert model.answers.page_weight.item() == 0.0
    first, last = (
        float(log_likelihood(parameters(which, found, before), found)) for which in (before, model)
    )
    assert last > first + 1.0


@torch.no_grad()
def test_only_what_is_named_is_moved(logged: Sessions) -> None:
    # Why: the rest was fitted with dropout and priors that polishing does not know.
    model, before = learned_shop(F64), learned_shop(F64)
    polished(model, logged)
    for name in ("category", "latent", "clicked", "worth", "level", "slope", "usual_slope"):
        for ours, old in zip(model.heads.of(name), before.heads.of(name), strict=True):
            assert torch.equal(ours, old)
    for name in ("clicked", "worth", "slope", "usual_slope"):
        assert torch.equal(model.heads.offset(name), before.heads.offset(name))
    kept = torch.tensor([0, 4, 5, 6])
    assert torch.equal(model.heads.offset("level")[:, kept], before.heads.offset("level")[:, kept])
    unread_HW = model.heads.reads == 0  # to move what no head reads is to move nothing
    assert torch.equal(model.heads.linear.weight[unread_HW], before.heads.linear.weight[unread_HW])
    moved = {
        f"answers.{name}"
        for name in (
            "heads.linear.weight",
            "heads.linear.bias",
            "heads.segment_offset",
            "of_cart.weight",
            "page_weight",
        )
    }
    for name, value in model.state_dict().items():
        assert torch.equal(value, before.state_dict()[name]) == (name not in moved), name


def test_nothing_to_read_changes_nothing(logged: Sessions) -> None:
    # Why: a log without training sessions, or with one longer than all that is read.
    model, before = learned_shop(F64), learned_shop(F64)
    polish(model, logged, torch.zeros(0, dtype=torch.int64), torch.Generator())
    after = model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.state_dict().items())
