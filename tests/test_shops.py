"""recgym.shops and recgym.build: shops by name, from packaged YAML or the registry."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from probe_shop import ProbeShop, learned_shop

from recgym import shops
from recgym.build import build
from recgym.errors import UserError
from recgym.shops import choose_device, open_shop, with_encoder
from recgym.worlds.taste import TasteShop

YAML = """
_target_: recgym.worlds.taste.TasteShop
num_items: 7
intent_share: [0.5, 0.25, 0.25]
"""


def test_the_default_world_is_a_taste_shop_without_an_encoder() -> None:
    # Why: a true shop has no fitted model, and its hidden state must not serve as one.
    shop, encoder = open_shop("world:default")
    assert isinstance(shop, TasteShop) and encoder is None


def test_a_world_is_read_from_its_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Why: to add a shop one writes one YAML; its lists must reach the constructor as lists.
    folder = tmp_path / "world"
    folder.mkdir()
    (folder / "tiny.yaml").write_text(YAML, encoding="utf-8")
    monkeypatch.setattr(shops, "files", lambda package: tmp_path)
    shop, _ = open_shop("world:tiny")
    assert shop.catalog.num_items == 7
    with pytest.raises(UserError, match="the worlds are default, tiny"):
        open_shop("world:../tiny")


def test_a_world_is_drawn_by_the_seed_behind_its_name() -> None:
    # Why: a benchmark over many shops names each in one string.
    one, _ = open_shop("world:drawn:7")
    other, _ = open_shop("world:drawn:8")
    assert isinstance(one, TasteShop) and isinstance(other, TasteShop)
    assert one.knobs.seed == 7 and one.knobs.rho != other.knobs.rho
    with pytest.raises(UserError, match="expected a whole number"):
        open_shop("world:drawn:x")


def test_build_passes_plain_lists_and_changes() -> None:
    # Why: no constructor may meet a config, and a device is set on top of a YAML.
    config = {"_target_": "builtins.dict", "values": [3, 1], "kept": 1}
    built = build(config, kept=2)
    assert built == {"values": [3, 1], "kept": 2} and type(built["values"]) is list


def test_a_user_model_encodes_itself_and_stops_its_dropout() -> None:
    # Why: dropout would be noise from outside the lane seeds.
    model = learned_shop().train()
    shop, encoder = with_encoder(model)
    assert shop is encoder is model and not model.training
    assert with_encoder(ProbeShop())[1] is None


def test_auto_takes_what_there_is() -> None:
    # Why: one config must run on a laptop and on a GPU machine.
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="use device='auto'"):
            choose_device("cuda")


def test_a_keyword_that_a_target_does_not_take_is_one_sentence() -> None:
    # Why: `+agent.foo=3` must not end in a traceback after the fit.
    with pytest.raises(UserError, match=r"Random takes no foo: expected keywords among num_slots"):
        build({"_target_": "agents.baselines.Random", "num_slots": 2, "foo": 3})
