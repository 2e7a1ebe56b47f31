"""recgym.users.ad_fit: what ads do is found again in a log that says where they stood."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from probe_shop import ProbeShop, learned_shop
from simulated_log import Recorder, logging_policy, simulate
from torch import Tensor

from recgym.ads.logged import AdLog, RandomAds
from recgym.errors import UserError
from recgym.lanes import joined
from recgym.rollout import rollout
from recgym.simulator import SimState, Simulator
from recgym.spaces import ObservationSpec
from recgym.types import Event, Kind, Observation, Outcome, Page, Sessions, Split
from recgym.users.ad_fit import fit_ads, maximise, prepare_ads
from recgym.users.ad_law import PRESETS, AdLaw, Usual
from recgym.users.ad_report import AdFit, Estimate, load_ads, save_ads
from recgym.users.ad_steps import collect
from recgym.users.likelihood import cart_counts, gather_steps, log_prob
from recgym.users.lstm import LSTMUserModel
from recgym.users.returning import ReturnHead
from recgym.users.sponsored import AdShoppers, measured

D = torch.float64
SLOTS, MOST = 6, 5  # sessions of a shopper who comes back
LAW: dict[str, Any] = {
    "level": -0.5, "blindness": 2.0, "trust_rate": 0.3, "memory": 0.8, "leave": 0.5, "back": 0.6,
}  # fmt: skip
ASSUMED = AdLaw(trust_rate=0.3)


class WithAds:
    """The logging policy of a log with ads."""

    def __init__(self, model: LSTMUserModel) -> None:
        self.policy = logging_policy(model, SLOTS)
        settings = AdLog(share=0.6, campaigns={"num_campaigns": 20})
        self.ads = RandomAds(model.catalog, settings, SLOTS)
        self.sponsored: Tensor | None = None

    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        given = observation, *self.policy.act_with_propensity(observation)
        item_NK, _, self.sponsored = self.ads.insert(*given)
        return item_NK

    def mark(self, page: Page) -> Page:
        return dataclasses.replace(page, sponsored=self.sponsored)


def shown_model() -> LSTMUserModel:
    """An untrained model whose pages are clicked often, so that few sessions tell much."""
    model = learned_shop(D)
    with torch.no_grad():
        model.heads.of("level")[1][0] += 1.0
    return model.eval()


def logged(shop: AdShoppers, num_sessions: int, first_seed: int = 0) -> tuple[Sessions, Recorder]:
    """Sessions of these shoppers on pages with ads at random, all for training."""
    policy = WithAds(shop.inner)  # type: ignore[arg-type]
    simulator = Simulator(
        shop, encoder=shop, num_slots=SLOTS, expected_revenue=False, dtype=D
    )  # fmt: skip
    sessions, recorder, order_S = simulate(
        simulator, policy, num_sessions,
        first_seed=first_seed, shares=(1.0, 0.0), mark=policy.mark,
    )  # fmt: skip
    recorder.encoders = [joined(recorder.encoders).lanes(order_S)]
    return sessions, recorder


def within_three_errors(fit: AdFit, truth: dict[str, float]) -> None:
    for name, value in truth.items():
        found = fit.estimates[name]
        assert abs(found.value - value) < 3 * found.error, (name, found, value)


def test_the_maximum_and_its_errors_by_hand() -> None:
    # Why: every interval of the report is one of these. Of 40 trials 30 succeed: the logit is
    # log 3 = 1.098612, and the squared scores add up to 30 / 16 + 10 * 9 / 16 = 7.5, so that its
    # standard error is 7.5^-1/2 = 0.365148. A prior N(0, 1) adds 1 to the information.
    won_B = torch.arange(40) < 30

    def scored(value_J: Tensor) -> Tensor:
        logit = value_J[0]
        return torch.where(won_B, logit.sigmoid().log(), (-logit).sigmoid().log())

    start_J = torch.zeros(1, dtype=D)
    value_J, covariance_JJ = maximise(scored, start_J, lambda value_J: 0.0 * value_J.sum())
    assert value_J.item() == pytest.approx(math.log(3.0), abs=0.02)
    assert covariance_JJ.sqrt().item() == pytest.approx(0.365148, abs=0.01)
    shrunk_J, narrower_JJ = maximise(scored, start_J, lambda x: -0.5 * x.square().sum())
    # the mode solves 30 - 40 sigmoid(x) = x
    left = 30.0 - 40.0 * shrunk_J.sigmoid().item() - shrunk_J.item()
    assert abs(left) < 0.15 and narrower_JJ.item() < covariance_JJ.item()
    won = shrunk_J.sigmoid().item()
    information = 30 * (1.0 - won) ** 2 + 10 * won**2 + 1.0
    assert narrower_JJ.item() == pytest.approx(1.0 / information, rel=0.03)


def test_without_ads_the_likelihood_is_the_user_models() -> None:
    # Why: the fit adds a law to the model's own likelihood, and must not be a second one.
    model = shown_model()
    sessions, _ = logged(AdShoppers(model, LAW), 60)
    row_B = torch.arange(60)
    steps = collect(model, sessions, row_B, AdLaw())
    ours_B = steps.log_prob(AdLaw(), steps.fresh())
    theirs = gather_steps(sessions, cart_counts(sessions), row_B)
    with torch.no_grad():
        choice_n = log_prob(model, theirs).choice
    owner_S = torch.repeat_interleave(row_B, sessions.offset.diff())
    theirs_B = torch.zeros(60, dtype=D).index_add(0, owner_S[theirs.step], choice_n)
    torch.testing.assert_close(ours_B, theirs_B, rtol=0, atol=1e-9)


def test_tiredness_and_trust_run_along_as_the_simulator_moves_them() -> None:
    # Why: a fit and a shop that disagree on the state would each be right about another law.
    shop = AdShoppers(shown_model(), LAW)
    sessions, recorder = logged(shop, 60)
    simulated: Any = recorder.encoders[0]
    assert isinstance(shop.inner, LSTMUserModel)
    row_B = torch.arange(60)
    steps = collect(shop.inner, sessions, row_B, shop.law)
    first_B, last_B = sessions.offset[:-1], sessions.offset[1:] - 1
    seen = 0
    for batch in steps.batches:
        before, after = batch.along(shop.law, shop.law.memory, steps.fresh())
        number_n = torch.cat([torch.full((a,), t) for t, a in enumerate(batch.active)])
        step_n = first_B[batch.session] + number_n
        torch.testing.assert_close(before.tired, simulated.tired[step_n], rtol=0, atol=1e-9)
        torch.testing.assert_close(before.trust, simulated.trust[step_n], rtol=0, atol=1e-9)
        # after the last page: what that page added, to what was left of what was before
        leaving = dataclasses.replace(simulated.lanes(last_B[batch.own]))
        assert bool((after.tired >= shop.law.memory * leaving.tired - 1e-9).all())
        seen += len(step_n)
    assert seen == len(sessions.time_ms)


@pytest.mark.slow
def test_what_ads_do_is_found_again_within_its_errors() -> None:
    # Why: the learned shop with ads is built on these numbers. All five are fitted at once, on
    # pages whose ads are placed at random; the shifts are 0, since the model here is the true one.
    model = shown_model()
    sessions, _ = logged(AdShoppers(model, LAW), 1000)
    fit = fit_ads(model, sessions, assumed=ASSUMED)
    fitted = ("level", "blindness", "memory", "leave")
    within_three_errors(fit, {name: LAW[name] for name in fitted} | {"slot_shift": 0.0})
    within_three_errors(fit, {"leave_shift": 0.0})
    assert fit.estimates["level"].error < 0.1 and fit.estimates["leave"].error < 0.15
    assert fit.gain > 50.0 and fit.num_sessions == 1000 and fit.num_ads > 3000
    assert fit.law.leave == fit.estimates["leave"].value
    assert fit.assumed() == ["trust_rate", "rest_days", "back"]
    own = measured(model, {})
    assert (fit.law.position, fit.law.ordinary) == (own.position, own.ordinary)


@pytest.mark.slow
def test_where_ads_do_nothing_nothing_is_found() -> None:
    # Why: a fit that finds tired shoppers wherever it looks would never show an ad.
    model = shown_model()
    sessions, _ = logged(AdShoppers(model, {}), 400, first_seed=5000)
    fit = fit_ads(model, sessions, assumed=ASSUMED)
    within_three_errors(fit, {"level": 0.0, "blindness": 0.0, "leave": 0.0})
    assert fit.gain < 8.0  # six numbers gain three nats by chance, on average
    assert fit.law.leave >= 0.0 and fit.law.blindness >= 0.0


class Followed(Recorder):
    """Numbers sessions over the whole episode."""

    def __call__(
        self, index_N: Tensor, state: SimState, observation: Observation, outcome: Outcome
    ) -> None:
        assert state.visit.past is not None
        super().__call__(
            index_N * MOST + state.visit.past.sessions, state, observation, outcome
        )  # fmt: skip


def logged_returning(shop: AdShoppers, num_shoppers: int) -> Sessions:
    """All sessions of shoppers who come back."""
    policy = WithAds(shop.inner)  # type: ignore[arg-type]
    simulator = Simulator(
        shop, num_slots=SLOTS, num_sessions=MOST, expected_revenue=False, dtype=D
    )  # fmt: skip
    seed_B, recorder = torch.arange(num_shoppers), Followed()
    rollout(
        ObservationSpec(simulator, "history"), policy, seed_B, torch.zeros_like(seed_B),
        on_step=recorder, mark=policy.mark, max_pages=10_000,
    )  # fmt: skip
    index, number, events, pages, times, profiles = zip(*recorder.steps, strict=True)
    order_S = (torch.cat(index) * 1000 + torch.cat(number)).argsort()
    numbers, index_S = torch.cat(index)[order_S].unique(return_inverse=True)
    event, page = joined(list(events)).lanes(order_S), joined(list(pages)).lanes(order_S)
    assert isinstance(event, Event) and isinstance(page, Page)
    event.gap[event.kind == Kind.LEAVE] = 0.0
    offset = torch.cat([torch.zeros(1, dtype=torch.int64), torch.bincount(index_S).cumsum(0)])
    return Sessions(
        event=event,
        page=page,
        time_ms=torch.cat(times)[order_S],
        offset=offset,
        shopper=torch.div(numbers, MOST, rounding_mode="floor"),
        profile=torch.cat(profiles)[order_S][offset[:-1]],
        split=torch.full((len(numbers),), int(Split.TRAIN)),
    )


@pytest.mark.slow
def test_where_shoppers_come_back_what_keeps_them_away_is_found_too() -> None:
    # Why: the cost that shows only in days. Tiredness is carried from session to session, half of
    # it lost in three days; the days away are a day at the median. A shopper's last session of
    # five is not followed by any, which the likelihood takes for staying away: few get there.
    model = shown_model()
    model.return_head = ReturnHead(model.num_groups).to(D)
    model.return_head.days = torch.tensor([0.0, 1.0], dtype=D)
    model.return_head.bias = torch.tensor(-0.1, dtype=D)
    with torch.no_grad():
        # carts outlast sessions, and cleaning turns what is paid of them then into a purchase
        model.heads.of("upper")[1][1] -= 30.0
    model.eval()
    sessions = logged_returning(AdShoppers(model, LAW), 900)
    assert float((sessions.shopper.bincount() == MOST).double().mean()) < 0.02
    fit = fit_ads(model, sessions, carried=True, assumed=ASSUMED)
    within_three_errors(fit, {name: LAW[name] for name in ("back", "leave", "level")})
    assert fit.estimates["back"].error < 0.2
    assert fit.law.back == fit.estimates["back"].value and fit.assumed() == [
        "trust_rate", "rest_days",
    ]  # fmt: skip
    # who is followed no further is asked for nothing
    assert "back" not in fit_ads(model, sessions, most_sessions=12, assumed=ASSUMED).estimates


def test_a_log_without_ads_is_refused_in_a_sentence() -> None:
    # Why: the fit would return its prior, and look like a finding.
    model = shown_model()
    sessions, _ = logged(AdShoppers(model, {}), 20)
    bare = dataclasses.replace(sessions.page, sponsored=None)
    none = dataclasses.replace(sessions.page, sponsored=torch.zeros_like(bare.item).bool())
    for page in (bare, none):
        with pytest.raises(UserError, match="training sessions hold no ad: its impressions need"):
            fit_ads(model, dataclasses.replace(sessions, page=page))


def test_what_a_model_holds_of_the_usual_ads_is_put_right_by_hand() -> None:
    # Why: it was fitted to a log with ads and knows no other. Of the items, the second was an ad in
    # a quarter of its showings; a page usually added 0.7: before page 2 that left, at a memory of
    # 0.8, 0.7 + 0.56 = 1.26 (1.26 = 0.7 * (1 - 0.64) / 0.2).
    usual = Usual(torch.tensor([0.0, 0.25, 0.0, 0.0], dtype=D), 0.7)
    law = AdLaw(memory=0.8, leave=0.5, slot_shift=0.4, leave_shift=-0.3, back_shift=0.2)
    assert usual.tired(0.8, torch.tensor([0, 1, 2])).tolist() == pytest.approx([0.0, 0.7, 1.26])
    assert usual.tired(1.0, torch.tensor([3])).item() == pytest.approx(2.1, abs=1e-4)
    shop = AdShoppers(ProbeShop(dtype=D), law, usual)
    simulator = Simulator(shop, num_slots=2, dtype=D)
    state = simulator.reset(torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))
    visit = dataclasses.replace(state.visit, page_number=torch.tensor([2]))
    page, reading = simulator.page(state, torch.tensor([[0, 1]])), shop.read(state.user)
    found = shop.respond(reading, page, visit)
    assert found.slot[0].tolist() == pytest.approx([math.log(0.2), math.log(0.2) + 0.1])
    assert found.leave.item() == pytest.approx(-1.0 - 0.3 * 1.26)
    appeal_NI = shop.appeal(reading, visit, shop.catalog.price_at(visit.time_ms))
    assert (appeal_NI - math.log(0.2))[0].tolist() == pytest.approx([0.0, 0.1, 0.0, 0.0])


def some_fit() -> AdFit:
    return AdFit(
        law=AdLaw(level=-0.3, leave=0.0, memory=0.9, position=0.35),
        usual=Usual(torch.tensor([0.0, 0.25, 1.0 / 3.0], dtype=D), 0.7),
        estimates={"level": Estimate(-0.3, 0.1), "leave": Estimate(-0.05, 0.1)},
        num_sessions=1200,
        num_ads=3400,
        gain=12.34,
        asked={"carried": False, "seed": 0},
    )


def test_the_report_says_what_is_fitted_assumed_and_measured() -> None:
    # Why: an assumed number that reads like a found one misleads. By hand: -0.3 ± 1.96 * 0.1.
    lines = some_fit().lines()
    assert "3,400 in 1,200 training sessions" in lines[0] and "12.3 nats" in lines[0]
    text = "\n".join(lines)
    assert "fitted   level -0.300 [-0.496, -0.104]: log-mass of a slot" in text
    assert "fitted   leave 0.000 [-0.246, 0.146] (below 0 in the fit)" in text
    assert "assumed  rest_days 3.000" in text and "assumed  back" in text
    assert "measured position 0.350 on the user model" in text


def test_a_fit_is_kept_beside_the_model_to_the_bit(tmp_path: Path) -> None:
    # Why: what a shop is opened with must be what was found.
    fit = some_fit()
    assert load_ads(tmp_path) is None
    save_ads(fit, tmp_path)
    found = load_ads(tmp_path)
    assert found is not None and torch.equal(found.usual.ad_share, fit.usual.ad_share)
    assert dataclasses.replace(found, usual=fit.usual) == fit and found.usual.annoyance == 0.7
    text = (tmp_path / "ads.json").read_text()
    (tmp_path / "ads.json").write_text(text.replace('"schema_version": 1', '"schema_version": 9'))
    with pytest.raises(UserError, match="of another version of RecGym: remove it and fit again"):
        load_ads(tmp_path)
    (tmp_path / "ads.json").write_text(text[:40])
    with pytest.raises(UserError, match="damaged"):
        load_ads(tmp_path)


def test_a_kept_fit_is_opened_unless_other_things_are_asked(
    tmp_path: Path,
) -> None:
    # Why: a fit takes a minute, and one of other assumptions is another fit.
    model = shown_model()
    sessions, _ = logged(AdShoppers(model, LAW), 12)
    first, was_there = prepare_ads(model, sessions, tmp_path, assumed=ASSUMED)
    again = prepare_ads(model, sessions, tmp_path, assumed=ASSUMED)
    assert not was_there and again[1] and again[0].law == first.law
    assert first.law.trust_rate == 0.3
    other, was_there = prepare_ads(model, sessions, tmp_path, assumed="strong")
    assert not was_there and other.law.trust_rate == PRESETS["strong"].trust_rate
