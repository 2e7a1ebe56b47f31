"""Named assumptions on the response to *showing*, for logs that do not say what was shown.

Such a log identifies what shoppers find alone, the funnel, timing and leaving, and nothing of what
a page would change. Results on a model treated here are results *given* rho and page_share.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recgym import choice
from recgym.errors import UserError
from recgym.organic import probabilities
from recgym.simulator import Simulator
from recgym.types import Kind
from recgym.users.answers import MAX_SLOTS
from recgym.users.passes import MAX_LOGITS
from recgym.users.sequence import SequenceModel
from recgym.users.states import SequenceState

POSITION_DECAY = 0.35  # log-mass lost each time that the position doubles
DISSIMILARITY = 0.6  # of an item on the page and its organic twin
NO_SLOPE = -30.0  # before softplus: a price slope of 1e-13
FAINT = -10.0  # log-mass of a slot before its level is found: the page goes all but unnoticed
SESSIONS, PAGES, ROUNDS = 1024, 20, 3  # of the roll-outs that the level is found on
SEED_STEP = 1 << 32  # apart, the shoppers of two seeds never meet
TINY = 1e-30  # a model that knows no tastes yet has nothing to be scaled to

Inner = Callable[[Tensor, Tensor], Tensor]


@torch.no_grad()
def assume_pages(
    model: SequenceModel, *, rho: float, page_share: float, seed: int, num_slots: int
) -> dict[str, Any]:
    """Set, in place and after the fit, how the model's shoppers answer what they are shown.

    f_show = rho · f_organic + sqrt(1 - rho²) · g, the items' own effects included, where f_organic
    is the log-probability of being found (of it the personal part as far as it is linear in item
    vectors and state: the least squares of `_project`), and g a random map whose scores spread over
    items as those of f_organic do, and do not correlate with them. Scores are taken against the
    catalogue's mean item: a logit leaves their mean over items open, so that no fit of organic
    choice says what it should be.

    The level makes pages of the most popular items bring ``page_share`` of the views; with a page
    weight of 0 these are moved out of what would be found alone. What the log could not fit (price
    slope of clicking, fatigue, what a page and its clicks say about the shopper) is switched off.

    Args:
        model: fitted on a log without impressions; it is left in evaluation mode.
        rho: correlation of the taste for what is shown with the taste that drives search, [0, 1].
        page_share: share of the views that come from the page, in (0, 0.9).
        seed: of g and of the sampled sessions.
        num_slots: K of the pages that ``page_share`` speaks of.

    Returns:
        The assumptions for the report, ``sentence`` in words among them.

    Raises:
        UserError: if a value is out of its range.
    """
    check(rho, page_share, num_slots)
    _forget_pages(model)
    _set_constants(model)
    model.eval()  # prepares its tables from the weights as they are now
    empty_K = torch.full((num_slots,), -1, device=model.items.own.device)
    taste = _project(model, _roll(model, empty_K, seed))
    _mix(model, taste, rho, torch.Generator().manual_seed(seed))
    popular_K = empty_K.clone()
    best = taste.found_I.topk(min(num_slots, len(taste.found_I))).indices
    popular_K[: len(best)] = best
    for _ in range(ROUNDS):  # what is viewed, and so the states, moves a little with the level
        model.heads.of("level")[1][0] += _shift(_sample(model, popular_K, seed), page_share)
    return {
        "rho": rho,
        "page_share": page_share,
        "seed": seed,
        "num_slots": num_slots,
        "position_decay": POSITION_DECAY,
        "dissimilarity": DISSIMILARITY,
        "page_weight": 0.0,
        "fatigue": 0.0,
        "click_price_slope": 0.0,
        "sentence": (
            "The log does not say what was shown, so the response to showing is assumed, not "
            f"fitted: the taste for shown items correlates with organic taste by rho = {rho:g} "
            f"(seed {seed}); pages of the {num_slots} most popular items bring {page_share:.0%} "
            "of the views, moved out of what shoppers would find alone; a page neither keeps "
            "shoppers longer nor tires them, prices do not sway clicks, and the k-th slot loses "
            f"{POSITION_DECAY:g} log2(k)."
        ),
    }


def check(rho: float, page_share: float, num_slots: int) -> None:
    """Stop before any work.

    Raises:
        UserError: if a value is out of its range.
    """
    if not 0.0 <= rho <= 1.0:
        raise UserError(f"rho={rho!r}: expected a correlation from 0 to 1; set rho=0.3")
    if not 0.0 < page_share < 0.9:
        raise UserError(
            f"page_share={page_share!r}: expected a share above 0 and below 0.9; set page_share=0.2"
        )
    if not 1 <= num_slots <= MAX_SLOTS:
        raise UserError(f"num_slots={num_slots!r}: expected 1 to {MAX_SLOTS}; set num_slots=10")


def _forget_pages(model: SequenceModel) -> None:
    """Cut what clicks alone could have taught, which still is as it was drawn.

    Else what a shopper is shown would tell of tastes by mere chance.
    """
    model.tastes.click.zero_()
    model.tastes.price[:, 0].zero_()
    model.senses.knows_clicks.zero_()


def _set_constants(model: SequenceModel) -> None:
    place_K = torch.arange(1, MAX_SLOTS + 1, device=model.answers.position.device)
    model.answers.position.copy_(-POSITION_DECAY * place_K.to(model.answers.position).log2())
    for name, value in (("slope", NO_SLOPE), ("usual_slope", 0.0), ("level", FAINT)):
        weight, bias = model.heads.of(name)
        weight[0], bias[0] = 0.0, value
    model.heads.offset("clicked").zero_()
    for name in ("level", "slope", "usual_slope"):
        model.heads.offset(name)[:, 0] = 0.0
    model.heads.offset("level")[:, 4:] = 0.0
    weight[4:] = 0.0  # a click sells like a find: no log without pages tells them apart
    bias[4:] = 0.0
    model.answers.fatigue.fill_(0.0)
    model.answers.satiation.fill_(0.0)
    model.heads.draw.zero_()
    model.answers.page_weight.fill_(0.0)
    model.answers.dissimilarity.fill_(DISSIMILARITY)


# ---- the taste for what is shown ----------------------------------------------------------------


class _Taste(NamedTuple):
    """Organic log-probabilities of items i in states s as a_i + (v_i - v̄)ᵀW(w_s - w̄) + rest."""

    shared_I: Tensor  # a, their mean over states
    weight_DW: Tensor
    centre_W: Tensor  # w̄, the mean state
    wide_WW: Tensor  # covariance of the states
    found_I: Tensor  # sum over states of the probability of being found


def _project(model: SequenceModel, played: Iterator[tuple[SequenceState, choice.Law]]) -> _Taste:
    """The sums over states that the least squares need, and their solution."""
    count, sum_I, sum_W, sum_IW, sum_WW, found_I = 0, *(torch.zeros(()),) * 5
    for state, law in played:
        # a taste is what drives the search, and not that an item is come back to
        searched = dataclasses.replace(law.response.organic, pointers=None)
        wide_nW, found_nI = model.wide(state).double(), probabilities(searched)
        log_nI = found_nI.clamp(min=torch.finfo(found_nI.dtype).tiny).log().double()
        count, found_I = count + len(wide_nW), found_I + found_nI.sum(0)
        sum_I, sum_W = sum_I + log_nI.sum(0), sum_W + wide_nW.sum(0)
        sum_IW, sum_WW = sum_IW + log_nI.T @ wide_nW, sum_WW + wide_nW.T @ wide_nW
    shared_I, centre_W = sum_I / count, sum_W / count
    personal_IW = sum_IW / count - torch.outer(shared_I, centre_W)
    wide_WW = sum_WW / count - torch.outer(centre_W, centre_W)
    seen_I1 = model.items.seen
    vector_ID = ((model.tables.vector_ID - model.tables.vector_ID.mean(0)) * seen_I1).double()
    personal_IW = (personal_IW - personal_IW.mean(0)) * seen_I1
    weight_DW = torch.linalg.pinv(vector_ID) @ personal_IW @ torch.linalg.pinv(wide_WW)
    like = model.tables.vector_ID
    return _Taste(*(x.to(like) for x in (shared_I, weight_DW, centre_W, wide_WW, found_I)))


def _mix(model: SequenceModel, taste: _Taste, rho: float, generator: torch.Generator) -> None:
    """Set the query, own effects and level of clicking from those of being found.

    Over items i and states s the organic score, less its mean over items, is what all shoppers
    share, (v_i - v̄)ᵀc + own_i, and the personal p_si = (v_i - v̄)ᵀW(w_s - w̄). Each of the two is
    mixed with a stranger of equal variance.
    """
    size, seen_I = model.items.own.shape[1], model.items.seen.squeeze(-1)
    centre_D, centre_W, wide_WW = model.tables.vector_ID.mean(0), taste.centre_W, taste.wide_WW
    vector_ID = model.tables.vector_ID - centre_D
    item_DD = _covariance(model.tables.vector_ID)

    def centred(value_I: Tensor) -> Tensor:
        return (value_I - (value_I * seen_I).sum() / seen_I.sum().clamp(min=1.0)) * seen_I

    def shared(pair: Tensor) -> Tensor:  # c and the own effects, end to end
        score_I: Tensor = vector_ID @ pair[:size] + centred(pair[size:])
        return score_I

    weight_DW, shared_I = taste.weight_DW, centred(taste.shared_I)
    shared_D = torch.linalg.pinv(vector_ID * seen_I.unsqueeze(-1)) @ shared_I
    own_I = centred(shared_I - vector_ID @ shared_D)
    noise_D, noise_I, noise_DW = (
        torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like)
        for like in (shared_D, own_I, weight_DW)
    )
    # the stranger is as much a matter of vectors and of own effects as what it stands beside
    noise_D = noise_D * (vector_ID @ shared_D).norm() / (vector_ID @ noise_D).norm().clamp(min=TINY)
    noise_I = noise_I * own_I.norm() / centred(noise_I).norm().clamp(min=TINY)
    pair, noise = torch.cat([shared_D, own_I]), torch.cat([noise_D, noise_I])
    pair = _mixture(rho, pair, noise, lambda a, b: (shared(a) * shared(b)).sum())
    shown_DW = _mixture(
        rho, weight_DW, noise_DW, lambda a, b: (item_DD @ a @ wide_WW * b).sum()
    )  # fmt: skip
    bias_D = pair[:size] - shown_DW @ centre_W
    (clicked_DW, clicked_D), (level_7W, level_7) = (
        model.heads.of("clicked"),
        model.heads.of("level"),
    )
    heads = model.heads
    heads.reads[heads.rows("clicked")] = 1.0  # as search does, what was viewed among them
    heads.reads[heads.rows("level").start] = 1.0
    clicked_DW.copy_(shown_DW)
    clicked_D.copy_(bias_D)
    model.items.bias[:, 1] = centred(pair[size:])
    level_7W[0] = -centre_D @ shown_DW
    level_7[0] -= centre_D @ bias_D
    model.prepare()


def _covariance(value_nD: Tensor) -> Tensor:
    centred_nD = value_nD - value_nD.mean(0)
    return centred_nD.T @ centred_nD / len(centred_nD)


def _mixture(rho: float, like: Tensor, noise: Tensor, inner: Inner) -> Tensor:
    """Of the norm of ``like`` and at the cosine ``rho`` to it, in the plane of the two."""
    size = inner(like, like)
    noise = noise - like * inner(noise, like) / size.clamp(min=TINY)
    stranger = noise * (size / inner(noise, noise).clamp(min=TINY)).sqrt()
    mixed: Tensor = rho * like + (1.0 - rho * rho) ** 0.5 * stranger
    return mixed


# ---- the level ----------------------------------------------------------------------------------


class _Sample(NamedTuple):
    """How n states of the learned shop meet the page of the most popular items."""

    view: Tensor  # [n] probability of viewing an item
    twin: Tensor  # [n, K] log-probability of finding each item of the page alone
    slot: Tensor  # [n, K] log-mass of each slot, as the level is now


def _roll(
    model: SequenceModel, item_K: Tensor, seed: int
) -> Iterator[tuple[SequenceState, choice.Law]]:
    """Play sessions under one constant page; each page's states with the laws of its choice."""
    shop: Any = model
    simulator = Simulator(shop, num_slots=len(item_K), dtype=model.items.own.dtype)
    lanes = min(SESSIONS, max(32, MAX_LOGITS // model.catalog.num_items))
    first_B = torch.arange(SESSIONS, device=item_K.device) + seed * SEED_STEP
    for seed_N in torch.split(first_B, lanes):
        state = simulator.reset(seed_N, torch.zeros_like(seed_N))
        for _ in range(PAGES):
            page = simulator.page(state, item_K.expand(len(state.noise), -1))
            assert isinstance(state.user, SequenceState)
            # pages have no effect yet but by their level, so that the mean shopper's law will do
            response = model.respond(model.typical(model.read(state.user)), page, state.visit)
            yield state.user, choice.law(response, state.visit)
            state, outcome = simulator.step(state, page)
            state = state.lanes(~outcome.left)
            if not len(state.noise):
                break


def _sample(model: SequenceModel, item_K: Tensor, seed: int) -> _Sample:
    parts = []
    for _, law in _roll(model, item_K, seed):
        # the page weight is 0, so that viewing does not depend on the level
        view_n, slot_nK = law.upper[:, int(Kind.VIEW)].exp(), law.response.slot
        parts.append(_Sample(view_n.double(), law.twin.double().log(), slot_nK.double()))
    return _Sample(*(torch.cat(values) for values in zip(*parts, strict=True)))


def _shift(sample: _Sample, page_share: float) -> float:
    """What to add to the slots' log-mass for this share of views from the page, by bisection."""
    low, high = -60.0, 60.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _share(sample, middle) < page_share else (low, middle)
    return (low + high) / 2


def _share(sample: _Sample, shift: float) -> float:
    """Share of the views that come from the page, the slots' log-mass shifted."""
    view_n, twin_nK, slot_nK = sample
    filled_nK = slot_nK > -torch.inf
    mass_nK = slot_nK.masked_fill(~filled_nK, 0.0) + shift
    added_nK, kept_nK = choice.nest(twin_nK, mass_nK, view_n.new_tensor(DISSIMILARITY))
    clicked_nK = (added_nK + twin_nK.exp() * (1.0 - kept_nK)) * filled_nK
    clicked_n = clicked_nK.sum(-1) / (1.0 + (added_nK * filled_nK).sum(-1))
    return float((clicked_n * view_n).sum() / view_n.sum())
