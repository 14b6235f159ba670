"""The commands that examine: what each part of the model is worth, how large it is, whether all of it trains."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from redheart.cli.argument_parser import Parser
from redheart.cli.arguments import PRESETS, common_options, groups_named, positive, rate, several
from redheart.cli.command import OVERRIDE, Command
from redheart.cli.signals import stop_requested
from redheart.cli.terminal import print_json, show

if TYPE_CHECKING:
    from redheart.config import Config


def _ablate(arguments: Namespace, config: Config) -> int:
    from redheart.ablation import as_table
    from redheart.ablation.ablation import check_begins_anew
    from redheart.workflow import datasets, stages

    check_begins_anew(config)  # before anything is embedded
    with stop_requested() as should_stop:
        dataset = datasets.prepare(config, should_stop=should_stop)
        result = stages.ablate(config, dataset, groups=arguments.groups, force=arguments.force, should_stop=should_stop)
    import json

    if arguments.json:
        print_json(json.dumps(result.to_json(), indent=2, ensure_ascii=False))
    else:
        show(as_table(result))
    return 0


def _ablate_options(parser: Parser) -> None:
    parser.add_argument("--seeds", type=several, metavar="N", help="trainings of each variant (default: 5)")
    parser.add_argument(
        "--groups",
        type=groups_named,
        metavar="A,B",
        help="only these groups, 'radial', 'paths' and 'linear' (default: all)",
    )
    parser.add_argument("--epochs", type=positive, metavar="N", help="epochs per training (default: those of a trial)")
    parser.add_argument("--lr", type=rate, metavar="RATE", help="learning rate of all (default: the sweep's choice)")
    parser.add_argument("--workers", type=positive, metavar="N", help="trainings at a time")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    common_options(parser)


ABLATE = Command(
    name="ablate",
    help="Train the model without each of its parts in turn, and say what each is worth.",
    run=_ablate,
    add_options=_ablate_options,
    is_alone=True,
    trains=True,
)


def _params(arguments: Namespace, config: Config) -> int:
    from redheart.model.flops import count_flops
    from redheart.model.parameters import count_parameters
    from redheart.model.presets import dimensions

    preset, why = arguments.preset, ""
    if preset == "auto":
        from redheart.plan.auto import choose_preset

        preset, why = choose_preset(config)
    counted = count_parameters(preset, arguments.d_embed)
    operations = count_flops(dimensions(preset, d_embed=arguments.d_embed), situations=8)
    if arguments.json:
        flops = {"segments": operations.segments, "forward": operations.per_situation, "modules": operations.by_module}
        facts = {"preset": preset, "total": counted.total, "modules": counted.by_module, "flops": flops}
        import json

        print_json(json.dumps(facts, indent=2))
        return 0
    from redheart.workflow.examinations.parameter_check import breakdown, check_line, operations_line

    if why:
        show(f"{preset} ({why})")
    show(breakdown(counted))
    show(operations_line(operations))
    if preset == "730m":
        show(check_line(counted))
    return 0


def _params_options(parser: Parser) -> None:
    parser.add_argument("--preset", choices=PRESETS, default="730m", help="default: 730m; auto: what trains here")
    parser.add_argument("--d-embed", type=positive, default=384, metavar="N", help="width of the encoder's vectors")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--lang", choices=("ko", "en"), help="language of messages (default: $REDHEART_LANG, else ko)")


PARAMS = Command(
    name="params",
    help="Count the parameters of a preset, without allocating them.",
    run=_params,
    add_options=_params_options,
    takes_settings=False,
)


def _liveness(arguments: Namespace, config: Config) -> int:
    from redheart.workflow import datasets
    from redheart.workflow.examinations.liveness import examine_liveness
    from redheart.workflow.examinations.liveness_table import as_json, as_table

    with stop_requested() as should_stop:
        found = examine_liveness(
            config,
            datasets.embed_once(config, needs=["train"], should_stop=should_stop),
            batches=arguments.batches or 20,
            batch_size=arguments.batch_size or 8,
            with_gradients=arguments.check_gradients,
            should_stop=should_stop,
        )
    if found is None:  # the first process speaks for all
        return 0
    if arguments.json:
        print_json(as_json(found))
    else:
        show(as_table(found))
    return 0 if found.is_alive else 1


def _doctor(arguments: Namespace, config: Config) -> int:
    if arguments.what == "liveness":
        return _liveness(arguments, config)
    if arguments.what == "build":
        from redheart.engine.zero.building import build_ahead

        build_ahead()
        return 0
    from redheart.workflow.examinations.doctor import examine, exit_code_of

    findings = examine(config)
    show("\n".join(str(finding) for finding in findings))
    return exit_code_of(findings)


def _doctor_options(parser: Parser) -> None:
    parser.add_argument(
        "what",
        nargs="?",
        metavar="liveness|build",
        help="liveness: does every parameter of the model train? build: compile what DeepSpeed would compile inside a job",
    )
    liveness = parser.add_argument_group("options of doctor liveness")
    liveness.add_argument("--batches", type=positive, metavar="N", help="optimizer steps on real batches (default: 20)")
    liveness.add_argument("--batch-size", type=positive, metavar="N", help="situations per batch (default: 8)")
    liveness.add_argument("--lr", type=rate, metavar="RATE", help="peak learning rate (default: 3e-4)")
    liveness.add_argument(
        "--check-gradients", action="store_true", help="float64 gradients against finite differences (preset tiny)"
    )
    liveness.add_argument("--json", action="store_true", help="print JSON instead of a table")
    common_options(parser, skips=False)


#: What ``doctor`` does beside looking around.
_EXAMINED = ("liveness", "build")


def _settle_doctor(parser: Parser, arguments: Namespace, rest: list[str]) -> None:
    """``doctor``'s one optional word may be a setting; and without ``liveness`` it has none of that one's options."""
    if arguments.what is not None and OVERRIDE.fullmatch(arguments.what):
        rest.insert(0, arguments.what)
        arguments.what = next((word for word in _EXAMINED if word in rest), None)
        rest[:] = [word for word in rest if word != arguments.what]
    if arguments.what not in (None, *_EXAMINED):
        parser.refuse(f"unexpected '{arguments.what}'; wanted 'liveness' or nothing, or 'build'")
    given = [
        option
        for option in ("batches", "batch_size", "lr", "check_gradients", "json")
        if getattr(arguments, option) is not None and getattr(arguments, option) is not False
    ]
    if arguments.what != "liveness" and given:
        parser.refuse(f"'--{given[0].replace('_', '-')}' is an option of doctor liveness only")


DOCTOR = Command(
    name="doctor",
    help="Say what this machine offers and lacks; or examine the model: doctor liveness; or compile ahead: doctor build.",
    run=_doctor,
    add_options=_doctor_options,
    settle=_settle_doctor,
    writes_run=lambda arguments: arguments.what == "liveness",
    starts_nothing=lambda arguments: arguments.what != "liveness",
)
