"""A checkpoint knows whose vectors it was trained on, and refuses another encoder's."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest

from redheart.checkpoint import Manifest, list_epochs
from redheart.checkpoint.restore import check_encoder
from redheart.embedding import open_embedded
from redheart.embedding.store import NewRecord, VectorStoreWriter
from redheart.errors import AnotherEncoder
from redheart.facts.model import EncoderFacts
from tests.training.runs import train
from tests.training.small_data import D_EMBED, embedded_items


def stored(folder, fingerprint, model):
    """The small dataset with its vectors in the store of an encoder."""
    folder.mkdir()
    store = VectorStoreWriter(folder / "small.vectors", fingerprint, model_name=model, d_embed=D_EMBED)
    items = embedded_items()
    records = []
    for number, item in enumerate(items):
        vectors = np.array(item.pop("embedding"), np.float32)
        kinds = "".join(map(str, item.pop("embedding_kinds")))
        item["embedding_key"] = f"{fingerprint}-{number}"
        records.append(NewRecord(item["embedding_key"], kinds, vectors))
    store.append(records, precision="fp32")
    path = folder / "small.embedded.json"
    path.write_text(json.dumps(items), encoding="utf-8")
    return path


@pytest.fixture
def manifest(settings, tmp_path):
    """Of a checkpoint trained on the vectors of one encoder."""
    train(stored(tmp_path / "one", "aaaa1111", "one-encoder"), tmp_path / "out", settings(epochs=1))
    return list_epochs(tmp_path / "out", verify=True)[-1].manifest


def test_the_manifest_names_the_encoder_and_vectors_of_the_same_one_are_fine(manifest, tmp_path):
    assert manifest.encoder == EncoderFacts(name="one-encoder", fingerprint="aaaa1111")
    check_encoder(manifest, open_embedded(tmp_path / "one" / "small.embedded.json"))
    check_encoder(manifest, open_embedded(stored(tmp_path / "renamed", "aaaa1111", "the same under another name")))


def test_vectors_of_another_encoder_of_the_same_size_are_refused_naming_both(manifest, tmp_path):
    other = open_embedded(stored(tmp_path / "two", "bbbb2222", "another-encoder"))
    with pytest.raises(AnotherEncoder) as found:
        check_encoder(manifest, other)
    for part in ("one-encoder", "aaaa1111", "another-encoder", "bbbb2222"):
        assert part in str(found.value)


def test_where_one_of_them_is_not_known_nothing_is_refused(manifest, dataset, tmp_path):
    inline = open_embedded(dataset)
    assert inline.model_fingerprint == ""
    check_encoder(manifest, inline)
    other = open_embedded(stored(tmp_path / "two", "bbbb2222", "another-encoder"))
    check_encoder(msgspec.structs.replace(manifest, encoder=EncoderFacts(name="", fingerprint="")), other)
    stored_without = {name: value for name, value in msgspec.to_builtins(manifest).items() if name != "encoder"}
    check_encoder(msgspec.convert(stored_without, Manifest), other)
