"""How commands print: tables for people at a terminal, plain columns in a pipe, JSON for programs."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

PIPED_WIDTH = 10_000
"""In a pipe nothing is wrapped or cut: lines are for programs there."""


def console() -> Console:
    """Standard output: styled and as wide as the terminal, or plain and never wrapped."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(width=PIPED_WIDTH, highlight=False, color_system=None)


def table(out: Console, columns: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> Table:
    """A table whose first `words` columns are words and the others numbers, but for the last, which is a remark."""
    made = Table(box=box.SIMPLE_HEAD if out.is_terminal else None, pad_edge=False, show_edge=False)
    for place, name in enumerate(columns):
        numeric = words <= place < len(columns) - 1
        made.add_column(name, justify="right" if numeric else "left", no_wrap=place < len(columns) - 1)
    for row in rows:
        made.add_row(*row)
    return made


def as_json(value: Any) -> str:
    """One line of JSON."""
    return json.dumps(value, allow_nan=False, ensure_ascii=False)
