"""experiments.throughput: its figures, its limits, its command line; no time is asserted here."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments import throughput
from experiments.speed import machine as machine_module
from experiments.speed import many_seeds, shops
from experiments.speed.figure import Figure
from experiments.speed.guide import FIGURES
from experiments.speed.machine import Machine, Work, _tanh_by_sigmoid, limit_seconds, measure
from experiments.speed.setting import Setting
from experiments.speed.stepping import Stepping, simulator_of
from experiments.speed.timing import Parts, interleaved, parts_of
from experiments.speed.valuing import FixedPages
from experiments.speed.work import learned_work, record_bytes
from recgym.rollout import rollout
from recgym.spaces import ObservationSpec
from recgym.types import Kind, Page
from recgym.users.likelihood import cart_counts, gather_steps, log_prob

TINY = Setting(
    repeats=2,
    lanes=4,
    items=100,
    hidden=8,
    least_seconds=1e-4,
    sessions=20,
    log_sessions=40,
    learning_starts=8,
)
KEYS = [
    "figure", "value", "unit", "min", "max", "limit", "ratio", "goal", "settings", "device",
    "torch", "commit",
]  # fmt: skip
# tests of its own has `ingest`; what is compiled is in test_simulator and test_compiling
ELSEWHERE = ("ingest", "simulator_compiled", "dqn_compiled", "ppo_compiled")
MEASURED_HERE = [name for name in FIGURES if name not in ELSEWHERE]


def machine(**changed: Any) -> Machine:
    rates: dict[str, Any] = {
        "product": {(2, 3, 4): 48.0, (1, 5, 1): 5.0},
        "square": 1.0,
        "copy": 100.0,
        "gather": 1.0,
        "sigmoid": 10.0,
        "tanh": 20.0,
        "overhead": 1.0,
    }
    return Machine(**{**rates, **changed})


def test_a_limit_adds_its_terms_and_names_the_longest() -> None:
    # Why: 2·2·3·4 = 48 FLOPs at 48/s and 2·1·5·1 = 10 at 5/s are 1 + 2 s; 50 bytes at 100/s are
    # 0.5 s, 15 sigmoids at 10/s 1.5 s, 10 tanhs at 20/s 0.5 s: 5.5 s in all.
    needed = Work(products=((2, 3, 4), (1, 5, 1)), moved=50.0, sigmoids=15.0, tanhs=10.0)
    limit = limit_seconds(needed, machine())
    assert needed.flops == 58.0
    assert limit.by_term == {"products": 3.0, "memory": 0.5, "sigmoids": 1.5, "tanhs": 0.5}
    assert limit.seconds == 5.5 and limit.binding == "products"
    assert limit_seconds(needed, machine(copy=1.0)).binding == "memory"
    # at 29 FLOP/s for every product, its 58 FLOPs take 2 s
    assert limit_seconds(needed, machine(square=29.0).at_square_rate()).seconds == 4.5


def test_work_grows_with_lanes_and_counts_the_gates() -> None:
    # Why: an LSTM has three sigmoids and two tanhs a unit, whatever else the model holds.
    shop = shops.learned(100, hidden=8, embedding=4)
    one, ten = learned_work(shop, 1, 10, 500), learned_work(shop, 10, 10, 5000)
    assert (one.sigmoids, one.tanhs) == (24.0, 16.0)
    assert ten.flops == pytest.approx(10 * one.flops)
    assert ten.moved == pytest.approx(10 * one.moved)
    gates = 2 * (shop.memory.input_size + 8) * 32
    assert one.flops > gates
    # 10 vectors of a page and the viewed one, 30 numbers of the slots, 7 steps of bisection
    assert one.moved == 500 + 4 * (11 * 4 + 30 + 7)


def test_bytes_of_records_count_shared_tensors_once() -> None:
    item_NK = torch.zeros(3, 2, dtype=torch.int64)
    page = Page(item_NK, torch.zeros(3, 2))
    assert record_bytes(page) == 48 + 24
    assert record_bytes(page, Page(item_NK, page.price)) == 48 + 24


def test_rates_are_measured_for_every_shape() -> None:
    rates = measure(torch.device("cpu"), [(4, 3, 5)], row=8, rows=50)
    numbers = [rates.square, rates.copy, rates.gather, rates.sigmoid, rates.tanh, rates.overhead]
    assert set(rates.product) == {(4, 3, 5)}
    assert all(math.isfinite(x) and x > 0 for x in [*numbers, rates.product[4, 3, 5]])
    assert json.loads(json.dumps(rates.described()))["product"].keys() == {"4 x 3 x 5"}


def test_a_tanh_by_a_sigmoid_is_a_tanh() -> None:
    x = torch.linspace(-4.0, 4.0, 9)
    torch.testing.assert_close(_tanh_by_sigmoid(x, out=torch.empty(9)), x.tanh())


def test_works_take_turns() -> None:
    # Why: a ratio of two figures is fair only if both meet the same moments of the machine.
    order: list[str] = []
    works = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    taken = interleaved(works, Setting(repeats=3), least_seconds=1e-12)
    assert {name: len(values) for name, values in taken.items()} == {"a": 3, "b": 3}
    assert order[-6:] == ["a", "b"] * 3


def test_parts_are_exclusive_and_leave_no_trace() -> None:
    # Why: time of a called function must not count twice, and what was measured runs on unchanged.
    class Shop:
        def inner(self) -> None:
            torch.randn(50_000)

        def outer(self) -> None:
            self.inner()

    shop = Shop()
    watched = [(shop, "inner", "inside"), (shop, "outer", "around"), (shop, "absent", "none")]
    parts = parts_of(lambda: shop.outer(), watched, TINY, rest="rest")
    assert set(parts) == {"inside", "around", "rest"} and vars(shop) == {}
    assert parts["inside"] > parts["around"] >= 0.0
    raised = Parts(None)
    with pytest.raises(ZeroDivisionError), raised.watching([(math, "sqrt", "root")]):
        _ = 1 / 0
    assert math.sqrt.__name__ == "sqrt" and not raised.seconds


def test_shoppers_of_an_unfitted_shop_behave_plausibly() -> None:
    # Why: a figure over shoppers who never leave, or never click, would measure another step.
    shop = shops.learned(200, hidden=8, embedding=8)
    spec = ObservationSpec(simulator_of(shop), "encoder")
    policy = FixedPages(200, 600, torch.device("cpu"))
    seed_B = torch.arange(600)
    stats = rollout(spec, policy, seed_B, torch.zeros_like(seed_B), lanes=600)
    assert 6.0 < float(stats.pages.mean()) < 11.0
    assert 0.08 < float(stats.clicks.sum() / stats.pages.sum()) < 0.4
    assert shops.tables_mib(shop) > 0.0


def test_the_drawn_log_is_one_that_can_be_fitted() -> None:
    # Why: a checkout of an empty cart or an item twice on a page has probability 0.
    items = shops.catalog(60)
    log = shops.sessions(items, 80, num_slots=10, valid_share=0.1)
    model = shops.untrained(items, log, hidden=8, embedding=4)
    model.eval()
    cart_S = cart_counts(log)
    assert (cart_S[log.event.kind == int(Kind.CHECKOUT)] > 0).all()
    assert all(len(set(row)) == 10 for row in log.page.item.tolist())
    with torch.no_grad():
        value = log_prob(model, gather_steps(log, cart_S, torch.arange(80))).total()
    assert torch.isfinite(value).all()
    assert items.num_categories == 7 and int(items.category.max()) < 7


def test_lanes_that_left_begin_their_next_session() -> None:
    stepping = Stepping(simulator_of(shops.world(60)), 64)
    for _ in range(6):
        before = stepping.state
        stepping()
        left_N = stepping.outcome.left
        expected_N = before.arrival.session + left_N.long()
        assert torch.equal(stepping.state.arrival.session, expected_N)
        assert (stepping.state.visit.page_number[left_N] == 0).all()
    assert int(stepping.state.arrival.session.sum()) > 0


@pytest.mark.parametrize("name", MEASURED_HERE)
def test_each_figure_is_finite_and_positive(
    name: str, traced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many_seeds, "SEEDS", 2)
    monkeypatch.setattr(many_seeds, "STEPS", 2)
    monkeypatch.setattr(machine_module, "BEST_OF", 1)
    monkeypatch.setattr(machine_module, "LEAST_SECONDS", 1e-4)
    figure = throughput.measured(name, TINY)
    assert figure.figure == name and figure.goal and figure.unit
    assert bool(traced) == name.endswith("compiled")
    assert len(figure.values) == TINY.repeats
    numbers = [*figure.values, *(x for x in (figure.limit, figure.ratio) if x is not None)]
    assert all(math.isfinite(x) and x > 0 for x in numbers)
    line = json.loads(json.dumps(throughput.line_of(figure, TINY.device), allow_nan=False))
    assert list(line) == KEYS
    assert line["min"] <= line["value"] <= line["max"]
    told = throughput.lines_for_people(line)
    assert told[0].startswith(f"{name}: ") and not any("{" in text for text in told)


# ---- the command line ---------------------------------------------------------------------------


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Figures that cost nothing, recorded in a folder of the test."""

    def instead(name: str, setting: Setting) -> Figure:
        return Figure(
            name, [2.0, float(setting.repeats)], "steps/s", settings={"parts": {"a": 1.0}}
        )

    monkeypatch.setattr(throughput, "measured", instead)
    path = tmp_path / "results" / "throughput.jsonl"
    monkeypatch.setattr(throughput, "RECORD", path)
    return path


def test_one_json_line_a_figure_in_their_order(
    recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    throughput.main(["device=cpu"])
    printed = capsys.readouterr()
    lines = [json.loads(text) for text in printed.out.splitlines()]
    assert [line["figure"] for line in lines] == list(FIGURES)
    assert all(list(line) == KEYS for line in lines)
    assert "1000.0000 ms  a" in printed.err and not recorded.exists()


def test_only_what_is_asked_for_is_measured(
    recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Why: a setting behind --only is a setting, though argparse reads it as one more name.
    throughput.main(["--only", "dqn", "simulator", "repeats=6", "device=cpu"])
    lines = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [line["figure"] for line in lines] == ["simulator", "dqn"]
    assert [line["max"] for line in lines] == [6.0, 6.0]


def test_recording_appends(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    throughput.main(["--record", "--only", "fit", "device=cpu"])
    first = recorded.read_text(encoding="utf-8")
    throughput.main(["device=cpu", "--only", "sb3_ppo", "--record"])
    both = recorded.read_text(encoding="utf-8")
    assert both.startswith(first) and len(both.splitlines()) == 2
    assert both == capsys.readouterr().out


def test_help_names_every_figure_and_the_peers(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        throughput.main(["--help"])
    printed = capsys.readouterr().out
    assert ended.value.code == 0
    assert all(f"\n{name}\n" in printed for name in throughput.MODULES)
    assert list(throughput.MODULES) == list(FIGURES)
    for told in ("RL4RS 500-800", "379,000", "November 2026", "KEY=VALUE"):
        assert told in printed


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--only", "simulater"], ("simulater", "did you mean simulator?")),
        (["lane=3"], ("'lane'", "did you mean lanes?")),
        (["lanes=0"], ("lanes=0", "at least 1")),
        (["repeats=many"], ("repeats=many", "whole number")),
        (["items=9"], ("items=9", "at least 100")),
        (["device=tpu9"], ("device='tpu9'", "cuda")),
        (["simulator"], ("'simulator'", "--only simulator")),
        (["--fast"], ("--fast", "--help")),
        (["--only"], ("--only", "--help")),
    ],
)
def test_what_cannot_be_read_ends_in_one_sentence(
    arguments: list[str],
    named: tuple[str, ...],
    recorded: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        throughput.main(arguments)
    printed = capsys.readouterr()
    assert ended.value.code == 1 and printed.out == ""
    assert printed.err.startswith("error: ") and len(printed.err.splitlines()) == 1
    assert all(part in printed.err for part in named)
