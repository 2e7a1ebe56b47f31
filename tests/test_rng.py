"""recgym.rng: noise must be uniform, and a function of its key alone."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from recgym import rng
from recgym.rng import Purpose

WORD = 2**64


def mix_in_python(x: int) -> int:
    """SplitMix64's finaliser on an unsigned word, written a second time."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % WORD
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % WORD
    return x ^ (x >> 31)


def lanes(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.arange(n), torch.zeros(n, dtype=torch.int64)


def test_mix_gives_the_published_numbers_of_splitmix64() -> None:
    # Why: a shift that copies the sign bit would still look random. First outputs of seed 1234567.
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    seed = 1234567 + torch.arange(1, 5) * rng.GOLDEN_GAMMA
    assert [int(x) % WORD for x in rng.mix(seed)] == known


@pytest.mark.parametrize("word", [0, 1, -1, 2**63 - 1, -(2**63), 123456789])
def test_mix_equals_plain_python(word: int) -> None:
    # Why: int64 has no unsigned shift, and the words at its edges are where that shows.
    assert int(rng.mix(torch.tensor(word))) % WORD == mix_in_python(word % WORD)


def test_key_chains_the_hash_over_seed_session_page_and_purpose() -> None:
    # Why: frozen logs and golden traces depend on exactly this chain.
    gamma = 0x9E3779B97F4A7C15
    x = mix_in_python((7 + gamma) % WORD)
    x = mix_in_python((x + 3 * gamma + 1) % WORD)
    x = mix_in_python((x + 5 * gamma + 2) % WORD)
    expected = mix_in_python(x ^ (int(Purpose.AFTER) + 1))
    found = rng.key(torch.tensor([7]), torch.tensor([3]), 5, Purpose.AFTER)
    assert int(found) % WORD == expected


def test_a_lane_draws_the_same_alone_and_among_others() -> None:
    # Why: results must not depend on the batch size.
    seed_N, session_N = lanes(1000)
    together = rng.uniform(rng.key(seed_N, session_N, 2, Purpose.GAP), 4)
    alone = rng.uniform(rng.key(seed_N[777:778], session_N[:1], 2, Purpose.GAP), 4)
    assert torch.equal(together[777], alone[0])


@pytest.mark.parametrize("varied", ["seed", "session", "page", "purpose", "count"])
def test_uniforms_are_uniform_along_every_part_of_the_key(varied: str) -> None:
    # Why: a weak hash would show along the one word that changes by 1.
    one, many = torch.ones(20_000, dtype=torch.int64), torch.arange(20_000)
    if varied == "purpose":
        x = torch.cat([rng.uniform(rng.key(many[:2000], one[:2000], 0, p)) for p in Purpose])
    elif varied == "count":
        x = rng.uniform(rng.key(one[:1], one[:1], 0, Purpose.POLICY), 20_000).flatten()
    else:
        seed, session, page = (many if varied == v else one for v in ("seed", "session", "page"))
        x = rng.uniform(rng.key(seed, session, page, Purpose.UPPER))
    assert stats.chisquare(torch.histc(x, 64, 0, 1).numpy()).pvalue > 1e-3
    assert stats.spearmanr(x[:-1], x[1:]).pvalue > 1e-3


def test_purposes_are_independent() -> None:
    # Why: two draws of one page that agree would tie, say, buying to leaving.
    seed_N, session_N = lanes(20_000)
    a = rng.uniform(rng.key(seed_N, session_N, 0, Purpose.UPPER))
    b = rng.uniform(rng.key(seed_N, session_N, 0, Purpose.AFTER))
    count_88 = torch.histogramdd(torch.stack([a, b], -1), [8, 8], range=[0.0, 1.0, 0.0, 1.0]).hist
    assert stats.chisquare(count_88.flatten().numpy()).pvalue > 1e-3


def test_float32_and_float64_draw_the_same_numbers() -> None:
    # Why: a lane must not change with the precision of the shop.
    key = rng.key(*lanes(10_000), 0, Purpose.SLOT)
    single, double = rng.uniform(key), rng.uniform(key, dtype=torch.float64)
    assert torch.equal(single.double(), double)
    assert float(double.min()) >= 0.0 and float(double.max()) < 1.0


def test_normals_are_standard_and_finite() -> None:
    # Why: inversion at 0 or 1 would be infinite.
    z = rng.normal(rng.key(*lanes(20_000), 0, Purpose.GAP), dtype=torch.float64)
    assert stats.kstest(z.numpy(), "norm").pvalue > 1e-3
    assert torch.isfinite(z).all()


def test_pick_inverts_the_sum_of_weights() -> None:
    # Why: by hand. Weights 1, 0, 3 have edges at 0.25 and 0.25 of their sum.
    weight = torch.tensor([[1.0, 0.0, 3.0]]).expand(4, 3)
    u = torch.tensor([0.0, 0.2499, 0.25, 0.9999])
    assert rng.pick(weight, u).tolist() == [0, 0, 2, 2]


def test_pick_never_lands_on_an_option_of_weight_zero() -> None:
    # Why: u just below 1 times a rounded sum may reach the sum itself.
    weight = torch.rand(2000, 50, generator=torch.Generator().manual_seed(0))
    weight[:, 40:] = 0.0
    weight[:, :3] = 0.0
    for u in (0.0, 1.0 - 2.0**-24):
        chosen = rng.pick(weight, torch.full((2000,), u))
        assert bool((weight.gather(1, chosen[:, None]) > 0).all())
