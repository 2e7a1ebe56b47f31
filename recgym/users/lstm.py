"""The LSTM user model: shoppers learned from a log, behind the same protocol as a true shop."""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from recgym import choice, organic, rng
from recgym.errors import at_least_1
from recgym.rng import Purpose
from recgym.types import (
    After,
    Arrival,
    Catalog,
    Event,
    ItemTable,
    Kind,
    Organic,
    Page,
    Record,
    Response,
    Sessions,
    Visit,
)
from recgym.users import tastes
from recgym.users.base import AfterLogits
from recgym.users.products import match, match_all, tanh
from recgym.users.segments import Prospect, expect, mean_logits, prospect
from recgym.users.surprises import NUM_TALLIES, Expectation, squashed, tallies
from recgym.users.tastes import NODES, NUM_TASTES, Belief, CommonTaste, Loads, Tastes
from recgym.visit import brief, hour_of_day, times_shown, times_shown_of_all

MIN_DISSIMILARITY = 0.05  # below, the nest's arithmetic divides by nearly nothing
MAX_SLOTS = 64
BLOCK = 16  # rows of a weight that a matrix product takes at once, about
NUM_FADING = 2  # R, of means of what was viewed, each with a memory of its own
OWN_SD = 0.4  # times `prior_sd`: effects on buying, carting and favouring beside the worth
INITIAL_SLOPE = 1.0  # before softplus, 1.3 after; surveys of sales lie at 1 to 4


@dataclass(frozen=True)
class LSTMState(Record):
    """What the model remembers of a session; a function of observable events alone."""

    h: Tensor  # [N, H]
    c: Tensor  # [N, H]
    context: Tensor  # [N, P + 2] standardised profile, sine and cosine of the hour of arrival
    tally: Tensor  # [N, NUM_TALLIES] sums of surprises so far, see `tallies`
    viewed: Tensor  # [N, R D] fading means of the items viewed
    belief: Belief
    evidence: Tensor  # [N, G] log-likelihood of what happened so far in each segment, normalised


@dataclass(frozen=True)
class Reading(Record):
    """All heads of the model in one state, from a single product."""

    state: LSTMState
    found: Organic  # what is found alone: the same in all segments
    share: Tensor  # [N, G] log-probability of each segment
    covariance: Tensor  # [N, V, V] of the shopper's own taste
    shared: Tensor  # [N, S] the heads of `Supposed` before the part of the segment


@dataclass(frozen=True)
class Levels(Record):
    """The heads of a shopper of one segment that no item's vector is matched with."""

    level: Tensor  # [N, 7] of clicked, buy, cart, favourite; the last three if clicked
    upper: Tensor  # [N, 2] leave, checkout
    slope: Tensor  # [N, 2] on moves of an item's price, positive: of clicks, of sales
    usual_slope: Tensor  # [N, 2] on the items' usual prices, of either sign


@dataclass(frozen=True)
class Supposed(Record):
    """The heads of a shopper of one segment, at one node of the taste that a page speaks to."""

    found: Organic
    covariance: Tensor  # [N, V, V]
    node: Tensor  # [N] in standard deviations
    clicked: Tensor  # [N, D] query of the items shown
    anyone: Tensor  # [N, D] the same without the part of the segment
    worth: Tensor  # [N, D] query of what is bought, carted, made a favourite
    levels: Levels


class LSTMUserModel(nn.Module):
    """p(choice, after, gap | history) of a log's shoppers.

    What is bought, carted or made a favourite is a matter of one worth to the shopper, on which the
    three depend each by its own scale: sales are few, and three tastes fitted apart would be noise.

    What happens moves a state only as a *surprise*, what happened minus what the model expected
    (see `inputs`), with one exception: the items viewed, whatever led there, colour what is looked
    for next. Taste that was there before and the mark that a view leaves are thus told apart
    (Heckman 1981, "Heterogeneity and state dependence"), which a log confounds, and which a policy
    that shows each shopper more of the same would drive apart.

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
        hidden, embedding: H and D, the length of an item vector.
        classes: Z, latent classes of organic taste within a category.
        segments: G, of shoppers, each with its own part of all heads but the organic ones; told
            apart by Bayes' rule and by the LSTM, see `recgym.users.segments`.
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
    scale_3: Tensor  # of the LSTM's inputs quantity, gap and cart, so that all are about 1
    vector_ID: Tensor  # [I, D], this and all below: see `prepare`
    detail_I5: Tensor  # [I, 5] own effects on click, buy, cart, favourite; usual log price
    input_IX: Tensor  # [I, D + 1] vector and usual log price, as the LSTM reads an item
    loads: Loads
    table: ItemTable
    mean_CZX: Tensor  # [C, Z, D + 1] of the items' inputs, see `organic.mean_of_classes`
    weight_HW: Tensor  # of the heads, without what they may not read
    cell: tuple[Tensor, Tensor]  # [X + H, 4 H] and [4 H], the LSTM's weights as `observe` uses them

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
        classes: int = 16,
        segments: int = 4,
        dropout: float = 0.1,
        prior_sd: float = 0.5,
    ) -> None:
        super().__init__()
        sizes = {
            "hidden": hidden,
            "embedding": embedding,
            "classes": classes,
            "segments": segments,
        }
        for name, size in sizes.items():
            at_least_1(f"user_model.model.{name}", size)
        self.catalog, self.quantity = catalog, quantity
        self.num_encoded = hidden + NUM_TALLIES + NUM_FADING * embedding + NUM_TASTES + segments
        self.prior_sd = prior_sd
        self.num_segments = segments
        self.settings: dict[str, Any] = {
            "quantity": quantity,
            **sizes,
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
        self.register_buffer("scale_3", torch.tensor([1.0, 0.2, 1.0]))

        self.item_own = nn.Parameter(0.1 * torch.randn(num_items, embedding))
        self.of_category = nn.Embedding(catalog.num_categories, embedding)
        self.of_feature = nn.Linear(num_features, embedding, bias=False)
        nn.init.normal_(self.of_category.weight, std=0.1)
        # each item's own effect on: being found in its category, click, worth, buy, cart, favourite
        self.item_bias = nn.Parameter(torch.zeros(num_items, 6))
        self.worth_scale = nn.Parameter(torch.ones(3))  # of buy, cart, favourite
        self.category_bias = nn.Parameter(torch.zeros(catalog.num_categories))  # being searched
        self.class_taste = nn.Parameter(torch.randn(classes, embedding))

        num_context = profile_BP.shape[1] + 2
        num_inputs = 2 * (embedding + 1) + NUM_TALLIES + 3
        self.begin = nn.Linear(num_context, 2 * hidden)
        self.lstm = nn.LSTM(num_inputs, hidden)
        self.dropout = nn.Dropout(dropout)
        self.tastes = Tastes(embedding)
        self.memory = nn.Parameter(torch.linspace(0.0, 2.0, NUM_FADING))  # before a sigmoid
        wide = hidden + num_context + NUM_TALLIES + NUM_TASTES + NUM_FADING * embedding
        of_segment = {
            "clicked": embedding,
            "worth": embedding,
            "level": 7,
            "upper": 2,
            "slope": 2,
            "usual_slope": 2,
        }
        self.head_sizes = {"category": embedding, "latent": classes, "gate": segments, **of_segment}
        self.of_segment = list(of_segment)
        self.segment_offset = nn.Parameter(torch.zeros(segments, sum(of_segment.values())))
        # of `Supposed`: two queries and the levels
        self.part_sizes = [embedding, embedding, sum(list(of_segment.values())[2:])]
        # a product of whole blocks of rows is twice as fast as one with a few rows more
        self.head_sizes["unused"] = -sum(self.head_sizes.values()) % BLOCK
        self.heads = nn.Linear(wide, sum(self.head_sizes.values()))
        self.register_buffer("reads", torch.ones_like(self.heads.weight))
        # 0 where the log said nothing of pages: a click then tells what a find tells
        self.register_buffer("knows_clicks", torch.ones(()))
        self.gap_mean = nn.Linear(wide, 1)
        self.gap_log_std = nn.Parameter(torch.zeros(()))
        self.of_cart = nn.Linear(3, 2, bias=False)  # on leave and checkout
        self.position = nn.Parameter(torch.zeros(MAX_SLOTS))
        self.fatigue = nn.Parameter(torch.zeros(()))
        self.page_weight = nn.Parameter(torch.tensor(0.5))
        self.dissimilarity = nn.Parameter(torch.tensor(0.7))
        with torch.no_grad():
            self.of_cart.weight.zero_()
            self._limit_reading()
            self.head("slope")[1].fill_(INITIAL_SLOPE)
            weight, bias = self.head("usual_slope")
            weight.zero_()
            bias.fill_(1.0)
            weight, bias = self.head("level")
            weight[4:].zero_()
            bias[4:].zero_()
            # at first who buys stays, and a little of everything else tells segments apart
            self.segment_offset.normal_(std=0.1)
            spread_G = torch.linspace(-1.0, 1.0, segments) if segments > 1 else torch.zeros(1)
            self.offset("level")[:, 1:3] = spread_G.unsqueeze(-1)
            self.offset("upper").copy_(spread_G.unsqueeze(-1) * torch.tensor([-1.0, 1.0]))
        self.prepare()

    @staticmethod
    def sees(sessions: Sessions) -> Sessions:
        """What of a log the model reads: all."""
        return sessions

    # ---- parameters -----------------------------------------------------------------------------

    def _limit_reading(self) -> None:
        """Keep apart what moves what.

        The mark of what was viewed, and the belief about taste as a feature, colour the search
        alone. Tastes for what is shown and for what is bought follow the belief, by its loads, and
        not the LSTM, to which a shopper of whom little is known and one who is known to be average
        are the same. How much prices deter is a matter of the profile.
        """
        reads_HW, searching, known = self.get_buffer("reads"), self.rows("latent").stop, self.known
        reads_HW[searching:, known:] = 0.0
        for name in ("clicked", "worth", "slope"):
            reads_HW[self.rows(name), : self.lstm.hidden_size] = 0.0
        reads_HW[self.rows("slope"), known - NUM_TALLIES :] = 0.0
        self.heads.weight[:, known:] = 0.0  # at first neither says anything

    @property
    def known(self) -> int:
        """How many columns heads other than those of the search may read; they come first."""
        return self.heads.in_features - NUM_TASTES - NUM_FADING * self.item_own.shape[1]

    def rows(self, name: str) -> slice:
        """Of one of the heads."""
        names = list(self.head_sizes)
        first = sum(self.head_sizes[other] for other in names[: names.index(name)])
        return slice(first, first + self.head_sizes[name])

    def head(self, name: str) -> tuple[Tensor, Tensor]:
        """Weight [., W] and bias [.] of one of the heads, as views."""
        rows = self.rows(name)
        return self.heads.weight[rows], self.heads.bias[rows]

    def offset(self, name: str) -> Tensor:
        """What each segment adds to one of the heads, [G, .], as a view."""
        sizes = [self.head_sizes[other] for other in self.of_segment]
        place = self.of_segment.index(name)
        return self.segment_offset[:, sum(sizes[:place]) : sum(sizes[: place + 1])]

    def prepare(self) -> None:
        """Tables that the verbs share, from the parameters as they are now.

        Called before each batch of a fit, and by `eval`; what only a simulator needs, by `eval`.
        """
        own_I6 = self.item_bias * self.seen
        self.vector_ID = (
            self.item_own * self.seen
            + self.of_category(self.catalog.category)
            + self.of_feature(self.catalog.feature)
        )
        usual_I1 = self.item_log_price.unsqueeze(-1)
        after_I3 = own_I6[:, 3:] + own_I6[:, 2:3] * self.worth_scale
        self.detail_I5 = torch.cat([own_I6[:, 1:2], after_I3, usual_I1], -1)
        self.input_IX = torch.cat([self.vector_ID, usual_I1 - self.mean_log_price], -1)
        self.loads = self.tastes.loads(self.vector_ID)
        self.table = organic.item_table(
            self.vector_ID @ self.class_taste.T + own_I6[:, :1],
            self.catalog.category,
            self.catalog.num_categories,
            drawn=not self.training,
        )
        with torch.no_grad():  # expectations are constants to the gradient
            self.mean_CZX = organic.mean_of_classes(self.table, self.input_IX)
        self.weight_HW = self.heads.weight * self.get_buffer("reads")
        input_GX, hidden_GH, input_G, hidden_G = self.lstm.all_weights[0]
        weight_GX, bias_G = torch.cat([input_GX, hidden_GH], 1), input_G + hidden_G
        # one pass of sigmoid over all gates: see `tanh`
        scale_G1 = torch.ones_like(bias_G).unsqueeze(-1)
        scale_G1[2 * self.lstm.hidden_size : 3 * self.lstm.hidden_size] = 2.0
        # a product with aligned rows is a third faster where X + H is odd
        self.cell = ((weight_GX * scale_G1).T.contiguous(), bias_G * scale_G1.squeeze(-1))

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
        own = self.item_bias[:, 1:3].square().sum() + self.item_own.square().sum()
        apart = (self.item_bias[:, 3:] / OWN_SD).square().sum()
        return 0.5 * (own + apart) / self.prior_sd**2

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
        h_NH, c_NH = tanh(self.begin(context_NP)).chunk(2, -1)
        tally = h_NH.new_zeros(len(h_NH), NUM_TALLIES)
        evidence = h_NH.new_full((len(h_NH), self.num_segments), -math.log(self.num_segments))
        viewed = h_NH.new_zeros(len(h_NH), NUM_FADING * self.vector_ID.shape[1])
        belief = tastes.begin(h_NH)
        return LSTMState(h_NH, c_NH, context_NP, tally, viewed, belief, evidence)

    def wide(self, state: LSTMState) -> Tensor:
        """What the heads read, [N, W]."""
        known = [state.context, squashed(state.tally), state.belief.mean, state.viewed]
        return torch.cat([self.dropout(state.h), *known], -1)

    def read(self, state: LSTMState) -> Reading:
        """All heads at once."""
        sizes = list(self.head_sizes.values())
        parts = [*sizes[:3], self.segment_offset.shape[1], sizes[-1]]
        heads_NH = F.linear(self.wide(state), self.weight_HW, self.heads.bias)
        category, latent, gate, shared, _ = heads_NH.split(parts, -1)
        category_NC = torch.addmm(self.category_bias, category, self.of_category.weight.T)
        clicked_ND, worth_ND, levels_NL = shared.split(self.part_sizes, -1)
        clicked_ND = clicked_ND + state.belief.mean @ self.tastes.click
        worth_ND = worth_ND + state.belief.mean @ self.tastes.sale
        covariance_NVV, _ = torch.linalg.inv_ex(state.belief.precision)  # as in `tastes.learn`
        return Reading(
            state=state,
            found=organic.organic(category_NC, latent, self.table),
            share=(state.evidence + gate).log_softmax(-1),
            covariance=covariance_NVV,
            shared=torch.cat([clicked_ND, worth_ND, levels_NL], -1),
        )

    def suppose(self, reading: Reading, u_N: Tensor) -> Supposed:
        """A segment drawn from what is known of the shopper, and a node of taste."""
        lane_N = rng.pick(tastes.at_nodes(reading.share).exp(), u_N)
        segment_N = lane_N.div(len(NODES), rounding_mode="floor")
        node_N = self._nodes(reading.shared)[lane_N % len(NODES)]
        heads_NS = reading.shared + self.segment_offset[segment_N]
        return self._supposed(reading, heads_NS, node_N)

    def typical(self, reading: Reading) -> Supposed:
        """The mean over segments, as one shopper: a policy's cheap guess, not the model's law."""
        mean_NS = reading.share.exp() @ self.segment_offset
        return self._supposed(reading, reading.shared + mean_NS, mean_NS.new_zeros(len(mean_NS)))

    def segments(self, reading: Reading) -> tuple[Tensor, Supposed]:
        """All segments at all nodes; see `recgym.users.base.Shoppers`."""
        share_NM = tastes.at_nodes(reading.share)
        lane_M = self._lanes(share_NM)
        heads_NGS = reading.shared.unsqueeze(1) + self.segment_offset
        heads_MS = heads_NGS.repeat_interleave(len(NODES), 1).flatten(0, 1)
        node_M = self._nodes(share_NM).repeat(self.num_segments).expand_as(share_NM).flatten()
        return share_NM.exp(), self._supposed(reading.lanes(lane_M), heads_MS, node_M)

    def _nodes(self, like: Tensor) -> Tensor:
        return like.new_tensor(NODES)

    def _lanes(self, share_NG: Tensor) -> Tensor:
        """The shopper of each lane, where a shopper has as many as columns."""
        lane_N1 = torch.arange(len(share_NG), device=share_NG.device).unsqueeze(-1)
        return lane_N1.expand_as(share_NG).flatten()

    def _supposed(self, reading: Reading, heads_NS: Tensor, node_N: Tensor) -> Supposed:
        clicked, worth, levels = heads_NS.split(self.part_sizes, -1)
        return Supposed(
            found=reading.found,
            covariance=reading.covariance,
            node=node_N,
            clicked=clicked,
            anyone=reading.shared[:, : self.part_sizes[0]],
            worth=worth,
            levels=self._levels(levels),
        )

    def _levels(self, heads_NL: Tensor) -> Levels:
        parts = heads_NL.split([self.head_sizes[name] for name in self.of_segment[2:]], -1)
        level, upper, slope, usual_slope = parts
        return Levels(level, upper, F.softplus(slope), usual_slope)

    def prospect(self, reading: Reading, page: Page, event: Event, visit: Visit) -> Prospect:
        """What each segment at each node makes of a page and of the event that followed."""
        num_lanes = self.num_segments * len(NODES)
        lane_M = self._lanes(reading.share.new_empty(len(reading.share), num_lanes))
        event_M = event.lanes(lane_M)
        law, logits_M3, spread_M3 = self._laws(reading, page, event_M, event.item, visit)
        return prospect(law, logits_M3, spread_M3, event_M, num_lanes)

    def _laws(
        self, reading: Reading, page: Page, event_M: Event, item_N: Tensor, visit: Visit
    ) -> tuple[choice.Law, Tensor, Tensor]:
        """What `respond` and `after` say of a page and its event, of N · G · S lanes.

        The second of these before the mean over the shopper's own taste: logits and variances.

        A query is the shopper's plus the segment's, and so is what an item is to it: no vector is
        gathered for each segment anew.
        """
        count, nodes = len(item_N), len(NODES)
        clicked_ND, worth_ND, levels_NL = reading.shared.split(self.part_sizes, -1)
        clicked_GD, worth_GD, levels_GL = self.segment_offset.split(self.part_sizes, -1)
        levels_NGL = levels_NL.unsqueeze(1) + levels_GL
        levels = self._levels(levels_NGL.repeat_interleave(nodes, 1).flatten(0, 1))
        lane_M = self._lanes(levels_NL.new_empty(count, self.num_segments * nodes))

        shown_NK = page.item.clamp(min=0)
        like_NK = match(shown_NK, self.vector_ID, clicked_ND.unsqueeze(1)).squeeze(1)
        like_NK = like_NK + self._place(page, visit)
        common = self._common(reading.covariance, page, like_NK)
        common_NKS = common.at(self._nodes(like_NK).expand(count, -1))
        like_NKG = like_NK.unsqueeze(-1) + match_all(shown_NK, self.vector_ID, clicked_GD)
        like_NKM = (like_NKG.unsqueeze(-1) + common_NKS.unsqueeze(2)).flatten(2)
        page, now = page.lanes(lane_M), brief(visit).lanes(lane_M)
        # what is found alone is the same in all segments: see `organic.log_prob`
        response = self._response(reading.found, levels, like_NKM.mT.flatten(0, 1), page, now)

        item_N1 = item_N.clamp(min=0).unsqueeze(-1)
        like_N11 = match(item_N1, self.vector_ID, worth_ND.unsqueeze(1))
        like_NG = like_N11.squeeze(1) + match_all(item_N1, self.vector_ID, worth_GD).squeeze(1)
        like_M1 = like_NG.repeat_interleave(nodes, 1).flatten().unsqueeze(-1)
        spread_N1 = tastes.variance(self.loads.sale_IV, reading.covariance, item_N1)
        detail_M15 = F.embedding(item_N1, self.detail_I5)[lane_M]
        clicked_M1, price_M1 = (event_M.slot >= 0).unsqueeze(-1), event_M.price.unsqueeze(-1)
        logit_M13, spread_M13 = self._logits(
            levels, like_M1, spread_N1[lane_M], detail_M15, price_M1, clicked_M1
        )
        return choice.law(response, now), logit_M13.squeeze(1), spread_M13.squeeze(1)

    def _common(self, covariance_NVV: Tensor, page: Page, like_NK: Tensor) -> CommonTaste:
        """Of a page whose items a shopper of any segment likes as much as this."""
        own_NK = F.embedding(page.item.clamp(min=0), self.detail_I5)[..., 0]
        mass_NK = (like_NK + own_NK).masked_fill(page.item < 0, -torch.inf)
        return tastes.common(self.loads, covariance_NVV, page.item.clamp(min=0), mass_NK)

    def _price_loss(self, levels: Levels, head: int, usual: Tensor, price: Tensor) -> Tensor:
        """What prices [N, J] take from the logits of clicks (head 0) or sales (head 1), [N, J].

        A move of an item's price against its own mean always deters. What sets usually dear items
        apart from cheap ones is confounded with quality, so that slope is another one, of either
        sign: one slope for both would be wrong by as much as quality is worth.
        """
        if not self.catalog.priced:
            return torch.zeros_like(price)
        move = price.clamp(min=1e-6).log() - usual
        slope = levels.slope[:, head : head + 1]
        usual_slope = levels.usual_slope[:, head : head + 1]
        return slope * move + usual_slope * (usual - self.mean_log_price)

    def respond(self, supposed: Supposed, page: Page, visit: Visit) -> Response:
        """Nested logit of `recgym.choice`."""
        item_NK = page.item.clamp(min=0)
        query_N2D = torch.stack([supposed.clicked, supposed.anyone], 1)
        like_N2K = match(item_NK, self.vector_ID, query_N2D)
        like_NK, anyone_NK = (like_N2K + self._place(page, visit).unsqueeze(1)).unbind(1)
        common = self._common(supposed.covariance, page, anyone_NK)
        like_NK = like_NK + common.at(supposed.node.unsqueeze(-1)).squeeze(-1)
        return self._response(supposed.found, supposed.levels, like_NK, page, visit)

    def _response(
        self, found: Organic, levels: Levels, like_NK: Tensor, page: Page, visit: Visit
    ) -> Response:
        upper_N2 = levels.upper + self.of_cart(self.cart_features(visit))
        leave_N, checkout_N = upper_N2.unbind(-1)
        detail_NK5 = F.embedding(page.item.clamp(min=0), self.detail_I5)
        mass_NK = self._mass(levels, like_NK, detail_NK5, page.price)
        return Response(
            leave=leave_N,
            checkout=checkout_N,
            organic=found,
            slot=mass_NK.masked_fill(page.item < 0, -torch.inf),
            page_item=page.item,
            page_weight=self.page_weight,
            dissimilarity=self.dissimilarity,
        )

    def cart_features(self, visit: Visit) -> Tensor:
        """What leaving and paying read of the cart beside the state, [N, 3]."""
        count_N = visit.cart_count().to(self.item_own.dtype)
        return torch.stack([count_N.clamp(max=1.0), count_N.log1p(), 0.25 * count_N], -1)

    def _place(self, page: Page, visit: Visit) -> Tensor:
        """What a slot's place and having been shown before bring, whatever the shopper, [N, K]."""
        tired_NK = times_shown(page.item, visit.recent_item) * self.fatigue
        return self.position[: page.item.shape[1]] - tired_NK

    def appeal(self, supposed: Supposed, visit: Visit, price_NI: Tensor) -> Tensor:
        """Log-mass of each item alone in the first slot."""
        like_NI = supposed.clicked @ self.vector_ID.T
        alone = tastes.alone(self.loads, supposed.covariance)
        like_NI = like_NI + alone.at(supposed.node.unsqueeze(-1)).squeeze(-1)
        tired_NI = times_shown_of_all(visit.recent_item, self.catalog.num_items, like_NI.dtype)
        mass_NI = self._mass(supposed.levels, like_NI, self.detail_I5, price_NI)
        return mass_NI - tired_NI * self.fatigue + self.position[0]

    def _mass(self, levels: Levels, like: Tensor, detail: Tensor, price: Tensor) -> Tensor:
        own, usual = detail[..., 0], detail[..., 4]
        return levels.level[:, :1] + like + own - self._price_loss(levels, 0, usual, price)

    def after(
        self,
        supposed: Supposed,
        item_NJ: Tensor | None,
        price_NJ: Tensor,
        clicked_NJ: Tensor | bool,
    ) -> AfterLogits:
        """What would follow viewing these items (None: all), dearer selling less."""
        if item_NJ is None:
            detail, like_NJ = self.detail_I5, supposed.worth @ self.vector_ID.T
        else:
            detail = F.embedding(item_NJ, self.detail_I5)
            like_NJ = match(item_NJ, self.vector_ID, supposed.worth.unsqueeze(1)).squeeze(1)
        spread_NJ = tastes.variance(self.loads.sale_IV, supposed.covariance, item_NJ)
        levels = supposed.levels
        return mean_logits(*self._logits(levels, like_NJ, spread_NJ, detail, price_NJ, clicked_NJ))

    def _logits(
        self,
        levels: Levels,
        like_NJ: Tensor,
        spread_NJ: Tensor,
        detail: Tensor,
        price_NJ: Tensor,
        clicked_NJ: Tensor | bool,
    ) -> tuple[Tensor, Tensor]:
        """Logits of buy, cart and favourite at the believed taste, and variances, [N, J, 3]."""
        level_N6 = levels.level[:, 1:].unsqueeze(-1)
        if isinstance(clicked_NJ, Tensor):
            clicked_NJ = clicked_NJ.unsqueeze(1)
        like_N3J = like_NJ.unsqueeze(1) * self.worth_scale.unsqueeze(-1)
        logit_N3J = like_N3J + level_N6[:, :3] + level_N6[:, 3:] * clicked_NJ
        buy_NJ, cart_NJ, favourite_NJ = (logit_N3J + detail[..., 1:4].mT).unbind(1)
        loss_NJ = self._price_loss(levels, 1, detail[..., 4], price_NJ)
        logit_NJ3 = torch.stack([buy_NJ - loss_NJ, cart_NJ - loss_NJ, favourite_NJ], -1)
        return logit_NJ3, spread_NJ.unsqueeze(-1) * self.worth_scale.square()

    def observe(self, reading: Reading, page: Page, event: Event, visit: Visit) -> LSTMState:
        """One step of the LSTM; `unroll` is the same over many steps."""
        found = self.prospect(reading, page, event, visit)
        return self.advance(reading, found, page, event, visit)

    def advance(
        self, reading: Reading, found: Prospect, page: Page, event: Event, visit: Visit
    ) -> LSTMState:
        """`observe`, given the prospect."""
        state, expected = reading.state, self.expect(reading, found, page)
        tally_NF = tallies(expected, event)
        found_NX = self.found_surprise(expected, event)
        inputs = self.inputs(expected, tally_NF, found_NX, event, visit)
        lesson = tastes.lesson(self.loads, expected, found_NX, page, self.as_read(event))
        gates_NG = torch.addmm(self.cell[1], torch.cat([*inputs, state.h], -1), self.cell[0])
        new_NH, kept_NH, half_NH, out_NH = gates_NG.sigmoid_().chunk(4, -1)
        c_NH = kept_NH * state.c + new_NH * (2.0 * half_NH - 1.0)
        h_NH = out_NH * tanh(c_NH)
        # less its own logsumexp, which no share depends on: a long session's would lose digits
        evidence_NG = (state.evidence + tastes.over_nodes(found.evidence())).log_softmax(-1)
        return LSTMState(
            h_NH,
            c_NH,
            state.context,
            state.tally + tally_NF,
            self.fade(state.viewed, event),
            tastes.learn(state.belief, lesson),
            evidence_NG,
        )

    def expect(self, reading: Reading, found: Prospect, page: Page) -> Expectation:
        """What is expected of the page whose prospect this is."""
        mean_NX = organic.mean(reading.found, self.mean_CZX)
        found = dataclasses.replace(found, taken=found.taken * self.get_buffer("knows_clicks"))
        page_NKX = F.embedding(page.item.clamp(min=0), self.input_IX)
        return expect(tastes.at_nodes(reading.share), found, mean_NX, page_NKX)

    def as_read(self, event: Event) -> Event:
        """The event as states heed it: every view a find, where nothing is known of clicks."""
        slot_N = torch.where(self.get_buffer("knows_clicks") > 0, event.slot, -1)
        return dataclasses.replace(event, slot=slot_N)

    def found_surprise(self, expected: Expectation, event: Event) -> Tensor:
        """What a find tells, [N, X]; 0 for other events."""
        return tastes.found_surprise(expected, self.input_IX, self.as_read(event))

    def fade(self, viewed: Tensor, event: Event) -> Tensor:
        """The fading means after an event."""
        kept_R1 = self.memory.sigmoid().unsqueeze(-1)
        seen_N1D = F.embedding(event.item.clamp(min=0), self.vector_ID).unsqueeze(1)
        moved_NRD = seen_N1D + kept_R1 * (viewed.unflatten(-1, (NUM_FADING, -1)) - seen_N1D)
        viewed_N1 = (event.kind == int(Kind.VIEW)).unsqueeze(-1)
        return torch.where(viewed_N1, moved_NRD.flatten(1), viewed)

    def inputs(
        self,
        expected: Expectation,
        tally_NF: Tensor,
        found_NX: Tensor,
        event: Event,
        visit: Visit,
    ) -> list[Tensor]:
        """What the LSTM reads of one step, parts of [N, X], given its `tallies` and surprise.

        What a site can bring about enters as a *surprise*: a sale of what sells anyway says little
        about the shopper, and a better page must not make every shopper look keener. Expectations
        are the model's own, so surprises are zero on average under any policy (score-driven models:
        Creal, Koopman and Lucas 2013, "Generalized autoregressive score models", equation 2, with
        the score of the multinomial logit). An item found alone is compared with what would be
        found, and sold or not with its chance; of clicks the tallies tell here and the rest moves
        the belief about taste. Having stayed enters as the hazard that was survived.
        """
        dtype, viewed_N1 = tally_NF.dtype, tally_NF[:, -1:]
        sold_N1 = (event.after >= int(After.CART)).to(dtype).unsqueeze(-1)
        surprise_N1 = (sold_N1 - expected.sold().unsqueeze(-1)) * viewed_N1
        item_NX = F.embedding(event.item.clamp(min=0), self.input_IX)
        count_N = visit.cart_count().to(dtype)
        scale_N3 = torch.stack([event.quantity, event.gap, count_N], -1).log1p() * self.scale_3
        return [found_NX, item_NX * surprise_N1, tally_NF, scale_N3]

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
        return self.gap_mean(self.wide(state)).squeeze(-1), self.gap_log_std.exp()

    def encode(self, state: Record) -> Tensor:
        """All of the state that moves but precisions, [N, num_encoded]: what a policy reads."""
        assert isinstance(state, LSTMState)
        moving = [state.h, squashed(state.tally), state.viewed, state.belief.mean]
        return torch.cat([*moving, state.evidence.softmax(-1)], -1)
