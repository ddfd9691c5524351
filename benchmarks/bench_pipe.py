"""`foresail pipe`: a week of history, a day live at 15 s."""

import io
import json
import statistics
import time
from collections.abc import Iterator

import numpy as np

from scaler.pipe import Pipe
from scaler.pipe import run as run_pipe

START_S, STEP_S, DAYS = 1_789_516_800, 15, 8


def lines() -> list[str]:
    """A workload, seven days of history and one live day."""
    t_s = START_S + STEP_S * np.arange(1, DAYS * 86_400 // STEP_S + 1)
    season = 1 + 0.6 * np.sin(2 * np.pi * t_s / 86_400) + 0.1 * np.sin(2 * np.pi * t_s / 604_800)
    load = 1000 * season * np.random.default_rng(1).normal(1, 0.05, len(t_s))
    first_live = (DAYS - 1) * 86_400 // STEP_S
    written = [json.dumps({"name": "web", "threshold": 70, "capacity": 100, "leadTime": "120s"})]
    for k, (t, y) in enumerate(zip(t_s.tolist(), load.round(2).tolist(), strict=True)):
        n = int(np.ceil(y / 80))
        live = {"replicas": n, "ready": n} if k >= first_live else {"history": True}
        written.append(json.dumps({"t": t, "load": y} | live))
    return written


def run() -> Iterator[str]:
    written = lines()
    pipe, took = Pipe(json.loads(written[0]) | {"threshold": "70", "capacity": "100"}), []
    for line in written[1:]:
        started = time.perf_counter()
        if pipe.answer(line) is not None:
            took.append(time.perf_counter() - started)
    yield f"median {statistics.median(took) * 1e3:.3f} ms per decision (target ≤ 0.5), {len(took)} decisions"
    yield from pipe.notices()
    outputs = []
    for _ in range(2):
        out = io.StringIO()
        run_pipe(written, out, io.StringIO())
        outputs.append(out.getvalue())
    yield f"two runs byte-identical: {outputs[0] == outputs[1]}, {outputs[0].count(chr(10))} lines"
