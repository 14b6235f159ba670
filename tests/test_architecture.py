"""The shape of the house: imports go one way, no file imports itself by way of others, no folder or function is too full to read."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
from importlinter.api import read_configuration
from radon.complexity import cc_visit

PROJECT = Path(__file__).parents[1]
MAP = PROJECT / "docs" / "architecture.md"
MAX_FILES_IN_A_FOLDER = 15
MAX_UNTYPED = 20
#: Files that may have values of any type under names (``dict[str, Any]`` and its like), and why.
UNTYPED = {
    "cli/options.py": "options as argparse has them, before the configuration checks them",
    "config/load.py": "settings as YAML has them, before they are checked",
    "consolidation/forms/deepspeed_files.py": "what DeepSpeed pickled, before each field that is needed is checked",
    "data/files/json_stream.py": "a dataset's items as JSON, before they are checked",
    "data/schema.py": "what a dataset's item holds besides, handed through to the embedded file as it is",
    "health/gradient_check.py": "PyTorch's interface of a function mode",
    "messages/josa.py": "what a message is filled in with: anything that can be printed",
    "model/flops.py": "PyTorch's interface of a function mode",
    "model/meta_device.py": "PyTorch's interface of a function mode",
    "sweep/trials.py": "what an older version, or another program, wrote of a trial besides: kept as it is",
    "training/optimizer.py": "PyTorch's interface of an optimizer's groups",
    "training/schedule.py": "PyTorch's interface of an optimizer's groups",
}
#: Files that may read or set environment variables, which ones, and why there. ``*``: all of them.
ENVIRONMENT = {
    "cli/main.py": (
        {"REDHEART_LANG", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"},
        "the edge: the language, and how this process's threads wait",
    ),
    "cli/failed_import.py": ({"*"}, "the edge: shown to a person when a library stumbles over one"),
    "embedding/encoder.py": ({"TOKENIZERS_PARALLELISM"}, "set for the tokenizers, before they start"),
    "engine/compiled.py": ({"CC", "CXX"}, "where PyTorch itself looks for its compiler"),
    "engine/zero/building.py": (
        {"CXX", "DS_ACCELERATOR"},
        "where PyTorch itself looks for its compiler; set for DeepSpeed, before it starts",
    ),
    "engine/zero/extensions.py": (
        {"DS_ACCELERATOR", "PATH"},
        "set for DeepSpeed, before it starts; set for its builds, and put back",
    ),
    "machine/gpus.py": (
        {"CUDA_VISIBLE_DEVICES"},
        "which GPUs CUDA would use, asked without CUDA; set where they are left out",
    ),
    "launching/launch_file.py": (
        {"CUDA_VISIBLE_DEVICES", "WORLD_SIZE"},
        "named where they are why a launch is refused",
    ),
    "engine/launch_variables.py": (
        {
            *("ACCELERATE_DEEPSPEED_CONFIG_FILE", "ACCELERATE_DYNAMO_BACKEND", "ACCELERATE_MIXED_PRECISION"),
            *("ACCELERATE_TORCH_DEVICE", "MASTER_ADDR", "*"),
            *("TORCHELASTIC_USE_AGENT_STORE", "TORCHELASTIC_RUN_ID"),
        },
        "the edge: what the launcher tells a process, numbers and flags by one reader each",
    ),
    "launching/rank.py": ({"REDHEART_LAUNCH_FOLDER"}, "the edge: a supervised process's side"),
    "plan/remembered.py": ({"REDHEART_CACHE", "XDG_CACHE_HOME"}, "where the user's cache is"),
    "pictures.py": ({"MPLBACKEND"}, "set while matplotlib is loaded, and put back: a notebook's ends it elsewhere"),
    "worker_pool/slots.py": ({"*"}, "the edge: what workers inherit"),
    "workflow/lock.py": ({"REDHEART_OUTPUT_HELD"}, "told to the processes that the holder of a folder starts"),
}
#: McCabe's count of the ways through a function, as radon counts them.
MAX_COMPLEXITY = 15
#: What is more complex, and why it stays so for now. An entry goes with its reason.
COMPLEX = {
    "benchmarks/model_quality.py:plan": "a benchmark's list of runs, by case",
    "benchmarks/model_quality.py:score": "a benchmark's tables, by case",
    "benchmarks/train_step_profile.py:profile_steps": "one measurement, top to bottom",
}


def test_the_layers_are_kept() -> None:
    command = [
        sys.executable,
        "-c",
        "import sys; from importlinter.cli import lint_imports_command as c; sys.exit(c())",
    ]
    found = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0 and "1 kept, 0 broken" in found.stdout, found.stdout + found.stderr


def test_the_map_lists_the_layers_as_they_are_held() -> None:
    (contract,) = read_configuration(str(PROJECT / "pyproject.toml"))["contracts_options"]
    layers = " → ".join(layer.replace("redheart.", "") for layer in contract["layers"])
    drawn = MAP.read_text(encoding="utf-8").partition("Imports go downward only")[2].split("```")[1]
    assert " ".join(drawn.split()) == layers


def test_the_map_has_a_row_for_every_folder_and_file_of_the_package_and_for_no_other() -> None:
    package = PROJECT / "redheart"
    there = {path.parent.relative_to(package).as_posix() for path in package.rglob("*.py")} - {"."}
    there |= {path.name for path in package.glob("*.py") if not path.name.startswith("__")}
    folders = MAP.read_text(encoding="utf-8").partition("## The folders")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \|", folders, re.MULTILINE)
    assert sorted(rows) == sorted(there)


def test_what_the_map_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)", MAP.read_text(encoding="utf-8"))
    assert len(links) > 10, "they were found"
    assert [link for link in links if not (MAP.parent / link).exists()] == []


def test_no_file_imports_itself_by_way_of_others() -> None:
    """Imports within functions and those for type checking alone count as well: they tie files together all the same."""
    graph = grimp.build_graph("redheart", cache_dir=None)
    imports = {one: graph.find_modules_directly_imported_by(one) for one in graph.modules}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        raise AssertionError(" → ".join(reversed(error.args[1]))) from None


def test_no_folder_holds_more_files_than_one_takes_in() -> None:
    files = Counter(path.parent for path in (PROJECT / "redheart").rglob("*.py") if path.name != "__init__.py")
    fuller = {str(folder.relative_to(PROJECT)): n for folder, n in files.items() if n > MAX_FILES_IN_A_FOLDER}
    assert not fuller, f"more than {MAX_FILES_IN_A_FOLDER} files: {fuller}"


def parsed() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((PROJECT / "redheart").rglob("*.py")):
        yield path.relative_to(PROJECT), ast.parse(path.read_text(encoding="utf-8"))


def test_what_an_engine_is_made_of_is_asked_by_nobody_outside_it() -> None:
    """Neither for what Accelerate gave it, nor for its kind: a property of the contract says what is meant."""
    found = []
    for path, tree in parsed():
        if path.parts[:2] == ("redheart", "engine"):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr == "accelerator":
                found.append(f"{path}:{node.lineno} asks for .accelerator")
            operands = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
            if isinstance(node, ast.Match):
                operands = [node.subject]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                operands = [node.func.value]  # a method of the name, such as startswith
            elif isinstance(node, ast.Subscript):
                operands = [node.value]
            if any(_is_kind_of_engine(one) for one in operands):
                found.append(f"{path}:{node.lineno} decides by the engine's kind")
    assert not found, "\n".join(found)


def _is_kind_of_engine(node: ast.expr) -> bool:
    if not isinstance(node, ast.Attribute) or node.attr != "kind":
        return False
    owner = node.value
    name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
    return name.strip("_") == "engine"


def test_no_method_but_the_first_gives_an_object_another_attribute() -> None:
    """What an object has is read at one place: in ``__init__``, or in the fields of its class, or of a class it is made of."""
    classes = {node.name: node for _, tree in parsed() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    found = []
    for path, tree in parsed():
        for owner in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
            declared = _declared(owner, classes)
            for method in (node for node in owner.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))):
                if method.name in ("__init__", "__post_init__", "__new__"):
                    continue
                found += [
                    f"{path}:{node.lineno} {owner.name}.{method.name} introduces {node.attr}"
                    for node in _set_by(method)
                    if node.attr not in declared
                ]
    assert not found, "\n".join(found)


def _declared(owner: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> set[str]:
    """Attributes that are set in a class's ``__init__`` or in its body, and in those of its base classes here."""
    names: set[str] = set()
    for node in owner.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.FunctionDef):
            if node.name in ("__init__", "__post_init__", "__new__"):
                names |= {attribute.attr for attribute in _set_by(node)}
            elif any(isinstance(one, ast.Attribute) and one.attr == "setter" for one in node.decorator_list):
                names.add(node.name)
    for base in owner.bases:
        name = base.id if isinstance(base, ast.Name) else base.attr if isinstance(base, ast.Attribute) else ""
        if name in classes and classes[name] is not owner:
            names |= _declared(classes[name], classes)
    return names


def _set_by(method: ast.AST) -> Iterator[ast.Attribute]:
    """``self.name = …`` in all its forms."""
    for node in ast.walk(method):
        is_set = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if is_set and isinstance(node.value, ast.Name) and node.value.id == "self":
            yield node


def test_what_files_and_stages_hand_over_is_typed_but_at_the_edges() -> None:
    found = Counter(
        str(path.relative_to(PROJECT / "redheart"))
        for path in (PROJECT / "redheart").rglob("*.py")
        for _ in re.findall(r"\[str, (?:Any|object)\]", path.read_text(encoding="utf-8"))
    )
    more = {name: count for name, count in found.items() if name not in UNTYPED}
    assert not more, f"give it a msgspec.Struct, or say in UNTYPED why not: {more}"
    assert sum(found.values()) <= MAX_UNTYPED, found
    assert not UNTYPED.keys() - found.keys(), f"typed by now: {UNTYPED.keys() - found.keys()}"


def test_environment_variables_are_read_where_the_list_says() -> None:
    found = {}
    for path, tree in parsed():
        if variables := _environment_variables(tree):
            found[path.relative_to("redheart").as_posix()] = variables
    assert found == {name: variables for name, (variables, _) in ENVIRONMENT.items()}


def test_a_variable_is_found_however_it_is_read() -> None:
    ways = {
        "import os\nos.environ['A']": {"A"},
        "import os\nos.environ.get('A', '')": {"A"},
        "import os\nos.getenv('A')": {"A"},
        "import os as o\no.environ['A'] = ''": {"A"},
        "import os\nNAME = 'A'\nos.environ.pop(NAME, None)": {"A"},
        "import os\nos.environ[f()]": {"*"},
        "import os\nany(os.environ.get(name) for name in ('A', 'B'))": {"A", "B"},
        "import os\n'A' in os.environ": {"A"},
        "import os\ncallback(os.environ.__setitem__, 'A', '')": {"A"},
        "from os import environ, getenv\nenviron['A'], getenv('B')": {"A", "B"},
        "import os\ndict(os.environ)": {"*"},
        "import jinja2\njinja2.Environment()": set(),
    }
    assert {code: _environment_variables(ast.parse(code)) for code in ways} == ways


def _environment_variables(tree: ast.Module) -> set[str]:
    """Names of the variables that a file reads or sets; ``*`` where a name is known at run time only, or all are taken."""
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    names: dict[str, set[str]] = {}  # what the file's own names stand for: constants, and what a loop goes over
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            names[node.targets[0].id] = _texts(node.value)
        elif isinstance(node, ast.comprehension) and isinstance(node.target, ast.Name):
            names[node.target.id] = _texts(node.iter)
    found: set[str] = set()
    for node in ast.walk(tree):
        called = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        if called in ("environ", "getenv", "putenv"):
            key = _key_of(node, parents)
            found |= (names.get(key.id) if isinstance(key, ast.Name) else _texts(key)) or {"*"}
    return found


def _texts(node: ast.expr | None) -> set[str]:
    values = node.elts if isinstance(node, (ast.Tuple, ast.List)) else [node]
    return {one.value for one in values if isinstance(one, ast.Constant) and isinstance(one.value, str)}


def _key_of(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> ast.expr | None:
    """The variable's name beside ``os.environ`` or ``os.getenv``: in brackets, as a first argument, before ``in``."""
    around = parents[node]
    if isinstance(around, ast.Subscript):
        return around.slice
    if isinstance(around, ast.Compare):
        return around.left
    if isinstance(around, ast.Attribute):  # a method of the mapping, called or handed on
        node, around = around, parents[around]
    elif isinstance(node, (ast.Attribute, ast.Name)) and (getattr(node, "attr", None) or node.id) == "environ":
        return None  # the mapping itself
    if isinstance(around, ast.Call):
        arguments = around.args if around.func is node else around.args[around.args.index(node) + 1 :]
        return arguments[0] if arguments else None
    return None


def _complexities() -> dict[str, int]:
    """Every function and method of the package and of the benchmarks, with what is nested in it."""
    found = {}
    for folder in ("redheart", "benchmarks"):
        for path in sorted((PROJECT / folder).rglob("*.py")):
            for block in cc_visit(path.read_text(encoding="utf-8")):
                if block.letter != "C":  # a class is the mean of its methods, which are here themselves
                    found[f"{path.relative_to(PROJECT)}:{block.fullname}"] = block.complexity
    return found


def test_no_function_is_too_complex() -> None:
    complexities = _complexities()
    too_complex = {name: count for name, count in complexities.items() if count > MAX_COMPLEXITY}
    new = {name: count for name, count in too_complex.items() if name not in COMPLEX}
    assert not new, f"more than {MAX_COMPLEXITY} ways through: {new}; cut them where their ideas part"
    assert sorted(COMPLEX.keys() - too_complex) == [], "no longer so complex, or gone: take them off the list"
    assert len(complexities) > 1000, "they were found"


#: What collects while something runs, or is a file's content; all else that only holds values can't be changed.
CHANGEABLE = {
    *("facts/evaluation.py:_Whose", "training/out_of_memory.py:OomLog", "training/epoch_sums.py:EpochSums"),
    *("training/callbacks/run.py:Run", "sweep/worker.py:Worker", "sweep/claims.py:_Watch", "data/reader.py:_First"),
    *("health/weight_changes.py:ChangesState", "health/data_coverage.py:CoverageState"),
    *(
        "health/data_coverage.py:DataCoverage",
        "health/liveness.py:LivenessState",
        "health/update_monitor.py:UpdateReport",
    ),
    *("consolidation/forms/own_forms.py:_Hash", "consolidation/forms/own_forms.py:_Cursor"),
    *("consolidation/forms/own_forms.py:_State", "checkpoint/resume.py:_Hash", "checkpoint/resume.py:_Manifest"),
}


def test_what_only_holds_values_can_not_be_changed() -> None:
    found = set()
    for path, tree in parsed():
        for node in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
            decorators = [one for one in node.decorator_list if "dataclass" in ast.unparse(one)]
            if not decorators and not any("Struct" in ast.unparse(base) for base in node.bases):
                continue
            told = [*node.keywords, *(k for one in decorators if isinstance(one, ast.Call) for k in one.keywords)]
            if not any(k.arg == "frozen" and ast.unparse(k.value) == "True" for k in told):
                found.add(f"{path.relative_to('redheart').as_posix()}:{node.name}")
    assert found == CHANGEABLE


def test_what_is_gone_through_together_is_of_one_length_but_where_it_is_said() -> None:
    found = {
        path.relative_to("redheart").as_posix()
        for path, tree in parsed()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "zip"
        if any(k.arg == "strict" and ast.unparse(k.value) == "False" for k in node.keywords)
    }
    assert found == {"config/document.py", "report/curves.py", "checkpoint/tensor_file.py"}
