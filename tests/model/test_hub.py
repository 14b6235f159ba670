"""``from_pretrained`` takes what transformers takes, or refuses it in one line; what is no export is told with the cure."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

from redheart.errors import MissingRequirement, RedHeartError, UsageError
from redheart.model import UnifiedModel, dimensions
from tests.model.conftest import fit, make_batch


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("hub") / "model"
    UnifiedModel(dimensions("tiny", d_embed=48), fit(make_batch())).save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.parametrize(
    "options",
    [
        {"map_location": torch.device("cpu")},
        {"map_location": "cpu"},
        {"device_map": "cpu"},
        {"device_map": "auto"},
        {"device_map": {"": "cpu"}},
        {"device_map": torch.device("cpu"), "map_location": torch.device("cpu")},
        {"dtype": "auto"},
        {"torch_dtype": torch.float32},
        {"revision": "main", "token": "secret", "cache_dir": "cache", "force_download": True, "local_files_only": True},
        {"use_safetensors": True, "low_cpu_mem_usage": True, "trust_remote_code": True, "strict": True},
        {"proxies": None, "resume_download": False, "subfolder": ""},
    ],
    ids=lambda options: ",".join(options),
)
def test_what_transformers_takes_is_taken(exported: Path, options: dict[str, Any]) -> None:
    model = UnifiedModel.from_pretrained(exported, **options)
    plain = UnifiedModel.from_pretrained(str(exported))
    assert not model.training
    for (name, one), other in zip(model.state_dict().items(), plain.state_dict().values(), strict=True):
        assert one.device.type == "cpu" and torch.equal(one, other), name


@pytest.mark.parametrize("asked", [torch.bfloat16, "bfloat16", "torch.bfloat16"])
@pytest.mark.parametrize("option", ["dtype", "torch_dtype"])
def test_weights_are_of_the_type_that_was_asked_for_and_predict(exported: Path, option: str, asked: Any) -> None:
    model = UnifiedModel.from_pretrained(exported, **{option: asked})
    assert {one.dtype for one in model.parameters()} == {torch.bfloat16}
    inputs = make_batch().inputs
    with torch.no_grad():
        found, wanted = (one(*inputs) for one in (model, UnifiedModel.from_pretrained(exported)))
    for task, predicted in found.predictions.items():
        torch.testing.assert_close(predicted, wanted.predictions[task], atol=0.05, rtol=0.05)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"quantization_config": {}}, "found quantization_config={}, which is not taken; wanted some of map_location"),
        ({"use_safetensors": False}, "found use_safetensors=False"),
        ({"strict": False}, "found strict=False"),
        ({"map_location": "gpu"}, "found the device 'gpu'; wanted the one device"),
        ({"map_location": lambda storage, place: storage}, "wanted the one device"),
        ({"device_map": {"backbone": "cpu", "heads": "cpu"}}, "wanted the one device"),
        ({"device_map": "meta"}, "holds no weights"),
        ({"device_map": "cpu", "map_location": "cuda"}, "wanted one of them"),
        ({"dtype": "int8"}, "found the dtype 'int8'; wanted torch.float32"),
        ({"torch_dtype": "half-ish"}, "found the dtype 'half-ish'"),
        ({"dtype": torch.float16, "torch_dtype": torch.float32}, "wanted one of them"),
    ],
    ids=lambda given: ",".join(given) if isinstance(given, dict) else "",
)
def test_what_is_not_taken_is_refused_with_what_is(exported: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError, match=re.escape(said)):
        UnifiedModel.from_pretrained(exported, **options)


def test_a_device_that_is_not_here_is_refused(exported: Path) -> None:
    with pytest.raises(UsageError, match="the device 'cuda:99' is not to be had here"):
        UnifiedModel.from_pretrained(exported, device_map="cuda:99")


def test_a_subfolder_is_one_of_the_folder(exported: Path) -> None:
    found = UnifiedModel.from_pretrained(exported.parent, subfolder="model")
    assert torch.equal(next(found.parameters()), next(UnifiedModel.from_pretrained(exported).parameters()))
    for outside in ("../model", str(exported)):
        with pytest.raises(UsageError, match="wanted a path within"):
            UnifiedModel.from_pretrained(exported, subfolder=outside)
    for empty in ("", "  "):
        with pytest.raises(UsageError, match="an empty name; wanted a folder"):
            UnifiedModel.from_pretrained(empty)
    with pytest.raises(UsageError, match="missing: no such folder"):
        UnifiedModel.from_pretrained(exported, subfolder="missing")


def test_a_checkpoint_and_a_runs_folder_are_told_with_the_command_that_exports_them(tmp_path: Path) -> None:
    (tmp_path / "training" / "best_model").mkdir(parents=True)
    (tmp_path / "training" / "best_model" / "manifest.json").write_text("{}")
    cure = re.escape(f"`redheart export --checkpoint {tmp_path / 'training' / 'best_model'} --to FOLDER`")
    with pytest.raises(UsageError, match=f"found a checkpoint; .*{cure}"):
        UnifiedModel.from_pretrained(tmp_path / "training" / "best_model")
    with pytest.raises(UsageError, match=f"found the output of a run; .*{cure}"):
        UnifiedModel.from_pretrained(tmp_path / "training")


def test_what_is_no_model_is_told(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"found no config.json \(there is: notes.txt\)"):
        UnifiedModel.from_pretrained(tmp_path)
    with pytest.raises(UsageError, match="found a file; wanted the folder"):
        UnifiedModel.from_pretrained(exported / "model.safetensors")
    with pytest.raises(UsageError, match="no such folder, and not a name on the hub"):
        UnifiedModel.from_pretrained(tmp_path / "no" / "such")
    with pytest.raises(TypeError, match="found None; wanted a folder, or a name on the hub"):
        UnifiedModel.from_pretrained(None)  # type: ignore[arg-type]


def test_a_name_on_the_hub_is_fetched_as_it_was_asked_for(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    def snapshot(name: str, **options: Any) -> str:
        asked.append((name, options))
        return str(exported.parent)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    options = {"revision": "v1", "token": "t", "cache_dir": "c", "force_download": True, "local_files_only": False}
    UnifiedModel.from_pretrained("somebody/hearts", subfolder="model", **options)
    patterns = {"allow_patterns": ["model/config.json", "model/model.safetensors"]}
    assert asked == [("somebody/hearts", {**options, **patterns})]


@pytest.mark.parametrize("kind", [LocalEntryNotFoundError, ConnectionError])
def test_a_hub_that_is_not_to_be_had_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def fail(*_: Any, **__: Any) -> str:
        raise kind("the first line\nand more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(MissingRequirement) as caught:
        UnifiedModel.from_pretrained("somebody/hearts")
    assert str(caught.value) == (
        "somebody/hearts: no such folder here, not in the hub's local cache, and not fetched: the first line"
    )


def test_a_model_that_the_hub_does_not_have_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> str:
        raise RepositoryNotFoundError.__new__(RepositoryNotFoundError)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(RedHeartError, match="the hub has no such model at revision 'v1'"):
        UnifiedModel.from_pretrained("somebody/hearts", revision="v1")
