"""The manifest: its names on disk stay, what is not known is absent, what another version adds is passed over; damage is seen."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from redheart.checkpoint import Manifest, list_epochs, read_manifest, save_epoch
from redheart.checkpoint.restore import build_dimensions
from redheart.errors import AnotherModel, StorageError
from redheart.facts.model import DataFacts, EncoderFacts, Segmentation
from redheart.facts.scores import SplitScores, TaskScores
from redheart.model import TargetStatistics, dimensions
from redheart.storage.seal import write_sealed
from redheart.tasks import MODULES
from tests.checkpoint.states import a_state

WHOLE = Manifest(
    run="a run",
    dataset="some data",
    data=DataFacts(name="stories.json", counts={"train": 3}),
    preset="tiny",
    d_embed=384,
    segmentation=Segmentation(window_word_pieces=48, max_segments=16),
    target_counts={"regret": [3]},
    encoder=EncoderFacts(name="an encoder", fingerprint="aaaa1111"),
    model=dimensions("tiny").to_json(),
    statistics=TargetStatistics.neutral().to_json(),
    seed=0,
    learning_rate=1e-4,
    global_step=7,
    metrics={"choose": SplitScores(count=2, loss=1.0, tasks={"regret": TaskScores(count=0)})},
)
#: As version 4238d59 wrote them.
NAMES = (
    "format epoch run dataset data preset d_embed segmentation target_counts encoder model statistics seed learning_rate "
    "global_step metrics dtype files"
)


def saved(tmp_path: Path) -> Path:
    return save_epoch(tmp_path, epoch=1, state=a_state(1), manifest=WHOLE).path


def changed(path: Path, **fields: object) -> Path:
    content = json.loads((path / "manifest.json").read_text())
    write_sealed(path / "manifest.json", {**content, **fields})
    return path


def test_the_file_has_the_names_that_it_always_had(tmp_path: Path) -> None:
    content = json.loads((saved(tmp_path) / "manifest.json").read_text())
    assert content.keys() == {*NAMES.split(), "checksum"}
    assert content["encoder"] == {"name": "an encoder", "fingerprint": "aaaa1111"}
    assert content["metrics"] == {"choose": {"count": 2, "loss": 1.0, "tasks": {"regret": {"count": 0}}}}
    assert content["model"]["without"] == [] and content["model"]["view_weights"] == [0.5, 0.5, 1.0, 1.0]


def test_what_was_written_is_read(tmp_path: Path) -> None:
    manifest = read_manifest(saved(tmp_path))
    assert (manifest.epoch, manifest.format, manifest.dtype) == (1, 1, "bfloat16/float32")
    assert {f"{module}.safetensors" for module in MODULES} < manifest.files.keys()
    assert manifest.weights_identity is not None and WHOLE.weights_identity is None
    assert manifest.facts() == msgspec.structs.replace(WHOLE, epoch=1).facts()
    bare = msgspec.structs.replace(manifest.without_files(), dtype="")
    assert bare == msgspec.structs.replace(WHOLE, metrics=None)


def test_what_another_version_adds_is_passed_over_and_what_an_older_one_lacks_is_none(tmp_path: Path) -> None:
    path = changed(saved(tmp_path), weather="fine", model={"depth": 3, "blocks": ["a"]})
    assert list_epochs(tmp_path)[0].manifest.model == {"depth": 3, "blocks": ["a"]}
    with pytest.raises(AnotherModel, match="describes no model of this version"):
        build_dimensions(read_manifest(path), path)
    content = json.loads((path / "manifest.json").read_text())
    for name in ("encoder", "segmentation", "target_counts", "data"):
        del content[name]
    write_sealed(path / "manifest.json", content)
    manifest = read_manifest(path)
    assert manifest.encoder == EncoderFacts() and manifest.data is None and manifest.segmentation is None


def test_a_field_that_does_not_fit_is_named(tmp_path: Path) -> None:
    path = changed(saved(tmp_path), seed="one")
    with pytest.raises(
        StorageError, match=r"manifest\.json: not a checkpoint manifest of format 1: seed: found 'one', wanted"
    ):
        read_manifest(path)


class TestSeal:
    def flipped(self, path: Path, before: str, after: str) -> Path:
        text = (path / "manifest.json").read_text()
        assert text.count(before) == 1
        (path / "manifest.json").write_text(text.replace(before, after))
        return path

    def test_a_number_that_a_flipped_bit_made_another_is_seen(self, tmp_path: Path) -> None:
        """``2`` is 0x32 and ``3`` 0x33: a count, a loss or a target's mean would be another, and nothing would look damaged."""
        path = self.flipped(saved(tmp_path), '"count": 2', '"count": 3')
        with pytest.raises(StorageError, match=r"manifest\.json: damaged, or changed by hand: checksum: found '"):
            read_manifest(path, verify=False)
        assert list_epochs(tmp_path) == []

    def test_another_version_s_is_named_as_that(self, tmp_path: Path) -> None:
        path = self.flipped(saved(tmp_path), '"format": 1', '"format": 3')
        with pytest.raises(StorageError, match="not a checkpoint manifest of format 1"):
            read_manifest(path)

    def test_one_of_before_has_none_and_is_read(self, tmp_path: Path) -> None:
        path = saved(tmp_path)
        content = json.loads((path / "manifest.json").read_text())
        del content["checksum"]
        (path / "manifest.json").write_text(json.dumps(content))
        assert read_manifest(path).global_step == 7
