"""The contract of user models, held by every YAML of conf/user_model."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import family
import gymnasium as gym
import pytest
import torch
from family import F64, KINDS, SLOTS, fingerprint, log_of, made, played, settings_of, stepwise
from gymnasium.utils.env_checker import check_env
from tiny import compose

import recgym  # noqa: F401
from recgym.build import check_settings
from recgym.errors import UserError
from recgym.types import Sessions
from recgym.users.ensemble import Ensemble
from recgym.users.fit_settings import FitSettings
from recgym.users.likelihood import (
    cart_counts,
    expectations,
    gather_steps,
    log_prob,
    log_prob_of,
    run,
    walked,
)
from recgym.users.passes import mean_nll
from recgym.users.sequence import SequenceModel
from recgym.users.store import load_model, save_model
from recgym.users.training import fit, start_from_counts

NUM_SESSIONS = 24
Shop = tuple[SequenceModel, Sessions]


@pytest.fixture(scope="module")
def shops() -> dict[str, Shop]:
    sessions = log_of(NUM_SESSIONS)
    models = {name: made(name) for name in KINDS}
    return {name: (model, model.sees(sessions)) for name, model in models.items()}


@pytest.fixture(params=KINDS)
def shop(request: pytest.FixtureRequest, shops: dict[str, Shop]) -> Shop:
    return shops[request.param]


def test_the_family_is_all_here() -> None:
    # Why: the contract below globs, and a glob that finds nothing holds nothing.
    family_of = {"lstm", "gru", "rnn", "attention", "transformer", "convolution"}
    assert set(KINDS) >= family_of


@torch.no_grad()
def test_the_likelihood_is_the_product_of_the_steps(shop: Shop) -> None:
    # Why: a fit unrolls a memory and a simulator steps it; what is fitted must be what is drawn.
    model, sessions = shop
    steps = gather_steps(sessions, cart_counts(sessions), torch.arange(NUM_SESSIONS))
    total_S = torch.zeros(len(steps.step), dtype=F64)
    total_S[steps.step] = log_prob(model, steps).total()
    longest = int((sessions.offset[1:] - sessions.offset[:-1]).argmax())
    assert len(steps.active) > 2 * family.WINDOW + 1  # the window has moved on, and more than once
    for b in {longest, 0}:
        first, last = int(sessions.offset[b]), int(sessions.offset[b + 1])
        expected = stepwise(model, sessions, b)
        torch.testing.assert_close(total_S[first:last], expected, rtol=0, atol=1e-9)


@torch.no_grad()
def test_unrolling_says_what_walking_says(shop: Shop) -> None:
    # Why: as above, for what a memory says, which some heads may not read, and for what a fit reads
    # off a walk, where it needs no gradient.
    model, sessions = shop
    steps = gather_steps(sessions, cart_counts(sessions), torch.arange(NUM_SESSIONS))
    met, expected = walked(model, steps), expectations(model, steps)
    once = run(model, steps, expected)
    for one, other in (
        (once.reading.state.h, met.reading.state.h),
        (once.reading.covariance, met.reading.covariance),
        (once.reading.share, met.reading.share),
        (once.found.evidence(), met.found.evidence()),
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
    assert float(met.reading.state.h.std(0).min()) > 1e-3  # it says something
    for name in ("choice", "after", "gap"):
        one, other = (getattr(log_prob_of(model, *each, steps), name) for each in (once, met))
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


@torch.no_grad()
def test_a_session_is_as_likely_alone_as_among_others(shop: Shop) -> None:
    # Why: batches are a matter of speed: padding and neighbours must not show.
    model, sessions = shop
    cart_S = cart_counts(sessions)
    steps = gather_steps(sessions, cart_S, torch.arange(NUM_SESSIONS))
    total_S = torch.zeros(len(steps.step), dtype=F64)
    total_S[steps.step] = log_prob(model, steps).total()
    for b in range(4):
        alone = gather_steps(sessions, cart_S, torch.tensor([b]))
        value = log_prob(model, alone).total()
        torch.testing.assert_close(total_S[alone.step], value, rtol=0, atol=1e-10)


def test_shoppers_do_alike_in_any_number_of_lanes(shop: Shop) -> None:
    # Why: results must not hang on num_envs.
    for many, few in zip(played(shop[0], 40, 4), played(shop[0], 5, 4), strict=True):
        if many.dtype == torch.int64:
            assert torch.equal(many[:5], few)
        else:
            torch.testing.assert_close(many[:5], few, rtol=0, atol=1e-9)


def test_a_seed_gives_the_same_numbers_here_and_in_another_process() -> None:
    # Why: a table is only worth something where it can be made again.
    command = [sys.executable, str(Path(family.__file__))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == {name: fingerprint(name) for name in KINDS}
    assert fingerprint("gru") != fingerprint("lstm")


def test_a_saved_model_comes_back_bit_for_bit(shop: Shop, tmp_path: Path) -> None:
    model, _ = shop
    save_model(model, tmp_path / "model", {})
    again = load_model(tmp_path / "model")
    assert type(again) is type(model) and again.settings == model.settings
    for ours, theirs in zip(played(model, 8), played(again, 8), strict=True):
        assert torch.equal(ours, theirs)


@torch.no_grad()
def test_a_model_moves_with_all_that_it_holds(shop: Shop, tmp_path: Path) -> None:
    # Why: a tensor that stays behind, on another device or of another type, ends in a traceback.
    model, _ = shop
    save_model(model, tmp_path / "model", {})
    single = load_model(tmp_path / "model").to(torch.float32)
    _, _, _, _, gap_N, revenue_N = played(single, 8, 1, torch.float32)
    assert gap_N.dtype == revenue_N.dtype == torch.float32
    back = single.to(torch.float64)
    for ours, theirs in zip(played(model, 8, 1), played(back, 8, 1), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@torch.no_grad()
def test_a_session_is_as_likely_on_a_gpu(shop: Shop, tmp_path: Path) -> None:
    model, sessions = shop
    save_model(model, tmp_path / "model", {})
    moved = load_model(tmp_path / "model", "cuda")
    steps = gather_steps(sessions, cart_counts(sessions), torch.arange(NUM_SESSIONS))
    value = log_prob(moved, steps.to("cuda")).total().cpu()
    torch.testing.assert_close(value, log_prob(model, steps).total(), rtol=0, atol=1e-8)


def test_gymnasium_takes_every_kind_for_an_environment(shop: Shop, tmp_path: Path) -> None:
    # Why: driving the simulator is what a user model is for.
    save_model(made_single(shop[0], tmp_path), tmp_path / "single", {})
    env = gym.make("RecGym/Slate-v0", shop=f"model:{tmp_path / 'single'}", num_slots=SLOTS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for harmless in (".*infinity.*", ".*not different from the unwrapped.*", ".*render.*"):
            warnings.filterwarnings("ignore", message=harmless)
        check_env(env.unwrapped, skip_render_check=True)


def made_single(model: SequenceModel, folder: Path) -> SequenceModel:
    """A copy in float32, in which environments run."""
    save_model(model, folder / "double", {})
    return load_model(folder / "double").to(torch.float32)


@pytest.mark.parametrize("name", KINDS)
def test_an_ensemble_of_any_kind_answers_as_the_member_that_is_met(name: str) -> None:
    # Why: all members go through their memory in one batched pass, whatever it keeps.
    members = [made(name, seed) for seed in (0, 1)]
    both = Ensemble(members)
    seed_N = torch.arange(12)
    met_N = both.member_of(seed_N, torch.zeros_like(seed_N))
    assert met_N.unique().tolist() == [0, 1]
    together = played(both, 12, 3)
    for number, member in enumerate(members):
        mine_N = met_N == number
        for ours, alone in zip(together, played(member, 12, 3), strict=True):
            torch.testing.assert_close(ours[mine_N], alone[mine_N], rtol=0, atol=1e-9)


def test_every_weight_of_a_memory_is_fitted(shop: Shop) -> None:
    # Why: a weight without a gradient is noise that a fit leaves as it was drawn.
    model, sessions = shop
    steps = gather_steps(sessions, cart_counts(sessions), torch.arange(NUM_SESSIONS))
    expected = expectations(model, steps)
    model.prepare()
    log_prob(model, steps, expected).total().sum().backward()  # type: ignore[no-untyped-call]
    gradients = {name: value.grad for name, value in model.named_parameters()}
    model.zero_grad()
    model.eval()
    for name, gradient in gradients.items():
        if name.startswith(("memory.", "begin.")):
            assert gradient is not None and bool(gradient.isfinite().all()), name
            assert float(gradient.abs().max()) > 0, name


def test_a_memory_of_modules_is_fitted_as_one_of_weights() -> None:
    # Why: its parameters are stepped as they are, and kept and brought back by the same fit.
    model = made("transformer", dtype=torch.float32)
    sessions, rows = log_of(80, torch.float32), torch.arange(64)
    start_from_counts(model, sessions, rows)
    before = mean_nll(model, sessions, rows)["nll"]
    chosen = FitSettings(epochs=1, least_updates=8, learning_rate=1e-2)
    fit(model, sessions, chosen, seed=0)
    assert mean_nll(model, sessions, rows)["nll"] < before - 0.1


@pytest.mark.parametrize(
    ("name", "setting", "words"),
    [
        ("transformer", "window=0", "window=0: expected a whole number of at least 1"),
        ("attention", "window=0", "window=0: expected a whole number of at least 1"),
        ("transformer", "layers=0", "layers=0: expected"),
        ("convolution", "width=0", "width=0: expected"),
    ],
)
def test_a_setting_of_no_use_ends_in_a_sentence(name: str, setting: str, words: str) -> None:
    settings = compose("fit", f"user_model={name}", f"user_model.model.{setting}")["user_model"]
    with pytest.raises(UserError, match=words):
        check_settings("user_model.model", settings["model"])


def test_heads_that_do_not_divide_the_state_end_in_a_sentence() -> None:
    settings = settings_of("transformer") | {"attention_heads": 3}
    assert settings["hidden"] == 8
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(family, "settings_of", lambda _: settings)
        with pytest.raises(UserError, match=r"attention_heads=3: expected a divisor of hidden=8"):
            made("transformer")
