"""recgym.users.text: titles become vectors, which tell what an item is like that is new."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from log_files import write_parquet
from tiny import FIT, compose

from recgym.errors import UserError
from recgym.logs.folder import Folder
from recgym.settings import check
from recgym.stages.log import prepare_log
from recgym.stages.model import prepare_model
from recgym.users import text
from recgym.users.store import load_model
from recgym.users.text import (
    TextSettings,
    check_encoder,
    key_of_text,
    principal,
    title_vectors,
    titles_of,
)

transformers = pytest.importorskip("transformers")

WORDS = ["red", "blue", "green", "shoe", "hat", "coat", "for", "children"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of one layer whose weights nobody has trained."""
    folder = tmp_path_factory.mktemp("bert")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=16,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def settings(encoder: Path, **changed: int) -> TextSettings:
    return TextSettings(encoder=str(encoder), max_tokens=8, **changed)


TITLES = ["red shoe", None, "blue shoe", "red hat for children", "Red Shoe", "green coat"]


def test_the_same_title_is_the_same_vector_and_none_is_the_mean(
    encoder: Path, tmp_path: Path
) -> None:
    vector_IE = title_vectors(TITLES, settings(encoder), tmp_path, CPU)
    torch.testing.assert_close(vector_IE[0], vector_IE[4])  # the tokenizer reads small letters
    assert bool((vector_IE[1] == 0.0).all())
    known = vector_IE[[0, 2, 3, 4, 5]]
    torch.testing.assert_close(known.mean(0), torch.zeros(known.shape[1]), atol=1e-5, rtol=0.0)
    assert known.square().mean().item() == pytest.approx(1.0, rel=1e-5)
    apart = torch.cdist(known, known) + 9.0 * torch.eye(5)
    apart[0, 3] = apart[3, 0] = 9.0
    assert float(apart.min()) > 0.1


def test_what_stands_beside_a_title_in_a_batch_does_not_move_it(encoder: Path) -> None:
    # Why: titles are padded to the longest of their batch, and padding is no word.
    alone = text._encoded(["red shoe"], settings(encoder), CPU)
    beside = text._encoded(["red shoe", "blue hat for children"], settings(encoder), CPU)
    torch.testing.assert_close(alone[0], beside[0])


def test_components_by_hand() -> None:
    # Why: around their mean (1, 1) the rows lie at (2, 0), (-2, 0), (0, 1) and (0, -1): squares of
    # 8 and 2 along the axes, 10 over four rows of two columns or 4 of one.
    row_4H = torch.tensor([[3.0, 1.0], [-1.0, 1.0], [1.0, 2.0], [1.0, 0.0]])
    with_one_unknown = torch.cat([row_4H, torch.full((1, 2), torch.nan)])
    both = principal(with_one_unknown, 2)
    scale = (10 / 8) ** 0.5
    by_hand = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 1.0]]) / scale
    torch.testing.assert_close(both[:4].abs(), by_hand, atol=1e-6, rtol=0.0)
    assert both[4].tolist() == [0.0, 0.0]
    first = principal(row_4H, 1)
    assert first.flatten().abs().tolist() == pytest.approx([2**0.5, 2**0.5, 0.0, 0.0], abs=1e-6)


def test_titles_are_read_once(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Why: a catalogue of a million titles takes an hour.
    first = title_vectors(TITLES, settings(encoder), tmp_path, CPU)
    monkeypatch.setattr(text, "_encoded", lambda *_: pytest.fail("read again"))
    assert torch.equal(first, title_vectors(TITLES, settings(encoder), tmp_path, CPU))


def test_all_that_decides_vectors_is_in_their_key(encoder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for file in encoder.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    key = key_of_text(TITLES, settings(encoder))
    assert key == key_of_text(TITLES, settings(other))  # where it lies does not matter
    assert key != key_of_text(TITLES[::-1], settings(encoder))
    assert key != key_of_text(TITLES, settings(encoder, dimensions=2))
    with (other / "model.safetensors").open("ab") as weights:
        weights.write(b"!")
    assert key != key_of_text(TITLES, settings(other))


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (None, "is no folder"),
        ([], "holds no config.json"),
        (["config.json", "tokenizer.json"], "holds no weights: expected model.safetensors"),
    ],
)
def test_a_folder_without_an_encoder_is_refused_before_any_work(
    encoder: Path, tmp_path: Path, left: list[str] | None, said: str
) -> None:
    folder = tmp_path / "encoder"
    if left is not None:
        folder.mkdir()
        for name in left:
            (folder / name).write_bytes((encoder / name).read_bytes())
    with pytest.raises(UserError, match=said) as refused:
        check_encoder(settings(folder))
    assert "user_model.text.encoder=" in str(refused.value)
    check_encoder(settings(encoder))
    check_encoder(TextSettings())


def test_damaged_weights_end_in_one_sentence(encoder: Path, tmp_path: Path) -> None:
    for file in encoder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(UserError, match="cannot be read") as refused:
        title_vectors(TITLES, settings(tmp_path), tmp_path / "cache", CPU)
    assert "\n" not in str(refused.value) and not (tmp_path / "cache" / "vectors.pt").exists()


@pytest.mark.parametrize("titles", [["red shoe", None], ["red hat", "red hat"], ["xyz", "qrs"]])
def test_titles_that_are_all_alike_are_refused(
    encoder: Path, tmp_path: Path, titles: list[str | None]
) -> None:
    # Why: one title, the same title, and words that the encoder does not know say nothing of items.
    with pytest.raises(UserError, match="tells no two titles of the log apart"):
        title_vectors(titles, settings(encoder), tmp_path, CPU)


@pytest.mark.parametrize(("value", "said"), [({"max_tokens": 2}, "4"), ({"words": 3}, "words")])
def test_settings_out_of_bounds_are_refused(value: dict[str, int], said: str) -> None:
    with pytest.raises(UserError, match=said):
        check("user_model.text", value, TextSettings)


SEEN, NEW = 10, 2  # items met in training, and after it


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log whose shoppers view what is red or what is blue, each for a whole session."""
    folder = tmp_path_factory.mktemp("shop")
    generator = torch.Generator().manual_seed(0)
    start_ms, hour_ms = 1_600_000_000_000, 3_600_000
    rows = []
    for i in range(360):
        colour, first, end = i % 2, (0 if i < 300 else SEEN), (SEEN if i < 300 else SEEN + NEW)
        for t in range(4):
            pick = int(torch.randint((end - first) // 2, (1,), generator=generator))
            rows.append(
                {"shopper": i, "session": i, "time": start_ms + hour_ms * i + 10_000 * t,
                 "event": "view", "item": first + 2 * pick + colour, "price": 10.0}
            )  # fmt: skip
    write_parquet(
        folder / "events.parquet", rows,
        {"shopper": "BIGINT", "session": "BIGINT", "time": "BIGINT", "event": "VARCHAR",
         "item": "BIGINT", "price": "DOUBLE"},
    )  # fmt: skip
    nouns = ["shoe", "hat", "coat", "shoe for children", "hat for children", "coat for children"]
    items = [
        {"item": i, "title": f"{('red', 'blue')[i % 2]} {nouns[i // 2]}", "empty": None}
        for i in range(SEEN + NEW)
    ]
    write_parquet(
        folder / "items.parquet", items,
        {"item": "BIGINT", "title": "VARCHAR", "empty": "VARCHAR"},
    )  # fmt: skip
    return folder


def test_titles_in_the_order_of_the_items(shop: Path, tmp_path: Path) -> None:
    log = Folder(path=str(shop)).clean(tmp_path / "log")
    assert titles_of(log, "title")[:3] == ["red shoe", "blue shoe", "red hat"]
    with pytest.raises(UserError, match="have no column name: expected one of item, "):
        titles_of(log, "name")
    with pytest.raises(UserError, match="nothing in their column empty"):
        titles_of(log, "empty")


def test_a_title_says_whom_a_new_item_is_for(encoder: Path, shop: Path, tmp_path: Path) -> None:
    # Why: what it is for. Items 10 and 11 were never met in training; one is red, the other blue.
    asked = ["log=folder", f"log.path={shop}", f"user_model.text.encoder={encoder}"]
    config = compose("train", *FIT, *asked)
    log, reader, _ = prepare_log(config["log"], tmp_path, {})
    user_model = {**config["user_model"], "num_slots": 3}
    user_model["fit"] |= {"epochs": 4, "least_updates": 80, "learning_rate": 3e-2}
    model, _, folder, _ = prepare_model(log, reader, user_model, tmp_path, CPU, {})
    assert torch.equal(load_model(folder, CPU).tables.vector_ID, model.tables.vector_ID)
    # how much likelier than the blue ones red items are, by latent class of what is looked for
    share_IZ = model.tables.law.share.detach()
    met_Z = (share_IZ[0:SEEN:2].sum(0) / share_IZ[1:SEEN:2].sum(0)).log()
    new_Z = (share_IZ[SEEN] / share_IZ[SEEN + 1]).log()
    assert float(met_Z.std()) > 0.2
    assert float(torch.corrcoef(torch.stack([met_Z, new_Z]))[0, 1]) > 0.5
    # nothing but titles tells the two apart
    with torch.no_grad():
        model.items.of_title.weight.zero_()  # type: ignore[union-attr]
    model.prepare()
    new_Z = (model.tables.law.share[SEEN] / model.tables.law.share[SEEN + 1]).log()
    assert float(new_Z.abs().max()) < 1e-5
