"""``embedding.prompt`` stands before every text the encoder reads, and vectors belong to it; without one all is as before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from redheart.checkpoint.restore import embedding_settings
from redheart.config import EmbeddingConfig, load_config
from redheart.data import Situation
from redheart.embedding import find_model
from redheart.embedding.encoder import Encoder
from redheart.embedding.missing import key_of, settings_of
from redheart.embedding.model_source import ModelSource, warn_of_prompt
from redheart.errors import ConfigError, MissingRequirement
from redheart.facts.model import DataFacts, EncoderFacts, ModelDescription
from redheart.storage.atomic import to_json
from tests.embedding.conftest import embed, make_items, write_items

QUERY = "query: "


def test_each_text_is_read_behind_the_prompt(encoder: Encoder) -> None:
    with_prompt = Encoder(find_model("all-MiniLM-L6-v2", QUERY), precision="fp32", device="cpu")
    np.testing.assert_allclose(with_prompt.encode(["I lied."]), encoder.encode(["query: I lied."]), atol=2e-6)
    assert with_prompt.part_pieces == encoder.part_pieces - 2, (
        "query and the colon take two of the pieces it reads at once"
    )


def test_a_prompt_that_leaves_no_room_is_refused(source: ModelSource) -> None:
    with pytest.raises(ConfigError, match=r"embedding.prompt: found 300 word pieces, .*wanted at most 127"):
        Encoder(find_model("all-MiniLM-L6-v2", "so " * 300), precision="fp32", device="cpu")


def test_without_a_prompt_keys_are_those_of_before(source: ModelSource) -> None:
    """Of revision d5afb21."""
    assert find_model("all-MiniLM-L6-v2").fingerprint == source.fingerprint
    fingerprint, story = "0123456789abcdef", Situation("a", "I lied.")
    assert settings_of(fingerprint, EmbeddingConfig()) == "e4a7f721f66d66f0"
    assert key_of(story, fingerprint, EmbeddingConfig()) == "470dc49a89a52029173d28a9d79b1a05"
    assert to_json(EncoderFacts(name="a", fingerprint="b"), indent=None) == '{"name": "a", "fingerprint": "b"}'
    assert to_json(DataFacts(name="a", counts={}), indent=None) == '{"name": "a", "counts": {}}'


def test_another_prompt_is_embedded_again_beside_the_first(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str]
) -> None:
    path = write_items(tmp_path / "d.json", make_items(3))
    plain = embed(path, config)
    read = len(embedded_texts)
    prompted = embed(path, msgspec.structs.replace(config, prompt=QUERY))
    assert len(embedded_texts) == 2 * read
    assert prompted.identity != plain.identity and prompted.model_fingerprint != plain.model_fingerprint
    assert embed(path, config).identity == plain.identity
    assert len(embedded_texts) == 2 * read, "both are kept"


def test_vectors_behind_another_prompt_are_not_taken_where_the_model_is_not_here(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_items(tmp_path / "d.json", make_items(3))
    prompted = msgspec.structs.replace(config, prompt=QUERY)
    made = embed(path, prompted)

    def absent(*_: object) -> ModelSource:
        raise MissingRequirement("not here")

    monkeypatch.setattr("redheart.embedding.embed.find_model", absent)
    monkeypatch.setattr("redheart.embedding.missing.find_model", absent)
    assert embed(path, prompted).identity == made.identity
    (tmp_path / "d.vectors" / "facts.safetensors").unlink()
    assert embed(path, prompted).identity == made.identity
    for other in (None, "passage: "):
        with pytest.raises(MissingRequirement):
            embed(path, msgspec.structs.replace(config, prompt=other))


def test_a_model_predicts_with_the_prompt_that_it_was_trained_with() -> None:
    encoder = EncoderFacts(name="e5", fingerprint="f", prompt=QUERY)
    there = embedding_settings(ModelDescription(encoder=encoder), EmbeddingConfig(prompt="passage: "))
    assert (there.model, there.prompt) == ("e5", QUERY)
    without = embedding_settings(
        ModelDescription(encoder=EncoderFacts(name="e5", fingerprint="f")), EmbeddingConfig(prompt="passage: ")
    )
    assert without.prompt is None


def test_an_encoder_that_wants_a_prompt_and_has_none_is_warned_of(log: Callable[[], str]) -> None:
    for name in ("intfloat/multilingual-e5-base", "e5-small-v2", "/models/intfloat/e5-large"):
        warn_of_prompt(EmbeddingConfig(model=name))
        assert name in (said := log()) and 'embedding.prompt="query: "' in said
        warn_of_prompt(EmbeddingConfig(model=name, prompt="passage: "))
    for name in ("all-MiniLM-L6-v2", "BAAI/bge-m3", "intfloat/e5-mistral-7b-instruct", "some5-base"):
        warn_of_prompt(EmbeddingConfig(model=name))
    assert log() == ""


def test_the_space_at_its_end_is_kept_and_an_empty_one_refused(tmp_path: Path) -> None:
    assert load_config(None, ["embedding.prompt=query: "]).embedding.prompt == QUERY
    (tmp_path / "c.yaml").write_text('embedding:\n  prompt: "query: "\n')
    assert load_config(tmp_path / "c.yaml").embedding.prompt == QUERY
    with pytest.raises(ConfigError, match=r"embedding\.prompt"):
        load_config(None, ["embedding.prompt="])
