"""The command `foresail`; the only place where objects are wired together."""

import sys
from pathlib import Path
from typing import Any

import click

from scaler import __version__
from scaler.errors import ForesailError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="foresail")
def main() -> None:
    """Predictive autoscaling for KEDA: answers with the replicas needed when a pod started now is ready."""


@main.command()
def pipe() -> None:
    """Decide line by line: a workload, then observations as JSON on stdin; decisions as JSON on stdout."""
    from scaler.pipe import run  # noqa: PLC0415 - keeps the other commands free of NumPy

    sys.exit(run(sys.stdin, sys.stdout, sys.stderr))


@main.command()
@click.argument("history", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--server", help="Prometheus server to read the history from, with --query.")
@click.option("--query", help="PromQL giving the total load as one series.")
@click.option("--days", type=float, help="Newest days of a server (default 14); first days of a file (default all).")
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
@click.option("--seed", type=int, default=0, show_default=True)
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
    except ForesailError as error:
        click.echo(f"foresail backtest: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        click.echo("foresail backtest: interrupted, nothing was written", err=True)
        sys.exit(130)
