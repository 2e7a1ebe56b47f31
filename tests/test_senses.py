"""recgym.users.senses: what a state takes in beside surprises."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from probe_shop import learned_shop

from recgym import visit
from recgym.types import Event, Kind, Page
from recgym.users.lstm import LSTMUserModel

F64 = torch.float64


@pytest.fixture(scope="module")
def model() -> LSTMUserModel:
    model = learned_shop(F64)
    with torch.no_grad():
        model.senses.sated_memory.zero_()  # half of a count is kept
        model.answers.satiation.fill_(0.25)
        model.tastes.click.zero_()  # masses also say to which taste a page speaks
        model.tastes.price.zero_()
    return model.requires_grad_(False).train(False)


def event_of(kind: Kind, item: int) -> Event:
    none = torch.zeros(1, dtype=F64)
    of = torch.tensor([item])
    return Event(torch.tensor([int(kind)]), of, -torch.ones_like(of), 0 * of, none, none, none)


def test_views_of_a_category_fill_its_count_and_fade_with_views_of_others(
    model: LSTMUserModel,
) -> None:
    # Why: by hand, with half of a count kept from view to view: 1; 1 + 1/2; 3/4 and another's 1;
    # and what is no view changes nothing.
    group_I = model.tables.groups(model.num_groups)
    first = int(group_I[0])
    other = int((group_I != first).nonzero()[0])
    sated = torch.zeros(1, model.num_groups, dtype=F64)
    found = []
    for kind, item in (
        (Kind.VIEW, 0),
        (Kind.VIEW, 0),
        (Kind.VIEW, other),
        (Kind.CHECKOUT, -1),
        (Kind.LEAVE, -1),
    ):
        sated = model.senses.tire(model.tables, sated, event_of(kind, item))
        found.append((float(sated[0, first]), float(sated[0, group_I[other]])))
    assert found == [(1.0, 0.0), (1.5, 0.0), (0.75, 1.0), (0.75, 1.0), (0.75, 1.0)]


def test_more_categories_than_counts_share_them(model: LSTMUserModel) -> None:
    # Why: a state with a count for each of thousands of categories would not fit.
    assert model.tables.groups(3).tolist() == [
        int(category) % 3 for category in model.catalog.category
    ]


def test_satiety_takes_from_slots_of_its_category_alone(model: LSTMUserModel) -> None:
    # Why: two recent views of the first item's category take 2 x 0.25 from the log-mass of its
    # slot, and of each of its items alone, and nothing from others.
    group_I = model.tables.groups(model.num_groups)
    like = torch.arange(2)
    state = model.init_state(model.arrive(like, 0 * like))
    page_item = torch.tensor([[0, int((group_I != group_I[0]).nonzero()[0])]] * 2)
    page = Page(page_item, model.catalog.price[0, page_item])
    sated = state.sated.clone()
    sated[:, group_I[0]] = 2.0
    slots, alone = [], []
    fresh = model.typical(model.read(state))  # what else satiety moves is held fixed
    for counts in (state.sated, sated):
        supposed = dataclasses.replace(fresh, sated=counts)
        now = visit.begin(torch.full((2,), model.catalog.start_ms), 2, F64)
        slots.append(model.respond(supposed, page, now).slot)
        alone.append(model.appeal(supposed, now, model.catalog.price[:1].expand(2, -1)))
    torch.testing.assert_close(slots[0] - slots[1], torch.tensor([[0.5, 0.0]] * 2, dtype=F64))
    expected_I = 0.5 * (group_I == group_I[0]).to(F64)
    torch.testing.assert_close(alone[0] - alone[1], expected_I.expand(2, -1))


def test_leaving_heeds_the_category_had_most_of(model: LSTMUserModel) -> None:
    # Why: who is tired of what is seen again and again leaves, whichever category it is.
    like = torch.arange(2)
    state = model.init_state(model.arrive(like, 0 * like))
    once = torch.zeros_like(state.sated)
    once[0, 0], once[1, 1] = 2.0, 2.0
    upper = model.read(dataclasses.replace(state, sated=once)).shared
    fresh = model.read(state).shared
    column = model.heads.known - 1
    rows = model.heads.columns("upper")
    moved = 2.0 * model.heads.of("upper")[0][:, column]
    torch.testing.assert_close((upper - fresh)[:, rows], moved.expand(2, -1))
