"""What tests share: where the real annotated data lies, if it does, and that no file of tests speaks another's language."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from redheart.messages import language, set_language


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real annotated situations that ``REDHEART_REAL_DATA`` names; tests that ask for it skip without."""
    folder = os.environ.get("REDHEART_REAL_DATA")
    if not folder:
        pytest.skip("REDHEART_REAL_DATA does not name the folder of real annotated data")
    return Path(folder)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads what this user's trainings remembered, nor adds to it; processes that tests start inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REDHEART_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module", autouse=True)
def _only_new_objects_collected() -> None:
    """Each training collects garbage at its end, which takes a third of a second where all that is imported is looked through."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _own_language() -> Iterator[None]:
    """A command that is run in this process decides the language of all that comes after it."""
    chosen, told = language(), os.environ.get("REDHEART_LANG")
    yield
    set_language(chosen)
    if told is None:
        os.environ.pop("REDHEART_LANG", None)
    else:
        os.environ["REDHEART_LANG"] = told
