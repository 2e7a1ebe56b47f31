"""recgym.users.pointers: items found beside the search, in the law, the state and the fit."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from family import F64, log_of, made
from simulated_log import simulate
from torch import Tensor

from agents.baselines import Random
from recgym import organic, visit
from recgym.simulator import Simulator
from recgym.types import After, Event, Kind, Organic, Page, Pointers, Sessions
from recgym.users.likelihood import cart_counts, expectations, gather_steps, log_prob, run
from recgym.users.pointers import (
    SELDOM,
    Repeats,
    Successors,
    came_back,
    fold_of,
    last_views,
    mixture,
    remembered,
)
from recgym.users.sequence import SequenceModel
from recgym.users.tastes import at_nodes

MODEL = made("pointer_lstm").requires_grad_(False)
LANES = 3
# the second lane views item 7 twice, and the third has viewed nothing
LAST = torch.tensor([[[4, 9, -1], [0, 2, -1]], [[7, 7, 4], [0, 3, 1]], [[-1] * 3] * 2])
SHARE = torch.tensor([[0.25, 0.125, 0.0], [0.125, 0.25, 0.125], [0.0] * 3], dtype=F64)
REST = torch.tensor([0.625, 0.5, 1.0], dtype=F64)
VIEWED = torch.ones(3, 3, dtype=torch.bool)


def found_in(model: SequenceModel = MODEL) -> Organic:
    """What three shoppers find before their first page, with the shares above."""
    seed_N = torch.arange(LANES)
    alone = model.read(model.init_state(model.arrive(seed_N, torch.zeros_like(seed_N)))).found
    return dataclasses.replace(alone, pointers=Pointers(LAST[:, 0], SHARE, REST, VIEWED))


FOUND = found_in()
SEARCHED = organic.probabilities(dataclasses.replace(FOUND, pointers=None))


# ---- the law ------------------------------------------------------------------------------------


def test_the_mixture_by_hand() -> None:
    # Why: a share goes to each place, places of one item add up, and the rest is the search's.
    found_NI = organic.probabilities(FOUND)
    torch.testing.assert_close(found_NI.sum(-1), torch.ones(LANES, dtype=F64))
    expected_NI = REST.unsqueeze(-1) * SEARCHED
    expected_NI[0, 4] += 0.25
    expected_NI[0, 9] += 0.125
    expected_NI[1, 7] += 0.375
    expected_NI[1, 4] += 0.125
    torch.testing.assert_close(found_NI, expected_NI)
    every_NI = torch.arange(found_NI.shape[1]).expand_as(found_NI)
    torch.testing.assert_close(organic.log_prob(FOUND, every_NI), found_NI.log())
    # for as many rows of equal items a lane
    twice = organic.log_prob(FOUND, every_NI.repeat_interleave(2, 0))
    torch.testing.assert_close(twice[::2], found_NI.log())


def test_how_likely_an_item_was_searched_by_hand() -> None:
    # Why: by Bayes' rule; where nobody comes back to anything, all are.
    item_NJ = torch.tensor([[4, 5], [7, 5], [7, 4]])
    ratio_NJ = organic.by_search(FOUND, item_NJ)
    searched_NJ = REST.unsqueeze(-1) * ratio_NJ
    four, seven = float(SEARCHED[0, 4]), float(SEARCHED[1, 7])
    assert searched_NJ[0].tolist() == pytest.approx([0.625 * four / (0.625 * four + 0.25), 1.0])
    assert searched_NJ[1].tolist() == pytest.approx([0.5 * seven / (0.5 * seven + 0.375), 1.0])
    assert searched_NJ[2].tolist() == pytest.approx([1.0, 1.0])


def test_draws_follow_the_mixture() -> None:
    # Why: what is drawn must be what is scored: on a grid of uniforms shares come out exactly,
    # and whoever comes back to nothing draws as before.
    grid = 64
    u_n = (torch.arange(grid, dtype=F64) + 0.5) / grid
    back_n = u_n >= 0.625
    one = FOUND.lanes(torch.zeros(grid, dtype=torch.int64))
    alone = dataclasses.replace(one.lanes(~back_n), pointers=None)
    drawn_n = organic.draw(one, u_n, u_n, u_n)
    assert drawn_n[back_n].tolist() == [4] * 16 + [9] * 8
    expected_n = organic.draw(alone, u_n[~back_n] / 0.625, u_n[~back_n], u_n[~back_n])
    assert torch.equal(drawn_n[~back_n], expected_n)
    third = FOUND.lanes(torch.full((grid,), 2))
    searched = dataclasses.replace(third, pointers=None)
    assert torch.equal(organic.draw(third, u_n, u_n, u_n), organic.draw(searched, u_n, u_n, u_n))


def test_shares_are_one_softmax_of_places_and_search() -> None:
    # Why: by hand. A view that was carted, of the second place, is come back to twice as often.
    repeats = Repeats(2, 3).to(F64)
    with torch.no_grad():
        repeats.place.copy_(torch.tensor([0.5, 0.25, 0.125]).log())
        repeats.after[int(After.CART)] = torch.tensor(2.0).log()
        repeats.of_memory.copy_(torch.tensor([1.0, 0.0]))
    h_NH = torch.tensor([[0.0, 3.0], [torch.tensor(2.0).log(), 0.0], [5.0, 5.0]], dtype=F64)
    found = mixture([repeats.places(h_NH, LAST, torch.zeros(LANES, dtype=torch.int64))])
    one, two = 1.0 + 0.5 + 2 * 0.25, 1.0 + 2 * (0.5 + 0.25 + 0.125)
    assert found.rest.tolist() == pytest.approx([1 / one, 1 / two, 1.0])
    assert found.share[0].tolist() == pytest.approx([0.5 / one, 0.5 / one, 0.0])
    assert found.share[1].tolist() == pytest.approx([1.0 / two, 0.5 / two, 0.25 / two])
    assert found.share[2].tolist() == [0.0] * 3


# ---- the state ----------------------------------------------------------------------------------


def events(kind: list[int], item: list[int], after: list[int]) -> Event:
    none = torch.full((len(kind),), -1)
    zero = torch.zeros(len(kind), dtype=F64)
    return Event(*map(torch.tensor, (kind, item)), none, torch.tensor(after), zero, zero, zero)


def test_views_are_remembered_newest_first_and_nothing_else() -> None:
    # Why: leaving and paying are about no item.
    view, pay = int(Kind.VIEW), int(Kind.CHECKOUT)
    moved = remembered(LAST, events([view, pay, view], [5, -1, 6], [3, 0, 1]))
    assert moved[0].tolist() == [[5, 4, 9], [3, 0, 2]]
    assert moved[1].tolist() == LAST[1].tolist()
    assert moved[2].tolist() == [[6, -1, -1], [1, -1, -1]]


def test_a_state_remembers_what_the_log_holds() -> None:
    # Why: a fit and a simulator must look back at the same views.
    sessions = log_of(30)
    steps = gather_steps(sessions, cart_counts(sessions), torch.arange(30))
    state = run(MODEL, steps, expectations(MODEL, steps)).reading.state
    seen_SL = last_views(sessions, MODEL.num_last)
    assert torch.equal(state.last[:, 0], seen_SL[steps.step])
    longest = int(sessions.offset.diff().argmax())
    first, last = int(sessions.offset[longest]), int(sessions.offset[longest + 1])
    viewed = [i for i in sessions.event.item[first : last - 1].tolist() if i >= 0]
    assert len(viewed) > MODEL.num_last
    assert seen_SL[last - 1].tolist() == viewed[::-1][: MODEL.num_last]
    assert seen_SL[first].tolist() == [-1] * MODEL.num_last


@torch.no_grad()
@pytest.mark.parametrize("shown", [(-1, -1, -1), (4, 7, 20)])
def test_what_a_find_tells_of_the_search_is_nothing_on_average(shown: tuple[int, ...]) -> None:
    # Why: a surprise with a mean other than 0 would move a shopper's taste by being there alone,
    # the more the longer a session is; also where a slot takes over what would be come back to.
    seed_N = torch.arange(LANES)
    begun = MODEL.init_state(MODEL.arrive(seed_N, torch.zeros_like(seed_N)))
    last = torch.full_like(begun.last, -1)
    last[..., :3] = LAST
    reading = MODEL.read(dataclasses.replace(begun, last=last))
    assert reading.found.pointers is not None and float(reading.found.pointers.rest[1]) < 0.9
    now = visit.begin(MODEL.start_ms[:LANES], len(shown), F64)
    page = Page(torch.tensor([shown] * LANES), torch.full((LANES, len(shown)), 9.0, dtype=F64))
    mean_NX, chance_N = torch.zeros_like(reading.usual), torch.zeros(LANES, dtype=F64)
    for item in range(len(MODEL.items.seen)):
        event = events([int(Kind.VIEW)] * LANES, [item] * LANES, [0] * LANES)
        found = MODEL.prospect(reading, page, event, now)
        expected = MODEL.senses.expect(MODEL.tables, reading, found, page, event)
        surprise_NX = MODEL.senses.found_surprise(MODEL.tables, expected, event)
        item_N = (at_nodes(reading.share) + found.kind + found.item).exp().sum(-1)
        mean_NX, chance_N = mean_NX + item_N.unsqueeze(-1) * surprise_NX, chance_N + item_N
    assert bool((chance_N > 0.01).all())
    torch.testing.assert_close(mean_NX, torch.zeros_like(mean_NX), rtol=0, atol=1e-10)


# ---- sales --------------------------------------------------------------------------------------


def test_who_comes_back_by_themselves_buys_by_another_odds() -> None:
    # Why: coming back says how keen one is; being shown the item once more does not.
    item_NJ, no_click = torch.tensor([[4, 5], [4, 7], [4, 7]]), torch.zeros(LANES, 1, dtype=bool)
    assert came_back(FOUND, item_NJ, False).tolist() == [[1, 0], [1, 1], [0, 0]]
    assert came_back(FOUND, item_NJ, True).sum() == 0
    clicked = torch.tensor([[True], [False], [False]])
    assert came_back(FOUND, item_NJ, clicked).tolist() == [[0, 0], [1, 1], [0, 0]]
    all_NI = came_back(FOUND, None, False)
    assert all_NI.nonzero().tolist() == [[0, 4], [0, 9], [1, 4], [1, 7]]
    assert torch.equal(came_back(FOUND, item_NJ, no_click), came_back(FOUND, item_NJ, False))


@torch.no_grad()
def test_sales_of_what_is_come_back_to_move_by_their_own_effect() -> None:
    # Why: by hand, in logits, on finds alone, of one item as of all.
    seed_N = torch.arange(LANES)
    begun = MODEL.init_state(MODEL.arrive(seed_N, torch.zeros_like(seed_N)))
    last = torch.full_like(begun.last, -1)
    last[..., :3] = LAST
    supposed = MODEL.suppose(
        MODEL.read(dataclasses.replace(begun, last=last)), torch.full((LANES,), 0.5, dtype=F64)
    )
    price_NI = MODEL.catalog.price_at(MODEL.start_ms[:LANES])
    asked: tuple[Any, ...] = (supposed, None, price_NI, False)
    with_it = torch.stack(MODEL.after(*asked), -1)
    kept, of_repeat = MODEL.answers.of_repeat, MODEL.answers.of_repeat
    assert of_repeat is not None
    MODEL.answers.of_repeat = torch.nn.Parameter(torch.zeros(3, dtype=F64))
    without = torch.stack(MODEL.after(*asked), -1)
    MODEL.answers.of_repeat = kept
    moved_NI3 = with_it - without
    assert moved_NI3[2].abs().max() == 0.0 and moved_NI3[0, [4, 9]].abs().min() > 0.0
    others = [i for i in range(moved_NI3.shape[1]) if i not in (4, 7)]
    assert moved_NI3[1, others].abs().max() == 0.0
    # means over a taste of one's own flatten an effect, and never turn it
    assert bool((moved_NI3[0, 4].sign() == of_repeat.sign()).all())
    assert bool((moved_NI3[0, 4].abs() <= of_repeat.abs() + 1e-9).all())


# ---- the fit ------------------------------------------------------------------------------------


def log_with(item: list[list[int]]) -> Sessions:
    """Sessions of views found alone that then end."""
    sessions = log_of(len(item))
    rows = [Event(*(x.clone() for x in vars(sessions.event.lanes(slice(0, 1))).values()))]
    length = torch.tensor([len(views) + 1 for views in item])
    offset = torch.nn.functional.pad(length.cumsum(0), (1, 0))
    kind = torch.cat([torch.tensor([int(Kind.VIEW)] * len(v) + [int(Kind.LEAVE)]) for v in item])
    items = torch.cat([torch.tensor([*v, -1]) for v in item])
    zero, none = torch.zeros(len(kind), dtype=F64), torch.full_like(kind, -1)
    event = dataclasses.replace(
        rows[0], kind=kind, item=items, slot=none, after=torch.zeros_like(kind), price=zero,
        quantity=zero, gap=zero,
    )  # fmt: skip
    return dataclasses.replace(sessions, event=event, offset=offset)


def test_a_fit_begins_at_the_logs_rates() -> None:
    # Why: by hand, each find counted at its nearest place. Of eight finds after one view or more,
    # one repeats the last; of five after two or more, two the last but one.
    sessions = log_with([[1, 1, 2, 3, 2], [5, 6, 5, 7], [8, 9]])
    repeats = Repeats(2, 3)
    repeats.start_from(sessions, torch.ones(len(sessions.event.kind), dtype=torch.bool))
    doubt = 0.5 / torch.tensor(SELDOM).exp().item()
    rate = [1.5 / (8 + doubt), 2.5 / (5 + doubt), 0.5 / (3 + doubt)]
    rest = 1.0 - sum(rate)
    assert repeats.place.exp().tolist() == pytest.approx([x / rest for x in rate])
    nothing = Repeats(2, 3)
    nothing.start_from(sessions, torch.zeros(len(sessions.event.kind), dtype=torch.bool))
    assert nothing.place.tolist() == pytest.approx([SELDOM] * 3, abs=0.02)


def test_every_number_of_repeats_is_fitted() -> None:
    # Why: one without a gradient would stay where it began.
    patient = made("pointer_lstm")  # who stays long enough to come back to the last of them
    with torch.no_grad():
        patient.heads.of("upper")[1][0] -= 1.0
    simulator = Simulator(patient, num_slots=3, expected_revenue=False, dtype=F64)
    sessions = simulate(simulator, Random(num_slots=3), 240)[0]
    model = made("pointer_lstm")
    steps = gather_steps(sessions, cart_counts(sessions), torch.arange(240))
    log_prob(model, steps, expectations(model, steps)).total().sum().backward()  # type: ignore[no-untyped-call]
    assert model.repeats is not None and model.answers.of_repeat is not None
    assert model.successors is not None
    fitted = [model.repeats.place, model.repeats.of_memory, model.answers.of_repeat]
    fitted += [*model.successors.parameters()]
    for value in fitted:
        gradient: Tensor | None = value.grad
        assert gradient is not None and float(gradient.abs().min()) > 0.0


# ---- successors ---------------------------------------------------------------------------------


def counted(views: list[list[int]], places: int, in_train: bool = True) -> Successors:
    """What follows what in sessions of finds, of ten items."""
    sessions, successors = log_with(views), Successors(2, 10, places).to(F64)
    successors.start_from(sessions, torch.full((len(sessions.event.kind),), in_train))
    return successors


def test_what_follows_what_is_counted() -> None:
    # Why: by hand, in the table of sessions 3, 7, ...: after item 1 come 2 at once, 2 once more and
    # 3 with one between, and 2 at once: 1 + 1/3 + 1 for item 2 and 1/2 for 3, of 17/6 in all.
    successors = counted([[1, 2, 3, 2], [1, 2], [5, 6]], 3)
    last = 3 * 10
    assert successors.next_XM[last + 1].tolist() == [2, 3, -1]
    share_M = successors.log_share_XM[last + 1].exp()
    assert share_M.tolist() == pytest.approx([14 / 17, 3 / 17, 0.0])
    assert float(successors.log_count_X[last + 1].exp()) == pytest.approx(1 + 17 / 6)
    assert successors.next_XM[last + 5].tolist() == [6, -1, -1]
    assert (successors.next_XM[last + 6] == -1).all()
    assert (counted([[1, 2], [1, 2]], 3, in_train=False).next_XM == -1).all()


def test_a_session_is_foreseen_by_a_table_that_has_not_met_it() -> None:
    # Why: with its own finds among them counts look surer than they are.
    successors = counted([[1, 2, 3, 2], [1, 2], [5, 6]], 3)
    assert fold_of(torch.arange(6)).tolist() == [0, 1, 2, 3, 0, 1]
    assert successors.next_XM[1].tolist() == [2, -1, -1]  # the second session's alone
    assert successors.next_XM[10 + 1].tolist() == [2, 3, -1]
    assert successors.log_share_XM[10 + 1, 0].exp() == pytest.approx((4 / 3) / (11 / 6))
    assert successors.next_XM[2 * 10 + 5].tolist() == [-1, -1, -1]
    state = MODEL.init_state(MODEL.arrive(torch.arange(6), torch.arange(6)))
    assert torch.equal(state.fold, fold_of(torch.arange(6)))


def test_the_commonest_are_kept_and_in_their_order() -> None:
    # Why: with two places of three, the third goes; of as common ones the first item stays.
    views = [[7, 8], [7, 8], [7, 8], [7, 8]] + [[1, 4], [1, 3], [1, 2], [9, 9]] * 3 + [[1, 3]]
    successors = counted(views, 2)
    assert successors.next_XM[3 * 10 + 1].tolist() == [3, 2]
    share_M = successors.log_share_XM[3 * 10 + 1].exp()
    assert share_M.tolist() == pytest.approx([4 / 10, 3 / 10])
    assert successors.next_XM[7].tolist() == [8, -1]


def test_successors_share_one_softmax_with_repeats_and_search() -> None:
    # Why: by hand: the square root of the shares of what follows item 4 in the lane's own table,
    # times twice the count, beside the places of what was viewed; whoever viewed nothing has
    # neither; and none of them is come back to.
    repeats, successors = Repeats(2, 3).to(F64), Successors(2, 10, 2).to(F64)
    two = torch.tensor(2.0, dtype=F64).log()
    with torch.no_grad():
        repeats.place.copy_(torch.tensor([0.5, 0.25, 0.125]).log())
        successors.next_XM[10 + 4] = torch.tensor([9, 6])
        successors.log_share_XM[10 + 4] = torch.tensor([0.5, 0.25], dtype=F64).log()
        successors.log_count_X[10 + 4] = torch.tensor(3.0, dtype=F64).log()
        successors.of_share.fill_(0.5)
        successors.of_count.fill_(1.0)
        successors.of_memory.copy_(torch.stack([0.0 * two, two]))
    h_NH = torch.tensor([[5.0, 1.0], [0.0, 0.0], [5.0, 5.0]], dtype=F64)
    fold_N = torch.tensor([1, 1, 1])
    parts = [kind.places(h_NH, LAST, fold_N) for kind in (repeats, successors)]
    found = mixture(parts)
    assert found.item.tolist()[0] == [4, 9, -1, 9, 6]
    nine, six = 6.0 * 0.5**0.5, 6.0 * 0.25**0.5
    whole = 1.0 + 0.5 + 0.25 + nine + six
    share = [0.5 / whole, 0.25 / whole, 0.0, nine / whole, six / whole]
    assert found.share[0].tolist() == pytest.approx(share)
    assert found.rest.tolist() == pytest.approx([1 / whole, 1 / 1.875, 1.0])
    assert found.share[2].tolist() == [0.0] * 5
    law = dataclasses.replace(FOUND, pointers=found)
    item_NJ = torch.tensor([[9, 6], [7, 6], [4, 7]])
    assert came_back(law, item_NJ, False).tolist() == [[1, 0], [1, 0], [0, 0]]
    other = successors.places(h_NH, LAST, 0 * fold_N)
    assert (other.logit == -torch.inf).all()


def test_chance_pairs_are_not_taken_for_links() -> None:
    # Why: counts of a log in which nothing follows anything lose to the truth, one in forty, on the
    # sessions that they were not taken from; by a table with these sessions in it they would win.
    generator = torch.Generator().manual_seed(0)
    none = torch.randint(0, 40, (1000, 3), generator=generator).tolist()
    links = [[i, (i + 1) % 40, (i + 2) % 40] for i in range(40)] * 10
    gained = {}
    for name, views in (("none", none), ("links", links)):
        sessions, successors = log_with(views), Successors(2, 40, 40).to(F64)
        kind_S, item_S = sessions.event.kind, sessions.event.item
        successors.start_from(sessions, torch.ones_like(kind_S, dtype=torch.bool))
        seen_S2 = last_views(sessions, 1).unsqueeze(1).expand(-1, 2, -1)
        found_S = (kind_S == int(Kind.VIEW)) & (seen_S2[:, 0, 0] >= 0)
        own_S = torch.repeat_interleave(torch.arange(len(views)), sessions.offset.diff())
        h_SH = torch.zeros(len(kind_S), 2, dtype=F64)
        for whose, session_S in (("apart", own_S), ("met", own_S + 1)):
            law = mixture([successors.places(h_SH, seen_S2, fold_of(session_S))])
            chance_S = law.rest / 40 + ((law.item == item_S.unsqueeze(-1)) * law.share).sum(-1)
            gained[name, whose] = float((40 * chance_S[found_S]).log().mean().detach())
    print(gained)
    assert gained["none", "apart"] < 0.0 < gained["none", "met"]
    assert gained["links", "apart"] > 1.0
