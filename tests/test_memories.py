"""recgym.users.memory, windows and the kinds' own arithmetic, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from recgym.users import gru, rnn
from recgym.users.attention import LookingBack
from recgym.users.convolution import Convolution
from recgym.users.memory import Nothing, before
from recgym.users.transformer import Transformer
from recgym.users.windows import bias_of, by_session, in_lock_step, look_back, opened, unrolled

F64 = torch.float64


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=F64).unsqueeze(-1)


def row(*values: float) -> Tensor:
    return torch.tensor([values], dtype=F64)


@torch.no_grad()
def test_a_step_of_a_gru_is_what_its_equations_say() -> None:
    # Why: by hand. Reset s(0) = 1/2, so the candidate is tanh(1 + 1/2 (2 · 0.5 + 1)) = tanh 2;
    # kept s(ln 3) = 3/4: 1/4 tanh 2 + 3/4 · 0.5 = 0.2410069 + 0.375.
    layer = gru.Layer(1, 1).double()
    layer.weight_ih_l0.copy_(column(0.0, math.log(3.0), 1.0))
    layer.weight_hh_l0.copy_(column(0.0, 0.0, 2.0))
    layer.bias_ih_l0.zero_()
    layer.bias_hh_l0.copy_(torch.tensor([0.0, 0.0, 1.0]))
    said, kept = layer.fused().step([row(1.0)], row(0.5), Nothing())
    assert float(said) == pytest.approx(0.6160069, abs=1e-7) and kept == Nothing()


@torch.no_grad()
def test_a_step_of_a_plain_network_is_what_its_equation_says() -> None:
    # Why: by hand, tanh(2 · 1 - 1 · 0.5 + 0.25 - 0.75) = tanh 1.
    layer = rnn.Layer(1, 1).double()
    for name, value in (("weight_ih", 2.0), ("weight_hh", -1.0), ("bias_ih", 0.25)):
        layer.get_parameter(f"{name}_l0").fill_(value)
    layer.bias_hh_l0.fill_(-0.75)
    said, _ = layer.fused().step([row(1.0)], row(0.5), Nothing())
    assert float(said) == pytest.approx(0.7615942, abs=1e-7)


@torch.no_grad()
def test_a_pattern_is_made_of_the_event_and_the_one_before() -> None:
    # Why: by hand. With weight 10 on the event before and 1 on the event itself the patterns of
    # 1, 2, 3 are 1, 12, 23, and those of 5, 6 in the other session 5, 56.
    memory = Convolution(1, 1, width=2).double()
    memory.pattern.weight.copy_(row(10.0, 1.0))
    memory.pattern.bias.zero_()
    read: list[Tensor] = []
    memory.lstm.register_forward_hook(lambda _, args, __: read.append(args[0].data))
    h_NH, kept = memory.fused().begin(torch.zeros(2, 2, dtype=F64))
    memory.unroll(h_NH, kept, column(1.0, 5.0, 2.0, 6.0, 3.0), [2, 2, 1])
    assert read[0].flatten().tolist() == [1.0, 5.0, 12.0, 56.0, 23.0]
    _, kept = memory.fused().step([column(7.0, 8.0)], h_NH, kept)
    assert kept.recent.flatten().tolist() == [7.0, 8.0]


def test_a_look_weighs_what_it_sees_by_its_scores() -> None:
    # Why: by hand. Scores 0, ln 3, ln 2 are weights 1/6, 3/6, 2/6 of 6, 2, 3: 3 in all. A slope of
    # ln 3 takes a third of what lies one event back: 1/4, 1/4, 2/4, which is 3.5. Of the two
    # places the older one is empty yet.
    kept = opened(row(0.0), 3).pushed(row(math.log(3.0)))
    assert kept.filled.tolist() == [[False, True]] and kept.distance().tolist() == [2, 1]
    value_NWV = torch.tensor([[[99.0], [2.0]]], dtype=F64)
    pairs = (row(math.log(2.0)), row(3.0)), (kept.first, row(6.0)), (kept.earlier, value_NWV)
    for slope, expected in ((0.0, 3.0), (math.log(3.0), 3.5)):
        bias = bias_of(kept, torch.tensor([slope], dtype=F64))
        assert float(look_back(row(1.0), *pairs, bias)) == pytest.approx(expected)


@pytest.mark.parametrize(("window", "steps"), [(1, 4), (3, 3), (3, 4), (3, 11), (8, 5)])
def test_looks_in_blocks_are_the_looks_one_by_one(window: int, steps: int) -> None:
    # Why: a fit takes blocks of a session at once, with padding and a block before each.
    g = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, steps, 4, generator=g, dtype=F64) for _ in range(3))
    first = torch.randn(2, 8, generator=g, dtype=F64)
    slope_A = torch.tensor([0.5, 0.1], dtype=F64)
    kept, seen = opened(first, window), []
    for t in range(steps):
        past = kept.earlier.chunk(2, -1)
        new, begun = (key[:, t], value[:, t]), kept.first.chunk(2, -1)
        bias = bias_of(kept, slope_A)
        seen.append(look_back(query[:, t], new, (begun[0], begun[1]), (past[0], past[1]), bias))
        kept = kept.pushed(torch.cat(new, -1))
    begun = first.chunk(2, -1)
    at_once = unrolled(query, (key, value), (begun[0], begun[1]), window, slope_A)
    torch.testing.assert_close(at_once, torch.stack(seen, 1), rtol=0, atol=1e-12)


@torch.no_grad()
def test_a_transformer_of_one_block_sees_the_last_events_and_no_more() -> None:
    # Why: what a window hides must be what its setting says. Before step t the last three events
    # are t - 3 to t - 1: of event 2, steps 3, 4 and 5 know, and no other.
    torch.manual_seed(0)
    memory = Transformer(2, 4, window=3, layers=1, attention_heads=2).double()
    begun = memory.fused().begin(torch.randn(1, 4, dtype=F64))
    inputs_nX = torch.randn(9, 2, dtype=F64)
    other_nX = inputs_nX.clone()
    other_nX[2] += 1.0
    told, otherwise = (memory.unroll(*begun, value, [1] * 9) for value in (inputs_nX, other_nX))
    moved_n = (told != otherwise).any(-1)
    assert moved_n.nonzero().flatten().tolist() == [3, 4, 5]


@torch.no_grad()
def test_the_beginning_of_a_session_stays_in_sight() -> None:
    # Why: it holds the profile, which no window may cut off.
    torch.manual_seed(0)
    memory = Transformer(2, 4, window=2, layers=1, attention_heads=1).double()
    inputs_nX = torch.randn(9, 2, dtype=F64)
    begun_NH = torch.tensor([[0.3, -0.2, 0.5, 0.1]], dtype=F64)
    one, other = (memory.fused().begin(value) for value in (begun_NH, begun_NH.flip(-1)))
    told, otherwise = (memory.unroll(*begun, inputs_nX, [1] * 9) for begun in (one, other))
    assert bool((told != otherwise).any(-1).all())


@torch.no_grad()
def test_what_looks_back_says_what_its_equations_say() -> None:
    # Why: by hand. All it has seen is 0 but the beginning, which is 1, and all scores are 0: of
    # three outputs it sees 1/3, and says tanh(3 · 1/3 + 2 · 0) = tanh 1.
    memory = LookingBack(1, 1, window=4).double()
    for parameter in memory.parameters():
        parameter.zero_()
    memory.both.weight.copy_(row(3.0, 2.0))
    said, kept = memory.fused().begin(row(1.0, 0.0))
    assert float(said) == pytest.approx(math.tanh(3.0 + 2.0))
    for count in (2, 3):
        said, kept = memory.fused().step([row(0.7)], said, kept)
        assert float(kept.h) == 0.0
        assert float(said) == pytest.approx(math.tanh(3.0 / count))


def test_steps_go_by_session_and_back() -> None:
    # Why: lock-step order is that of all sessions' first steps, then of all second ones.
    value_nV = column(1.0, 5.0, 2.0, 6.0, 3.0)
    whole = by_session(value_nV, [2, 2, 1])
    assert whole.squeeze(-1).tolist() == [[1.0, 2.0, 3.0], [5.0, 6.0, 0.0]]
    assert torch.equal(in_lock_step(whole, [2, 2, 1]), value_nV)
    first = column(-1.0, -5.0)
    assert before(first, value_nV, [2, 2, 1]).flatten().tolist() == [-1.0, -5.0, 1.0, 5.0, 2.0]
