"""The command `foresail`; the only place where objects are wired together."""

import sys

import click

from scaler import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="foresail")
def main() -> None:
    """Predictive autoscaling for KEDA: answers with the replicas needed when a pod started now is ready."""


@main.command()
def pipe() -> None:
    """Decide line by line: a workload, then observations as JSON on stdin; decisions as JSON on stdout."""
    from scaler.pipe import run  # noqa: PLC0415 - keeps the other commands free of NumPy

    sys.exit(run(sys.stdin, sys.stdout, sys.stderr))
