"""What is embedded again: items whose text changed, everything under another model or segmentation, and what was damaged."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from redheart.cli.main import main
from redheart.config import EmbeddingConfig
from redheart.data.locate import DEFAULT_NAME, locate_dataset
from redheart.embedding import open_embedded
from redheart.embedding.encoder import Encoder
from redheart.embedding.model_source import ModelSource
from redheart.embedding.open_dataset import changed_source
from redheart.errors import StorageError
from redheart.messages import set_up_logging
from tests.embedding.conftest import check_no_story_was_read_twice, embed, make_items, write_items


def test_a_changed_item_alone_is_embedded_again(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str]
) -> None:
    items = make_items(6)
    path = write_items(tmp_path / "x.json", items)
    first = embed(path, config)
    embedded_texts.clear()
    items[2]["text"] = "Something else happened."
    items[3]["regret_factor"] = 1.0
    items.append({"id": "new", "text": "One more."})
    second = embed(write_items(path, items), config)
    assert sorted(set(embedded_texts) - {"Story 2", "telling it"}) == ["One more.", "Something else happened."]
    assert second.identity != first.identity
    np.testing.assert_array_equal(second.segments(1).vectors, first.segments(1).vectors)
    assert open_embedded(tmp_path / "x.embedded.json").ids[-1] == "new"


@pytest.mark.parametrize(
    "field, value", [("title", "Another title"), ("action", "keeping quiet"), ("text", "Another.")]
)
def test_each_field_that_is_embedded_embeds_its_item_again(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], field: str, value: str
) -> None:
    items = make_items(2)
    first = embed(write_items(tmp_path / "x.json", items), config)
    embedded_texts.clear()
    items[1][field] = value
    second = embed(write_items(tmp_path / "x.json", items), config)
    assert value in embedded_texts
    assert second.keys[0] == first.keys[0] and second.keys[1] != first.keys[1]


@pytest.mark.parametrize("setting", [{"max_segments": 5}, {"window_word_pieces": 20}])
def test_each_setting_of_the_segmentation_embeds_everything_again(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], setting: dict[str, int]
) -> None:
    path = write_items(tmp_path / "x.json", make_items(2))
    first = embed(path, config)
    embedded_texts.clear()
    second = embed(path, msgspec.structs.replace(config, **setting))
    assert {"Story 0", "Story 1"} <= set(embedded_texts)
    assert second.identity != first.identity


def test_identity_follows_annotations_text_and_order_but_not_notes(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str]
) -> None:
    items = make_items(3)
    path = tmp_path / "x.json"
    first = embed(write_items(path, items), config).identity
    items[0]["note"] = "another"
    assert embed(write_items(path, items), config).identity == first
    assert embed(write_items(path, items[::-1]), config).identity != first
    items[0]["regret_factor"] = 0.123
    assert embed(write_items(path, items), config).identity != first


def test_another_segmentation_or_model_embeds_everything_again(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], source: ModelSource
) -> None:
    path = write_items(tmp_path / "x.json", make_items(3))
    first = embed(path, config)
    embedded_texts.clear()
    embed(path, msgspec.structs.replace(config, window_word_pieces=20))
    assert len(embedded_texts) > 9
    embedded_texts.clear()
    other = tmp_path / "other model"
    other.mkdir()
    for name in ("model.safetensors", "tokenizer.json", "modules.json", "1_Pooling"):
        (other / name).symlink_to(source.folder / name)
    (other / "config.json").write_text(json.dumps({**json.loads((source.folder / "config.json").read_text()), "x": 1}))
    second = embed(path, msgspec.structs.replace(config, model=str(other)))
    assert embedded_texts
    assert second.identity != first.identity
    embedded_texts.clear()
    assert embed(path, config).identity == first.identity  # the first model's vectors are still there
    assert not embedded_texts


def test_a_flipped_byte_is_found_by_verification_and_embedded_again(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str]
) -> None:
    path = write_items(tmp_path / "x.json", make_items(9))
    first = embed(path, config)
    (data,) = (tmp_path / "x.vectors").glob("*.float32")
    content = bytearray(data.read_bytes())
    content[384 * 4 * 2 + 1] ^= 64
    data.write_bytes(content)
    with pytest.raises(StorageError, match=r"vectors of 1 items are damaged \(first: item-0\)"):
        open_embedded(tmp_path / "x.embedded.json").verify()
    embedded_texts.clear()
    made = embed(path, config, verify=True)
    assert [text for text in embedded_texts if text.startswith("Story")] == ["Story 0"]
    made.verify()
    assert made.identity == first.identity
    open_embedded(tmp_path / "x.embedded.json").verify()


def test_forcing_embeds_everything_again(tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str]) -> None:
    path = write_items(tmp_path / "x.json", make_items(2))
    embed(path, config)
    embedded_texts.clear()
    embed(path, config, force=True)
    assert sum(text.startswith("Story") for text in embedded_texts) == 2


def test_a_store_of_the_first_segmentation_is_refused_on_opening_and_embedded_again(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the first version left it: other keys, and no vectors of whole texts."""
    path = write_items(tmp_path / "x.json", make_items(3))
    with monkeypatch.context() as then:
        then.setattr("redheart.embedding.missing.SEGMENTATION_VERSION", 1)
        cut = Encoder.segment
        then.setattr(Encoder, "segment", lambda *given: [segments[:-1] for segments in cut(*given)])
        old = embed(path, config)
    assert old.segments(0).kinds.max() == 2
    with pytest.raises(StorageError, match=r'vectors of 3 of 3 items \(first: "item-0"\).*text whole') as caught:
        open_embedded(old.path)
    assert f"redheart embed --data {old.path}" in str(caught.value)
    embedded_texts.clear()
    made = embed(path, config)
    check_no_story_was_read_twice(embedded_texts, 3)
    assert not set(made.keys) & set(old.keys)
    opened = open_embedded(old.path)
    assert opened.identity == made.identity != old.identity
    assert all(opened.segments(index).kinds[-1] == 3 for index in range(3))


def test_a_dataset_that_was_edited_since_it_was_embedded_is_told_from_one_that_was_touched(
    tmp_path: Path, config: EmbeddingConfig
) -> None:
    items = make_items(2)
    path = write_items(tmp_path / "x.json", items)
    made = embed(path, config).path
    assert changed_source(made) is None
    os.utime(path)
    assert changed_source(made) is None
    items[1]["text"] += " Edit: typo."
    write_items(path, items)
    assert changed_source(made) == path
    (tmp_path / "x.vectors" / "facts.safetensors").unlink()
    open_embedded(made)
    assert changed_source(made) == path, "by its size, where the facts were made anew"
    embed(path, config)
    assert changed_source(made) is None
    path.unlink()
    assert changed_source(made) is None and changed_source(tmp_path / "another.embedded.json") is None


@pytest.mark.parametrize(
    ("words", "force", "verify"), [((), False, False), (("--anew",), True, False), (("--verify",), False, True)]
)
def test_the_command_hands_on_what_messages_advise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: tuple[str, ...], force: bool, verify: bool
) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("redheart.embedding.embed_dataset", lambda *_, **options: asked.update(options))
    path = write_items(tmp_path / "x.json", make_items(2))
    assert main(["embed", "--data", str(path), "--lang", "ko", *words]) == 0
    assert (asked["force"], asked["verify"]) == (force, verify)
    set_up_logging(quiet=True)


def test_a_dataset_that_was_changed_while_the_clock_was_set_back_is_found_changed(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str]
) -> None:
    """By times of change alone the embedded file of before would be the newer one, and be taken in silence."""
    path = write_items(tmp_path / DEFAULT_NAME, make_items(2))
    embed(path, config)
    embedded = path.with_suffix(".embedded.json")
    assert locate_dataset(None, tmp_path).path == embedded
    write_items(path, make_items(3))
    os.utime(path, (1, 1))
    assert locate_dataset(None, tmp_path).path == path
    (tmp_path / f"{path.stem}.vectors" / "written.json").write_text("[")
    assert locate_dataset(None, tmp_path).path == embedded, "without the note the times tell"
