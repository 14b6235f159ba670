"""The writing of a safetensors file, a slice of a tensor at a time: the bytes that ``safetensors.torch.save_file`` would write."""

from __future__ import annotations

from collections.abc import Mapping

from redheart.checkpoint.tensor_file import Layout, TensorForm
from redheart.consolidation.reading import Reader
from redheart.consolidation.source import StoredTensor
from redheart.consolidation.writers.written_file import WrittenFile


def layout_of(tensors: Mapping[str, StoredTensor], metadata: Mapping[str, str]) -> Layout:
    """Where everything will lie in the file."""
    forms = {name: TensorForm(one.dtype.torch_name, tuple(one.shape)) for name, one in tensors.items()}
    return Layout(forms, metadata)


def write_safetensors(
    file: WrittenFile, reader: Reader, tensors: Mapping[str, StoredTensor], metadata: Mapping[str, str]
) -> None:
    """Writes ``tensors`` into ``file``.

    Raises:
        StorageError: a tensor can't be read.
        OSError: the file can't be written.
    """
    layout = layout_of(tensors, metadata)
    file.write(layout.head)
    for name in layout.forms:
        for content in reader.bytes_of(tensors[name]):
            file.write(content)
