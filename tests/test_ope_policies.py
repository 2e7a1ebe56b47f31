"""Policies with probabilities: what they say of pages adds up, and is what they draw."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from probe_shop import ProbeShop
from torch import Tensor

from agents.fixed import fixed_rules
from agents.soft import SoftRanking, softened
from recgym.errors import UserError
from recgym.logging_policy import EmptyPages, LoggingPolicy
from recgym.ope import Deterministic, Mixture
from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec
from recgym.types import Observation

NUM_ITEMS, NUM_SLOTS = 4, 2
VIEWS = torch.tensor([40, 30, 20, 10])
FILLED = [0.1, 0.3, 0.6]


def seen(lanes: int = 3) -> Observation:
    """Shoppers who have looked at an item each, before their second page."""
    shop = ProbeShop()
    spec = ObservationSpec(Simulator(shop, num_slots=NUM_SLOTS), "history")
    simulator, seed_N = spec.simulator, torch.arange(lanes) + 7
    state = simulator.reset(seed_N, torch.zeros_like(seed_N))
    page = simulator.page(state, torch.full((lanes, NUM_SLOTS), -1))
    return spec.observe(simulator.step(state, page)[0])


def logging() -> LoggingPolicy:
    return LoggingPolicy(ProbeShop().catalog, VIEWS.float(), num_slots=NUM_SLOTS)


def soft() -> SoftRanking:
    rule = fixed_rules(VIEWS, ProbeShop().catalog.feature, num_slots=NUM_SLOTS)["rule-00"]
    return SoftRanking(rule.scores, sharpness=0.8, filled=FILLED, noise=rule.rule.mixed)


def all_pages() -> Tensor:
    """Every page that a policy may show, [P, K]: full, cut short, or empty."""
    full = list(itertools.permutations(range(NUM_ITEMS), NUM_SLOTS))
    return torch.tensor([*full, *((i, -1) for i in range(NUM_ITEMS)), (-1, -1)])


POLICIES = {
    "logging": logging(),
    "soft": soft(),
    "mixture": Mixture([logging(), soft(), Deterministic(EmptyPages(NUM_SLOTS))], [0.5, 0.4, 0.1]),
}


@pytest.mark.parametrize("name", POLICIES)
def test_probabilities_of_all_pages_add_up_to_1(name: str) -> None:
    # Why: a weight is a ratio of two of them; over every page there is nothing may be lost.
    observation = seen()
    total_N = sum(
        POLICIES[name].slate_log_probs(observation, page_K.expand(3, -1)).double().sum(-1).exp()
        for page_K in all_pages()
    )
    assert total_N.tolist() == pytest.approx([1.0] * 3, abs=1e-5)


def test_what_the_logging_policy_says_of_its_page_is_what_it_logs() -> None:
    # Why: weights of a log must be those of the policy that wrote it, page for page.
    observation = seen(lanes=200)
    item_NK, propensity_NK = logging().act_with_propensity(observation)
    said_NK = logging().slate_log_probs(observation, item_NK).exp()
    filled_N = item_NK[:, 0] >= 0
    assert 0 < int(filled_N.sum()) < 200
    torch.testing.assert_close(said_NK[filled_N], propensity_NK[filled_N])
    assert said_NK[~filled_N][0].tolist() == pytest.approx([0.02, 1.0])


def test_soft_rankings_draw_what_they_say() -> None:
    # Why: both draws, the lanes' own and the free one, have to have that law.
    observation, policy = seen(), soft()
    one = observation.lanes(torch.zeros(20_000, dtype=torch.int64))
    own = replace(one, arrival=replace(one.arrival, seed=torch.arange(20_000)))
    for item_NK in (policy.act(own), policy.draw(one, torch.Generator().manual_seed(0))):
        for page_K in all_pages():
            said = float(policy.slate_log_probs(observation, page_K.expand(3, -1)).sum(-1)[0].exp())
            found = float((item_NK == page_K).all(-1).double().mean())
            assert found == pytest.approx(said, abs=4 * (said * (1 - said) / 20_000) ** 0.5)


def test_soft_ranking_of_one_slot_is_a_softmax_of_standardised_scores() -> None:
    # Why: by hand, scores 0, 0, 0, 2 have mean 1/2 and deviation sqrt(3)/2, so that at sharpness 1
    # the last item's logit is above the others' by 2 / 0.8660 = 2.3094: e^2.3094 = 10.068.
    score = torch.tensor([[0.0, 0.0, 0.0, 2.0]])
    policy = SoftRanking(lambda _: score.expand(3, -1), sharpness=1.0, filled=[0.0, 1.0])
    said = policy.slate_log_probs(seen(), torch.full((3, 1), 3)).exp()
    assert said.squeeze(-1).tolist() == pytest.approx([10.068 / 13.068] * 3, abs=1e-4)


def test_a_sharp_soft_ranking_is_the_ranker_itself() -> None:
    # Why: sharpness is the one knob between the rule that was asked for and one with overlap.
    rule = fixed_rules(VIEWS, ProbeShop().catalog.feature, num_slots=NUM_SLOTS)["rule-00"]
    sharp = SoftRanking(rule.scores, sharpness=1e4, filled=[0.0, 0.0, 1.0])
    observation = seen()
    best_NK = rule.scores(observation).topk(NUM_SLOTS, -1).indices
    assert torch.equal(sharp.act(observation), best_NK)
    assert sharp.slate_log_probs(observation, best_NK).sum(-1).exp().tolist() == pytest.approx(
        [1.0] * 3
    )


def test_softened_rules_keep_their_number_of_slots_in_part() -> None:
    # Why: by hand, a rule of one slot at kept 1/2 fills 0, 1 or 2 with 0.05, 0.65 and 0.30.
    rules = fixed_rules(VIEWS, ProbeShop().catalog.feature, num_slots=NUM_SLOTS)
    short = next(name for name, rule in rules.items() if rule.rule.filled == 1)
    found = softened(rules, sharpness=0.5, filled=FILLED, kept=0.5)[short]
    assert found.filled_L.tolist() == pytest.approx([0.05, 0.65, 0.30])


def test_a_deterministic_page_is_certain_and_every_other_impossible() -> None:
    # Why: weights of a ranker without odds are 0 nearly everywhere, which the overlap then says.
    observation = seen()
    policy = Deterministic(EmptyPages(NUM_SLOTS))
    empty_NK = torch.full((3, NUM_SLOTS), -1)
    assert policy.slate_log_probs(observation, empty_NK).sum(-1).tolist() == [0.0] * 3
    other_NK = empty_NK.clone()
    other_NK[:, 0] = 1
    assert policy.slate_log_probs(observation, other_NK).sum(-1).tolist() == [-torch.inf] * 3


def test_shares_that_are_none_are_refused() -> None:
    # Why: a mixture that does not add up weighs every page wrongly.
    with pytest.raises(UserError, match="add up to 1"):
        Mixture([logging()], [0.9])
    with pytest.raises(UserError, match="add up to 1"):
        SoftRanking(lambda seen: seen.price, sharpness=1.0, filled=[0.5, 0.4])
