"""PyTorch's archives read without PyTorch: nothing in them is run, and what is damaged is said to be."""

from __future__ import annotations

import argparse
import collections
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from redheart.consolidation import open_source
from redheart.consolidation.reading import Reader
from redheart.errors import StorageError, UsageError
from tests.checkpoint.states import same_bits
from tests.consolidation.made import cut_short, flip, tensors_of


class Ran(Exception):
    """What the pickles here would do if they were run."""


def run() -> None:
    raise Ran


class Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return run, ()


def _archive_of(file: Path, pickled: bytes, *, compression: int = zipfile.ZIP_STORED, **more: bytes) -> Path:
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in {"data.pkl": pickled, "byteorder": b"little", **more}.items():
            archive.writestr(f"archive/{name}", content)
    return file


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_that_would_run_a_program_is_refused_by_name_and_not_run(tmp_path: Path, protocol: int) -> None:
    for content in ({"weight": torch.zeros(2), "extra": Runs()}, Runs(), {"state_dict": [Runs()]}):
        torch.save(content, tmp_path / "weights.pth", pickle_protocol=max(2, protocol))
        with pytest.raises(
            UsageError, match=r"weights.pth: a pickle where weights should be: it names .*test_torch_archive"
        ):
            open_source(tmp_path / "weights.pth")
        (tmp_path / "plain.pth").write_bytes(pickle.dumps(content, protocol=max(2, protocol)))
        with pytest.raises(UsageError, match=r"plain.pth: found a pickle where weights should be"):
            open_source(tmp_path / "plain.pth")


@pytest.mark.parametrize(
    "name", ["os.system", "builtins.eval", "builtins.getattr", "torch.storage._load_from_bytes", "subprocess.Popen"]
)
def test_a_name_that_is_not_admitted_is_refused_however_the_pickle_says_it(tmp_path: Path, name: str) -> None:
    module, _, function = name.rpartition(".")
    as_global = f"c{module}\n{function}\n(Vwhoami\ntR.".encode()
    as_stack = (
        b"\x80\x04" + b"".join(b"\x8c" + bytes([len(one)]) + one.encode() for one in (module, function)) + b"\x93."
    )
    for pickled in (as_global, as_stack):
        with pytest.raises(UsageError, match=rf"it names {name}, which reading it would run"):
            open_source(_archive_of(tmp_path / "weights.pth", pickled))


def test_a_whole_model_an_old_pickle_a_program_and_an_empty_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(UsageError, match=r"it names torch\.nn\.modules\.linear\.Linear"):
        open_source(path)
    torch.save({"weight": torch.zeros(2)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(UsageError, match=r"found a pickle where weights should be.*torch\.save since 1\.6"):
        open_source(path)
    _archive_of(path, pickle.dumps({}), **{"constants.pkl": b"", "code/model.py": b""})
    with pytest.raises(UsageError, match=r"a program \(TorchScript\)"):
        open_source(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "weights")
    with pytest.raises(UsageError, match=r"no data\.pkl"):
        open_source(path)
    path.write_bytes(b"")
    with pytest.raises(StorageError, match="damaged: it is empty"):
        open_source(path)
    path.write_bytes(b"\x00" * 100)
    with pytest.raises(UsageError, match="found a file that begins with"):
        open_source(path)


def test_what_deepspeed_pickles_beside_weights_is_admitted(tmp_path: Path) -> None:
    """Its loss scaler, stages, addresses of fragments; arguments of a script; random states."""
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    weights = {"weight": torch.randn(2, 3), "bias": torch.nn.Parameter(torch.randn(3))}
    beside = {
        "scaler": DynamicLossScaler(65536.0, 2.0, 100, 1.0, 2, dtype=torch.half),
        "stage": ZeroStageEnum.gradients,
        "places": [fragment_address(numel=3, start=4)],
        "args": argparse.Namespace(lr=0.1, path=Path("/somewhere"), device=torch.device("cpu"), dtype=torch.bfloat16),
        "random": {
            "numpy": np.random.default_rng(1).bit_generator.state,
            "array": np.arange(3),
            "one": np.float64(2.0),
        },
        "many": collections.defaultdict(list, a=[1]),
        "sets": {1, 2},
        "model": weights,
    }
    torch.save(beside, tmp_path / "checkpoint.pt")
    assert same_bits(
        tensors_of(open_source(tmp_path / "checkpoint.pt")), {n: one.detach() for n, one in weights.items()}
    )


@pytest.mark.parametrize(
    "function",
    ["torch\nfloat32", "torch\nFloatStorage", "torch._utils\n_rebuild_tensor_v2", "argparse\nNamespace", "torch\nSize"],
)
def test_a_pickle_changes_nothing_of_its_readers(tmp_path: Path, function: str) -> None:
    """A pickle may set attributes of whatever it names."""
    torch.save({"weight": torch.arange(3.0)}, tmp_path / "weights.pth")
    values = [b"(dV" + name + b"\nNs" for name in (b"size", b"numbers", b"_do", b"__setstate__", b"__call__")]
    for state in (*values, *(b"(N" + value + b"t" for value in values)):
        pickled = b"(dVweight\nc" + function.encode() + b"\n" + state + b"bs."
        with pytest.raises(
            StorageError, match=r"poison\.pth: damaged: its pickle can't be read: (Attribute|Type)Error"
        ):
            open_source(_archive_of(tmp_path / "poison.pth", pickled))
    assert same_bits(tensors_of(open_source(tmp_path / "weights.pth")), {"weight": torch.arange(3.0)})


def test_a_tensor_that_is_changed_after_it_was_checked_is_refused(tmp_path: Path) -> None:
    numbers = {"data/0": torch.arange(4.0).numpy().tobytes()}
    whole = _pickled_tensor()
    for state in (b"}X\x05\x00\x00\x00startK\x03sb", b"N}X\x05\x00\x00\x00startK\x03s\x86b"):
        end = whole.rindex(b"s.")
        changed = whole[:end] + state + whole[end:]
        with pytest.raises(StorageError, match="its pickle can't be read: AttributeError"):
            open_source(_archive_of(tmp_path / "weights.pth", changed, **numbers))


def test_a_mapping_that_holds_itself_is_no_state_dict(tmp_path: Path) -> None:
    content: dict[str, Any] = {}
    content["model"] = content
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(UsageError, match="found model, and no tensors among them"):
        open_source(tmp_path / "weights.pth")


def test_a_flipped_bit_anywhere_is_found_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    state = {"weight": torch.arange(6.0).view(2, 3), "bias": torch.zeros(1)}
    torch.save(state, path)
    whole = path.read_bytes()
    outcomes = collections.Counter()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        try:
            source = open_source(path)
            with Reader() as reader:
                for record in source.records:
                    reader.check(record)
            assert same_bits(tensors_of(source), state), place
            outcomes["nothing"] += 1
        except (StorageError, UsageError) as error:
            assert "weights.pth: " in str(error)
            outcomes["found"] += 1
    assert outcomes["found"] > 400, "the rest is padding, and fields of the zip that nobody needs"


@pytest.mark.parametrize("position", range(0, 1400, 53))
def test_a_file_that_is_cut_short_anywhere_is_said_to_be_damaged(tmp_path: Path, position: int) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"weight": torch.arange(20.0), "bias": torch.zeros(3)}, path)
    assert path.stat().st_size > 1400
    path.write_bytes(path.read_bytes()[:position])
    with pytest.raises((StorageError, UsageError), match=r"weights\.pth: (damaged|found a file that begins with)"):
        open_source(path)


def test_a_flipped_byte_is_found_by_the_archives_own_checksum(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"weight": torch.arange(20.0)}, path)
    flip(path, torch.arange(20.0).numpy().tobytes())
    source = open_source(path)
    with (
        Reader() as reader,
        pytest.raises(StorageError, match=r"weights.pth: damaged: the checksum of its part 'weights/data/0'"),
    ):
        reader.check(source.records[0])
    torch.save({"weight": torch.arange(20.0)}, path)
    flip(path, b"X\x06\x00\x00\x00weight")
    with pytest.raises(StorageError, match=r"damaged: the checksum of 'weights/data\.pkl'"):
        open_source(path)


def test_a_file_written_without_checksums_is_read_all_the_same(tmp_path: Path) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"weight": torch.arange(20.0)}, tmp_path / "weights.pth")
    finally:
        torch.serialization.set_crc32_options(before)
    source = open_source(tmp_path / "weights.pth")
    assert source.records == [] and same_bits(tensors_of(source), {"weight": torch.arange(20.0)})


def _pickled_tensor(
    key: str = "0", count: int = 4, start: int = 0, shape: object = (4,), strides: object = (1,)
) -> bytes:
    class Tensor:
        def __reduce__(self) -> tuple[Any, ...]:
            return torch._utils._rebuild_tensor_v2, (Storage(), start, shape, strides, False, collections.OrderedDict())

    class Storage:
        pass

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: object) -> Any:
            return ("storage", torch.FloatStorage, key, "cpu", count) if isinstance(value, Storage) else None

    content = io.BytesIO()
    Pickler(content, protocol=2).dump({"weight": Tensor()})
    return content.getvalue()


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"key": "7"}, "weight: found no record '7' with its numbers"),
        ({"shape": (5,)}, "weight: found 16 bytes in record 'archive/data/0', wanted 20"),
        ({"start": 1}, "weight: found 16 bytes in record 'archive/data/0', wanted 20"),
        ({"strides": (2,)}, "weight: found 16 bytes in record 'archive/data/0', wanted 28"),
        ({"strides": (1, 1)}, "weight: shape"),
        ({"shape": (-4,)}, "its pickle can't be read: ValueError"),
        ({"start": -1}, "its pickle can't be read: ValueError"),
        ({"shape": "4"}, "its pickle can't be read: ValueError"),
        ({"key": 3}, "its pickle can't be read: ValueError"),
    ],
)
def test_a_tensor_that_looks_outside_its_record_is_refused(tmp_path: Path, told: dict[str, Any], said: str) -> None:
    numbers = {"data/0": torch.arange(4.0).numpy().tobytes()}
    path = _archive_of(tmp_path / "weights.pth", _pickled_tensor(), **numbers)
    assert same_bits(tensors_of(open_source(path)), {"weight": torch.arange(4.0)})
    with pytest.raises(StorageError, match=said):
        open_source(_archive_of(tmp_path / "weights.pth", _pickled_tensor(**told), **numbers))


def test_compressed_records_and_numbers_of_another_machine_are_refused(tmp_path: Path) -> None:
    numbers = {"data/0": torch.arange(4.0).numpy().tobytes()}
    path = tmp_path / "weights.pth"
    with pytest.raises(UsageError, match="is compressed or encrypted"):
        open_source(_archive_of(path, _pickled_tensor(), compression=zipfile.ZIP_DEFLATED, **numbers))
    with pytest.raises(StorageError, match="byte order b'big'"):
        open_source(_archive_of(path, _pickled_tensor(), **{**numbers, "byteorder": b"big"}))


def test_a_file_that_shrinks_while_it_is_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"weight": torch.arange(1000.0)}, path)
    source = open_source(path)
    cut_short(path, 3000)
    with pytest.raises(StorageError, match=r"weights.pth: damaged: it ends at byte \d+, wanted \d+ bytes more"):
        tensors_of(source)


def test_views_and_transposed_tensors_are_read_in_their_own_order(tmp_path: Path) -> None:
    whole = torch.arange(24.0).view(4, 6)
    state = {
        "transposed": whole.t(),
        "column": whole[:, 2],
        "row": whole[1],
        "every_other": whole[::2, 1::3],
        "expanded": torch.arange(3.0).expand(2, 3),
        "number": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "one_wide": whole[:, 2:3],
    }
    torch.save(state, tmp_path / "views.pth")
    assert same_bits(tensors_of(open_source(tmp_path / "views.pth")), {n: one.contiguous() for n, one in state.items()})
