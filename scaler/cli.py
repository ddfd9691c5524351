"""The command `foresail`; the only place where objects are wired together."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from scaler import __version__
from scaler.cli_models import AS_JSON, models, told
from scaler.cli_train import train
from scaler.errors import ForesailError
from scaler.settings import Settings, load_settings

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
CONTEXT = {"help_option_names": ["-h", "--help"]}


class Commands(click.Group):
    """Commands that end alike: 0 done, 1 something is not as it should be, 2 refused and why, 130 interrupted."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what it is refused goes to standard error under its name."""
        try:
            return super().invoke(ctx)
        except ForesailError as error:
            said, status = str(error), 2
        except KeyboardInterrupt as error:
            said, status = ", ".join(("interrupted", *map(str, error.args))), 130
        click.echo(f"foresail {ctx.invoked_subcommand}: {said}", err=True)
        raise click.exceptions.Exit(status)


@click.group(cls=Commands, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="foresail")
def main() -> None:
    """Predictive autoscaling for KEDA: answers with the replicas needed when a pod started now is ready."""


@main.command()
def pipe() -> None:
    """Decide line by line: a workload, then observations as JSON on stdin; decisions as JSON on stdout."""
    from scaler.pipe import run  # noqa: PLC0415 - keeps the other commands free of NumPy

    sys.exit(run(sys.stdin, sys.stdout, sys.stderr))


def _settings_options(command: Callable[..., None]) -> Callable[..., None]:
    """One flag and one environment variable per setting."""
    for name, field in reversed(Settings.model_fields.items()):
        shown = f"{field.description}  [default: {field.default}]"
        command = click.option(f"--{name.replace('_', '-')}", name, envvar=f"FORESAIL_{name.upper()}", help=shown)(
            command
        )
    return command


@main.command()
@click.option("--demo", is_flag=True, help="Serve demo workloads with a generated past and a simulated HPA.")
@click.option("--print-settings", "show", is_flag=True, help="Print the settings as they would be used, and exit.")
@_settings_options
def serve(*, demo: bool, show: bool, **given: Any) -> None:
    """Answer KEDA over gRPC and HTTP."""
    from scaler.config import read  # noqa: PLC0415 - what serving needs is loaded when serving
    from scaler.service import serve as serve_all  # noqa: PLC0415

    file = None if given["config"] is None else read(Path(given["config"]))
    settings = load_settings({**(file.settings if file else {}), **{k: v for k, v in given.items() if v is not None}})
    if show:
        click.echo(settings.model_dump_json(indent=2))
        return
    asyncio.run(serve_all(settings, file, demo=demo))


@main.command()
@click.argument("address")
@click.option("--namespace", default="default", show_default=True, help="The ScaledObject's namespace.")
@click.option("--name", required=True, help="The ScaledObject's name.")
@click.option("--metadata", "-m", multiple=True, metavar="KEY=VALUE", help="Trigger metadata; may be repeated.")
@click.option("--replicas", type=click.IntRange(1), help="Replicas that run: says what the HPA would do from there.")
@click.option("--min", "minimum", type=click.IntRange(1), default=1, show_default=True, help="The HPA's minReplicas.")
@click.option("--max", "maximum", type=click.IntRange(1), default=100, show_default=True, help="The HPA's maxReplicas.")
@click.option("--tolerance", type=click.FloatRange(0, 0.9), default=0.1, show_default=True, help="The HPA's tolerance.")
@click.option(
    "--config", type=click.Path(exists=True, path_type=Path), help="YAML file whose servers the query is read by."
)
@click.option("--replicas-query", help="PromQL of the replica count: tells whether it drives the query.")
@click.option(
    "--tls-ca", type=FILE, help="Authorities (PEM) of the scaler's certificate; with it the calls go over TLS."
)
@click.option("--tls-cert", type=FILE, help="Client certificate chain (PEM) to show.")
@click.option("--tls-key", type=FILE, help="Private key (PEM, not encrypted) of --tls-cert.")
@click.option("--tls-server-name", help="Name in the scaler's certificate, where ADDRESS has another.")
@AS_JSON
def check(address: str, **options: Any) -> None:
    """Play KEDA's calls against the scaler at ADDRESS; say what KEDA and the HPA would do with the answers.

    Metadata with a serverAddress and a query have a day of it read and looked at, too. Exits with 1 where something
    would not do what it should.
    """
    from scaler.command_check import answer  # noqa: PLC0415 - only this command talks to a scaler
    from scaler.printing import as_json  # noqa: PLC0415

    findings = answer(address, options)
    if options["as_json"]:
        click.echo(as_json([{"ok": finding.ok, "text": finding.text} for finding in findings]))
    else:
        for finding in findings:
            click.echo(f"{'ok  ' if finding.ok else 'WARN'}  {finding.text}")
    sys.exit(0 if all(finding.ok for finding in findings) else 1)


@main.command()
@click.argument("workload", metavar="NAMESPACE/NAME")
@click.option("--replicas", type=click.IntRange(0), help="Replicas to fix.")
@click.option(
    "--mode",
    type=click.Choice(["Normal", "Degraded"], case_sensitive=False),
    help="Mode to fix: the forecast counts whatever is held against it, or the reactive rule alone.",
)
@click.option("--for", "lasts", metavar="DURATION", help="How long, such as 2h.")
@click.option("--reason", help="Why: whoever finds it in force wants to know.")
@click.option("--by", help="Who asks, where not the user of this machine.")
@click.option("--end", is_flag=True, help="End what is in force.")
@click.option(
    "--kubeconfig",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="KUBECONFIG",
    help="Cluster whose ScaledObject is annotated  [default: ~/.kube/config, in a pod its own account]",
)
@click.option(
    "--var", type=click.Path(file_okay=False, path_type=Path), help="Folder for state of a service without a cluster."
)
@AS_JSON
def override(workload: str, **options: Any) -> None:
    """Fix the replicas or the mode of a workload by hand, for a while and with a reason.

    Writes the annotation foresail.dev/override of its ScaledObject with your own rights; with --var a file.
    """
    from scaler.command_override import answer  # noqa: PLC0415 - only this command writes annotations
    from scaler.printing import as_json  # noqa: PLC0415

    told = answer(workload, options)
    if options["as_json"]:
        click.echo(as_json(told))
    else:
        for line in told:
            click.echo(line)


def _at_service(command: Callable[..., None]) -> Callable[..., None]:
    """Options of commands that ask a running service."""
    for option in (
        click.option("--tls-key", type=FILE, help="Private key (PEM, not encrypted) of --tls-cert."),
        click.option("--tls-cert", type=FILE, help="Client certificate chain (PEM) to show."),
        click.option("--tls-ca", type=FILE, help="Authorities (PEM) of the service's certificate."),
        click.option(
            "--url", envvar="FORESAIL_URL", default="http://127.0.0.1:8080", show_default=True, help="The service."
        ),
    ):
        command = option(command)
    return command


@main.command()
@click.argument("workload", metavar="NAMESPACE/NAME")
@click.option("--at", metavar="TIME", help='A moment of the past: "09:30", "2h ago", 2026-09-16T09:30; UTC.')
@AS_JSON
@_at_service
def explain(workload: str, **options: Any) -> None:
    """Say why a workload has the replicas it has: forecast, mode, guardrails, and what the HPA rule alone would run."""
    from scaler.command_ask import explain as answer  # noqa: PLC0415 - keeps the other commands free of NumPy

    answer(workload, options)


@main.command()
@click.option("--namespace", help="Only the workloads of this namespace.")
@click.option(
    "--watch",
    type=click.FloatRange(0.2, 3600),
    is_flag=False,
    flag_value=5.0,
    metavar="SECONDS",
    help="Show it again, every five seconds or as often as said, until interrupted.",
)
@AS_JSON
@_at_service
def status(**options: Any) -> None:
    """Show all workloads: mode, load, replicas that run, decided, by the HPA rule and by the forecast."""
    from scaler.command_ask import status as answer  # noqa: PLC0415 - keeps the other commands free of NumPy

    answer(options)


@main.command()
@click.argument("workload", metavar="NAMESPACE/NAME", required=False)
@click.option("--all", "everything", is_flag=True, help="Fit all workloads of --config here, and end.")
@click.option("--engine", type=click.Choice(["pool", "ray"]), default="pool", show_default=True, help="Where fits run.")
@click.option("--address", help="Ray cluster to join, such as ray://head:10001  [default: one of this machine alone]")
@click.option("--in-cluster", is_flag=True, help="Annotate with this pod's own account.")
@AS_JSON
@_settings_options
def retrain(*, workload: str | None, everything: bool, engine: str, address: str | None, **given: Any) -> None:
    """Ask the service for a new fit of one workload, or fit all of them here and put them into the registry."""
    from scaler import command_retrain  # noqa: PLC0415

    if everything == (workload is not None):
        raise click.UsageError("give either NAMESPACE/NAME or --all")
    options = {"as_json": given.pop("as_json")}
    told(command_retrain.answer(workload, engine, address, given), options)


@main.command()
@click.argument("history", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--server", help="Prometheus server to read the history from, with --query.")
@click.option("--query", help="PromQL giving the total load as one series.")
@click.option(
    "--days",
    type=click.FloatRange(min=0, min_open=True),
    help="Newest days of a server (default 14); first days of a file (default all).",
)
@click.option("--load", "load_file", type=click.Path(exists=True, path_type=Path), help="CSV for a ScaledObject YAML.")
@click.option("--lead", help="From asking for a replica to its serving, such as 300s.")
@click.option("--slo", type=click.FloatRange(0.5, 0.9999), help="Share of load to be met, such as 0.99.")
@click.option("--capacity", type=click.FloatRange(min=0, min_open=True), help="Load one replica can carry.")
@click.option(
    "--mean-replicas", type=click.FloatRange(min=1), help="Mean fleet (default 20) that a capacity follows from."
)
@click.option("--tolerance", type=click.FloatRange(0, 0.9), help="The HPA's tolerance (default 0.1).")
@click.option("--net", help="Second trigger beside every controller, such as cpu:0.9.")
@click.option("--noise", type=click.Choice(["multiplicative", "poisson", "none"]), default="multiplicative")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--controllers", help="Only these, separated by commas.")
@click.option("--price-per-replica-hour", type=click.FloatRange(min=0), help="Turns the verdict into money.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("backtest"), show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print result.json instead of the table.")
@click.option(
    "--suite", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Judge every CSV of a folder."
)
@click.option("--leads", "suite_leads", default="60,300,600", show_default=True, help="Lead times of a suite.")
def backtest(**options: Any) -> None:
    """Replay a load history: what would Foresail, the HPA and others have done, and does prediction pay?

    HISTORY is a CSV file (timestamp,value) or a ScaledObject's YAML; or give --server and --query; or --suite DIR.
    """
    from scaler.command_backtest import answer  # noqa: PLC0415 - keeps the other commands free of NumPy and plotly

    try:
        answer(options)
    except KeyboardInterrupt as error:
        left = "nothing was written" if options["suite"] is None else "the finished cases stay"
        raise KeyboardInterrupt(left) from error


@main.command()
@click.argument("workload", metavar="NAMESPACE/NAME")
@click.option(
    "--days", type=click.FloatRange(min=0.25), default=14.0, show_default=True, help="Newest days to look at."
)
@click.option("--lead", help="From asking for a replica to its serving, such as 90s  [default: fitted to the journal]")
@click.option(
    "--var",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="FORESAIL_VAR",
    default=Path("var"),
    show_default=True,
    help="Folder for state of the service, with its journal.",
)
@AS_JSON
def impact(workload: str, **options: Any) -> None:
    """Say what prediction has changed so far, or would change, against the reactive rule and the forecast alone.

    Replays the journal's load through a simulator fitted to the workload. Exit code: 0 with an answer, 2 without.
    """
    from scaler.command_impact import answer  # noqa: PLC0415 - keeps the other commands free of NumPy and rich
    from scaler.printing import console  # noqa: PLC0415

    answer(workload, options, console())


main.add_command(models)
main.add_command(train)
