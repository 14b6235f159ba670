"""What a report says of where it was made: the processor by its maker's name, versions of what is installed."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

import redheart
from redheart.report.surroundings import _processor, package_versions


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ("processor : 0\nmodel name\t: Fast CPU 3000\nmodel name\t: Fast CPU 3000\n", "Fast CPU 3000"),
        ("model name\t: unknown\nmodel name\t: \nmodel name\t: Slow CPU\n", "Slow CPU"),
        ("model name\t: unknown\n", "by the system"),
        (None, "by the system"),
    ],
)
def test_a_processor_is_called_what_its_maker_calls_it(
    monkeypatch: pytest.MonkeyPatch, told: str | None, wanted: str
) -> None:
    def read(path: Path, **_: object) -> str:
        if told is None:
            raise FileNotFoundError(2, "No such file", str(path))
        return told

    monkeypatch.setattr(Path, "read_text", read)
    monkeypatch.setattr(platform, "processor", lambda: "by the system")
    assert _processor() == wanted


def test_a_package_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redheart.report.surroundings._PACKAGES", ("numpy", "no-such-package"))
    found = package_versions()
    assert found["redheart"] == redheart.__version__ and found["numpy"] and found["no-such-package"] is None
