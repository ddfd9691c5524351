"""The commands `foresail train …`."""

from pathlib import Path
from typing import Any

import click


@click.group()
def train() -> None:
    """Train what learns from many histories; needs PyTorch (`pip install 'foresail[train]'`)."""


@train.command()
@click.argument("traces", nargs=-1, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--without", multiple=True, metavar="PREFIX", help="Leave out files whose names begin so; may be repeated."
)
@click.option("--rounds", type=click.IntRange(1), default=30, show_default=True, help="Each on rows of its own.")
@click.option("--histories", type=click.IntRange(1), default=120, show_default=True, help="Drawn per round.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="auto: a GPU if any.",
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("training"), show_default=True)
def forecaster(**options: Any) -> None:
    """Train the global network on the CSV files (timestamp,value) of TRACES folders and on generated load.

    Without folders on generated load alone. Interrupted, the same command goes on after the last whole round.
    """
    from scaler.command_train import answer  # noqa: PLC0415 - only this command trains

    try:
        answer(options)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt("the same command goes on") from error


@train.command()
@click.argument("histories", nargs=-1, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--journal",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A journal (var/journal.sqlite) whose workloads' loads are learnt from, too.",
)
@click.option("--family", type=click.Choice(["rate", "queue"]), default="rate", show_default=True)
@click.option(
    "--only", multiple=True, help="Name of a history (file name without .csv); may be repeated. Default: all."
)
@click.option(
    "--lead", multiple=True, type=click.FloatRange(min=15), default=(300.0,), show_default=True, help="Lead times, s."
)
@click.option("--seeds", type=click.IntRange(1), default=5, show_default=True, help="Runs of which the best is kept.")
@click.option("--episodes", type=click.IntRange(1), default=40, show_default=True, help="Of 256 worlds, per seed.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("agent"), show_default=True)
def agent(**options: Any) -> None:
    """Train the policy that moves what the forecast asks for, on the CSV files (timestamp,value) of HISTORIES.

    Ends with a model card that says where the policy may be used: where it beat forecast-only, and nowhere else.
    Interrupted, the same command goes on.
    """
    from scaler.command_train_agent import answer  # noqa: PLC0415 - only this command trains

    try:
        answer(options)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt("the same command goes on") from error
