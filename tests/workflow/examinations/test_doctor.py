"""What this machine offers: found without fetching or loading anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from redheart.cli.main import main
from redheart.config import Config, load_config
from redheart.data.locate import bundled_sample
from redheart.workflow.examinations.doctor import Finding, examine, exit_code_of

ROOT = Path(__file__).parents[2]


def _model_finding(config: Config) -> Finding:
    (found,) = [finding for finding in examine(config) if finding.what.startswith("embedding model")]
    return found


def _python(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_is_needed_is_found_here() -> None:
    findings = examine(Config())
    assert [finding.what for finding in findings if finding.required and not finding.ok] == []
    assert {"Python", "torch", "GPU", "disk", "host memory"} <= {finding.what for finding in findings}


def test_a_finding_is_a_line_with_the_fix_where_there_is_something_to_mend() -> None:
    assert str(Finding("disk", True, "5 GiB free", "at least 1 GiB")) == "✅ disk: 5 GiB free"
    assert str(Finding("disk", False, "0 GiB free", "at least 1 GiB", required=True)) == (
        "❌ disk: 0 GiB free → at least 1 GiB"
    )
    assert str(Finding("ninja", False, "not found", "pip install ninja")) == "⚠️ ninja: not found → pip install ninja"


def test_a_model_in_a_folder_is_found(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    found = _model_finding(load_config(None, [f"embedding.model={tmp_path}"]))
    assert found.ok and found.found == str(tmp_path)


def test_a_folder_without_weights_is_no_model(tmp_path: Path) -> None:
    assert not _model_finding(load_config(None, [f"embedding.model={tmp_path}"])).ok


@pytest.mark.parametrize("name", ["nobody/no-such-model", "/no/such/folder"])
def test_a_model_that_is_not_here_is_told_and_not_fetched(tmp_path: Path, name: str) -> None:
    looked = (
        "import socket\n"
        "def refuse(*_, **__): raise AssertionError('the network was asked')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from redheart.config import load_config\nfrom redheart.workflow.examinations.doctor import examine\n"
        f"found = [f for f in examine(load_config(None, [('embedding.model', {name!r})])) if 'model' in f.what][0]\n"
        "assert not found.ok and 'not on this machine' in found.found and found.fix\n"
        "assert not found.required\n"
    )
    done = _python(looked, HF_HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr


def test_looking_loads_no_model_and_makes_no_cuda_context() -> None:
    looked = (
        "import sys\nfrom redheart.config import Config\nfrom redheart.workflow.examinations.doctor import examine\n"
        "examine(Config())\n"
        "print([name for name in ('transformers', 'sentence_transformers', 'deepspeed', 'accelerate') if name in sys.modules])\n"
        "import torch\nprint(torch.cuda.is_initialized())"
    )
    done = _python(looked)
    assert done.stdout.split() == ["[]", "False"], done.stderr


@pytest.mark.parametrize("there", ["g++", "c++"])
def test_any_c_compiler_of_the_two_names_will_do(monkeypatch: pytest.MonkeyPatch, there: str) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}" if name in (there, "ninja") else None)
    (found,) = [one for one in examine(Config()) if one.what.startswith("C++ compiler")]
    assert found.ok and found.found == f"/bin/{there}, ninja /bin/ninja"


def test_short_memory_ends_it_with_the_code_of_a_run_that_is_refused_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("redheart.machine.inspection.host_memory", lambda: 6 << 30)
    assert main(["doctor", "--preset", "730m", "--lang", "en"]) == 7
    data = ["--data", str(bundled_sample())]
    assert main(["validate", "--preset", "730m", "--lang", "en", *data]) == 7
    assert "redheart validate: memory for 730m: " in capsys.readouterr().err
    assert main(["plan", "--preset", "730m", "--json", "--lang", "en"]) == 7
    told = json.loads(capsys.readouterr().out)
    assert told["chosen"] is None and told["fitting_preset"] == "small" and "730m" in told["refusal"]


def test_what_else_is_missing_has_the_code_that_it_had() -> None:
    assert exit_code_of([Finding("disk", False, "none", required=True)]) == 1
    assert exit_code_of([Finding("host memory", True, "8 GiB", is_memory=True)]) == 0
