"""The command line in this process, for tests that a process of its own would tell nothing more: a start loads libraries for seconds."""

from __future__ import annotations

import io
import os
import subprocess
from pathlib import Path

import pytest

from redheart.cli.main import main
from redheart.messages import language, set_language


def redheart(
    *words: str, cwd: Path, streams: str = "utf-8", umask: int | None = None, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """What ``python -m redheart`` would have said and written in the folder ``cwd``, and its exit code.

    Args:
        streams: the encoding of what is printed, perhaps with how errors are met, as in ``PYTHONIOENCODING``.
        environment: variables beside those that are there; none of them is ``REDHEART_LANG`` unless it is given.
    """
    encoding, _, errors = streams.partition(":")
    out = io.TextIOWrapper(io.BytesIO(), encoding, errors or "strict", write_through=True)
    err = io.TextIOWrapper(io.BytesIO(), encoding, "backslashreplace", write_through=True)
    before, mask = language(), os.umask(0o022)
    os.umask(mask if umask is None else umask)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        patch.setenv("REDHEART_LANG", "")  # so that it is put back, whatever the command sets
        patch.delenv("REDHEART_LANG")
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr("sys.stdout", out)
        patch.setattr("sys.stderr", err)
        try:
            code = main(list(words))
        except SystemExit as ended:  # the parser's
            code = int(ended.code or 0)
        finally:
            os.umask(mask)
            set_language(before)
    written = [stream.buffer.getvalue() for stream in (out, err) if isinstance(stream.buffer, io.BytesIO)]
    return subprocess.CompletedProcess(["redheart", *words], code, *written)
