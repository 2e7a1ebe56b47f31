"""The learned shop's step as its formulas are written: dense, a level at a time, nothing shared.

It is the reference that the shipped step must equal, event for event, and the yardstick of its
speed: both are measured in one run, so that a slow machine slows both.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recgym import rng, visit
from recgym.rng import Purpose
from recgym.types import Arrival, Event, Page, Visit
from recgym.users.lstm import LSTMUserModel

LEAVE, CHECKOUT, VIEW = 0, 1, 2


@dataclass
class PlainState:
    """What the plain step carries on."""

    arrival: Arrival
    visit: Visit
    h: Tensor
    c: Tensor
    context: Tensor
    tally: Tensor


def begin(model: LSTMUserModel, seed_N: Tensor, num_slots: int) -> PlainState:
    """Session 0 of these shoppers."""
    arrival = model.arrive(seed_N, torch.zeros_like(seed_N))
    profile_NP = (arrival.profile.to(model.profile) - model.profile_centre) / model.profile_spread
    hour_N = visit.hour_of_day(arrival.start_ms, profile_NP.dtype)
    context = torch.cat([profile_NP, torch.stack([hour_N.sin(), hour_N.cos()], -1)], -1)
    h, c = torch.tanh(model.begin(context)).chunk(2, -1)
    begun = visit.begin(arrival.start_ms, num_slots, h.dtype)
    return PlainState(arrival, begun, h, c, context, h.new_zeros(len(h), 7))


def inverse(weight_NJ: Tensor, u_N: Tensor) -> Tensor:
    """The option whose part of the sum of weights holds u, by counting."""
    sum_NJ = weight_NJ.cumsum(-1)
    return (sum_NJ <= (u_N * sum_NJ[:, -1]).unsqueeze(-1)).sum(-1)


def step(model: LSTMUserModel, state: PlainState, page: Page) -> tuple[PlainState, Event]:
    """What the shoppers do with a page, and their state after it."""
    now, who, catalog = state.visit, state.arrival, model.catalog
    dtype, count = state.h.dtype, len(state.h)
    lane_N = torch.arange(count)
    wide = torch.cat([state.h, state.context, state.tally.sign() * state.tally.abs().log1p()], -1)

    def noise(purpose: Purpose) -> Tensor:
        return rng.key(who.seed, who.session, now.page_number, purpose)

    def uniform(purpose: Purpose) -> Tensor:
        return rng.uniform(noise(purpose), dtype=dtype)

    def head(name: str) -> Tensor:
        weight, bias = model.head(name)
        return wide @ weight.T + bias

    # found alone: the whole catalogue, category by category and class by class
    own_I5 = model.item_bias * model.seen
    vector_ID = (
        model.item_own * model.seen
        + model.of_category.weight[catalog.category]
        + catalog.feature @ model.of_feature.weight.T
    )
    category_NC = head("category") @ model.of_category.weight.T + model.category_bias
    for c in range(catalog.num_categories):
        if not bool((catalog.category == c).any()):
            category_NC[:, c] = -torch.inf
    category_NC, latent_NZ = category_NC.softmax(-1), head("latent").softmax(-1)
    logit_IZ = vector_ID @ model.class_taste.T + own_I5[:, :1]
    share_IZ = torch.zeros_like(logit_IZ)
    for c in range(catalog.num_categories):
        share_IZ[catalog.category == c] = logit_IZ[catalog.category == c].softmax(0)
    found_NI = category_NC[:, catalog.category] * (latent_NZ @ share_IZ.T)

    # slots
    item_NK, shown_NK = page.item.clamp(min=0), page.item >= 0
    slope_N3, usual_N3 = torch.nn.functional.softplus(head("slope")), head("usual_slope")

    def deterred(which: int, item_N: Tensor, price_N: Tensor) -> Tensor:
        move = price_N.clamp(min=1e-6).log() - model.item_log_price[item_N]
        level = model.item_log_price[item_N] - model.mean_log_price
        return slope_N3[:, which] * move + usual_N3[:, which] * level

    level_N7, clicked_ND = head("level"), head("clicked")
    slot_NK = torch.zeros(item_NK.shape, dtype=dtype)
    for k in range(item_NK.shape[1]):
        item_N = item_NK[:, k]
        like_N = (vector_ID[item_N] * clicked_ND).sum(-1) + own_I5[item_N, 1]
        tired_N = (now.recent_item == page.item[:, k : k + 1]).sum(-1)
        slot_NK[:, k] = level_N7[:, 0] + like_N - deterred(0, item_N, page.price[:, k])
        slot_NK[:, k] += model.position[k] - model.fatigue * tired_N

    # the nest of each slot with its twin
    d, twin_NK = model.dissimilarity, found_NI.gather(-1, item_NK)
    both_NK = (twin_NK ** (1 / d) + (slot_NK / d).exp()) ** d
    added_NK = torch.where(shown_NK, both_NK - twin_NK, 0.0)
    kept_NK = torch.where(shown_NK, (twin_NK / both_NK) ** (1 / d - 1), 1.0)
    mass_N = 1 + added_NK.sum(-1)

    # upper level
    filled_N = (now.cart_item >= 0).sum(-1).to(dtype)
    cart_N2 = torch.stack([filled_N.clamp(max=1), (1 + filled_N).log()], -1)
    leave_N, checkout_N = (head("upper") + cart_N2 @ model.of_cart.weight.T).exp().unbind(-1)
    leave_N = torch.where(now.page_number == 0, 0.0, leave_N)
    checkout_N = torch.where(filled_N == 0, 0.0, checkout_N)
    upper_N3 = torch.stack([leave_N, checkout_N, mass_N**model.page_weight], -1)
    upper_N3 = upper_N3 / upper_N3.sum(-1, keepdim=True)
    kind_N = VIEW - inverse(upper_N3.flip(-1), uniform(Purpose.UPPER))

    # the item found, unless the page adds one or takes it over
    chosen_N = inverse(category_NC, uniform(Purpose.CATEGORY))
    class_N = inverse(latent_NZ, uniform(Purpose.LATENT))
    inside_NI = catalog.category == chosen_N.unsqueeze(-1)
    item_N = inverse(share_IZ.T[class_N] * inside_NI, uniform(Purpose.ORGANIC))
    slot_N = torch.full((count,), -1)
    for k in range(item_NK.shape[1]):
        taken_N = (page.item[:, k] == item_N) & (uniform(Purpose.TAKE_OVER) >= kept_NK[:, k])
        slot_N = torch.where(taken_N, k, slot_N)
    added_N = uniform(Purpose.FROM_PAGE) < 1 - 1 / mass_N
    slot_N = torch.where(added_N, inverse(added_NK, uniform(Purpose.SLOT)), slot_N)
    item_N = torch.where(slot_N >= 0, item_NK[lane_N, slot_N.clamp(min=0)], item_N)
    viewed_N = kind_N == VIEW
    item_N, slot_N = torch.where(viewed_N, item_N, -1), torch.where(viewed_N, slot_N, -1)

    # what follows the view
    day_N = catalog.day(now.time_ms)
    price_N = catalog.price[day_N, item_N.clamp(min=0)]
    price_N = torch.where(slot_N >= 0, page.price[lane_N, slot_N.clamp(min=0)], price_N)
    price_N = torch.where(viewed_N, price_N, 0.0)
    chance = []
    for which, query_ND in enumerate(head("after").chunk(3, -1)):
        logit_N = (vector_ID[item_N.clamp(min=0)] * query_ND).sum(-1)
        logit_N = logit_N + own_I5[item_N.clamp(min=0), 2 + which] + level_N7[:, 1 + which]
        logit_N = logit_N + level_N7[:, 4 + which] * (slot_N >= 0)
        if which < 2:
            logit_N = logit_N - deterred(1 + which, item_N.clamp(min=0), price_N)
        chance.append(logit_N.sigmoid())
    buy_N, cart_N, favourite_N = chance
    rest_N = (1 - buy_N) * (1 - cart_N)
    after_N4 = torch.stack(
        [rest_N * (1 - favourite_N), rest_N * favourite_N, (1 - buy_N) * cart_N, buy_N], -1
    )
    after_N = 3 - inverse(after_N4.flip(-1), uniform(Purpose.AFTER))
    after_N = torch.where((after_N == 2) & (filled_N == visit.CART_PLACES), 0, after_N)
    after_N = torch.where(viewed_N, after_N, 0)
    quantity_N = (after_N >= 2).to(dtype) * model.quantity
    event = Event(kind_N, item_N, slot_N, after_N, price_N, quantity_N, now.gap)

    # surprises, and one step of the LSTM
    seen_N = viewed_N.to(dtype)
    slot_chance_NK = (added_NK + twin_NK * (1 - kept_NK)) / mass_N.unsqueeze(-1)
    hit_NK = torch.nn.functional.one_hot(slot_N + 1, item_NK.shape[1] + 1)[:, 1:]
    surprise_NK = (hit_NK - slot_chance_NK) * seen_N.unsqueeze(-1)
    followed_N3 = torch.nn.functional.one_hot(after_N, 4)[:, 1:] - after_N4[:, 1:]
    clicked_N = (slot_N >= 0).to(dtype) - slot_chance_NK.sum(-1) * seen_N
    tally_N7 = torch.cat(
        [
            followed_N3 * seen_N.unsqueeze(-1),
            torch.stack(
                [clicked_N, upper_N3[:, LEAVE], (kind_N == CHECKOUT).to(dtype), seen_N], -1
            ),
        ],
        -1,
    )
    dear_N = price_N.clamp(min=1e-6).log() - model.mean_log_price
    scalar_N4 = torch.stack(
        [
            dear_N * seen_N,
            (1 + quantity_N).log(),
            (1 + now.gap).log() * model.scale_3[1],
            (1 + filled_N).log(),
        ],
        -1,
    )
    viewed_ND = vector_ID[item_N.clamp(min=0)] * seen_N.unsqueeze(-1)
    shown_ND = (surprise_NK.unsqueeze(-1) * vector_ID[item_NK]).sum(1)
    inputs_NX = torch.cat([viewed_ND, shown_ND, tally_N7, scalar_N4], -1)
    h, c = torch.lstm_cell(inputs_NX, (state.h, state.c), *model.lstm.all_weights[0])
    tally = state.tally + tally_N7

    wide = torch.cat([h, state.context, tally.sign() * tally.abs().log1p()], -1)
    z_N = rng.normal(noise(Purpose.GAP), dtype=dtype)
    gap_N = (model.gap_mean(wide).squeeze(-1) + model.gap_log_std.exp() * z_N).exp()
    after = visit.advance(now, page, event, gap_N.clamp(1.0, 1799.0))
    return PlainState(who, after, h, c, state.context, tally), event
