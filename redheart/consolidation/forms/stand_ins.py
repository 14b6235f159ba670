"""Stand-ins for the types in PyTorch's and DeepSpeed's pickles: the only ones that are admitted, and none of them is run.

A pickle names functions and classes that its reader calls. Here every name that may occur is answered by something of our
own that keeps what is needed to find a tensor, and forgets the rest; a name that is not listed ends the reading. A pickle may
also set attributes of whatever it holds, so nothing here has any that can be set.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

from redheart.checkpoint.number_types import BY_TORCH_NAME, NumberType
from redheart.consolidation.number_types import BY_STORAGE


class _Fixed(type):
    def __setattr__(cls, name: str, value: object) -> None:
        raise AttributeError(f"{cls.__name__}.{name} can't be set")


class Forgotten(metaclass=_Fixed):
    """What a pickle holds beside weights: made, filled, and left alone."""

    __slots__ = ()

    def __new__(cls, *arguments: object, **named: object) -> Forgotten:
        return object.__new__(cls)

    def __init__(self, *arguments: object, **named: object) -> None:
        """Takes anything."""

    def __setstate__(self, state: object) -> None:
        """Takes anything."""

    def __setitem__(self, key: object, value: object) -> None:
        """Takes anything."""

    def append(self, value: object) -> None:
        """Takes anything."""

    def extend(self, values: object) -> None:
        """Takes anything."""


class Function:
    """What stands for a function."""

    __slots__ = ("_do",)
    _do: Callable[..., object]

    def __init__(self, do: Callable[..., object]) -> None:
        object.__setattr__(self, "_do", do)

    def __call__(self, *arguments: object) -> object:
        return self._do(*arguments)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name} can't be set")


class StorageType(NamedTuple):
    """A class of storages; ``numbers`` is None where the type of its numbers is told beside it."""

    numbers: NumberType | None


class Storage(NamedTuple):
    """A storage of an archive: the record that holds it, and how many numbers (bytes, if untyped) there should be."""

    key: str
    numbers: NumberType | None
    length: int


class View(NamedTuple):
    """A tensor as the pickle tells it: a view of a storage, in numbers."""

    storage: Storage
    numbers: NumberType
    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _whole_numbers(values: object) -> tuple[int, ...]:
    if not isinstance(values, tuple) or not all(type(one) is int and one >= 0 for one in values):
        raise ValueError(f"found {values!r:.60} as a tensor's shape or strides")
    return tuple(values)


def _rebuilt_tensor(
    storage: object, start: object, shape: object, strides: object, *others: object, numbers: NumberType | None = None
) -> View:
    """``torch._utils._rebuild_tensor_v2``."""
    numbers = numbers or (storage.numbers if isinstance(storage, Storage) else None)
    if not isinstance(storage, Storage) or numbers is None or type(start) is not int or start < 0:
        raise ValueError("found a tensor without a storage")
    return View(storage, numbers, start, _whole_numbers(shape), _whole_numbers(strides))


def _rebuilt_tensor_with_type(
    storage: object,
    start: object,
    shape: object,
    strides: object,
    gradient: object,
    hooks: object,
    dtype: object,
    *_: object,
) -> View:
    """``torch._utils._rebuild_tensor_v3``."""
    if not isinstance(dtype, NumberType):
        raise ValueError(f"found {dtype!r:.60} as the type of a tensor's numbers")
    return _rebuilt_tensor(storage, start, shape, strides, numbers=dtype)


def _first(value: object, *others: object) -> object:
    """``torch._utils._rebuild_parameter`` and its like: the tensor is what comes first."""
    return value


_TENSOR, _TENSOR_WITH_TYPE, _PARAMETER = (
    Function(_rebuilt_tensor),
    Function(_rebuilt_tensor_with_type),
    Function(_first),
)


def _rebuilt_from_type(function: object, kind: object, arguments: object, state: object = None) -> object:
    """``torch._tensor._rebuild_from_type_v2``: a tensor with attributes of its own."""
    if not isinstance(function, Function) or function not in (_TENSOR, _TENSOR_WITH_TYPE, _PARAMETER):
        raise ValueError("found a tensor of an unknown kind")
    if type(arguments) is not tuple:
        raise ValueError("found a tensor without its parts")
    return function(*arguments)


def _size(values: object = ()) -> tuple[int, ...]:
    """``torch.Size``."""
    return _whole_numbers(tuple(values)) if isinstance(values, (list, tuple)) else _whole_numbers(values)


def _whole_number(value: object) -> object:
    """An enumeration of whole numbers, such as ``ZeroStageEnum``."""
    return value


def _empty_dict(*arguments: object) -> dict[Any, Any]:
    return {}


def _nothing(*arguments: object) -> bytes:
    """A function whose result nobody needs."""
    return b""


_FORGOTTEN = {
    "argparse": ("Namespace",),
    "types": ("SimpleNamespace",),
    "collections": ("Counter", "deque"),
    "builtins": ("set", "frozenset", "bytearray", "complex", "slice"),
    "pathlib": ("Path", "PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath"),
    "pathlib._local": ("Path", "PosixPath", "PurePosixPath"),
    "datetime": ("datetime", "date", "timedelta", "timezone"),
    "numpy": ("ndarray", "dtype"),
    "numpy.core.multiarray": ("_reconstruct", "scalar"),
    "numpy._core.multiarray": ("_reconstruct", "scalar"),
    "numpy.core.numeric": ("_frombuffer",),
    "numpy._core.numeric": ("_frombuffer",),
    "torch": ("device", "Generator", "Tensor", "layout", "memory_format"),
    "torch.nn.parameter": ("Parameter", "Buffer"),
    "deepspeed.runtime.fp16.loss_scaler": (
        *("LossScaler", "DynamicLossScaler", "LossScalerBase", "LossScaleConfig", "LossScaleProfile"),
        "LossScaleProfileDefaults",
    ),
    "deepspeed.utils.tensor_fragment": ("fragment_address", "tensor_fragment"),
    "deepspeed.checkpoint.universal_checkpoint": ("SubparamShape",),
    "deepspeed.runtime.zero.config": ("DeepSpeedZeroConfig",),
    "deepspeed.runtime.zero.offload_config": (
        *("OffloadDeviceEnum", "DeepSpeedZeroOffloadParamConfig", "DeepSpeedZeroOffloadOptimizerConfig"),
    ),
}
_ADMITTED: dict[tuple[str, str], object] = {
    **{(module, name): Forgotten for module, names in _FORGOTTEN.items() for name in names},
    **{("torch", one.torch_name): one for one in BY_TORCH_NAME.values()},
    **{("torch", name): StorageType(numbers) for name, numbers in BY_STORAGE.items()},
    ("torch", "Size"): Function(_size),
    ("torch", "UntypedStorage"): StorageType(None),
    ("torch.storage", "UntypedStorage"): StorageType(None),
    ("torch._utils", "_rebuild_tensor_v2"): _TENSOR,
    ("torch._utils", "_rebuild_tensor_v3"): _TENSOR_WITH_TYPE,
    ("torch._utils", "_rebuild_parameter"): _PARAMETER,
    ("torch._utils", "_rebuild_parameter_with_state"): _PARAMETER,
    ("torch._tensor", "_rebuild_from_type_v2"): Function(_rebuilt_from_type),
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): Function(_empty_dict),
    ("builtins", "list"): list,
    ("builtins", "dict"): dict,
    ("builtins", "tuple"): tuple,
    ("builtins", "int"): int,
    ("builtins", "float"): float,
    ("builtins", "str"): str,
    ("builtins", "bool"): bool,
    ("_codecs", "encode"): Function(_nothing),
    ("torch.serialization", "_get_layout"): Function(_nothing),
    ("deepspeed.runtime.zero.config", "ZeroStageEnum"): Function(_whole_number),
}


class NotAdmitted(Exception):
    """A pickle names something that is not listed; its text is the name."""


def stand_in(module: str, name: str) -> object:
    """What stands for ``module.name``.

    Raises:
        NotAdmitted: nothing does.
    """
    try:
        return _ADMITTED["builtins" if module == "__builtin__" else module, name]
    except KeyError:
        raise NotAdmitted(f"{module}.{name}") from None
