"""What people do and have, at random: values, datasets, command lines, settings, environment variables."""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Iterator
from typing import Any

import msgspec
from hypothesis import strategies as st

from redheart.cli.parser import build_parser
from redheart.config import Config
from redheart.data.locate import bundled_sample

#: Words that stand where a path, a number or a name is wanted.
WORDS = (
    *(
        "",
        " ",
        "x",
        "0",
        "-1",
        "1",
        "3",
        "1e-4",
        "nan",
        "inf",
        "1e999",
        "9" * 40,
        "0x10",
        "１２",
        "true",
        "null",
        "None",
        "~",
        "-",
        "--",
    ),
    *(
        "/nonexistent/x",
        ".",
        "..",
        "/dev/null",
        "/",
        "a" * 300,
        "데이터.json",
        "caf\udce9.json",
        "a b",
        "a\tb",
        "a\nb",
        '"',
        "'",
    ),
    *(
        "[]",
        "{}",
        "[1]",
        "{a: 1}",
        ".nan",
        "!!python/object:os.system",
        "&a [*a]",
        ": :",
        "@x",
        "%x",
        "|",
        "> x",
        "\u200b",
        "🦆",
        "\x00",
    ),
    *("tiny", "730m", "auto", "en", "ko", "bf16", "test", "sample.json", "nothing.json"),
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0.0, 1.0, 0.5, -0.1, 1.0000001, 1.5])
    | st.text(max_size=20)
    | st.sampled_from(["", " ", "\u200b", "NTA", "YTA", "AUTHOR", "0.5", "nan", "\ud800"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)
_SAMPLE: list[dict[str, Any]] = json.loads(bundled_sample().read_text(encoding="utf-8"))[:60]
_FIELDS = sorted({name for item in _SAMPLE for name in item})


def _changed(draw: st.DrawFn, items: list[Any]) -> None:
    """One change to one item, or to what it is one of."""
    number = draw(st.integers(0, len(items) - 1))
    item = items[number]
    what = draw(st.sampled_from(["field", "field", "inside", "remove", "rename", "item", "twice", "fewer"]))
    if what == "item":
        items[number] = draw(values)
    elif what == "fewer":
        del items[draw(st.integers(1, len(items))) :]
    elif not isinstance(item, dict) or not item:
        return
    elif what == "twice":
        items.append(copy.deepcopy(item))
    elif what == "remove":
        item.pop(draw(st.sampled_from(sorted(item))))
    elif what == "rename":
        old = draw(st.sampled_from(sorted(item)))
        item[draw(st.sampled_from([old[:-1], old.upper(), old + "s", old.replace("_", "-"), ""]))] = item.pop(old)
    elif what == "inside":
        inner = item.get(draw(st.sampled_from(_FIELDS)))
        if isinstance(inner, dict) and inner:
            inner[draw(st.sampled_from(sorted(inner)) | st.text(max_size=8))] = draw(values)
    else:
        item[draw(st.sampled_from(_FIELDS))] = draw(values)


@st.composite
def datasets(draw: st.DrawFn) -> bytes:
    """A dataset's file: the sample's situations with something done to them, in one form or another, perhaps damaged."""
    items: list[Any] = copy.deepcopy(_SAMPLE)
    for _ in range(draw(st.integers(0, 3))):
        _changed(draw, items)
    form = draw(st.sampled_from(["array", "array", "lines", "lines", "wrapped", "by id", "value"]))
    if form == "lines":
        text = "\n".join(json.dumps(item) for item in items)
    else:
        whole: Any = {"array": items, "wrapped": {"version": 1, "data": items}, "value": None}.get(form)
        if form == "by id":
            whole = {str(number): item for number, item in enumerate(items)}
        text = json.dumps(draw(values) if form == "value" else whole, indent=draw(st.sampled_from([None, None, 1])))
    content = text.encode(
        draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32-le"])), "surrogatepass"
    )
    return _damaged(draw, content)


def _damaged(draw: st.DrawFn, content: bytes) -> bytes:
    damage = draw(st.sampled_from(["none", "none", "none", "cut", "byte", "middle", "nul", "comma"]))
    place = draw(st.integers(0, max(0, len(content) - 1)))
    if damage == "cut":
        return content[:place]
    if damage == "byte":
        return content[:place] + draw(st.binary(min_size=1, max_size=3)) + content[place + 1 :]
    if damage == "middle":
        return content[:place] + content[place + draw(st.integers(1, 50)) :]
    if damage == "nul":
        return content[:place] + b"\x00" * 8 + content[place:]
    return content.rstrip()[:-1] + b",]" if damage == "comma" else content


#: ``--debug`` is left out: it shows tracebacks, as it says.
def _options(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    yield from (
        action
        for action in parser._actions
        if action.option_strings and action.dest not in ("help", "version", "debug")
    )


#: Command -> its options, and how many words each takes.
OPTIONS = {
    name: [(action.option_strings[-1], action.nargs != 0) for action in _options(parser)]
    for name, parser in build_parser().commands().items()
}


def _settings(of: type, before: str = "") -> Iterator[str]:
    for field in msgspec.structs.fields(of):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from _settings(field.type, f"{before}{field.name}.")
        else:
            yield before + field.name


SETTINGS = tuple(_settings(Config))


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """Words after ``redheart`` that start nothing long: what would train or embed only prints its settings."""
    name = draw(st.sampled_from(sorted(OPTIONS)))
    words = [name]
    if name == "workflow":
        words.append(draw(st.sampled_from(["unified-train", "unified-test", "validate", "x"])))
    elif name == "checkpoints":
        words.append(draw(st.sampled_from(["ls", "verify", "rm", "x"])))
    elif name == "runs":
        words.append(draw(st.sampled_from(["ls", "show", "compare", "x"])))
    for option, takes in draw(st.lists(st.sampled_from(OPTIONS[name] or [("--x", False)]), max_size=3)):
        words += [option, draw(st.sampled_from(WORDS))] if takes else [option]
    for key in draw(
        st.lists(st.sampled_from(SETTINGS) | st.sampled_from(["x", "data.", "training.epoch"]), max_size=3)
    ):
        words.append(f"{key}={draw(st.sampled_from(WORDS) | st.integers(-5, 10**6).map(str))}")
    words += draw(st.lists(st.sampled_from(WORDS), max_size=1))
    if name in ("train", "sweep", "ablate", "workflow", "embed", "doctor"):
        words.append("--print-config")
    return words


@st.composite
def settings_files(draw: st.DrawFn) -> bytes:
    """What a ``--config`` file may hold."""
    lines = []
    for key in draw(st.lists(st.sampled_from(SETTINGS), max_size=4)):
        section, _, name = key.rpartition(".")
        value = draw(st.sampled_from(WORDS))
        lines += [f"{section}:", f"  {name}: {value}"] if section else [f"{name}: {value}"]
    text = "\n".join(lines) + draw(st.sampled_from(["", "\n", "\n\t", "\nseed: [", "\n- a", "\n---\na: 1", "\n? x"]))
    return _damaged(draw, text.encode("utf-8", "surrogateescape"))


#: Variables that shells, notebooks, clusters and launchers leave behind.
VARIABLES = (
    *(
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "OMP_WAIT_POLICY",
        "GOMP_SPINCOUNT",
        "KMP_AFFINITY",
    ),
    *(
        "MPLBACKEND",
        "MPLCONFIGDIR",
        "MATPLOTLIBRC",
        "TQDM_DISABLE",
        "TQDM_MININTERVAL",
        "TQDM_NCOLS",
        "COLUMNS",
        "LINES",
        "TERM",
    ),
    *(
        "HF_HOME",
        "HF_HUB_OFFLINE",
        "HF_TOKEN",
        "HF_ENDPOINT",
        "TRANSFORMERS_CACHE",
        "TRANSFORMERS_OFFLINE",
        "TOKENIZERS_PARALLELISM",
    ),
    *("ACCELERATE_MIXED_PRECISION", "ACCELERATE_USE_CPU", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP"),
    *(
        "ACCELERATE_DYNAMO_BACKEND",
        "ACCELERATE_TORCH_DEVICE",
        "ACCELERATE_DEBUG_MODE",
        "ACCELERATE_GRADIENT_ACCUMULATION_STEPS",
    ),
    *(
        "RANK",
        "WORLD_SIZE",
        "LOCAL_RANK",
        "MASTER_ADDR",
        "MASTER_PORT",
        "SLURM_JOB_ID",
        "SLURM_PROCID",
        "CUDA_VISIBLE_DEVICES",
    ),
    *(
        "TORCH_LOGS",
        "TORCH_DISTRIBUTED_DEBUG",
        "TORCHDYNAMO_DISABLE",
        "PYTORCH_CUDA_ALLOC_CONF",
        "TORCHINDUCTOR_CACHE_DIR",
    ),
    *(
        "DS_ACCELERATOR",
        "DS_BUILD_OPS",
        "TMPDIR",
        "HOME",
        "XDG_CACHE_HOME",
        "XDG_CONFIG_HOME",
        "LANG",
        "LC_ALL",
        "LANGUAGE",
        "TZ",
    ),
    *(
        "PYTHONOPTIMIZE",
        "PYTHONUTF8",
        "PYTHONWARNINGS",
        "PYTHONSAFEPATH",
        "REDHEART_LANG",
        "REDHEART_OUTPUT_HELD",
        "NO_COLOR",
        "CC",
    ),
)
_FIT = tuple(word for word in WORDS if "\x00" not in word and "\udce9" not in word)
environments = st.dictionaries(
    st.sampled_from(VARIABLES), st.sampled_from((*_FIT, "2", "error", "en_US.UTF-8", "C")), min_size=1, max_size=6
)
