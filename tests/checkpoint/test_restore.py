"""A checkpoint is opened wherever it came from, and refused, with both shapes named, where it does not fit."""

from __future__ import annotations

import json
import shutil

import msgspec
import pytest
import torch

from redheart.checkpoint import list_epochs, load_modules, newest_resume_state
from redheart.checkpoint.restore import check_preset, check_same_model, check_vectors, fill, open_model
from redheart.config import Config, CrossoverConfig, ReportConfig, load_config
from redheart.crossover import run_crossover
from redheart.embedding import open_embedded
from redheart.engine.factory import make_engine
from redheart.errors import AnotherEncoder, AnotherModel, StorageError, UsageError
from redheart.evaluation.evaluate import evaluate_model
from redheart.model.presets import dimensions
from redheart.paths import OutputPaths
from redheart.storage.seal import write_sealed
from redheart.training.saving.resume_state import Cursor, newest_state
from redheart.workflow.consolidate import consolidate
from redheart.workflow.export import export
from tests.crossover.small_run import analysis_of, mixed
from tests.training.operands import misplaced, only_aligned_operands
from tests.training.runs import same_bits, train
from tests.training.small_data import embedded_items, write_embedded


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    """Two epochs of ``tiny`` on vectors of 16 numbers."""
    from redheart.config import load_config

    output = tmp_path_factory.mktemp("trained")
    train(dataset, output, load_config(None, ["training.epochs=2", "model.preset=tiny"]))
    return output


def narrow(folder):
    """The same situations with vectors half as long."""
    items = embedded_items()
    for item in items:
        item["embedding"] = [vector[:8] for vector in item["embedding"]]
    return write_embedded(folder, items)


def test_an_epoch_a_consolidated_a_delivered_and_a_combined_model_are_all_opened(trained, table):
    config = Config(crossover=CrossoverConfig(random_controls=0), report=ReportConfig(bootstrap_samples=100))
    run_crossover(config, trained, analysis_of(mixed(2), epochs=2), table)
    epoch = open_model(list_epochs(trained)[-1].path)
    whole = open_model(consolidate(trained))
    assert same_bits(dict(epoch.model.state_dict()), dict(whole.model.state_dict()))
    combined = open_model(OutputPaths(trained).combined)
    stored = torch.load(OutputPaths(trained).combined, weights_only=True)["state_dict"]
    assert same_bits(dict(combined.model.state_dict()), stored)
    assert same_bits(dict(open_model(OutputPaths(trained).crossover).model.state_dict()), stored), (
        "the crossover's folder means it"
    )
    best = open_model(OutputPaths(trained).best_model)
    for opened in (epoch, whole, combined, best):
        assert opened.manifest.encoder == epoch.manifest.encoder and not opened.model.training
        assert evaluate_model(opened.model, table, "choose", with_items=False).count == table.counts["choose"]


def test_whatever_a_model_computes_with_lies_where_torch_puts_its_own(trained, table, tmp_path):
    """On a mapped file's or NumPy's memory some processors give other last bits: equal weights, other predictions."""
    config = Config(crossover=CrossoverConfig(random_controls=0), report=ReportConfig(bootstrap_samples=100))
    epoch = list_epochs(trained)[-1].path
    with only_aligned_operands() as seen:
        run_crossover(config, trained, analysis_of(mixed(2), epochs=2), table)
        for path in (
            epoch,
            OutputPaths(trained).combined,
            OutputPaths(trained).best_model,
            consolidate(trained),
            export(epoch, tmp_path / "out"),
        ):
            model = open_model(path).model
            assert not misplaced({**dict(model.named_parameters()), **dict(model.named_buffers())}), path
            evaluate_model(model, table, "choose", with_items=False)
    assert len(seen) > 5
    for batch in (table.batch(table.split_indices["choose"]), table.batch(table.split_indices["train"][:1])):
        parts = {"segments": batch.segments, "mask": batch.segment_mask, **batch.targets}
        assert not misplaced(parts) and not misplaced(batch.target_mask)


def test_what_is_no_checkpoint_is_refused_with_what_is_wanted(trained, tmp_path):
    (tmp_path / "text.pth").write_text("hello")
    cases = {
        tmp_path / "none": "no such file or folder",
        tmp_path: "a folder without manifest.json",
        tmp_path / "text.pth": "no PyTorch archive",
    }
    for path, found in cases.items():
        with pytest.raises(UsageError) as error:
            open_model(path)
        assert str(path) in str(error.value) and found in str(error.value) and "wanted" in str(error.value)
    torch.save({"something": "else"}, tmp_path / "foreign.pth")
    with pytest.raises(StorageError, match=r"foreign\.pth: can't be read as a crossover"):
        open_model(tmp_path / "foreign.pth")
    damaged = shutil.copytree(list_epochs(trained)[0].path, tmp_path / "damaged")
    file = damaged / "heads.surd.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(StorageError, match=r"heads\.surd\.safetensors"):
        open_model(damaged)


def test_a_damaged_model_is_named_with_the_command_that_writes_it_anew_which_does(trained, table, tmp_path):
    output = shutil.copytree(trained, tmp_path / "run")
    paths = OutputPaths(output)
    config = Config(crossover=CrossoverConfig(random_controls=0), report=ReportConfig(bootstrap_samples=100))

    def make():
        run_crossover(config, output, analysis_of(mixed(2), epochs=2), table)
        consolidate(output)

    make()
    for folder in (paths.best_model, paths.consolidated):
        (folder / "phases.safetensors").unlink()
    paths.combined.write_bytes(paths.combined.read_bytes()[:-100])
    written_by = {
        paths.best_model: f"`redheart crossover --force --output {output}`",
        paths.combined: f"`redheart crossover --force --output {output}`",
        paths.crossover: f"`redheart crossover --force --output {output}`",
        paths.consolidated: f"`redheart consolidate --output {output}`",
    }
    for path, command in written_by.items():
        with pytest.raises(StorageError) as found:
            open_model(path)
        assert str(found.value).endswith(f"; put it back from a copy, or have it written anew by {command}")
    make()
    for path in written_by:
        open_model(path)
    epoch = list_epochs(output)[0].path
    (epoch / "manifest.json").write_text("{")
    with pytest.raises(StorageError, match=r"put it back from a copy$"):
        open_model(epoch)


def test_a_flipped_byte_in_a_combined_model_is_found_before_a_number_of_it_is_used(trained, tmp_path):
    """PyTorch compares no checksum: the model would be another one, and nothing would look damaged."""
    epoch = list_epochs(trained)[-1]
    path = tmp_path / "crossover_final.pth"
    manifest = msgspec.to_builtins(epoch.manifest.without_files())
    torch.save({"manifest": manifest, "state_dict": load_modules(epoch.path)}, path)
    whole = path.read_bytes()
    place = len(whole) // 2
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(
        StorageError, match=r"crossover_final\.pth: damaged: crossover_final/data/\d+: its CRC-32 is not"
    ):
        open_model(path)
    with pytest.raises(StorageError, match="CRC-32"):
        fill(open_model(epoch.path).model, path)
    path.write_bytes(whole)
    assert same_bits(dict(open_model(path).model.state_dict()), load_modules(epoch.path))


class Harmful:
    """What runs where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_combined_model_that_holds_a_pickle_is_refused_unrun_and_without_advice_to_run_it(tmp_path):
    path = tmp_path / "crossover_final.pth"
    torch.save({"manifest": Harmful(str(tmp_path / "ran")), "state_dict": {}}, path)
    with pytest.raises(
        StorageError, match=r"crossover_final\.pth: .* holds a pickle of other things .* not run"
    ) as refused:
        open_model(path)
    assert "weights_only" not in str(refused.value) and not (tmp_path / "ran").exists()


def test_vectors_of_another_size_are_refused_with_both_sizes(trained, tmp_path):
    checkpoint = list_epochs(trained)[-1]
    with pytest.raises(AnotherEncoder) as found:
        check_vectors(checkpoint.manifest, checkpoint.path, open_embedded(narrow(tmp_path)))
    for part in (
        str(checkpoint.path),
        "preset 'tiny' (width 96, 2 layers) for vectors of 16 numbers",
        "vectors of 8 numbers",
    ):
        assert part in str(found.value)


def test_another_preset_than_the_one_asked_for_is_refused_with_both(trained):
    checkpoint = list_epochs(trained)[-1]
    for fits in ("auto", "tiny"):
        check_preset(checkpoint.manifest, checkpoint.path, fits)
    with pytest.raises(AnotherModel) as found:
        check_preset(checkpoint.manifest, checkpoint.path, "small")
    for part in ("preset 'tiny' (width 96, 2 layers)", "model.preset=small asks for a width of 384 and 3 layers"):
        assert part in str(found.value)


def test_a_run_does_not_go_on_from_a_state_of_another_shape(trained):
    engine = make_engine(load_config(None, ["model.preset=tiny"]))
    state, _ = newest_resume_state(trained, Cursor)
    run = state.cursor.run
    assert newest_state(trained, run, engine, dimensions("tiny", d_embed=16)) is not None
    assert newest_state(trained, run, engine, dimensions("tiny", d_embed=16, dropout=0.0)) is not None
    assert newest_state(trained, "another", engine, dimensions("small", d_embed=16)) is None
    with pytest.raises(AnotherModel) as found:
        newest_state(trained, run, engine, dimensions("small", d_embed=8))
    for part in (
        str(state.path),
        "found preset 'tiny' (width 96, 2 layers) for vectors of 16 numbers",
        "has preset 'small' (width 384, 3 layers) for vectors of 8 numbers",
        "--force",
    ):
        assert part in str(found.value)


def test_a_crossover_of_epochs_of_two_models_or_on_other_vectors_is_refused(trained, table, tmp_path):
    output = shutil.copytree(trained, tmp_path / "copy")
    config, analysis = Config(), analysis_of(mixed(2), epochs=2)
    from redheart.batches.table import SituationTable

    with pytest.raises(AnotherEncoder, match=r"for vectors of 16 numbers; .* has vectors of 8 numbers"):
        run_crossover(config, output, analysis, SituationTable.open(narrow(tmp_path)))
    path = list_epochs(output)[0].path / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["model"] = {**manifest["model"], "layers": 3}
    write_sealed(path, manifest)
    with pytest.raises(AnotherModel) as found:
        run_crossover(config, output, analysis, table)
    for part in ("epoch_0001", "(width 96, 3 layers)", "epoch 2 has", "(width 96, 2 layers)", "layers 3 and 2"):
        assert part in str(found.value)
    with pytest.raises(AnotherModel, match=r"model\.preset=small asks for"):
        run_crossover(Config(model=type(config.model)(preset="small")), output, analysis, table)


def test_weights_that_do_not_fit_their_own_manifest_are_refused_with_both_shapes(trained):
    checkpoint = list_epochs(trained)[-1]
    wider = dimensions("tiny", d_embed=8)
    with pytest.raises(AnotherModel, match=r"16 numbers; another has .* 8 numbers"):
        check_same_model(checkpoint.manifest, checkpoint.path, wider, "another")
