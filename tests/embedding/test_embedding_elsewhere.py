"""Embedding a dataset beside which one may not write: everything goes to the output root."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from redheart.config import EmbeddingConfig
from redheart.data.locate import bundled_sample
from redheart.embedding import embed_dataset, open_embedded
from redheart.embedding.paths import target_paths
from tests.embedding.conftest import embed, make_items, write_items
from tests.other_user import as_another_user, let_others_reach


def test_a_read_only_folder_sends_everything_to_the_output_root(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], make_read_only: Callable[[Path], None]
) -> None:
    path = write_items(tmp_path / "shared" / "x.json", make_items(3))
    make_read_only(path.parent)
    made = embed_dataset(path, config, output_root=tmp_path / "out")
    assert [one.name for one in path.parent.iterdir()] == ["x.json"]
    assert made.path == tmp_path / "out" / "embeddings" / "x.embedded.json"
    assert open_embedded(made.path).identity == made.identity
    embedded_texts.clear()
    assert embed_dataset(path, config, output_root=tmp_path / "out").identity == made.identity
    assert not embedded_texts


def test_a_folder_made_read_only_is_respected_for_root_too(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str]
) -> None:
    path = write_items(tmp_path / "given" / "x.json", make_items(3))
    path.parent.chmod(0o555)
    made = embed_dataset(path, config, output_root=tmp_path / "out")
    assert made.path.parent == tmp_path / "out" / "embeddings"
    assert [one.name for one in path.parent.iterdir()] == ["x.json"]


def test_vectors_beside_a_read_only_dataset_are_reused_and_only_the_rest_is_embedded(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], make_read_only: Callable[[Path], None]
) -> None:
    path = write_items(tmp_path / "shared" / "x.json", make_items(3))
    first = embed(path, config)
    write_items(path, make_items(4))
    make_read_only(path.parent)
    embedded_texts.clear()
    made = embed_dataset(path, config, output_root=tmp_path / "out")
    assert [text for text in embedded_texts if text.startswith("Story")] == ["Story 3"]
    np.testing.assert_array_equal(made.segments(0).vectors, first.segments(0).vectors)
    assert len(open_embedded(made.path)) == 4


def test_another_user_who_may_not_write_beside_the_dataset_writes_to_the_output_root(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user; the mode of the folder is tested above")
    path = write_items(tmp_path / "shared" / "x.json", make_items(1))
    (tmp_path / "shared" / "x.vectors").mkdir()
    let_others_reach(tmp_path)
    let_others_reach(path.parent)
    path.chmod(0o644)
    assert target_paths(path, tmp_path / "out").json.parent == path.parent, "root may write anywhere"

    def target() -> str:
        return as_another_user(lambda: str(target_paths(path, tmp_path / "out").json))

    assert target() == str(tmp_path / "out" / "embeddings" / "x.embedded.json")
    path.parent.chmod(0o777)  # the folder may be written now, but not the vectors of another user in it
    assert target() == str(tmp_path / "out" / "embeddings" / "x.embedded.json")
    (tmp_path / "shared" / "x.vectors").chmod(0o777)
    assert target() == str(tmp_path / "shared" / "x.embedded.json")


def test_nothing_is_ever_written_beside_the_bundled_sample(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = write_items(tmp_path / "package" / "sample" / "situations.json", make_items(2))
    monkeypatch.setattr("redheart.data.locate.bundled_sample", lambda: sample)
    made = embed_dataset(sample, config, output_root=tmp_path / "out")
    assert made.path == tmp_path / "out" / "embeddings" / "situations.embedded.json"
    assert [one.name for one in sample.parent.iterdir()] == ["situations.json"]
    assert bundled_sample().parent.name == "sample"
