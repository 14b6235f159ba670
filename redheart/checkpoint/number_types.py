"""Types of numbers in files of weights: their names in safetensors, what PyTorch calls them, and how many bytes each takes."""

from __future__ import annotations

from typing import NamedTuple


class NumberType(NamedTuple):
    """One type of numbers. A pickle that is read has it in its hands: a named tuple can't be changed, a dataclass can.

    Attributes:
        name: in a safetensors file.
        torch_name: the attribute of ``torch``.
        size: bytes of one number.
        storage: what PyTorch's archives call a storage of them; empty where they name the type beside it.
    """

    name: str
    torch_name: str
    size: int
    is_floating: bool = False
    storage: str = ""


#: In the order in which safetensors aligns them: tensors of the last type come first in a file.
NUMBER_TYPES = (
    NumberType("BOOL", "bool", 1, storage="BoolStorage"),
    NumberType("U8", "uint8", 1, storage="ByteStorage"),
    NumberType("I8", "int8", 1, storage="CharStorage"),
    NumberType("F8_E5M2", "float8_e5m2", 1, is_floating=True),
    NumberType("F8_E4M3", "float8_e4m3fn", 1, is_floating=True),
    NumberType("I16", "int16", 2, storage="ShortStorage"),
    NumberType("U16", "uint16", 2),
    NumberType("F16", "float16", 2, is_floating=True, storage="HalfStorage"),
    NumberType("BF16", "bfloat16", 2, is_floating=True, storage="BFloat16Storage"),
    NumberType("I32", "int32", 4, storage="IntStorage"),
    NumberType("U32", "uint32", 4),
    NumberType("F32", "float32", 4, is_floating=True, storage="FloatStorage"),
    NumberType("C64", "complex64", 8, storage="ComplexFloatStorage"),
    NumberType("F64", "float64", 8, is_floating=True, storage="DoubleStorage"),
    NumberType("I64", "int64", 8, storage="LongStorage"),
    NumberType("U64", "uint64", 8),
)
BY_TORCH_NAME = {one.torch_name: one for one in NUMBER_TYPES}
#: By PyTorch's name, the place in that order.
RANK = {one.torch_name: rank for rank, one in enumerate(NUMBER_TYPES)}
