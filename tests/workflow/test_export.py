"""The command ``export``: one folder with everything, all or nothing, and a card that says what is known and no more."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub import ModelCard, metadata_load
from safetensors.torch import load_file, save_file

import redheart
from redheart.checkpoint import load_modules
from redheart.checkpoint.restore import open_model
from redheart.cli.main import main
from redheart.config import load_config
from redheart.errors import AnotherModel, RedHeartError, StorageError
from redheart.messages import set_language
from redheart.model import TargetStatistics, UnifiedModel, count_model, dimensions
from redheart.model.card import write_card
from redheart.model.modules.heads import VIEWS
from redheart.storage import read_json, sha256_of, write_json
from redheart.training.trainer import Trainer
from tests.model.conftest import make_batch
from tests.storage.full_disk import no_file_over
from tests.training.small_data import D_EMBED, write_embedded

EPOCH = "training/checkpoints/epoch_0002"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs, whose second has been evaluated on the test split."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run")
    dataset = write_embedded(folder)
    config = load_config(None, ["training.epochs=2", "model.preset=tiny"])
    Trainer(config, dataset, folder / "training", learning_rate=1e-3).run()
    words = ["--checkpoint", str(folder / EPOCH), "--output", str(folder / "training"), "--data", str(dataset)]
    assert main(["evaluate", *words, "report.bootstrap_samples=200", "--lang", "en"]) == 0
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy that a test may write to, as the current folder, without a network."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was touched")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    shutil.copytree(trained / "training", tmp_path / "training")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    set_language("ko")


def export(checkpoint: str = EPOCH, to: str = "out") -> int:
    return main(["export", "--checkpoint", checkpoint, "--to", to, "--lang", "en"])


def contents(folder: Path) -> dict[Path, bytes]:
    """All files but the log."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".log"}


def same_bits(one: UnifiedModel, other: UnifiedModel) -> bool:
    left, right = one.state_dict(), other.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("offline", [False, True])
def test_the_folder_alone_gives_the_same_bits_and_the_same_predictions(
    folder: Path, offline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    assert export() == 0
    original = open_model(folder / EPOCH).model
    weights = load_modules(folder / EPOCH)
    alone = (folder / "out").rename(folder / "elsewhere")
    shutil.rmtree(folder / "training")
    loaded = UnifiedModel.from_pretrained(alone)
    assert sorted(path.name for path in alone.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert {name: tensor.dtype for name, tensor in loaded.state_dict().items()} == {
        name: tensor.dtype for name, tensor in weights.items()
    }
    assert same_bits(loaded, original) and not loaded.training
    assert loaded.statistics == original.statistics and loaded.config == original.config
    inputs = make_batch(5, d_embed=D_EMBED).inputs
    with torch.no_grad():
        one, other = loaded(*inputs), original(*inputs)
    for found, wanted in zip(one, other, strict=True):
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_the_configuration_tells_encoder_and_data_but_no_path(folder: Path) -> None:
    export()
    text = (folder / "out" / "config.json").read_text()
    config, run = json.loads(text), read_json(folder / "training" / "run.json")
    manifest = read_json(folder / EPOCH / "manifest.json")
    assert config["data"] == {"name": "small", "counts": run["counts"]}
    assert config["encoder"] == manifest["encoder"] and config["statistics"] == manifest["statistics"]
    assert config["target_counts"] == manifest["target_counts"] and config["segmentation"] == manifest["segmentation"]
    assert config["tasks"]["regret"] == {"kind": "numbers", "dimensions": ["regret"]}
    assert config["export"]["parameters"] == count_model(open_model(folder / EPOCH).model).total
    assert str(folder) not in text and "embedded" not in text


def test_what_was_loaded_and_saved_again_is_the_same(folder: Path) -> None:
    export("training/checkpoints/epoch_0001")
    UnifiedModel.from_pretrained("out").save_pretrained("again")
    for name in ("README.md", "config.json", "model.safetensors"):
        assert (folder / "again" / name).read_bytes() == (folder / "out" / name).read_bytes(), name


def test_a_model_that_comes_from_no_checkpoint_is_saved_too_and_its_card_claims_nothing(folder: Path) -> None:
    model = UnifiedModel(dimensions("tiny", d_embed=8), TargetStatistics.neutral())
    model.save_pretrained("bare")
    assert same_bits(UnifiedModel.from_pretrained("bare"), model)
    text = (folder / "bare" / "README.md").read_text()
    assert text.endswith("\n") and not text.endswith("\n\n")
    for sentence in ("was not recorded", "Nothing is known", "made by a language model, not by people"):
        assert sentence in text
    assert not re.search(r"\d situations", text) and "learning rate" not in text


def test_the_card_is_valid_and_its_numbers_are_those_of_the_evaluation(folder: Path) -> None:
    export()
    card = ModelCard.load("out/README.md")
    assert "license" not in metadata_load("out/README.md"), "of the weights nobody knows it"
    assert (
        redheart.__license__ == "Apache-2.0" and "The program is under Apache-2.0." in Path("out/README.md").read_text()
    )
    assert card.data.library_name == "redheart" and "pytorch_model_hub_mixin" in card.data.tags
    (path,) = (folder / "training" / "evaluation").glob("epoch_0002_test*.json")
    record = read_json(path)
    tasks = record["comparison"]["tasks"]
    results = {result.metric_name: result for result in card.data.eval_results}
    assert results["surd: R²"].metric_value == tasks["surd"]["metrics"]["r2"]["model"]["value"]
    assert results["emotion: KL divergence"].dataset_split == "test" and results["surd: R²"].dataset_name == "small"
    train = read_json(folder / "training" / "run.json")["counts"]["train"]
    assert f"{train} situations to train on, " in card.text
    estimate = tasks["regret"]["metrics"]["mae"]["model"]
    assert f"{estimate['value']:.4f} ({estimate['low']:.4f} … {estimate['high']:.4f})" in card.text
    assert f"On {record['count']} situations of the part `test` of `small`; in" in card.text
    write_json(path, {**record, "left_out": 3})
    export()
    assert "of `small` (without 3 that the model was made with before their texts were edited); in" in (
        folder / "out" / "README.md"
    ).read_text().replace("\n", " ")


def test_the_card_tells_of_every_kind_of_vector_that_the_model_reads(folder: Path) -> None:
    export()
    text = " ".join((folder / "out" / "README.md").read_text().split())
    assert VIEWS == 4
    for kind in ("title", "the act in question", "windows of consecutive sentences", "its text as a whole"):
        assert kind in text, kind
    assert "Its weights hold sentence vectors of training stories" in text
    assert "an untrained model would say" not in text, "its linear paths start beyond the constant"
    assert "redheart predict --checkpoint" in text


def test_the_card_of_a_model_without_centres_speaks_of_no_stories_in_its_weights() -> None:
    for change in ({"centres": 0}, {"without": ("heads",)}):
        model = UnifiedModel(replace(dimensions("tiny", d_embed=8), **change), TargetStatistics.neutral())
        assert "Its weights hold" not in write_card(model), change


def test_numbers_of_other_weights_and_of_the_training_split_are_left_out(folder: Path) -> None:
    (path,) = (folder / "training" / "evaluation").glob("epoch_0002_test*.json")
    record = read_json(path)
    write_json(path, {**record, "weights": "0123456789abcdef"})
    write_json(path.with_name("epoch_0002_train.json"), {**record, "split": "train"})
    export()
    text = (folder / "out" / "README.md").read_text()
    assert "Nothing is known: no evaluation of exactly these weights" in text and "eval" not in metadata_load(
        "out/README.md"
    )


@pytest.mark.parametrize("checkpoint", ["training/consolidated", "out"])
def test_every_kind_of_folder_can_be_exported(folder: Path, checkpoint: str) -> None:
    export()
    if checkpoint != "out":
        assert main(["consolidate", "--lang", "en"]) == 0
    assert export(checkpoint, "second") == 0
    assert same_bits(UnifiedModel.from_pretrained("second"), UnifiedModel.from_pretrained("out"))


def test_an_export_is_replaced_and_nothing_else_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export("training/checkpoints/epoch_0001") == 0
    assert export() == 0
    assert same_bits(UnifiedModel.from_pretrained("out"), open_model(folder / EPOCH).model)
    (folder / "out" / "notes.txt").write_text("mine")
    (folder / "other").mkdir()
    (folder / "other" / "config.json").write_text('{"model_type": "bert"}')
    (folder / "file").write_text("mine")
    for target, found in (
        ("out", "notes.txt"),
        ("other", "config.json"),
        ("file", "is a file"),
        (EPOCH, "safetensors"),
    ):
        before = contents(folder)
        assert export(to=target) == 2
        assert found in capsys.readouterr().err
        assert contents(folder) == before


@pytest.mark.parametrize("target", ["training/model", "training/best_model/model", "training/checkpoints/model"])
def test_nothing_is_exported_into_a_runs_folder_where_a_later_stage_may_remove_it(
    folder: Path, capsys: pytest.CaptureFixture[str], target: str
) -> None:
    before = contents(folder)
    assert export(to=target) == 2
    shown = capsys.readouterr().err
    assert f"lies in the folder of a run, {folder / 'training'}" in shown and f"--to {folder / 'my-model'}" in shown
    assert contents(folder) == before


def test_on_a_full_disk_what_was_there_stays(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export("training/checkpoints/epoch_0001") == 0
    before = contents(folder)
    with no_file_over(1 << 20):
        assert export() == 4
        assert export(to="new") == 4
    assert "what was there before is intact" in capsys.readouterr().err
    assert contents(folder) == before
    assert sorted(path.name for path in folder.iterdir()) == ["out", "training"]


class TestDamage:
    @pytest.fixture
    def exported(self, folder: Path) -> Path:
        export()
        return folder / "out"

    def rewrite(self, exported: Path, state: dict[str, torch.Tensor]) -> None:
        """Other tensors with a hash that agrees, as of someone who meant well."""
        save_file(state, str(exported / "model.safetensors"))
        config = read_json(exported / "config.json")
        config["export"]["sha256"] = sha256_of(exported / "model.safetensors")
        write_json(exported / "config.json", config)

    def test_a_missing_tensor_is_named(self, exported: Path) -> None:
        state = load_file(str(exported / "model.safetensors"))
        del state["phases.integrate.bias"]
        self.rewrite(exported, state)
        with pytest.raises(StorageError, match=r"model\.safetensors: no tensor phases\.integrate\.bias"):
            UnifiedModel.from_pretrained(exported)

    def test_another_shape_is_named(self, exported: Path) -> None:
        state = load_file(str(exported / "model.safetensors"))
        state["heads.regret.mean"] = torch.zeros(3)
        self.rewrite(exported, state)
        with pytest.raises(StorageError, match=r"heads\.regret\.mean \[3\], wanted \[1\]"):
            UnifiedModel.from_pretrained(exported)

    def test_a_changed_byte_is_found(self, exported: Path) -> None:
        with open(exported / "model.safetensors", "r+b") as file:
            file.seek(-1, 2)
            file.write(b"\x7f")
        with pytest.raises(StorageError, match="SHA-256"):
            UnifiedModel.from_pretrained(exported)

    @pytest.mark.parametrize(
        ("change", "kind", "message"),
        [
            ({"export": {"library": "other"}}, StorageError, "not a configuration that `redheart export` wrote"),
            ({"tasks": {}}, AnotherModel, "wanted those of this version"),
            ({"statistics": {}}, AnotherModel, "hold no task 'emotion'"),
        ],
    )
    def test_a_foreign_configuration_is_refused(
        self, exported: Path, change: dict[str, Any], kind: type[RedHeartError], message: str
    ) -> None:
        write_json(exported / "config.json", read_json(exported / "config.json") | change)
        with pytest.raises(kind, match=message):
            UnifiedModel.from_pretrained(exported)

    def test_a_torn_configuration_and_a_missing_one_are_named(self, exported: Path) -> None:
        (exported / "config.json").write_text("{")
        with pytest.raises(StorageError, match=r"config\.json: damaged"):
            UnifiedModel.from_pretrained(exported)
        (exported / "config.json").unlink()
        with pytest.raises(StorageError, match=r"config\.json: could not read"):
            UnifiedModel.from_pretrained(exported)


def test_the_licence_is_the_projects() -> None:
    project = (Path(redheart.__file__).parents[1] / "pyproject.toml").read_text()
    assert f'license = "{redheart.__license__}"' in project
