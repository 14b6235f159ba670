"""The settings page, generated from the schema: ``python -m redheart.config.document > docs/configuration.md``."""

from __future__ import annotations

import ast
import inspect
import sys
from typing import Any

import msgspec

from redheart.config import schema
from redheart.config.schema import Config
from redheart.config.type_description import wanted

_INTRODUCTION = """\
# Settings

<!-- Made from redheart/config/schema.py by: python -m redheart.config.document > docs/configuration.md -->

A setting comes from its default, then from the YAML file that `--config` names, then from `KEY=VALUE` on the command
line, then from an option that stands for it (`--epochs 3` is `training.epochs=3`). Unknown keys, wrong types and
contradictions are refused, all at once, before anything starts. So is an empty value, such as a variable of a script that is
not set leaves: the default is had by leaving the setting out, or by `null`.

```yaml
training:
  epochs: 3
  learning_rate: 1e-4
sweep:
  stages: 2
```

The same on the command line: `redheart train training.epochs=3 training.learning_rate=1e-4 sweep.stages=2`.

## What is left open

What is left open – a `learning_rate` of null, `preset: auto`, `precision: auto` – is resolved once, where a stage begins.
What a run resolved to is stored with it as `config.yaml`: `redheart train --config OLD/config.yaml --output NEW`, in the
folder that the old run was started in, trains the same again, at the learning rate that the sweep chose then. Without
`--output` it goes on with the old run. Batch geometry stays as it was asked for there; what it came to stands in `run.json`.

`--print-config` prints what a command would run with, and starts nothing: the settings resolved, and where each that
differs from its default comes from. What it prints is a file for `--config`:

```
$ redheart train --print-config --epochs 3 | grep '#'
  preset: tiny  # auto: there is no CUDA device
  epochs: 3  # option --epochs
  learning_rate: 5.6e-05  # the sweep's choice: training/lr_sweep_results/optimal_lr.json
  precision: no  # auto: there is no CUDA device
```
"""


def docstrings(section: type[msgspec.Struct]) -> dict[str, str]:
    """The string under each field of ``section``, white space folded; a field without one is absent."""
    (definition,) = ast.parse(inspect.getsource(section)).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, following in zip(definition.body, definition.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
            and isinstance(following.value.value, str)
        ):
            found[field.target.id] = " ".join(following.value.value.split())
    return found


def _default(value: Any) -> str:
    shown = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{shown}`"


def _table(section: type[msgspec.Struct], prefix: str) -> list[str]:
    texts = docstrings(section)
    lines = ["| setting | wanted | default | what it does |", "|---|---|---|---|"]
    for field in msgspec.structs.fields(section):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            continue
        text = texts[field.name].replace("``", "`").replace("|", "\\|")
        lines.append(f"| `{prefix}{field.name}` | {wanted(field.type)} | {_default(field.default)} | {text} |")
    return lines


def page() -> str:
    """The whole page, in Markdown."""
    lines = [_INTRODUCTION, "## The run", "", *_table(Config, "")]
    for field in msgspec.structs.fields(Config):
        if isinstance(field.type, type) and issubclass(field.type, schema.Section):
            about = (inspect.getdoc(field.type) or "").replace("``", "`")
            lines += ["", f"## `{field.name}`", "", about, "", *_table(field.type, f"{field.name}.")]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
