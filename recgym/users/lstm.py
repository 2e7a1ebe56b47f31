"""The LSTM user model: shoppers learned from a log, behind the same protocol as a true shop."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from recgym import choice, rng
from recgym.rng import Purpose
from recgym.types import After, Arrival, Catalog, Event, Kind, Page, Record, Response, Visit
from recgym.users.base import AfterLogits, after_log_probs
from recgym.visit import hour_of_day, times_shown, times_shown_of_all

MIN_DISSIMILARITY = 0.05  # below, the nest's arithmetic divides by nearly nothing
MAX_SLOTS = 64
NUM_TALLIES = 7
INITIAL_SLOPE = 1.0  # before softplus, 1.3 after; surveys of sales lie at 1 to 4


@dataclass(frozen=True)
class LSTMState(Record):
    """What the model remembers of a session; a function of observable events alone."""

    h: Tensor  # [N, H]
    c: Tensor  # [N, H]
    context: Tensor  # [N, P + 2] standardised profile, sine and cosine of the hour of arrival
    tally: Tensor  # [N, NUM_TALLIES] sums of surprises so far, see `tallies`


@dataclass(frozen=True)
class Expectation(Record):
    """What the model expected of a page: what happens is compared with it."""

    leave: Tensor  # [N] probability of leaving
    slot: Tensor  # [N, K] probability of each slot, given a view
    after: Tensor  # [N, 4] probability of what would follow the view, in the order of After


class LSTMUserModel(nn.Module):
    """p(choice, after, gap | history) of a log's shoppers.

    Items enter through vectors made of a free part (only for items met in training), their
    category and their features, so that a new item is not a stranger. Prices enter through slopes
    that a softplus keeps from turning. The item's own effects carry a Gaussian prior, whose
    negative log-density is `penalty`: with a handful of purchases an item, maximum likelihood alone
    would sell wildly.

    Args:
        catalog: of the log.
        seen_I: items met in training, [I] bool.
        profile_BP, start_ms_B: of the training sessions: simulated sessions begin like one of them.
        quantity: pieces bought at once, on average.
        hidden, embedding: H and the length of an item vector.
        dropout: on the LSTM's output.
        prior_sd: standard deviation of an item's own effects, in logits.
    """

    seen: Tensor  # [I, 1] float, 1 for an item met in training
    profile: Tensor  # [B, P] of the training sessions
    start_ms: Tensor  # [B] int64, UTC milliseconds
    profile_centre: Tensor  # [P]
    profile_spread: Tensor  # [P]
    mean_log_price: Tensor  # []
    item_log_price: Tensor  # [I] each item's mean over the days
    vector_ID: Tensor  # [I, D], see `prepare`

    def __init__(
        self,
        catalog: Catalog,
        seen_I: Tensor,
        profile_BP: Tensor,
        start_ms_B: Tensor,
        *,
        quantity: float = 1.0,
        hidden: int = 64,
        embedding: int = 16,
        dropout: float = 0.1,
        prior_sd: float = 0.5,
    ) -> None:
        super().__init__()
        self.catalog, self.quantity = catalog, quantity
        self.num_encoded, self.prior_sd = hidden + NUM_TALLIES, prior_sd
        self.settings: dict[str, Any] = {
            "quantity": quantity,
            "hidden": hidden,
            "embedding": embedding,
            "dropout": dropout,
            "prior_sd": prior_sd,
        }
        num_items, num_features = catalog.feature.shape
        self.register_buffer("seen", seen_I.float().unsqueeze(-1))
        self.register_buffer("profile", profile_BP)
        self.register_buffer("start_ms", start_ms_B)
        centre_P = profile_BP.mean(0)
        spread_P = (profile_BP - centre_P).square().mean(0).sqrt()
        self.register_buffer("profile_centre", centre_P)
        self.register_buffer("profile_spread", spread_P.clamp(min=1e-6))
        log_price_DI = catalog.price.clamp(min=1e-6).log()
        self.register_buffer("mean_log_price", log_price_DI.mean())
        self.register_buffer("item_log_price", log_price_DI.mean(0))

        self.item_own = nn.Parameter(0.1 * torch.randn(num_items, embedding))
        self.of_category = nn.Embedding(catalog.num_categories, embedding)
        self.of_feature = nn.Linear(num_features, embedding, bias=False)
        nn.init.normal_(self.of_category.weight, std=0.1)
        # each item's own effect on: being found, being clicked, buy, cart, favourite
        self.item_bias = nn.Parameter(torch.zeros(num_items, 5))

        num_context = profile_BP.shape[1] + 2
        num_inputs = 2 * embedding + NUM_TALLIES + 4
        self.begin = nn.Linear(num_context, 2 * hidden)
        self.lstm = nn.LSTM(num_inputs, hidden)
        self.dropout = nn.Dropout(dropout)
        wide = hidden + num_context + NUM_TALLIES
        self.query = nn.Linear(wide, 5 * embedding)  # found, clicked, buy, cart, favourite
        self.bias = nn.Linear(wide, 7)  # clicked, buy, cart, favourite; the last three if clicked
        self.upper = nn.Linear(wide, 2)  # leave, checkout
        self.slope = nn.Linear(wide, 3)  # before softplus: clicked, buy, cart
        self.usual_slope = nn.Linear(wide, 3)  # on the items' usual prices, of either sign
        nn.init.zeros_(self.usual_slope.weight)
        nn.init.constant_(self.usual_slope.bias, 1.0)
        with torch.no_grad():
            self.bias.weight[4:].zero_()
            self.bias.bias[4:].zero_()
        self.gap_mean = nn.Linear(wide, 1)
        self.gap_log_std = nn.Parameter(torch.zeros(()))
        self.of_cart = nn.Linear(2, 2, bias=False)  # on leave and checkout
        nn.init.zeros_(self.of_cart.weight)
        self.position = nn.Parameter(torch.zeros(MAX_SLOTS))
        self.fatigue = nn.Parameter(torch.zeros(()))
        self.page_weight = nn.Parameter(torch.tensor(0.5))
        self.dissimilarity = nn.Parameter(torch.tensor(0.7))
        nn.init.constant_(self.slope.bias, INITIAL_SLOPE)
        self.prepare()

    # ---- parameters -----------------------------------------------------------------------------

    def prepare(self) -> None:
        """Item vectors [I, D] from the parameters as they are now.

        Called before each batch of a fit, and by `eval`: the verbs then share one table.
        """
        self.vector_ID = (
            self.item_own * self.seen
            + self.of_category(self.catalog.category)
            + self.of_feature(self.catalog.feature)
        )

    def _own_effect(self, which: int) -> Tensor:
        return self.item_bias[:, which] * self.seen.squeeze(-1)

    def train(self, mode: bool = True) -> LSTMUserModel:
        """Also prepares the item vectors when a fit is over."""
        super().train(mode)
        if not mode:
            with torch.no_grad():
                self.prepare()
        return self

    def _apply(self, fn: Any, recurse: bool = True) -> LSTMUserModel:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        dtype, moved = self.item_own.dtype, self.catalog.to(self.item_own.device)
        self.catalog = dataclasses.replace(
            moved, price=moved.price.to(dtype), feature=moved.feature.to(dtype)
        )
        return self.train(self.training)

    @torch.no_grad()
    def project(self) -> None:
        """Keep the nest's parameters in their ranges; called after each optimiser step."""
        self.page_weight.clamp_(0.0, 1.0)
        self.dissimilarity.clamp_(MIN_DISSIMILARITY, 1.0)

    def penalty(self) -> Tensor:
        """Negative log-density of the prior on the items' own parts, a scalar in nats."""
        own = (self.item_bias[:, 1:] / self.prior_sd).square().sum()
        return 0.5 * (own + (self.item_own / self.prior_sd).square().sum())

    # ---- the protocol ---------------------------------------------------------------------------

    def arrive(self, seed_N: Tensor, session_N: Tensor) -> Arrival:
        """One of the training sessions' beginnings, picked by (seed, session)."""
        u_N = rng.uniform(rng.key(seed_N, session_N, 0, Purpose.START), dtype=torch.float64)
        row_N = (u_N * len(self.start_ms)).long()
        return Arrival(seed_N, session_N, self.profile[row_N], self.start_ms[row_N])

    def init_state(self, arrival: Arrival) -> LSTMState:
        """From the profile and the hour."""
        profile_NP = (arrival.profile.to(self.profile) - self.profile_centre) / self.profile_spread
        hour_N1 = hour_of_day(arrival.start_ms, profile_NP.dtype).unsqueeze(-1)
        context_NP = torch.cat([profile_NP, hour_N1.sin(), hour_N1.cos()], -1)
        h_NH, c_NH = self.begin(context_NP).tanh().chunk(2, -1)
        tally = h_NH.new_zeros(len(h_NH), NUM_TALLIES)
        return LSTMState(h_NH, c_NH, context_NP, tally)

    def _read(self, state: LSTMState) -> Tensor:
        return torch.cat([self.dropout(state.h), state.context, state.tally.asinh()], -1)

    def _query(self, wide_NW: Tensor, which: int) -> Tensor:
        size = self.item_own.shape[1]
        rows = slice(which * size, (which + 1) * size)
        return F.linear(wide_NW, self.query.weight[rows], self.query.bias[rows])

    def _price_loss(
        self, wide_NW: Tensor, item_NJ: Tensor | None, price_NJ: Tensor
    ) -> list[Tensor]:
        """What prices take from the logits of click, buy and cart, three of [N, J].

        A move of an item's price against its own mean always deters. What sets usually dear items
        apart from cheap ones is confounded with quality, so that slope is another one, of either
        sign: one slope for both would be wrong by as much as quality is worth.
        """
        if not self.catalog.priced:
            return [torch.zeros_like(price_NJ)] * 3
        usual = self.item_log_price if item_NJ is None else self.item_log_price[item_NJ]
        move_NJ = price_NJ.clamp(min=1e-6).log() - usual
        level = usual - self.mean_log_price
        slope_N3 = F.softplus(self.slope(wide_NW))
        usual_N3 = self.usual_slope(wide_NW)
        return [
            slope_N3[:, head, None] * move_NJ + usual_N3[:, head, None] * level for head in range(3)
        ]

    def respond(self, state: LSTMState, page: Page, visit: Visit) -> Response:
        """Nested logit of `recgym.choice`."""
        wide_NW = self._read(state)
        found_NI = self._query(wide_NW, 0) @ self.vector_ID.T + self._own_effect(0)
        count_N = visit.cart_count().to(wide_NW.dtype)
        cart_N2 = torch.stack([count_N.clamp(max=1.0), count_N.log1p()], -1)
        upper_N2 = self.upper(wide_NW) + self.of_cart(cart_N2)
        return Response(
            leave=upper_N2[:, 0],
            checkout=upper_N2[:, 1],
            organic=found_NI.log_softmax(-1),
            slot=self._slot(wide_NW, page, visit),
            page_item=page.item,
            page_weight=self.page_weight,
            dissimilarity=self.dissimilarity,
        )

    def _slot(self, wide_NW: Tensor, page: Page, visit: Visit) -> Tensor:
        item_NK = page.item.clamp(min=0)
        taste_NK = torch.bmm(
            self.vector_ID[item_NK], self._query(wide_NW, 1).unsqueeze(-1)
        ).squeeze(-1)
        taste_NK = taste_NK + self._own_effect(1)[item_NK]
        tired_NK = times_shown(page.item, visit.recent_item).to(taste_NK.dtype)
        deterred_NK = self._price_loss(wide_NW, item_NK, page.price)[0]
        mass_NK = self._mass(wide_NW, taste_NK, deterred_NK, tired_NK)
        mass_NK = mass_NK + self.position[: item_NK.shape[1]]
        return torch.where(page.item >= 0, mass_NK, torch.full_like(mass_NK, -torch.inf))

    def appeal(self, state: LSTMState, visit: Visit, price_NI: Tensor) -> Tensor:
        """Log-mass of each item alone in the first slot."""
        wide_NW = self._read(state)
        taste_NI = self._query(wide_NW, 1) @ self.vector_ID.T + self._own_effect(1)
        tired_NI = times_shown_of_all(visit.recent_item, self.catalog.num_items, taste_NI.dtype)
        deterred_NI = self._price_loss(wide_NW, None, price_NI)[0]
        return self._mass(wide_NW, taste_NI, deterred_NI, tired_NI) + self.position[0]

    def _mass(self, wide_NW: Tensor, taste: Tensor, deterred: Tensor, tired: Tensor) -> Tensor:
        level_N1: Tensor = self.bias(wide_NW)[:, :1]
        return level_N1 + taste - deterred - self.fatigue * tired

    def after(
        self, state: LSTMState, item_NJ: Tensor | None, price_NJ: Tensor, clicked_NJ: Tensor | bool
    ) -> AfterLogits:
        """What would follow viewing these items (None: all), dearer selling less."""
        wide_NW = self._read(state)
        vector = self.vector_ID if item_NJ is None else self.vector_ID[item_NJ]
        price_loss = self._price_loss(wide_NW, item_NJ, price_NJ)
        level_N7 = self.bias(wide_NW)
        clicked_NJ = torch.as_tensor(clicked_NJ, device=wide_NW.device).to(wide_NW.dtype)
        logits = []
        for head in range(3):
            query_ND = self._query(wide_NW, 2 + head)
            own = self._own_effect(2 + head)
            if item_NJ is None:
                like_NJ = query_ND @ vector.T + own
            else:
                like_NJ = torch.bmm(vector, query_ND.unsqueeze(-1)).squeeze(-1) + own[item_NJ]
            logit_NJ = like_NJ + level_N7[:, 1 + head, None]
            logit_NJ = logit_NJ + level_N7[:, 4 + head, None] * clicked_NJ
            if head < 2:
                logit_NJ = logit_NJ - price_loss[1 + head]
            logits.append(logit_NJ)
        return AfterLogits(*logits)

    def observe(
        self, state: LSTMState, response: Response, page: Page, event: Event, visit: Visit
    ) -> LSTMState:
        """One step of the LSTM; `unroll` is the same over many steps."""
        expected = self.expect(state, response, event)
        inputs_NX = self.inputs(expected, page, event, visit)
        h_NH, c_NH = torch.lstm_cell(inputs_NX, (state.h, state.c), *self.lstm.all_weights[0])
        return LSTMState(h_NH, c_NH, state.context, state.tally + tallies(expected, event))

    @torch.no_grad()
    def expect(self, state: LSTMState, response: Response, event: Event) -> Expectation:
        """What the model expected of a page before the event; constants to the gradient."""
        item_N1, price_N1 = event.item.clamp(min=0).unsqueeze(-1), event.price.unsqueeze(-1)
        after_N14 = after_log_probs(
            self.after(state, item_N1, price_N1, (event.slot >= 0).unsqueeze(-1))
        ).exp()
        return Expectation(
            leave=choice.upper(response)[:, Kind.LEAVE],
            slot=choice.slot_given_view(response),
            after=after_N14[:, 0],
        )

    def inputs(self, expected: Expectation, page: Page, event: Event, visit: Visit) -> Tensor:
        """What the LSTM reads of one step, [N, X].

        What the page and the price brought enters as a *surprise*, what happened minus what the
        model expected: a click on an attractive page says little about the shopper, and a better
        page must not make every shopper look keener. Expectations are the model's own, so
        surprises are zero on average under any policy (score-driven models: Creal, Koopman and
        Lucas 2013, "Generalized autoregressive score models", equation 2, with the score of the
        multinomial logit). Having stayed enters as the hazard that was survived.
        """
        dtype = self.item_own.dtype
        viewed_N1 = (event.kind == int(Kind.VIEW)).to(dtype).unsqueeze(-1)
        clicked_NK = F.one_hot(event.slot + 1, page.item.shape[1] + 1)[:, 1:].to(dtype)
        surprise_NK = (clicked_NK - expected.slot) * viewed_N1
        shown_NKD = self.vector_ID[page.item.clamp(min=0)]
        scalars_N4 = torch.stack(
            [
                (event.price.clamp(min=1e-6).log() - self.mean_log_price) * viewed_N1.squeeze(-1),
                event.quantity.log1p(),
                event.gap.log1p() / 5.0,
                visit.cart_count().to(dtype).log1p(),
            ],
            -1,
        )
        return torch.cat(
            [
                self.vector_ID[event.item.clamp(min=0)] * viewed_N1,
                torch.bmm(surprise_NK.unsqueeze(1), shown_NKD).squeeze(1),
                tallies(expected, event),
                scalars_N4,
            ],
            -1,
        )

    def unroll(self, state: LSTMState, inputs_nX: Tensor, active: list[int]) -> Tensor:
        """The output before each step, [n, H], of sessions in lock-step order (`likelihood.Steps`).

        ``active[t]`` of the sessions, which are the first ones, reach step t.
        """
        packed = nn.utils.rnn.PackedSequence(inputs_nX, torch.tensor(active))
        after, _ = self.lstm(packed, (state.h.unsqueeze(0), state.c.unsqueeze(0)))
        before, first = [state.h], 0
        for now, following in itertools.pairwise(active):
            before.append(after.data[first : first + following])
            first += now
        return torch.cat(before)

    def gap(self, state: LSTMState) -> tuple[Tensor, Tensor]:
        """A log-normal whose mean depends on the state."""
        return self.gap_mean(self._read(state)).squeeze(-1), self.gap_log_std.exp()

    def encode(self, state: Record) -> Tensor:
        """The LSTM's output and the tallies, [N, num_encoded]: what a policy reads."""
        assert isinstance(state, LSTMState)
        return torch.cat([state.h, state.tally.asinh()], -1)


def tallies(expected: Expectation, event: Event) -> Tensor:
    """Surprises of one step, whose sums tell types of shoppers apart, [N, NUM_TALLIES].

    Favourite, cart, buy; a click on the page; the hazard survived; checkout; views. For a shopper
    with a constant unknown tendency such sums are what its posterior depends on.
    """
    viewed_N = (event.kind == int(Kind.VIEW)).to(expected.leave.dtype)
    after_N4 = (F.one_hot(event.after, len(After)) - expected.after) * viewed_N.unsqueeze(-1)
    clicked_N = (event.slot >= 0).to(viewed_N.dtype) - expected.slot.sum(-1) * viewed_N
    paid_N = (event.kind == int(Kind.CHECKOUT)).to(viewed_N.dtype)
    rest_N4 = torch.stack([clicked_N, expected.leave, paid_N, viewed_N], -1)
    return torch.cat([after_N4[:, 1:], rest_N4], -1)
