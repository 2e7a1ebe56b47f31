"""recgym.users.store: a model comes back as it was, or says in a sentence why it does not."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from probe_shop import learned_shop

from recgym import shops
from recgym.errors import UserError
from recgym.simulator import Simulator
from recgym.users.store import FIT, load_model, read_description, save_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(learned_shop(), tmp_path / "model", {"valid": {"nll": 1.5}})
    return tmp_path / "model"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_loaded_model_responds_bit_for_bit_alike(tmp_path: Path, dtype: torch.dtype) -> None:
    # Why: policies trained on the model before and after a restart must meet the same shoppers.
    model = learned_shop(dtype)
    model.items.seen[5] = 0.0
    model.eval()
    save_model(model, tmp_path / "model", {})
    again = load_model(tmp_path / "model")
    seed_N = torch.arange(200)
    states = []
    for shop in (model, again):
        simulator = Simulator(shop, num_slots=3, dtype=dtype)
        state = simulator.reset(seed_N, torch.zeros_like(seed_N))
        values = []
        for item in range(5):
            page = simulator.page(state, torch.tensor([item, 30, -1]).expand(200, 3))
            state, outcome = simulator.step(state, page)
            values += [outcome.expected_revenue, outcome.event.item, state.user.h, state.visit.gap]
        states.append(values)
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))
    assert not again.training and again.settings == model.settings


def test_loading_leaves_the_random_numbers_of_others_alone(folder: Path) -> None:
    # Why: results must not depend on whether a model was opened before.
    torch.manual_seed(3)
    expected = torch.randn(2)
    torch.manual_seed(3)
    load_model(folder)
    assert torch.equal(torch.randn(2), expected)


def test_a_shop_opens_by_its_name(folder: Path) -> None:
    # Why: `model:DIR` is how every command names a fit.
    shop, encoder = shops.open_shop(f"model:{folder}")
    assert shop is encoder


def test_the_description_keeps_what_the_fit_said(folder: Path) -> None:
    # Why: a report on a model must be able to name its assumptions and figures.
    description = read_description(folder)
    assert description["extra"] == {"valid": {"nll": 1.5}} and description["schema_version"] == 13
    assert sorted(os.listdir(folder)) == ["model.json", "model.pt"]


def test_a_model_is_replaced_whole_and_nothing_is_left_over(folder: Path) -> None:
    # Why: a half-written model would be opened by the next command.
    other = learned_shop()
    with torch.no_grad():
        other.answers.position[0] += 1.0
    save_model(other, folder, {})
    assert torch.equal(load_model(folder).answers.position, other.answers.position)
    assert os.listdir(folder.parent) == ["model"]


def test_a_failed_write_leaves_the_old_model(folder: Path) -> None:
    # Why: a kill or a full disk must not cost the model of an earlier night.
    with pytest.raises(TypeError):
        save_model(learned_shop(), folder, {"not json": object()})
    assert os.listdir(folder.parent) == ["model"]
    load_model(folder)


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    # Why: a mistyped path must not delete somebody's files.
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=rf"{tmp_path}.*no fitted user model"):
        save_model(learned_shop(), tmp_path, {})
    assert (tmp_path / "notes.txt").read_text() == "mine"


def edit(folder: Path, **changed: object) -> None:
    description = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**description, **changed}))


def damage(folder: Path, how: str) -> None:
    """Spoil the folder in one of the ways that happen."""
    file = folder / "model.pt"
    if how == "no folder":
        shutil.rmtree(folder)
    elif how in ("no model.json", "no model.pt"):
        (folder / how.removeprefix("no ")).unlink()
    elif how == "cut short":
        file.write_bytes(file.read_bytes()[:-2000])
    elif how == "a flipped byte":
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(bytes(content))
    elif how == "half a json":
        (folder / "model.json").write_text('{"schema_version": 3,')
    elif how == "a list":
        (folder / "model.json").write_text("[]")
    elif how == "an older version":
        edit(folder, schema_version=0)
    elif how == "no settings":
        edit(folder, settings=None)
    elif how == "other sizes":
        edit(folder, settings={**learned_shop().settings, "hidden": 8})


@pytest.mark.parametrize(
    "how",
    [
        "no folder",
        "no model.json",
        "no model.pt",
        "cut short",
        "a flipped byte",
        "half a json",
        "a list",
        "an older version",
        "no settings",
        "other sizes",
    ],
)
def test_a_spoiled_folder_ends_in_a_sentence(folder: Path, how: str) -> None:
    # Why: the reader of the message must learn which path is wrong and what to do.
    damage(folder, how)
    with pytest.raises(UserError) as caught:
        load_model(folder)
    message = str(caught.value)
    assert str(folder) in message and "python -m recgym.fit" in message
    assert "\n" not in message


def test_the_fit_behind_an_assumed_model_is_kept_within(folder: Path, tmp_path: Path) -> None:
    # Why: the folder is copied and sent; other assumptions need what came before the first.
    save_model(learned_shop(), tmp_path / "assumed", {"rho": 0.3}, folder)
    assert read_description(tmp_path / "assumed")["extra"] == {"rho": 0.3}
    kept = read_description(tmp_path / "assumed" / FIT)
    assert kept == read_description(folder)
    load_model(tmp_path / "assumed" / FIT)
    assert {path.name for path in tmp_path.iterdir()} == {"model", "assumed"}
