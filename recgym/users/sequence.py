"""User models over the sequence of events: shoppers learned from a log, behind the one protocol.

Their parts have files of their own: what they hold of `items`, the `heads` that read the state,
what shoppers so read `answer`, what the `senses` take in of an event, and the `memory` that moves
the state on, in which alone the kinds differ (`lstm`, `gru`, ...). Here the parts make up the verbs
of `recgym.users.base`.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from recgym import organic, rng
from recgym.errors import at_least_1
from recgym.lanes import Record
from recgym.rng import Purpose
from recgym.settings import Within, check
from recgym.types import (
    Arrival,
    Catalog,
    Event,
    Field,
    Organic,
    Page,
    Response,
    Rivalry,
    Sessions,
    Visit,
)
from recgym.users import tastes
from recgym.users.answers import Answers
from recgym.users.base import AfterLogits
from recgym.users.heads import Heads
from recgym.users.items import Items, Tables
from recgym.users.memory import Memory, Stepping
from recgym.users.pointers import Repeats, Successors, fold_of, mixture, remembered
from recgym.users.products import tanh
from recgym.users.profile import centre_and_spread, fuse, plain_fields, standardised
from recgym.users.returning import ComesBack, ReturnHead
from recgym.users.segments import Prospect
from recgym.users.senses import Senses
from recgym.users.states import MOST_GROUPS, NUM_FADING, Reading, SequenceState, Supposed
from recgym.users.surprises import NUM_TALLIES, squashed, tallies
from recgym.users.tastes import NODES, NUM_TASTES, Tastes
from recgym.visit import hour_of_day


class SequenceModel(ComesBack, nn.Module, ABC):
    """p(choice, after, gap | history) of a log's shoppers.

    What happens moves a state only as a *surprise*, what happened minus what the model expected
    (see `recgym.users.senses`), with two exceptions: the items viewed, whatever led there, colour
    what is looked for next, draw clicks to what is like them and may be come back to, and views of
    one category again and again satiate; the second and the last by a number or two for all
    shoppers. Taste that was there before and the mark that a view
    leaves are thus told apart (Heckman 1981, "Heterogeneity and state dependence"), which a log
    confounds, and which a policy that shows each shopper more of the same would drive apart.

    Args:
        catalog: of the log.
        seen_I: items met in training, [I] bool.
        profile_BP, start_ms_B: of the training sessions: simulated sessions begin like one of them.
        quantity: pieces bought at once, on average.
        hidden, embedding: H and D, the length of an item vector.
        classes: Z, latent classes of organic taste within a category.
        segments: G, of shoppers, each with its own part of all heads but the organic ones; told
            apart by Bayes' rule and by the memory, see `recgym.users.segments`.
        num_tastes: V, of a shopper's own taste beside the segment's, see `recgym.users.tastes`.
        dropout: on the memory's output.
        prior_sd: standard deviation of an item's own effects, in logits.
        fusion: of the profile's fields, see `recgym.users.profile`.
        inputs: what the memory reads of an event beside, see `items.beside` and `Senses.moment`.
        fields: of the profile; None: each of its entries is a number.
        tied: whether the memory reads items by their one vector, see `Items`.
        repeats: how many of the last items viewed a find may come back to, see `pointers`.
        successors: how many of the items that follow the last view most often a find may be.
    """

    answering: type[Answers] = Answers  # of which a wrong model has its own
    num_begun = 1  # vectors of H that the memory begins with
    own: Mapping[str, int] = {}
    memory: Memory

    profile: Tensor  # [B, P] of the training sessions
    start_ms: Tensor  # [B] int64, UTC milliseconds
    profile_centre: Tensor  # [P]
    profile_spread: Tensor  # [P]
    tables: Tables  # this and all below: see `prepare`
    weight_HW: Tensor  # of the heads
    taste_VS: Tensor  # what each taste adds to the heads that a segment adds to
    cell: Stepping  # the memory as `observe` uses it

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
        num_tastes: int = NUM_TASTES,
        dropout: float = 0.1,
        prior_sd: float = 0.5,
        fusion: Literal["concatenation", "gating", "attention"] = "concatenation",
        inputs: list[Literal["brand", "relative_price", "weekday", "position"]] | None = None,
        fields: Sequence[Field] | None = None,
        tied: bool = True,
        repeats: Annotated[int, Within(0)] = 0,
        successors: Annotated[int, Within(0)] = 0,
    ) -> None:
        super().__init__()
        single = {"repeats": repeats, "successors": successors}
        given = {"fusion": fusion, "inputs": inputs, **single}
        check("user_model.model", given, SequenceModel)
        read = list(inputs or [])
        sizes = {"hidden": hidden, "embedding": embedding, "classes": classes, "segments": segments}
        sizes |= {"num_tastes": num_tastes, **self.own}
        for name, size in sizes.items():
            at_least_1(f"user_model.model.{name}", size)
        self.catalog, self.quantity = catalog, quantity
        self.num_groups = min(catalog.num_categories, MOST_GROUPS)
        self.num_encoded = hidden + NUM_TALLIES + NUM_FADING * embedding + num_tastes + segments
        self.num_encoded += self.num_groups
        self.prior_sd = prior_sd
        self.num_segments = segments
        self.num_last = max(repeats, min(successors, 1))  # L, last views that the state keeps
        self.settings: dict[str, Any] = {"quantity": quantity, **sizes}
        self.settings |= {"dropout": dropout, "prior_sd": prior_sd}
        self.settings |= {"fusion": fusion, "inputs": read, "tied": tied}
        self.settings |= single
        known = [Field(*field) for field in fields or plain_fields(profile_BP.shape[1])]
        self.settings["fields"] = [list(field) for field in known]
        self.register_buffer("profile", profile_BP)
        self.register_buffer("start_ms", start_ms_B)
        centre_P, spread_P = centre_and_spread(profile_BP)
        self.register_buffer("profile_centre", centre_P)
        self.register_buffer("profile_spread", spread_P)

        # the order of what follows is that of the random numbers that a fit begins with, and that
        # in which modules are set is that of the parameters
        self.fusion = fuse(fusion, known, profile_BP, hidden=hidden, size=embedding)
        self.num_context = num_context = self.fusion.num_static + 2
        self.items = Items(
            catalog, seen_I, embedding=embedding, classes=classes, inputs=read, tied=tied
        )  # fmt: skip
        self.begin = nn.Linear(num_context, self.num_begun * hidden)
        senses, num_beside = Senses(read), self.items.beside.shape[1]
        self.memory = self.remembering(senses.num_inputs(embedding + 1 + num_beside), hidden)
        self.dropout = nn.Dropout(dropout)
        self.tastes = Tastes(embedding, num_beside, num_tastes)
        self.senses = senses
        heads = Heads(
            hidden,
            num_context,
            embedding=embedding,
            classes=classes,
            segments=segments,
            num_tastes=num_tastes,
        )
        self.gap_mean = nn.Linear(heads.linear.in_features, 1)
        self.gap_log_std = nn.Parameter(torch.zeros(()))
        self.answers = self.answering(heads, priced=catalog.priced, repeats=repeats > 0)
        self.return_head: ReturnHead | None = None  # see `recgym.users.returning`
        self.repeats = Repeats(hidden, repeats) if repeats else None
        self.successors = None
        if successors:
            self.successors = Successors(hidden, catalog.num_items, successors)
        heads.begin()
        self.prepare()

    @abstractmethod
    def remembering(self, num_inputs: int, hidden: int) -> Memory:
        """The memory of this kind, X inputs and H outputs, as a fit begins with it."""

    @staticmethod
    def sees(sessions: Sessions) -> Sessions:
        """What of a log the model reads: all."""
        return sessions

    @property
    def heads(self) -> Heads:
        """Those of the `answers`, which hang on them."""
        return self.answers.heads

    def prepare(self) -> None:
        """Tables that the verbs share, from the parameters as they are now.

        Called before each batch of a fit, and by `eval`; what only a simulator needs, by `eval`.
        """
        self.tables = self.items.tables(
            self.catalog,
            self.tastes,
            self.answers.worth_scale,
            self.senses.knows_clicks,
            drawn=not self.training,
        )
        self.weight_HW = self.heads.weight(self.tastes)
        _, of_cart, _ = self.answers.worth_scale
        self.taste_VS = self.heads.of_tastes(self.tastes, of_cart)
        self.cell = self.memory.fused()

    def train(self, mode: bool = True) -> SequenceModel:
        """Also prepares the tables when a fit is over."""
        super().train(mode)
        if not mode:
            with torch.no_grad():
                self.prepare()
        return self

    def _apply(self, fn: Any, recurse: bool = True) -> SequenceModel:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        dtype, moved = self.items.own.dtype, self.catalog.to(self.items.own.device)
        self.catalog = dataclasses.replace(
            moved,
            price=moved.price.to(dtype),
            feature=moved.feature.to(dtype),
            title=None if moved.title is None else moved.title.to(dtype),
        )
        return self.train(self.training)

    def project(self) -> None:
        """Keep parameters in their ranges; called after each optimiser step."""
        self.answers.project()

    def penalty(self) -> Tensor:
        """Negative log-density of the prior on the items' own parts, a scalar in nats."""
        return self.items.penalty(self.prior_sd)

    # ---- the state, and what it says ------------------------------------------------------------

    def arrive(self, seed_N: Tensor, session_N: Tensor) -> Arrival:
        """One of the training sessions' beginnings, picked by (seed, session)."""
        u_N = rng.uniform(rng.key(seed_N, session_N, 0, Purpose.START), dtype=torch.float64)
        row_N = (u_N * len(self.start_ms)).long()
        return Arrival(seed_N, session_N, self.profile[row_N], self.start_ms[row_N])

    def init_state(self, arrival: Arrival) -> SequenceState:
        """From the profile and the hour."""
        profile_NP = arrival.profile.to(self.profile)
        standard_NP = standardised(profile_NP, self.profile_centre, self.profile_spread)
        hidden = self.dropout.p if self.dropout.training else 0.0
        static_NS, kept_NX = self.fusion(profile_NP, standard_NP, hidden)
        hour_N1 = hour_of_day(arrival.start_ms, profile_NP.dtype).unsqueeze(-1)
        begun_NC = torch.cat([static_NS, hour_N1.sin(), hour_N1.cos()], -1)
        h_NH, memory = self.cell.begin(tanh(self.begin(begun_NC)))
        context_NX = torch.cat([begun_NC, kept_NX], -1)
        tally = h_NH.new_zeros(len(h_NH), NUM_TALLIES)
        evidence = h_NH.new_full((len(h_NH), self.num_segments), -math.log(self.num_segments))
        viewed = h_NH.new_zeros(len(h_NH), NUM_FADING * self.tables.vector_ID.shape[1])
        belief = tastes.begin(h_NH, len(self.tastes.click))
        sated = h_NH.new_zeros(len(h_NH), self.num_groups)
        last = torch.full((len(h_NH), 2, self.num_last), -1, device=h_NH.device)
        fold = fold_of(arrival.session)
        return SequenceState(
            h_NH, memory, context_NX, tally, viewed, belief, evidence, sated, sated, last, fold
        )

    def wide(self, state: SequenceState) -> Tensor:
        """What the heads read, [N, W]."""
        context_NC, kept_NX = state.context.tensor_split([self.num_context], -1)
        h_NH = self.dropout(self.fusion.enrich(state.h, kept_NX))
        known = [context_NC, squashed(state.tally), state.sated.amax(-1, keepdim=True)]
        read = [h_NH, *known, state.belief.mean - state.belief.passed, state.viewed]
        return torch.cat(read, -1)

    def read(self, state: SequenceState, usual_NX: Tensor | None = None) -> Reading:
        """All heads at once; ``usual_NX`` where it is known, see `Expectation.usual`."""
        said = self.heads(self.wide(state), self.weight_HW)
        found = self.items.found(said.category, said.latent, self.tables, state.belief.passed)
        return Reading(
            state=state,
            found=self._with_single_items(found, state),
            share=(state.evidence + said.gate).log_softmax(-1),
            covariance=state.belief.covariance,
            usual=organic.mean(found, self.tables.mean_CZX) if usual_NX is None else usual_NX,
            shared=said.shared + state.belief.mean @ self.taste_VS,
        )

    def _with_single_items(self, found: Organic, state: SequenceState) -> Organic:
        kinds = [kind for kind in (self.repeats, self.successors) if kind is not None]
        if not kinds:
            return found
        places = [kind.places(state.h, state.last, state.fold) for kind in kinds]
        return dataclasses.replace(found, pointers=mixture(places))

    def suppose(self, reading: Reading, u_N: Tensor) -> Supposed:
        """A segment drawn from what is known of the shopper, and a node of taste."""
        lane_N = rng.pick(tastes.at_nodes(reading.share).exp(), u_N)
        segment_N = lane_N.div(len(NODES), rounding_mode="floor")
        node_N = tastes.nodes(reading.shared)[lane_N % len(NODES)]
        heads_NS = reading.shared + self.heads.segment_offset[segment_N]
        return self._supposed(reading, heads_NS, node_N)

    def typical(self, reading: Reading) -> Supposed:
        """The mean over segments, as one shopper: a policy's cheap guess, not the model's law."""
        mean_NS = reading.share.exp() @ self.heads.segment_offset
        return self._supposed(reading, reading.shared + mean_NS, mean_NS.new_zeros(len(mean_NS)))

    def segments(self, reading: Reading) -> tuple[Tensor, Supposed]:
        """All segments at all nodes; see `recgym.users.base.Shoppers`."""
        share_NM = tastes.at_nodes(reading.share)
        heads_NGS = reading.shared.unsqueeze(1) + self.heads.segment_offset
        heads_MS = heads_NGS.repeat_interleave(len(NODES), 1).flatten(0, 1)
        node_M = tastes.nodes(share_NM).repeat(self.num_segments).expand_as(share_NM).flatten()
        return share_NM.exp(), self._supposed(reading.repeated(share_NM.shape[1]), heads_MS, node_M)

    def _supposed(self, reading: Reading, heads_NS: Tensor, node_N: Tensor) -> Supposed:
        clicked, worth, levels = self.heads.parts(heads_NS)
        return Supposed(
            found=reading.found,
            covariance=reading.covariance,
            usual=self.tables.loads.of_usual(reading.usual),
            node=node_N,
            clicked=clicked,
            anyone=self.heads.parts(reading.shared)[0],
            worth=worth,
            sated=reading.state.sated,
            levels=self.heads.levels(levels),
        )

    # ---- what shoppers do -----------------------------------------------------------------------

    def facing(self, supposed: Supposed, page: Page, visit: Visit) -> Supposed:
        """With the taste that the page as a whole speaks to, which its sales share."""
        faced = self.answers.common(self.tables, supposed, page, visit)
        return dataclasses.replace(supposed, faced=faced)

    def respond(self, supposed: Supposed, page: Page, visit: Visit) -> Response:
        """Nested logit of `recgym.choice`."""
        return self.answers.respond(self.tables, supposed, page, visit)

    def appeal(self, supposed: Supposed, visit: Visit, price_NI: Tensor) -> Tensor:
        """Log-mass of each item alone in the first slot."""
        return self.answers.appeal(self.tables, supposed, visit, price_NI)

    def rivals(self, supposed: Supposed) -> Rivalry:
        """Each item alone against its organic twin, [N, I]."""
        return self.answers.rivals(self.tables, supposed)

    def after(
        self,
        supposed: Supposed,
        item_NJ: Tensor | None,
        price_NJ: Tensor,
        clicked_NJ: Tensor | bool,
    ) -> AfterLogits:
        """What would follow viewing these items (None: all), dearer selling less."""
        return self.answers.after(self.tables, supposed, item_NJ, price_NJ, clicked_NJ)

    def prospect(self, reading: Reading, page: Page, event: Event, visit: Visit) -> Prospect:
        """What each segment at each node makes of a page and of the event that followed."""
        return self.answers.prospect(self.tables, reading, page, event, visit)

    def gap(self, state: SequenceState) -> tuple[Tensor, Tensor]:
        """A log-normal whose mean depends on the state."""
        return self.gap_mean(self.wide(state)).squeeze(-1), self.gap_log_std.exp()

    # ---- what moves the state ------------------------------------------------------------------

    def observe(self, reading: Reading, page: Page, event: Event, visit: Visit) -> SequenceState:
        """One step of the LSTM; `Cell.unroll` is the same over many steps."""
        found = self.prospect(reading, page, event, visit)
        return self.advance(reading, found, page, event, visit)

    def advance(
        self, reading: Reading, found: Prospect, page: Page, event: Event, visit: Visit
    ) -> SequenceState:
        """`observe`, given the prospect."""
        state, senses, tables = reading.state, self.senses, self.tables
        expected = senses.expect(tables, reading, found, page, event)
        tally_NF = tallies(expected, event)
        found_NX = senses.found_surprise(tables, expected, event)
        inputs = senses.inputs(tables, expected, tally_NF, found_NX, event, visit)
        lesson = tastes.lesson(tables.loads, expected, found_NX, page, senses.as_read(event))
        h_NH, memory = self.cell.step(inputs, state.h, state.memory)
        # less its own logsumexp, which no share depends on: a long session's would lose digits
        evidence_NG = (state.evidence + tastes.over_nodes(found.evidence())).log_softmax(-1)
        return SequenceState(
            h_NH,
            memory,
            state.context,
            state.tally + tally_NF,
            senses.fade(tables, state.viewed, event),
            tastes.learn(state.belief, lesson),
            evidence_NG,
            senses.tire(tables, state.sated, event),
            self.counted(state.clicks, tables.groups(self.num_groups, event.item), event),
            remembered(state.last, event),
            state.fold,
        )

    def encode(self, state: Record) -> Tensor:
        """All of the state that moves, [N, num_encoded]: what a policy reads.

        But precisions, the belief's part of pages passed over, which moves the search alone, and
        the counts of clicks, which move coming back.
        """
        assert isinstance(state, SequenceState)
        moving = [state.h, squashed(state.tally), state.viewed, state.belief.mean, state.sated]
        return torch.cat([*moving, state.evidence.softmax(-1)], -1)
