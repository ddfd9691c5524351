"""The commands `foresail models …`, and what every command that prints JSON on demand shares."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def told(said: Iterable[Any], options: dict[str, Any]) -> None:
    """Print what a command answers, line by line or as JSON."""
    from scaler.printing import as_json  # noqa: PLC0415

    if options["as_json"]:
        click.echo(as_json(list(said)))
        return
    for line in said:
        click.echo(line)


def _place_options(command: Callable[..., None]) -> Callable[..., None]:
    """Where models are kept."""
    var = click.Path(file_okay=False, path_type=Path)
    command = AS_JSON(command)
    command = click.option(
        "--var", type=var, default="var", envvar="FORESAIL_VAR", show_default=True, help="Folder for state."
    )(command)
    return click.option(
        "--registry",
        envvar="FORESAIL_REGISTRY",
        help="URL of MLflow's registry  [default: the folder models under var]",
    )(command)


def _asking_options(command: Callable[..., None]) -> Callable[..., None]:
    """How the service is asked for something."""
    kubeconfig = click.Path(dir_okay=False, path_type=Path)
    for flag in (
        click.option("--kubeconfig", type=kubeconfig, help="Cluster whose ScaledObject is annotated."),
        click.option("--in-cluster", is_flag=True, help="Annotate with this pod's own account."),
    ):
        command = flag(command)
    return command


@click.group()
def models() -> None:
    """Look at the models that are kept, and choose one by hand."""


@models.command("list")
@_place_options
def list_models(**options: Any) -> None:
    """One line per workload: the model that serves it."""
    from scaler import command_models  # noqa: PLC0415 - keeps the other commands free of NumPy

    told(command_models.listed(command_models.registry_of(options), as_json=options["as_json"]), options)


@models.command()
@click.argument("workload", metavar="NAMESPACE/NAME")
@click.argument("version", type=int, required=False)
@_place_options
def show(workload: str, version: int | None, **options: Any) -> None:
    """All versions of a workload, or one of them with its scores and its history."""
    from scaler import command_models  # noqa: PLC0415

    registry = command_models.registry_of(options)
    told(command_models.shown(registry, workload, version, as_json=options["as_json"]), options)


@models.command()
@click.argument("workload", metavar="NAMESPACE/NAME")
@click.argument("one", type=int)
@click.argument("other", type=int)
@_place_options
def diff(workload: str, one: int, other: int, **options: Any) -> None:
    """What differs between two versions."""
    from scaler import command_models  # noqa: PLC0415

    told(command_models.compared(command_models.registry_of(options), workload, one, other), options)


REASON = click.option("--reason", required=True, help="Why: whoever finds it wants to know.")
BY = click.option("--by", help="Who asks, where not the user of this machine.")


@models.command()
@click.argument("workload", metavar="NAMESPACE/NAME")
@click.argument("version", type=int)
@REASON
@BY
@_place_options
@_asking_options
def promote(workload: str, version: int, **options: Any) -> None:
    """Let a version serve from the next tick on, until a newer fit is better; it stands its trial like any other."""
    from scaler import command_models  # noqa: PLC0415

    told(command_models.promote(command_models.registry_of(options), workload, version, options), options)


@models.command()
@click.argument("workload", metavar="NAMESPACE/NAME")
@REASON
@BY
@_place_options
@_asking_options
def rollback(workload: str, **options: Any) -> None:
    """Let the model serve again that served before this one, from the next tick on."""
    from scaler import command_models  # noqa: PLC0415

    told(command_models.roll_back(command_models.registry_of(options), workload, options), options)
