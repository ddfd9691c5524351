"""The command `foresail impact`: a workload's journal in, what prediction has changed out."""

import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from scaler.core.trigger import duration_s
from scaler.errors import AmbiguousWorkload, RequestError, StoreError, UnknownWorkload
from scaler.impact import answer_of, as_json, as_text
from scaler.journal import Journal
from scaler.roster import Key

DAY_S = 86_400.0
FILE = "journal.sqlite"


def answer(workload: str, options: dict[str, Any], console: Console) -> None:
    """Print what prediction has changed.

    Raises:
        RequestError: options that cannot be understood.
        UnknownWorkload, AmbiguousWorkload: no workload, or several, by that name in the journal.
        HistoryError: the journal keeps too little of it.
        StoreError: the journal cannot be read.
    """
    lead_s = _lead_s(options["lead"])
    journal = opened(Path(options["var"]) / FILE)
    try:
        key = key_in(journal, workload)
        now_s = time.time()
        with Console(stderr=True).status("simulating"):
            found = answer_of(key, journal.read(key, now_s - options["days"] * DAY_S, now_s), lead_s)
    finally:
        journal.close()
    if options["as_json"]:
        console.print_json(json.dumps(as_json(found)))
    else:
        console.print(as_text(found))


def _lead_s(text: str | None) -> float | None:
    try:
        return None if text is None else duration_s(text)
    except ValueError as error:
        raise RequestError(f"--lead must be a duration such as 90s, not {text!r}") from error


def opened(path: Path) -> Journal:
    """The journal of a service. Raises StoreError where there is none, or one that cannot be read."""
    if not path.exists():
        raise StoreError(f"{path}: no journal there; --var names the folder for state of the service")
    journal = Journal(path)
    journal.open()
    if journal.trouble is not None:
        raise StoreError(journal.trouble)
    return journal


def key_in(journal: Journal, workload: str) -> Key:
    """The workload that namespace/name, or namespace/name~fingerprint, means in a journal.

    Raises:
        RequestError, UnknownWorkload, AmbiguousWorkload: it means none, or several.
    """
    namespace, _, name = workload.rpartition("/")
    if not namespace or not name:
        raise RequestError(f"{workload!r}: a workload is namespace/name")
    known = journal.keys()
    found = [key for key in known if key.namespace == namespace and name in {key.name, f"{key.name}~{key.fingerprint}"}]
    if len(found) == 1:
        return found[0]
    if found:
        raise AmbiguousWorkload(f"{workload} means {', '.join(f'{key}~{key.fingerprint}' for key in found)}")
    there = ", ".join(sorted({str(key) for key in known})[:10]) or "none"
    raise UnknownWorkload(f"{workload} is not in the journal; there: {there}")
