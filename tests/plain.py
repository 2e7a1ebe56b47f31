"""The learned shop's formulas as they are written: dense, a level, segment and node at a time.

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
NODES = (-1.0, 1.0)  # standard deviations of the taste that a page speaks to, alike likely
MOST_GROUPS = 64  # of categories, whose views are counted
TINY = 1e-6  # a variance, added where a root is divided by


@dataclass
class Known:
    """What the heads read of N shoppers, and how sure the belief about their own taste is."""

    h: Tensor
    context: Tensor
    tally: Tensor
    mean: Tensor  # [N, V] of the belief
    passed: Tensor  # [N, V] of which this is what pages passed over told
    viewed: Tensor  # [N, R D]
    sated: Tensor  # [N, J] fading count of views of each group of categories
    precision: Tensor  # [N, V, V] of the belief

    def wide(self) -> Tensor:
        """All of it side by side but the precision."""
        squashed = self.tally.sign() * (1 + self.tally.abs()).log()
        most = self.sated.max(-1, keepdim=True).values
        elsewhere = self.mean - self.passed
        return torch.cat([self.h, self.context, squashed, most, elsewhere, self.viewed], -1)

    def read(self, model: LSTMUserModel, name: str) -> Tensor:
        """One of the heads, of which search alone heeds what was viewed and is believed."""
        h, tally, viewed, sated = self.h, self.tally, self.viewed, self.sated
        mean, passed = self.mean, self.passed
        if name not in ("category", "latent"):
            mean, passed, viewed = zero(mean), zero(passed), zero(viewed)
        if name in ("clicked", "worth", "level", "slope", "usual_slope"):
            h = zero(h)
        if name in ("slope", "level"):  # neither heeds who survived, nor what surprised so far
            sated = zero(sated)
            tally = tally * torch.tensor([0.0, 0, 0, 0, 1, 1])
        if name == "slope":  # a matter of the profile and the hour alone
            tally = zero(tally)
        weight, bias = model.heads.of(name)
        seen = Known(h, self.context, tally, mean, passed, viewed, sated, self.precision)
        # own taste moves these three by its loads; prices act on carts and purchases unscaled
        tastes, scale = model.tastes, model.answers.worth_scale[1]
        loads = {"clicked": tastes.click, "worth": tastes.sale}
        loads["usual_slope"] = -tastes.price * torch.stack([torch.ones_like(scale), scale])
        moved = self.mean @ loads[name] if name in loads else 0.0
        if name == "clicked":  # what is like what was viewed draws, as far as tastes tell likeness
            for draw, seen_ND in zip(model.heads.draw, self.viewed.chunk(2, -1), strict=True):
                moved = moved + draw * (seen_ND @ tastes.click.T) @ tastes.click
        return seen.wide() @ weight.T + bias + moved


@dataclass
class PlainState:
    """What the plain step carries on."""

    arrival: Arrival
    visit: Visit
    c: Tensor
    known: Known
    evidence: Tensor  # [N, G] log-likelihood of all that happened, in each segment

    @property
    def h(self) -> Tensor:
        """The LSTM's output."""
        return self.known.h


def begin(model: LSTMUserModel, seed_N: Tensor, num_slots: int) -> PlainState:
    """Session 0 of these shoppers."""
    arrival = model.arrive(seed_N, torch.zeros_like(seed_N))
    c, known = beginning(model, arrival)
    begun = visit.begin(arrival.start_ms, num_slots, c.dtype)
    return PlainState(arrival, begun, c, known, c.new_zeros(len(c), model.num_segments))


def beginning(model: LSTMUserModel, arrival: Arrival) -> tuple[Tensor, Known]:
    """The LSTM's c before the first page, and what is known of the shopper by then."""
    profile_NP = (arrival.profile.to(model.profile) - model.profile_centre) / model.profile_spread
    hour_N = visit.hour_of_day(arrival.start_ms, profile_NP.dtype)
    context = torch.cat([profile_NP, torch.stack([hour_N.sin(), hour_N.cos()], -1)], -1)
    h, c = torch.tanh(model.begin(context)).chunk(2, -1)
    count, tastes, means = len(h), len(model.tastes.click), len(model.senses.memory)
    viewed = h.new_zeros(count, means * model.items.own.shape[1])
    precision = torch.eye(tastes, dtype=h.dtype).repeat(count, 1, 1)  # of N(0, 1) each
    mean = h.new_zeros(count, tastes)
    sated = h.new_zeros(count, min(model.catalog.num_categories, MOST_GROUPS))
    return c, Known(h, context, h.new_zeros(count, 6), mean, mean, viewed, sated, precision)


def inverse(weight_NJ: Tensor, u_N: Tensor) -> Tensor:
    """The option whose part of the sum of weights holds u, by counting."""
    sum_NJ = weight_NJ.cumsum(-1)
    return (sum_NJ <= (u_N * sum_NJ[:, -1]).unsqueeze(-1)).sum(-1)


@dataclass
class Shoppers:
    """How shoppers of one segment and node each, of their own, answer a page."""

    model: LSTMUserModel
    level: Tensor  # [N, 7]
    worth_query: Tensor  # [N, D]
    slope: Tensor  # [N, 2] of clicks, of sales
    usual: Tensor  # [N, 2]
    upper: Tensor  # [N, 3] probability of leave, checkout, view
    twin: Tensor  # [N, K]
    added: Tensor  # [N, K]
    kept: Tensor  # [N, K]
    mass: Tensor  # [N] of the lower level
    covariance: Tensor  # [N, V, V] of what is not known of own taste
    spoken_to: Tensor  # [N, V] one standard deviation of the taste that the page speaks to
    node: Tensor  # [N] in these
    found: Tensor  # [N, X] mean of the items found alone, as the LSTM reads them

    def slot_chance(self) -> Tensor:
        """P(slot | view), [N, K]."""
        return (self.added + self.twin * (1 - self.kept)) / self.mass.unsqueeze(-1)

    def deterred(self, which: int, item_N: Tensor, price_N: Tensor) -> Tensor:
        """What a price takes from the logit of clicking (0) or of a sale (1)."""
        usual_I = self.model.items.log_price
        move = price_N.clamp(min=1e-6).log() - usual_I[item_N]
        level = usual_I[item_N] - self.model.tables.mean_log_price
        return self.slope[:, which] * move + self.usual[:, which] * level

    def after(self, item_N: Tensor, price_N: Tensor, slot_N: Tensor) -> Tensor:
        """P(nothing, favourite, cart, buy | these items are viewed), [N, 4]."""
        chance, own_I6 = [], self.model.items.bias * self.model.items.seen
        # one worth, on which buying, carting and favouring depend by scales of their own
        worth_N = (vectors(self.model)[item_N] * self.worth_query).sum(-1) + own_I6[item_N, 2]
        # who chose an item has shown a taste for it: of the page's own direction by the node, of
        # the rest by its covariance with what the choice speaks of
        tastes, clicked_N1 = self.model.tastes, (slot_N >= 0).unsqueeze(-1)
        load_NV, click_NV = sale_loads(self.model)[item_N], click_loads(self.model)[item_N]
        in_find = 2 / (1 + (-tastes.efficiency[2]).exp())
        find_NV = in_find * (as_read(self.model)[item_N] - self.found) @ tastes.found.T
        rest_NVV = self.covariance - outer(self.spoken_to)
        chose_NV = torch.where(clicked_N1, click_NV, find_NV)
        worth_N = worth_N + torch.einsum("nv,nvw,nw->n", load_NV, rest_NVV, chose_NV)
        worth_N = worth_N + self.node * (load_NV * self.spoken_to).sum(-1)
        spread_N = torch.einsum("nv,nvw,nw->n", load_NV, rest_NVV, load_NV)
        for which, scale in enumerate(self.model.answers.worth_scale):
            logit_N = scale * worth_N + own_I6[item_N, 3 + which] + self.level[:, 1 + which]
            logit_N = logit_N + self.level[:, 4 + which] * (slot_N >= 0)
            if which < 2:
                logit_N = logit_N - self.deterred(1, item_N, price_N)
            # the mean chance over a worth that is not known: s + v s'' / 2, as a logit
            less_N = (scale**2 * spread_N).clamp(max=4) * (logit_N.sigmoid() - 0.5)
            chance.append((logit_N - less_N).sigmoid())
        buy_N, cart_N, favourite_N = chance
        rest_N = (1 - buy_N) * (1 - cart_N)
        return torch.stack(
            [rest_N * (1 - favourite_N), rest_N * favourite_N, (1 - buy_N) * cart_N, buy_N], -1
        )

    def left(self, found_NI: Tensor, page: Page) -> Tensor:
        """P(each item is found alone | view), [N, I]."""
        kept_NI, lane_N = torch.ones_like(found_NI), torch.arange(len(found_NI))
        for k in range(page.item.shape[1]):
            item_N, shown_N = page.item[:, k].clamp(min=0), page.item[:, k] >= 0
            kept_NI[lane_N, item_N] *= torch.where(shown_N, self.kept[:, k], 1.0)
        return found_NI * kept_NI / self.mass.unsqueeze(-1)

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


def found_alone(model: LSTMUserModel, known: Known) -> Alone:
    """The whole catalogue, category by category and class by class."""
    catalog, category_NC = model.catalog, known.read(model, "category")
    category_NC = category_NC @ model.items.of_category.weight.T + model.items.category_bias
    share_IZ = shares(model)
    category_CV, class_ZV = found_loads(model, share_IZ)
    category_NC = category_NC + known.passed @ category_CV.T
    for c in range(catalog.num_categories):
        if not bool((catalog.category == c).any()):
            category_NC[:, c] = -torch.inf
    latent_NZ = known.read(model, "latent") + known.passed @ class_ZV.T
    category_NC, latent_NZ = category_NC.softmax(-1), latent_NZ.softmax(-1)
    item_NI = category_NC[:, catalog.category] * (latent_NZ @ share_IZ.T)
    return Alone(category_NC, latent_NZ, share_IZ, item_NI)


def shares(model: LSTMUserModel) -> Tensor:
    """P(item | its category, class), [I, Z]."""
    catalog, own_I1 = model.catalog, (model.items.bias * model.items.seen)[:, :1]
    logit_IZ = vectors(model) @ model.items.class_taste.T + own_I1
    share_IZ = torch.zeros_like(logit_IZ)
    for c in range(catalog.num_categories):
        share_IZ[catalog.category == c] = logit_IZ[catalog.category == c].softmax(0)
    return share_IZ


def found_loads(model: LSTMUserModel, share_IZ: Tensor) -> tuple[Tensor, Tensor]:
    """How tastes move finds of each category, [C, V], and of each class within all, [Z, V]."""
    load_IV, catalog = as_read(model) @ model.tastes.found.T, model.catalog
    of_CZV = torch.stack(
        [
            share_IZ[catalog.category == c].T @ load_IV[catalog.category == c]
            for c in range(catalog.num_categories)
        ]
    )
    category_CV = of_CZV.mean(1)
    return category_CV, (of_CZV - category_CV.unsqueeze(1)).mean(0)


def click_loads(model: LSTMUserModel) -> Tensor:
    """How tastes move the log-mass of each item's slot, [I, V]."""
    price_I1 = as_read(model)[:, -1:]
    return vectors(model) @ model.tastes.click.T + price_I1 * model.tastes.price[:, 0]


def sale_loads(model: LSTMUserModel) -> Tensor:
    """How tastes move the worth of each item, [I, V]."""
    price_I1 = as_read(model)[:, -1:]
    return vectors(model) @ model.tastes.sale.T + price_I1 * model.tastes.price[:, 1]


def vectors(model: LSTMUserModel) -> Tensor:
    """Of all items, [I, D]."""
    return (
        model.items.own * model.items.seen
        + model.items.of_category.weight[model.catalog.category]
        + model.catalog.feature @ model.items.of_feature.weight.T
    )


def cart_size(now: Visit, dtype: torch.dtype) -> Tensor:
    """Items in the cart, [N]."""
    return (now.cart_item >= 0).sum(-1).to(dtype)


def as_read(model: LSTMUserModel) -> Tensor:
    """Each item as the LSTM reads it: its vector and its usual log price, [I, D + 1]."""
    usual_I1 = (model.items.log_price - model.tables.mean_log_price).unsqueeze(-1)
    return torch.cat([vectors(model), usual_I1], -1)


def liked(
    model: LSTMUserModel, query_ND: Tensor, sated_NJ: Tensor, page: Page, now: Visit
) -> Tensor:
    """Log-mass of each slot to a shopper of this query before level and price, [N, K]."""
    own_I6, slots = model.items.bias * model.items.seen, []
    for k in range(page.item.shape[1]):
        item_N = page.item[:, k].clamp(min=0)
        like_N = (vectors(model)[item_N] * query_ND).sum(-1) + own_I6[item_N, 1]
        tired_N = (now.recent_item == page.item[:, k : k + 1]).sum(-1)
        again_N = sated_NJ[torch.arange(len(item_N)), group(model, item_N, sated_NJ)]
        like_N = like_N + model.answers.position[k] - model.answers.fatigue * tired_N
        slots.append(like_N - model.answers.satiation * again_N)
    return torch.stack(slots, -1)


def spoken_to(model: LSTMUserModel, known: Known, page: Page, now: Visit) -> Tensor:
    """One standard deviation of the taste that the page as a whole speaks to, [N, V]."""
    load_IV = click_loads(model)
    covariance_NVV = torch.linalg.inv(known.precision)
    # the direction in which the page's mean item lies, by what a shopper of any segment likes
    like_NK = liked(model, known.read(model, "clicked"), known.sated, page, now)
    weight_NK = like_NK.exp() * (page.item >= 0)
    mean_NV = torch.zeros_like(known.mean)
    for k in range(page.item.shape[1]):
        share_N = weight_NK[:, k] / weight_NK.sum(-1).clamp(min=TINY**4)
        mean_NV = mean_NV + share_N.unsqueeze(-1) * load_IV[page.item[:, k].clamp(min=0)]
    variance_N = torch.einsum("nv,nvw,nw->n", mean_NV, covariance_NVV, mean_NV)
    along_NV = torch.einsum("nvw,nw->nv", covariance_NVV, mean_NV)
    return along_NV / (variance_N + TINY).sqrt().unsqueeze(-1)


def unknown(model: LSTMUserModel, them: Shoppers, page: Page) -> Tensor:
    """What own taste, as far as it is unknown, adds to the slots' log-masses, [N, K]."""
    load_IV, added = click_loads(model), []
    for k in range(page.item.shape[1]):
        load_NV = load_IV[page.item[:, k].clamp(min=0)]
        along_N = (load_NV * them.spoken_to).sum(-1)
        whole_N = torch.einsum("nv,nvw,nw->n", load_NV, them.covariance, load_NV)
        # of the direction the node, of the rest the mean of a log-normal
        added.append(along_N * them.node + (whole_N - along_N**2).clamp(min=0) / 2)
    return torch.stack(added, -1)


def kept(model: LSTMUserModel, them: Shoppers, page: Page, slot_NK: Tensor) -> Tensor:
    """What the slots leave of their twins on average over own taste, as far as it is unknown."""
    tastes, d, left = model.tastes, model.answers.dissimilarity, []
    in_find = 2 / (1 + (-tastes.efficiency[2]).exp())
    rest_NVV = them.covariance - outer(them.spoken_to)

    def covariance(one_NV: Tensor, other_NV: Tensor, of_NVV: Tensor) -> Tensor:
        return torch.einsum("nv,nvw,nw->n", one_NV, of_NVV, other_NV)

    for k in range(page.item.shape[1]):
        item_N = page.item[:, k].clamp(min=0)
        slot_NV = click_loads(model)[item_N]
        twin_NV = in_find * (as_read(model)[item_N] - them.found) @ tastes.found.T
        slot_N = covariance(slot_NV, slot_NV, rest_NVV).clamp(min=0)
        twin_N = covariance(twin_NV, twin_NV, them.covariance)
        apart_N = slot_N + twin_N - 2 * covariance(slot_NV, twin_NV, rest_NVV)
        mean_N = covariance(slot_NV, twin_NV, them.covariance) - twin_N / 2 - slot_N / 2
        sides = []
        for side in (-1, 1):
            more_N = mean_N + side * (apart_N.clamp(min=0) + TINY).sqrt()
            ratio_N = (slot_NK[:, k] + more_N).exp() / them.twin[:, k]
            sides.append((1 + ratio_N ** (1 / d)) ** (d - 1))
        left.append((sides[0] + sides[1]) / 2)
    return torch.stack(left, -1)


def shoppers(
    model: LSTMUserModel,
    known: Known,
    found_NI: Tensor,
    segment_N: Tensor,
    node_N: Tensor,
    page: Page,
    now: Visit,
) -> Shoppers:
    """Shoppers of whom this is known, who find these items alone, of these segments and nodes."""

    def head(name: str) -> Tensor:
        return known.read(model, name) + model.heads.offset(name)[segment_N]

    # slots
    item_NK, shown_NK = page.item.clamp(min=0), page.item >= 0
    none = torch.zeros(())
    them = Shoppers(
        model, head("level"), head("worth"), torch.nn.functional.softplus(head("slope")),
        head("usual_slope"), none, found_NI.gather(-1, item_NK), none, none, none,
        torch.linalg.inv(known.precision), spoken_to(model, known, page, now), node_N,
        found_NI @ as_read(model),
    )  # fmt: skip
    slot_NK = liked(model, head("clicked"), known.sated, page, now) + them.level[:, :1]
    slot_NK = slot_NK + unknown(model, them, page)
    lost = [them.deterred(0, item_NK[:, k], page.price[:, k]) for k in range(item_NK.shape[1])]
    slot_NK = slot_NK - torch.stack(lost, -1)

    # the nest of each slot with its twin
    d, twin_NK = model.answers.dissimilarity, them.twin
    both_NK = (twin_NK ** (1 / d) + (slot_NK / d).exp()) ** d
    them.added = torch.where(shown_NK, both_NK - twin_NK, 0.0)
    them.kept = torch.where(shown_NK, kept(model, them, page, slot_NK), 1.0)
    them.mass = 1 + them.added.sum(-1)

    # upper level
    filled_N = cart_size(now, slot_NK.dtype)
    cart_N3 = torch.stack([filled_N.clamp(max=1), (1 + filled_N).log(), filled_N / 4], -1)
    leave_N, checkout_N = (
        (head("upper") + cart_N3 @ model.answers.of_cart.weight.T).exp().unbind(-1)
    )
    leave_N = torch.where(now.page_number == 0, 0.0, leave_N)
    checkout_N = torch.where(filled_N == 0, 0.0, checkout_N)
    upper_N3 = torch.stack([leave_N, checkout_N, them.mass**model.answers.page_weight], -1)
    them.upper = upper_N3 / upper_N3.sum(-1, keepdim=True)
    return them


def surprises(expected: Expectation, event: Event) -> Tensor:
    """What happened less what was expected, [N, 6]."""
    viewed_N = (event.kind == VIEW).to(expected.leave.dtype)
    followed_N3 = torch.nn.functional.one_hot(event.after, 4)[:, 1:] - expected.after[:, 1:]
    order_N = ((event.kind == CHECKOUT) | (event.after == 3)).to(viewed_N.dtype)
    rest_N3 = torch.stack([expected.leave, order_N, viewed_N], -1)
    return torch.cat([followed_N3 * viewed_N.unsqueeze(-1), rest_N3], -1)


def inputs(model: LSTMUserModel, expected: Expectation, event: Event, now: Visit) -> Tensor:
    """What the LSTM reads of one step, [N, X]: surprises, and how much time and cart there was."""
    viewed_N = (event.kind == VIEW).to(expected.leave.dtype)
    item_NX = as_read(model)[event.item.clamp(min=0)]
    alone_N = viewed_N * (event.slot < 0)
    sold_N = (event.after >= 2).to(viewed_N.dtype) - expected.after[:, 2] - expected.after[:, 3]
    scalar_N3 = torch.stack(
        [
            (1 + event.quantity).log() * model.senses.scale_3[0],
            (1 + now.gap).log() * model.senses.scale_3[1],
            (1 + cart_size(now, viewed_N.dtype)).log() * model.senses.scale_3[2],
        ],
        -1,
    )
    found_NX = (item_NX - expected.found) * alone_N.unsqueeze(-1)
    sold_NX = item_NX * (sold_N * viewed_N).unsqueeze(-1)
    return torch.cat([found_NX, sold_NX, surprises(expected, event), scalar_N3], -1)


def faded(model: LSTMUserModel, viewed: Tensor, event: Event) -> Tensor:
    """The fading means of what was viewed, each with a memory of its own, [N, R D]."""
    seen_ND, moved = vectors(model)[event.item.clamp(min=0)], []
    for memory, mean_ND in zip(
        model.senses.memory, viewed.chunk(len(model.senses.memory), -1), strict=True
    ):
        kept = 1 / (1 + (-memory).exp())
        moved.append(kept * mean_ND + (1 - kept) * seen_ND)
    return torch.where((event.kind == VIEW).unsqueeze(-1), torch.cat(moved, -1), viewed)


def group(model: LSTMUserModel, item_N: Tensor, sated_NJ: Tensor) -> Tensor:
    """Which count the category of each item is counted in, [N]."""
    return model.catalog.category[item_N] % sated_NJ.shape[1]


def tired(model: LSTMUserModel, sated_NJ: Tensor, event: Event) -> Tensor:
    """The fading counts of views after an event, [N, J]: views alone fade and add."""
    after_NJ = sated_NJ / (1 + (-model.senses.sated_memory).exp())
    after_NJ[torch.arange(len(after_NJ)), group(model, event.item.clamp(min=0), sated_NJ)] += 1
    return torch.where((event.kind == VIEW).unsqueeze(-1), after_NJ, sated_NJ)


def believed(
    model: LSTMUserModel, known: Known, expected: Expectation, page: Page, event: Event
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, its part of pages passed over, and precision of the belief after an event.

    By one step of a filter.
    """
    in_click, in_sale, in_find = 2 / (1 + (-model.tastes.efficiency).exp())
    click_IV, sale_IV = click_loads(model), sale_loads(model)
    viewed_N1 = (event.kind == VIEW).to(known.mean.dtype).unsqueeze(-1)

    # which slot it was, if any: score and information of a multinomial logit
    score_NV, mean_NV = torch.zeros_like(known.mean), torch.zeros_like(known.mean)
    square_NVV = torch.zeros_like(known.precision)
    for k in range(page.item.shape[1]):
        load_NV, chance_N1 = click_IV[page.item[:, k].clamp(min=0)], expected.slot[:, k : k + 1]
        clicked_N1 = (event.slot == k).unsqueeze(-1).to(chance_N1.dtype)
        score_NV = score_NV + (clicked_N1 - chance_N1) * load_NV
        mean_NV = mean_NV + chance_N1 * load_NV
        square_NVV = square_NVV + chance_N1.unsqueeze(-1) * outer(load_NV)
    score_NV, square_NVV = in_click * score_NV, in_click * (square_NVV - outer(mean_NV))
    page_NV = score_NV

    # whether it sold: those of a logit
    sold_NV = sale_IV[event.item.clamp(min=0)]
    chance_N1 = expected.after[:, 2:3] + expected.after[:, 3:4]
    happened_N1 = (event.after >= 2).unsqueeze(-1).to(chance_N1.dtype)
    score_NV = score_NV + in_sale * (happened_N1 - chance_N1) * sold_NV
    weight_N11 = (in_sale * chance_N1 * (1 - chance_N1)).unsqueeze(-1)
    square_NVV = square_NVV + weight_N11 * outer(sold_NV)

    # what was found alone: a score linear in the surprise, of the mean square that finds have
    alone_N1 = (event.slot < 0).unsqueeze(-1).to(chance_N1.dtype)
    passed_NV = alone_N1 * page_NV
    surprise_NX = as_read(model)[event.item.clamp(min=0)] - expected.found
    score_NV = score_NV + in_find * alone_N1 * (surprise_NX @ model.tastes.found.T)
    find_VV = model.tastes.found @ model.tastes.surprise_XX @ model.tastes.found.T
    square_NVV = square_NVV + in_find * alone_N1.unsqueeze(-1) * find_VV

    precision = known.precision + viewed_N1.unsqueeze(-1) * square_NVV
    covariance = torch.linalg.inv(precision)
    step_NV, passed_NV = (
        torch.einsum("nvw,nw->nv", covariance, viewed_N1 * moved) for moved in (score_NV, passed_NV)
    )
    return known.mean + step_NV, known.passed + passed_NV, precision


def zero(value: Tensor) -> Tensor:
    """Of the same size."""
    return torch.zeros_like(value)


def outer(value_NV: Tensor) -> Tensor:
    """Products of all pairs, [N, V, V]."""
    return value_NV.unsqueeze(-1) * value_NV.unsqueeze(-2)


def log_prob(model: LSTMUserModel, steps: Steps, expected: Expectation) -> Tensor:
    """Log-likelihood of each step, [n] in nats, given what was expected of it."""
    # the LSTM and the belief along the sessions, the first ones of which reach each step
    c, known = beginning(model, steps.arrival)
    evidence = c.new_zeros(len(c), model.num_segments)
    tally_n6 = surprises(expected, steps.event)
    input_nX = inputs(model, expected, steps.event, steps.visit)
    before, first = [], 0
    for active in steps.active:
        known, c = Known(*(value[:active] for value in fields(known))), c[:active]
        before.append(known)
        rows = slice(first, first + active)
        event = steps.event.lanes(rows)
        mean, passed, precision = believed(
            model, known, expected.lanes(rows), steps.page.lanes(rows), event
        )
        h, c = torch.lstm_cell(input_nX[rows], (known.h, c), *model.memory.all_weights[0])
        viewed, tally = faded(model, known.viewed, event), known.tally + tally_n6[rows]
        sated = tired(model, known.sated, event)
        known = Known(h, known.context, tally, mean, passed, viewed, sated, precision)
        first += active
    known = Known(*(torch.cat(values) for values in zip(*map(fields, before), strict=True)))

    # what each segment makes of each step, the mean over the nodes
    found_nI, event, count = found_alone(model, known).item, steps.event, len(known.h)
    lane_n, some_n, viewed_n = torch.arange(count), event.item.clamp(min=0), event.kind == VIEW
    of_segments = []
    for g in range(model.num_segments):
        segment_n, both_n = torch.full((count,), g), torch.zeros(count, dtype=c.dtype)
        for node in NODES:
            node_n = torch.full((count,), node, dtype=c.dtype)
            of_g = shoppers(model, known, found_nI, segment_n, node_n, steps.page, steps.visit)
            after_n = of_g.after(some_n, event.price, event.slot)[lane_n, event.after]
            followed_n = torch.where(viewed_n, after_n, 1.0)
            both_n = both_n + of_g.chosen(found_nI, steps.page, event) * followed_n / len(NODES)
        of_segments.append(both_n)
    both_nG = torch.stack(of_segments, -1)

    # the segment: what the state says of it, times the likelihood of all before
    gone, first = [], 0
    for active in steps.active:
        gone.append(evidence[:active])
        evidence = evidence[:active] + both_nG[first : first + active].log()
        first += active
    share_nG = (known.read(model, "gate") + torch.cat(gone)).softmax(-1)

    # the time since the step before
    timed_n = (steps.number > 0) & (event.kind != LEAVE)
    std = model.gap_log_std.exp()
    z_n = (event.gap.clamp(min=1.0).log() - model.gap_mean(known.wide()).squeeze(-1)) / std
    gap_n = -0.5 * z_n.square() - std.log() - LOG_ROOT_TWO_PI
    return (share_nG * both_nG).sum(-1).log() + torch.where(timed_n, gap_n, 0.0)


def fields(known: Known) -> list[Tensor]:
    """All that is known, in order."""
    return list(vars(known).values())


def step(model: LSTMUserModel, state: PlainState, page: Page) -> tuple[PlainState, Event]:
    """What the shoppers do with a page, and their state after it."""
    now, who, catalog = state.visit, state.arrival, model.catalog
    known, dtype, count = state.known, state.h.dtype, len(state.h)
    lane_N, item_NK = torch.arange(count), page.item.clamp(min=0)

    def noise(purpose: Purpose) -> Tensor:
        return rng.key(who.seed, who.session, now.page_number, purpose)

    def uniform(purpose: Purpose) -> Tensor:
        return rng.uniform(noise(purpose), dtype=dtype)

    alone = found_alone(model, known)
    found_NI = alone.item

    # the segment: what the state says of it, times the likelihood of all before; and the node
    share_NG = (
        known.read(model, "gate").exp()
        * (state.evidence - state.evidence.amax(-1, keepdim=True)).exp()
    )
    share_NG = share_NG / share_NG.sum(-1, keepdim=True)
    lanes = [(g, node) for g in range(model.num_segments) for node in NODES]
    share_NM = torch.stack([share_NG[:, g] / len(NODES) for g, _ in lanes], -1)
    chosen_N = inverse(share_NM, uniform(Purpose.SEGMENT))
    segment_N = torch.tensor([g for g, _ in lanes])[chosen_N]
    node_N = torch.tensor([node for _, node in lanes], dtype=dtype)[chosen_N]
    them = shoppers(model, known, found_NI, segment_N, node_N, page, now)

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
    left_NI = torch.zeros_like(found_NI)
    for g in range(model.num_segments):
        of_segment_N = torch.zeros(count, dtype=dtype)
        for node in NODES:
            node_N, segment_N = torch.full((count,), node, dtype=dtype), torch.full((count,), g)
            of_g = shoppers(model, known, found_NI, segment_N, node_N, page, now)
            share_N1 = share_NG[:, g : g + 1] / len(NODES)
            would_N4 = of_g.after(some_N, price_N, slot_N)
            leave_N = leave_N + share_N1[:, 0] * of_g.upper[:, LEAVE]
            slot_NK = slot_NK + share_N1 * of_g.upper[:, VIEW:] * of_g.slot_chance()
            view_N1 = view_N1 + share_N1 * of_g.upper[:, VIEW:]
            left_NI = left_NI + share_N1 * of_g.upper[:, VIEW:] * of_g.left(found_NI, page)
            chosen_now_N = of_g.chosen(found_NI, page, event)
            follow_N4 = follow_N4 + share_N1 * chosen_now_N.unsqueeze(-1) * would_N4
            chosen_N1 = chosen_N1 + share_N1 * chosen_now_N.unsqueeze(-1)
            followed_N = torch.where(viewed_N, would_N4[lane_N, after_N], 1.0)
            of_segment_N = of_segment_N + chosen_now_N * followed_N / len(NODES)
        evidence_NG[:, g] += of_segment_N.log()
    slot_NK, follow_N4 = slot_NK / view_N1, follow_N4 / chosen_N1
    left_NI = left_NI / left_NI.sum(-1, keepdim=True)

    # surprises, one step of the LSTM and one of the belief
    expected = Expectation(
        leave_N, slot_NK, follow_N4, left_NI @ as_read(model), found_NI @ as_read(model),
        torch.ones_like(leave_N),
    )  # fmt: skip
    inputs_NX = inputs(model, expected, event, now)
    h, c = torch.lstm_cell(inputs_NX, (state.h, state.c), *model.memory.all_weights[0])
    mean, passed, precision = believed(model, known, expected, page, event)
    tally, viewed = known.tally + surprises(expected, event), faded(model, known.viewed, event)
    sated = tired(model, known.sated, event)
    known = Known(h, known.context, tally, mean, passed, viewed, sated, precision)

    z_N = rng.normal(noise(Purpose.GAP), dtype=dtype)
    gap_N = (model.gap_mean(known.wide()).squeeze(-1) + model.gap_log_std.exp() * z_N).exp()
    after = visit.advance(now, page, event, gap_N.clamp(1.0, 1799.0))
    return PlainState(who, after, c, known, evidence_NG), event
