"""The commands: what is asked for is handed to the workflow's stages, what comes back is printed."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from redheart.cli.signals import stop_requested
from redheart.config import Config


def show_parameters(arguments: Namespace) -> int:
    """``redheart params``."""
    from redheart.model.flops import count_flops
    from redheart.model.parameters import count_parameters
    from redheart.model.presets import dimensions

    counted = count_parameters(arguments.preset, arguments.d_embed)
    operations = count_flops(dimensions(arguments.preset, d_embed=arguments.d_embed), situations=8)
    if arguments.json:
        flops = {"segments": operations.segments, "forward": operations.per_situation, "modules": operations.by_module}
        facts = {"preset": arguments.preset, "total": counted.total, "modules": counted.by_module, "flops": flops}
        print(json.dumps(facts, indent=2))
        return 0
    from redheart.workflow.parameter_check import breakdown, check_line, operations_line

    print(breakdown(counted))
    print(operations_line(operations))
    if arguments.preset == "730m":
        print(check_line(counted))
    return 0


def _embed(arguments: Namespace, config: Config) -> int:
    from redheart.workflow.stages import embed

    with stop_requested() as should_stop:
        embed(config, should_stop=should_stop)
    return 0


def _sweep(arguments: Namespace, config: Config) -> int:
    from redheart.workflow import stages

    with stop_requested() as should_stop:
        if arguments.rebuild:
            stages.rebuild_sweep(config)
        else:
            stages.sweep(
                config, stages.prepare(config, should_stop=should_stop), force=arguments.force, should_stop=should_stop
            )
    return 0


def _train(arguments: Namespace, config: Config) -> int:
    from redheart.workflow import stages

    with stop_requested() as should_stop:
        dataset = stages.prepare_once(config, should_stop=should_stop)
        stages.train(config, dataset, force=arguments.force, should_stop=should_stop)
    return 0


def _consolidate(arguments: Namespace, config: Config) -> int:
    from redheart.workflow.consolidate import consolidate

    print(consolidate(Path(config.output), Path(arguments.to) if arguments.to else None))
    return 0


def _analyze(arguments: Namespace, config: Config) -> int:
    from redheart.workflow.stages import analyze

    analyze(config, force=arguments.force)
    return 0


def _crossover(arguments: Namespace, config: Config) -> int:
    from redheart.workflow import stages

    with stop_requested() as should_stop:
        stages.analysis_file(config)  # before anything is embedded
        dataset = stages.embedded_of_run(config) or stages.embed(config, should_stop=should_stop)
        stages.crossover(config, dataset, force=arguments.force, should_stop=should_stop)
    return 0


def _evaluate(arguments: Namespace, config: Config) -> int:
    import msgspec

    from redheart.checkpoint.restore import embedding_settings, open_model
    from redheart.workflow import stages
    from redheart.workflow.evaluate import evaluate
    from redheart.workflow.scores import as_json, as_table

    with stop_requested() as should_stop:
        restored = open_model(Path(arguments.checkpoint) if arguments.checkpoint else stages.delivered_model(config))
        config = msgspec.structs.replace(config, embedding=embedding_settings(restored.manifest, config.embedding))
        if not arguments.data:
            stages.check_dataset_of_run(config)
        dataset = stages.embedded_of_run(config) if not arguments.data else None
        dataset = dataset or stages.embed(config, should_stop=should_stop)
        scored = evaluate(config, dataset, restored, arguments.split, should_stop=should_stop)
    print(as_json(scored) if arguments.json else as_table(scored))
    return 0


def _predict(arguments: Namespace, config: Config) -> int:
    from redheart.prediction.inputs import read_inputs

    file = Path(arguments.file) if arguments.file else None
    # Before anything is loaded, and before a signal only sets a flag: reading standard input may wait for long.
    situations = read_inputs(arguments.words, file, title=arguments.title, action=arguments.action)
    from redheart.checkpoint.restore import check_preset, open_model
    from redheart.messages import text
    from redheart.prediction.formatting import as_json, as_table
    from redheart.prediction.predictor import Predictor
    from redheart.workflow import stages

    with stop_requested() as should_stop:
        restored = open_model(Path(arguments.checkpoint) if arguments.checkpoint else stages.delivered_model(config))
        check_preset(restored.manifest, restored.path, config.model.preset)
        predictor = Predictor(restored, config.embedding)
        blank = ""
        for predictions in predictor.predict(situations, should_stop=should_stop):
            for one in predictions:
                print(
                    as_json(one) if arguments.json else f"{blank}{as_table(one, restored.manifest.selection)}",
                    flush=True,
                )
                blank = "\n\n"
    if not arguments.json and restored.manifest.selection is not None:
        print(text("prediction.predict_legend"))
    return 0


def _export(arguments: Namespace, config: Config) -> int:
    from redheart.workflow import stages
    from redheart.workflow.export import export

    checkpoint = Path(arguments.checkpoint) if arguments.checkpoint else stages.delivered_model(config)
    print(export(checkpoint, Path(arguments.to)))
    return 0


def _ablate(arguments: Namespace, config: Config) -> int:
    from redheart.ablation import as_table
    from redheart.workflow import stages

    with stop_requested() as should_stop:
        dataset = stages.prepare(config, should_stop=should_stop)
        result = stages.ablate(config, dataset, groups=arguments.groups, force=arguments.force, should_stop=should_stop)
    print(json.dumps(result.to_json(), indent=2, ensure_ascii=False) if arguments.json else as_table(result))
    return 0


def _report(arguments: Namespace, config: Config) -> int:
    from redheart.workflow.stages import report

    with stop_requested() as should_stop:
        report(config, should_stop=should_stop)
    return 0


def _workflow(arguments: Namespace, config: Config) -> int:
    from redheart.workflow.run import run_workflow, validate

    if arguments.mode == "validate":
        return validate(config)
    with stop_requested() as should_stop:
        run_workflow(
            config,
            mode=arguments.mode,
            most_epochs=arguments.samples,
            lr_sweep=arguments.lr_sweep,
            force=arguments.force,
            should_stop=should_stop,
        )
    return 0


def _liveness(arguments: Namespace, config: Config) -> int:
    from redheart.workflow import stages
    from redheart.workflow.liveness import examine_liveness
    from redheart.workflow.liveness_table import as_json, as_table

    with stop_requested() as should_stop:
        found = examine_liveness(
            config,
            stages.embed_once(config, should_stop=should_stop),
            batches=arguments.batches or 20,
            batch_size=arguments.batch_size or 8,
            with_gradients=arguments.check_gradients,
            should_stop=should_stop,
        )
    if found is None:  # the first process speaks for all
        return 0
    print(as_json(found) if arguments.json else as_table(found))
    return 0 if found.is_alive else 1


def _doctor(arguments: Namespace, config: Config) -> int:
    if arguments.what == "liveness":
        return _liveness(arguments, config)
    from redheart.workflow.doctor import examine

    findings = examine(config)
    print("\n".join(str(finding) for finding in findings))
    return 0 if all(finding.ok for finding in findings) else 1


COMMANDS: dict[str, Callable[[Namespace, Config], int]] = {
    "embed": _embed,
    "sweep": _sweep,
    "train": _train,
    "consolidate": _consolidate,
    "analyze": _analyze,
    "crossover": _crossover,
    "evaluate": _evaluate,
    "predict": _predict,
    "export": _export,
    "ablate": _ablate,
    "report": _report,
    "workflow": _workflow,
    "doctor": _doctor,
}
