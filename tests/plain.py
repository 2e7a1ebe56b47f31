"""The learned shop's formulas as they are written: dense, a level and a segment at a time.

They are the reference that the shipped step must equal, event for event, and the shipped
likelihood, step for step; and the yardstick of their speed: both are measured in one run, so that a
slow machine slows both. The same formulas ask for the same kinds of work. A yardstick of another
kind does not: beside a bare LSTM with a softmax, nearly all matrix products, the fit was 1.56 times
as fast on one machine and 1.24 times on another.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recgym import rng, visit
from recgym.rng import Purpose
from recgym.types import Arrival, Event, Page, Visit
from recgym.users.likelihood import Steps
from recgym.users.lstm import LSTMUserModel
from recgym.users.surprises import Expectation

LEAVE, CHECKOUT, VIEW = 0, 1, 2
LOG_ROOT_TWO_PI = 0.9189385332046727


@dataclass
class PlainState:
    """What the plain step carries on."""

    arrival: Arrival
    visit: Visit
    h: Tensor
    c: Tensor
    context: Tensor
    tally: Tensor
    evidence: Tensor  # [N, G] log-likelihood of all that happened, in each segment


def begin(model: LSTMUserModel, seed_N: Tensor, num_slots: int) -> PlainState:
    """Session 0 of these shoppers."""
    arrival = model.arrive(seed_N, torch.zeros_like(seed_N))
    h, c, context = beginning(model, arrival)
    begun = visit.begin(arrival.start_ms, num_slots, h.dtype)
    tally, evidence = h.new_zeros(len(h), 7), h.new_zeros(len(h), model.num_segments)
    return PlainState(arrival, begun, h, c, context, tally, evidence)


def beginning(model: LSTMUserModel, arrival: Arrival) -> tuple[Tensor, Tensor, Tensor]:
    """The LSTM's h and c before the first page, and what is known of the shopper by then."""
    profile_NP = (arrival.profile.to(model.profile) - model.profile_centre) / model.profile_spread
    hour_N = visit.hour_of_day(arrival.start_ms, profile_NP.dtype)
    context = torch.cat([profile_NP, torch.stack([hour_N.sin(), hour_N.cos()], -1)], -1)
    h, c = torch.tanh(model.begin(context)).chunk(2, -1)
    return h, c, context


def widened(h: Tensor, context: Tensor, tally: Tensor) -> Tensor:
    """What the heads read."""
    return torch.cat([h, context, tally.sign() * tally.abs().log1p()], -1)


def inverse(weight_NJ: Tensor, u_N: Tensor) -> Tensor:
    """The option whose part of the sum of weights holds u, by counting."""
    sum_NJ = weight_NJ.cumsum(-1)
    return (sum_NJ <= (u_N * sum_NJ[:, -1]).unsqueeze(-1)).sum(-1)


@dataclass
class Shoppers:
    """How shoppers of one segment each, of their own, answer a page."""

    model: LSTMUserModel
    level: Tensor  # [N, 7]
    after_query: Tensor  # [N, 3 D]
    slope: Tensor  # [N, 3]
    usual: Tensor  # [N, 3]
    upper: Tensor  # [N, 3] probability of leave, checkout, view
    twin: Tensor  # [N, K]
    added: Tensor  # [N, K]
    kept: Tensor  # [N, K]
    mass: Tensor  # [N] of the lower level

    def slot_chance(self) -> Tensor:
        """P(slot | view), [N, K]."""
        return (self.added + self.twin * (1 - self.kept)) / self.mass.unsqueeze(-1)

    def deterred(self, which: int, item_N: Tensor, price_N: Tensor) -> Tensor:
        """What a price takes from the logit of clicking, buying or carting."""
        usual_I = self.model.item_log_price
        move = price_N.clamp(min=1e-6).log() - usual_I[item_N]
        level = usual_I[item_N] - self.model.mean_log_price
        return self.slope[:, which] * move + self.usual[:, which] * level

    def after(self, item_N: Tensor, price_N: Tensor, slot_N: Tensor) -> Tensor:
        """P(nothing, favourite, cart, buy | these items are viewed), [N, 4]."""
        chance, own_I5 = [], self.model.item_bias * self.model.seen
        for which, query_ND in enumerate(self.after_query.chunk(3, -1)):
            logit_N = (vectors(self.model)[item_N] * query_ND).sum(-1)
            logit_N = logit_N + own_I5[item_N, 2 + which] + self.level[:, 1 + which]
            logit_N = logit_N + self.level[:, 4 + which] * (slot_N >= 0)
            if which < 2:
                logit_N = logit_N - self.deterred(1 + which, item_N, price_N)
            chance.append(logit_N.sigmoid())
        buy_N, cart_N, favourite_N = chance
        rest_N = (1 - buy_N) * (1 - cart_N)
        return torch.stack(
            [rest_N * (1 - favourite_N), rest_N * favourite_N, (1 - buy_N) * cart_N, buy_N], -1
        )

    def chosen(self, found_NI: Tensor, page: Page, event: Event) -> Tensor:
        """P(this kind, this item from this slot), [N]."""
        lane_N, slot_N, some_N = torch.arange(len(self.mass)), event.slot, event.item.clamp(min=0)
        clicked_N = self.slot_chance()[lane_N, slot_N.clamp(min=0)]
        kept_N = torch.where(page.item == event.item.unsqueeze(-1), self.kept, 1.0).prod(-1)
        found_N = found_NI[lane_N, some_N] * kept_N / self.mass
        item_N = torch.where(slot_N >= 0, clicked_N, found_N)
        return self.upper[lane_N, event.kind] * torch.where(event.kind == VIEW, item_N, 1.0)


@dataclass
class Alone:
    """What the shoppers would find with no page."""

    category: Tensor  # [N, C]
    latent: Tensor  # [N, Z]
    share: Tensor  # [I, Z] within the item's category
    item: Tensor  # [N, I]


def found_alone(model: LSTMUserModel, wide: Tensor) -> Alone:
    """The whole catalogue, category by category and class by class."""
    catalog = model.catalog

    def head(name: str) -> Tensor:
        weight, bias = model.head(name)
        return wide @ weight.T + bias

    category_NC = head("category") @ model.of_category.weight.T + model.category_bias
    for c in range(catalog.num_categories):
        if not bool((catalog.category == c).any()):
            category_NC[:, c] = -torch.inf
    category_NC, latent_NZ = category_NC.softmax(-1), head("latent").softmax(-1)
    own_I1 = (model.item_bias * model.seen)[:, :1]
    logit_IZ = vectors(model) @ model.class_taste.T + own_I1
    share_IZ = torch.zeros_like(logit_IZ)
    for c in range(catalog.num_categories):
        share_IZ[catalog.category == c] = logit_IZ[catalog.category == c].softmax(0)
    item_NI = category_NC[:, catalog.category] * (latent_NZ @ share_IZ.T)
    return Alone(category_NC, latent_NZ, share_IZ, item_NI)


def vectors(model: LSTMUserModel) -> Tensor:
    """Of all items, [I, D]."""
    return (
        model.item_own * model.seen
        + model.of_category.weight[model.catalog.category]
        + model.catalog.feature @ model.of_feature.weight.T
    )


def cart_size(now: Visit, dtype: torch.dtype) -> Tensor:
    """Items in the cart, [N]."""
    return (now.cart_item >= 0).sum(-1).to(dtype)


def shoppers(
    model: LSTMUserModel,
    wide: Tensor,
    found_NI: Tensor,
    segment_N: Tensor,
    page: Page,
    now: Visit,
) -> Shoppers:
    """Shoppers with these states who find these items alone, each of the segment given."""
    dtype, vector_ID, own_I5 = wide.dtype, vectors(model), model.item_bias * model.seen

    def head(name: str) -> Tensor:
        weight, bias = model.head(name)
        return wide @ weight.T + bias + model.offset(name)[segment_N]

    # slots
    item_NK, shown_NK = page.item.clamp(min=0), page.item >= 0
    none = torch.zeros(())
    them = Shoppers(
        model, head("level"), head("after"), torch.nn.functional.softplus(head("slope")),
        head("usual_slope"), none, found_NI.gather(-1, item_NK), none, none, none,
    )  # fmt: skip
    clicked_ND = head("clicked")
    slots = []
    for k in range(item_NK.shape[1]):
        item_N = item_NK[:, k]
        like_N = (vector_ID[item_N] * clicked_ND).sum(-1) + own_I5[item_N, 1]
        tired_N = (now.recent_item == page.item[:, k : k + 1]).sum(-1)
        slot_N = them.level[:, 0] + like_N - them.deterred(0, item_N, page.price[:, k])
        slots.append(slot_N + model.position[k] - model.fatigue * tired_N)
    slot_NK = torch.stack(slots, -1)

    # the nest of each slot with its twin
    d, twin_NK = model.dissimilarity, them.twin
    both_NK = (twin_NK ** (1 / d) + (slot_NK / d).exp()) ** d
    them.added = torch.where(shown_NK, both_NK - twin_NK, 0.0)
    them.kept = torch.where(shown_NK, (twin_NK / both_NK) ** (1 / d - 1), 1.0)
    them.mass = 1 + them.added.sum(-1)

    # upper level
    filled_N = cart_size(now, dtype)
    cart_N2 = torch.stack([filled_N.clamp(max=1), (1 + filled_N).log()], -1)
    leave_N, checkout_N = (head("upper") + cart_N2 @ model.of_cart.weight.T).exp().unbind(-1)
    leave_N = torch.where(now.page_number == 0, 0.0, leave_N)
    checkout_N = torch.where(filled_N == 0, 0.0, checkout_N)
    upper_N3 = torch.stack([leave_N, checkout_N, them.mass**model.page_weight], -1)
    them.upper = upper_N3 / upper_N3.sum(-1, keepdim=True)
    return them


def surprises(expected: Expectation, event: Event) -> Tensor:
    """What happened less what was expected, [N, 7]."""
    viewed_N = (event.kind == VIEW).to(expected.leave.dtype)
    followed_N3 = torch.nn.functional.one_hot(event.after, 4)[:, 1:] - expected.after[:, 1:]
    clicked_N = (event.slot >= 0).to(viewed_N.dtype) - expected.slot.sum(-1) * viewed_N
    paid_N = (event.kind == CHECKOUT).to(viewed_N.dtype)
    rest_N4 = torch.stack([clicked_N, expected.leave, paid_N, viewed_N], -1)
    return torch.cat([followed_N3 * viewed_N.unsqueeze(-1), rest_N4], -1)


def inputs(
    model: LSTMUserModel, expected: Expectation, page: Page, event: Event, now: Visit
) -> Tensor:
    """What the LSTM reads of one step, [N, X]."""
    vector_ID, viewed_N = vectors(model), (event.kind == VIEW).to(expected.leave.dtype)
    hit_NK = torch.nn.functional.one_hot(event.slot + 1, page.item.shape[1] + 1)[:, 1:]
    surprise_NK = (hit_NK - expected.slot) * viewed_N.unsqueeze(-1)
    dear_N = event.price.clamp(min=1e-6).log() - model.mean_log_price
    scalar_N4 = torch.stack(
        [
            dear_N * viewed_N,
            (1 + event.quantity).log(),
            (1 + now.gap).log() * model.scale_3[1],
            (1 + cart_size(now, viewed_N.dtype)).log(),
        ],
        -1,
    )
    viewed_ND = vector_ID[event.item.clamp(min=0)] * viewed_N.unsqueeze(-1)
    shown_ND = (surprise_NK.unsqueeze(-1) * vector_ID[page.item.clamp(min=0)]).sum(1)
    return torch.cat([viewed_ND, shown_ND, surprises(expected, event), scalar_N4], -1)


def log_prob(model: LSTMUserModel, steps: Steps, expected: Expectation) -> Tensor:
    """Log-likelihood of each step, [n] in nats, given what was expected of it."""
    # the LSTM along the sessions, the first ones of which reach each step
    h, c, context = beginning(model, steps.arrival)
    tally, evidence = h.new_zeros(len(h), 7), h.new_zeros(len(h), model.num_segments)
    tally_n7 = surprises(expected, steps.event)
    input_nX = inputs(model, expected, steps.page, steps.event, steps.visit)
    wide, first = [], 0
    for active in steps.active:
        h, c, context, tally = (value[:active] for value in (h, c, context, tally))
        wide.append(widened(h, context, tally))
        rows = slice(first, first + active)
        h, c = torch.lstm_cell(input_nX[rows], (h, c), *model.lstm.all_weights[0])
        tally, first = tally + tally_n7[rows], first + active
    wide_nW = torch.cat(wide)

    # what each segment makes of each step
    found_nI, event, count = found_alone(model, wide_nW).item, steps.event, len(wide_nW)
    lane_n, some_n, viewed_n = torch.arange(count), event.item.clamp(min=0), event.kind == VIEW
    chosen, followed = [], []
    for g in range(model.num_segments):
        segment_n = torch.full((count,), g)
        of_g = shoppers(model, wide_nW, found_nI, segment_n, steps.page, steps.visit)
        after_n = of_g.after(some_n, event.price, event.slot)[lane_n, event.after]
        chosen.append(of_g.chosen(found_nI, steps.page, event))
        followed.append(torch.where(viewed_n, after_n, 1.0))
    both_nG = torch.stack(chosen, -1) * torch.stack(followed, -1)

    # the segment: what the state says of it, times the likelihood of all before
    before, first = [], 0
    for active in steps.active:
        before.append(evidence[:active])
        evidence = evidence[:active] + both_nG[first : first + active].log()
        first += active
    weight, bias = model.head("gate")
    share_nG = (wide_nW @ weight.T + bias + torch.cat(before)).softmax(-1)

    # the time since the step before
    timed_n = (steps.number > 0) & (event.kind != LEAVE)
    std = model.gap_log_std.exp()
    z_n = (event.gap.clamp(min=1.0).log() - model.gap_mean(wide_nW).squeeze(-1)) / std
    gap_n = -0.5 * z_n.square() - std.log() - LOG_ROOT_TWO_PI
    return (share_nG * both_nG).sum(-1).log() + torch.where(timed_n, gap_n, 0.0)


def step(model: LSTMUserModel, state: PlainState, page: Page) -> tuple[PlainState, Event]:
    """What the shoppers do with a page, and their state after it."""
    now, who, catalog = state.visit, state.arrival, model.catalog
    dtype, count = state.h.dtype, len(state.h)
    lane_N, item_NK = torch.arange(count), page.item.clamp(min=0)
    wide = widened(state.h, state.context, state.tally)

    def noise(purpose: Purpose) -> Tensor:
        return rng.key(who.seed, who.session, now.page_number, purpose)

    def uniform(purpose: Purpose) -> Tensor:
        return rng.uniform(noise(purpose), dtype=dtype)

    alone = found_alone(model, wide)
    found_NI = alone.item

    # the segment: what the state says of it, times the likelihood of all that happened
    weight, bias = model.head("gate")
    share_NG = (wide @ weight.T + bias).exp() * (
        state.evidence - state.evidence.amax(-1, keepdim=True)
    ).exp()
    share_NG = share_NG / share_NG.sum(-1, keepdim=True)
    segment_N = inverse(share_NG, uniform(Purpose.SEGMENT))
    them = shoppers(model, wide, found_NI, segment_N, page, now)

    # leave, pay or view
    kind_N = VIEW - inverse(them.upper.flip(-1), uniform(Purpose.UPPER))

    # the item found, unless the page adds one or takes it over
    chosen_N = inverse(alone.category, uniform(Purpose.CATEGORY))
    class_N = inverse(alone.latent, uniform(Purpose.LATENT))
    inside_NI = catalog.category == chosen_N.unsqueeze(-1)
    item_N = inverse(alone.share.T[class_N] * inside_NI, uniform(Purpose.ORGANIC))
    slot_N = torch.full((count,), -1)
    for k in range(item_NK.shape[1]):
        taken_N = (page.item[:, k] == item_N) & (uniform(Purpose.TAKE_OVER) >= them.kept[:, k])
        slot_N = torch.where(taken_N, k, slot_N)
    added_N = uniform(Purpose.FROM_PAGE) < 1 - 1 / them.mass
    slot_N = torch.where(added_N, inverse(them.added, uniform(Purpose.SLOT)), slot_N)
    item_N = torch.where(slot_N >= 0, item_NK[lane_N, slot_N.clamp(min=0)], item_N)
    viewed_N = kind_N == VIEW
    item_N, slot_N = torch.where(viewed_N, item_N, -1), torch.where(viewed_N, slot_N, -1)
    some_N = item_N.clamp(min=0)

    # what follows the view
    day_N = catalog.day(now.time_ms)
    price_N = catalog.price[day_N, some_N]
    price_N = torch.where(slot_N >= 0, page.price[lane_N, slot_N.clamp(min=0)], price_N)
    price_N = torch.where(viewed_N, price_N, 0.0)
    after_N4 = them.after(some_N, price_N, slot_N)
    filled_N = cart_size(now, dtype)
    after_N = 3 - inverse(after_N4.flip(-1), uniform(Purpose.AFTER))
    after_N = torch.where((after_N == 2) & (filled_N == visit.CART_PLACES), 0, after_N)
    after_N = torch.where(viewed_N, after_N, 0)
    quantity_N = (after_N >= 2).to(dtype) * model.quantity
    event = Event(kind_N, item_N, slot_N, after_N, price_N, quantity_N, now.gap)

    # what each segment would have made of it: Bayes' rule, and the mean over segments
    leave_N = torch.zeros(count, dtype=dtype)
    slot_NK, view_N1 = torch.zeros(item_NK.shape, dtype=dtype), torch.zeros(count, 1, dtype=dtype)
    follow_N4, chosen_N1 = torch.zeros(count, 4, dtype=dtype), torch.zeros(count, 1, dtype=dtype)
    evidence_NG = state.evidence.clone()
    for g in range(model.num_segments):
        of_g = shoppers(model, wide, found_NI, torch.full((count,), g), page, now)
        share_N1, would_N4 = share_NG[:, g : g + 1], of_g.after(some_N, price_N, slot_N)
        leave_N = leave_N + share_N1[:, 0] * of_g.upper[:, LEAVE]
        slot_NK = slot_NK + share_N1 * of_g.upper[:, VIEW:] * of_g.slot_chance()
        view_N1 = view_N1 + share_N1 * of_g.upper[:, VIEW:]
        chosen_now_N = of_g.chosen(found_NI, page, event)
        follow_N4 = follow_N4 + share_N1 * chosen_now_N.unsqueeze(-1) * would_N4
        chosen_N1 = chosen_N1 + share_N1 * chosen_now_N.unsqueeze(-1)
        followed_N = torch.where(viewed_N, would_N4[lane_N, after_N], 1.0)
        evidence_NG[:, g] += (chosen_now_N * followed_N).log()
    slot_NK, follow_N4 = slot_NK / view_N1, follow_N4 / chosen_N1

    # surprises, and one step of the LSTM
    expected = Expectation(leave_N, slot_NK, follow_N4)
    tally_N7 = surprises(expected, event)
    inputs_NX = inputs(model, expected, page, event, now)
    h, c = torch.lstm_cell(inputs_NX, (state.h, state.c), *model.lstm.all_weights[0])
    tally = state.tally + tally_N7

    wide = widened(h, state.context, tally)
    z_N = rng.normal(noise(Purpose.GAP), dtype=dtype)
    gap_N = (model.gap_mean(wide).squeeze(-1) + model.gap_log_std.exp() * z_N).exp()
    after = visit.advance(now, page, event, gap_N.clamp(1.0, 1799.0))
    return PlainState(who, after, h, c, state.context, tally, evidence_NG), event
