"""TensorBoard: what a run writes is read back, tag by tag and value by value."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from probe_shop import learned_shop
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tiny import agent_settings

from agents import slateq
from agents.board import compared, show_end
from agents.logger import LAYOUT, RESULTS, Logger
from agents.outlook import outlook
from agents.valuing import make_agent
from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec
from recgym.types import SessionStats


def estimate(mean: float | None) -> dict[str, float | None]:
    return {"mean": mean, "low": mean, "high": mean}


def summary_of(agent: str) -> dict[str, Any]:
    row = {"conversion_rate": estimate(0.25), "revenue_per_session": estimate(3.5),
           "incremental_revenue_per_session": estimate(None)}  # fmt: skip
    policies = {agent: {"learned": row, "true": None}}
    return {"agent": agent, "policies": policies, "seconds": {"train": 12.5}}


def stats(orders: list[float]) -> SessionStats:
    order_B = torch.tensor(orders)
    ones_B = torch.ones_like(order_B)
    sums = {"pages": ones_B, "views": ones_B, "impressions": ones_B, "clicks": 3 * order_B,
            "carts": 2 * order_B, "orders": order_B}  # fmt: skip
    shopper_B = torch.arange(len(orders))
    return SessionStats(shopper=shopper_B, revenue=order_B, credited_revenue=order_B, **sums)


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"histograms": 0, "tensors": 0})
    events.Reload()
    return events


def ended(folder: Path, agent: str, gamma: float) -> EventAccumulator:
    """A run of a sweep over agents and discounts that wrote how it ended."""
    (folder / ".hydra").mkdir(parents=True)
    given = [f"agent={agent}", f"agent.gamma={gamma}", "seed=3", "cache_dir=elsewhere"]
    OmegaConf.save(OmegaConf.create(given), folder / ".hydra" / "overrides.yaml")
    settings = {"agent_name": agent, "seed": 3, "agent": {"gamma": gamma, "_target_": "x"},
                "steps": 100, "cache_dir": "elsewhere", "reward": "revenue"}  # fmt: skip
    with Logger(folder) as logger:
        played = {"learned": {agent: stats([0.0, 2.0])}}
        show_end(logger, settings, summary_of(agent), played, "policy  conversion")
    return read(folder)


def declared(events: EventAccumulator, tag: str) -> HParamsPluginData:
    content = events.SummaryMetadata(f"_hparams_/{tag}").plugin_data.content
    found = HParamsPluginData()
    found.ParseFromString(content)
    return found


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[EventAccumulator]:
    home = tmp_path_factory.mktemp("board")
    return [ended(home / name, name, gamma) for name, gamma in (("dqn", 0.9), ("ppo", 0.5))]


def test_the_hparams_tab_compares_all_jobs(runs: list[EventAccumulator]) -> None:
    # Why: the tab takes its columns from one run, so that each must declare all of them.
    heads = [declared(events, "experiment").experiment for events in runs]
    results = [{info.name.tag for info in head.metric_infos} for head in heads]
    wanted = {f"result_{s}/{m}" for s in ("learned", "true") for m in RESULTS}
    assert results[0] == results[1] == wanted
    keys = [{info.name for info in head.hparam_infos} for head in heads]
    assert keys[0] == keys[1] == {"agent_name", "agent.gamma", "seed", "steps", "reward"}
    for events, name, gamma in zip(runs, ("dqn", "ppo"), (0.9, 0.5), strict=True):
        given = declared(events, "session_start_info").session_start_info.hparams
        assert given["agent_name"].string_value == name
        assert given["agent.gamma"].number_value == gamma


def test_results_are_written_where_they_are_known(runs: list[EventAccumulator]) -> None:
    # Why: a NaN would stand in the tab for what a run cannot know.
    for events in runs:
        results = {tag for tag in events.Tags()["scalars"] if tag.startswith("result_")}
        assert results == {"result_learned/conversion_rate", "result_learned/revenue_per_session"}
        assert events.Scalars("result_learned/conversion_rate")[-1].value == 0.25
        assert events.Scalars("result_learned/revenue_per_session")[-1].value == 3.5
        assert events.Scalars("speed/seconds_train")[-1].value == 12.5


def test_texts_and_the_funnel_are_there(runs: list[EventAccumulator]) -> None:
    tags = runs[0].Tags()
    assert {"verdict/text_summary", "config/text_summary"} <= set(tags["tensors"])
    (said,) = runs[0].Tensors("config/text_summary")
    assert "gamma: 0.9" in said.tensor_proto.string_val[0].decode()
    assert "funnel" in tags["images"]


def test_the_layout_groups_funnel_money_agent_and_speed(runs: list[EventAccumulator]) -> None:
    (found,) = runs[0].Tensors("custom_scalars__config__")
    layout = Layout()
    layout.ParseFromString(found.tensor_proto.string_val[0])
    assert [one.title for one in layout.category] == ["funnel", "money", "agent", "speed"]
    assert [len(one.chart) for one in layout.category] == [len(x) for x in LAYOUT.values()]


def test_the_funnel_counts_what_100_sessions_bring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Why: by hand: 2 orders of 2 sessions are 1 each, with 2 carts and 3 clicks; returning
    # shoppers have more sessions than rows.
    from agents import logger as module

    drawn: list[Any] = []
    whole = module.funnel_of
    monkeypatch.setattr(
        module, "funnel_of", lambda rows, shop: drawn.append(rows) or whole(rows, shop)
    )
    with Logger(tmp_path) as logger:
        logger.funnel({"dqn": stats([0.0, 2.0])}, "true")
        often = SessionStats(**{**vars(stats([0.0, 2.0])), "sessions": torch.tensor([3.0, 1.0])})
        logger.funnel({"dqn": often}, "true")
    assert drawn[0] == {"dqn": {"clicks": 3.0, "carts": 2.0, "orders": 1.0}}
    assert drawn[1] == {"dqn": {"clicks": 1.5, "carts": 1.0, "orders": 0.5}}


def test_histograms_hold_what_is_finite(tmp_path: Path) -> None:
    # Why: options that may not be shown are at -inf, and torch's writer would stop at them.
    with Logger(tmp_path) as logger:
        logger.histogram("q", torch.tensor([[1.0, -math.inf], [3.0, 2.0]]), 7)
        logger.histogram("none", torch.tensor([-math.inf]), 7)
        logger.histogram("many", torch.arange(200_000.0), 7)
    events = read(tmp_path)
    assert set(events.Tags()["histograms"]) == {"q", "many"}
    (found,) = events.Histograms("q")
    one = found.histogram_value
    assert (found.step, one.num, one.min, one.max, one.sum) == (7, 3, 1.0, 3.0, 6.0)
    assert events.Histograms("many")[0].histogram_value.num <= 50_000


def test_speed_is_steps_by_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Why: by hand: 640 steps in 4 seconds are 160 a second; the first call has nothing before it.
    clock = iter([10.0, 14.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    with Logger(tmp_path) as logger:
        logger.speed(0)
        logger.speed(640)
    points = read(tmp_path).Scalars("speed/steps_per_second")
    assert [(point.step, point.value) for point in points] == [(640, 160.0)]


def test_a_later_run_in_the_folder_replaces_the_items(tmp_path: Path) -> None:
    # Why: a run that goes on writes them again, and the projector would show each item twice.
    for count in (4, 3):
        labels = [(number, number % 2, "1.00") for number in range(count)]
        with Logger(tmp_path) as logger:
            logger.embedding("items", torch.eye(count), labels, ("item", "category", "price"))
    rows = (tmp_path / "00000" / "items" / "metadata.tsv").read_text().splitlines()
    assert rows == ["item\tcategory\tprice", "0\t0\t1.00", "1\t1\t1.00", "2\t0\t1.00"]
    config = (tmp_path / "projector_config.pbtxt").read_text()
    assert config.count("tensor_path") == 1


def test_settings_of_a_single_run_are_those_that_all_have(tmp_path: Path) -> None:
    # Why: what Hydra wrote beside a run is missing where a run is made from Python.
    settings = {"agent_name": "dqn", "seed": 1, "log": {"name": "csv", "path": None}}
    found = compared(settings, tmp_path / "nowhere.yaml")
    assert found == {"agent_name": "dqn", "seed": 1, "log.name": "csv"}


@pytest.fixture(scope="module")
def spec() -> ObservationSpec:
    model = learned_shop()
    return ObservationSpec(Simulator(model, encoder=model, num_slots=3), "encoder")


def made(name: str, spec: ObservationSpec) -> Any:
    model: Any = spec.simulator.encoder
    offered = {"model": model, "user_model": model, "num_features": spec.num_features,
               "num_items": 40, "num_slots": 3, "views_I": torch.arange(40), "cart_paid": 0.3,
               "seed": 0}  # fmt: skip
    return make_agent(agent_settings(name), offered)


@pytest.mark.parametrize("name", ["dqn", "rainbow", "recurrent_dqn"])
def test_values_of_items_are_those_that_choose(name: str, spec: ObservationSpec) -> None:
    # Why: a histogram of something else would mislead; laws of returns count by their means.
    agent = made(name, spec)
    observation = spec.observe(spec.simulator.reset(torch.arange(6), torch.zeros(6).long()))
    value_NI = agent.q_values(observation)
    assert value_NI.shape == (6, 40) and bool(value_NI.isfinite().all())
    values = agent._values(observation, explore=False)
    item_NJ = torch.tensor([[7, 30]]).expand(6, -1)
    sold_NJF = outlook(agent.user_model, observation).sold[:, [7, 30]]
    gain_NJ = slateq.advantages(agent.head, values.null, agent._gains(values, item_NJ, sold_NJF))
    expected_NJ = agent.head.mean(values.null).unsqueeze(-1) + gain_NJ
    torch.testing.assert_close(value_NI[:, [7, 30]], expected_NJ)


def test_values_of_a_table_are_its_cells(spec: ObservationSpec) -> None:
    agent = made("tabular", spec)
    agent.value_SJ[:, 1 + 5] = 2.5
    observation = spec.observe(spec.simulator.reset(torch.arange(2), torch.zeros(2).long()))
    agent._move(observation.feature.device)
    assert agent.q_values(observation)[:, 5].tolist() == [2.5, 2.5]
