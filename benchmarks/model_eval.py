"""`make model-eval`: the scores of the model card, from the arrays that are shipped.

Generated load of each shape, by a seed that training never used; and, where FORESAIL_TRACES names the folder, recorded
histories that training never saw. A minute of one core.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from forecasting import neural
from forecasting.corpus import CorpusConfig, Examples, Recorded, drawn, drawn_of
from forecasting.forecast import LEVELS, FloatArray
from forecasting.generators import SHAPES
from scaler.trace import read_csv

CARD = Path(__file__).parents[1] / "docs" / "model" / "card.json"
SEED = 20_000
HISTORIES = 40
ONLY = CorpusConfig(recorded=1.0, mixed=0.0, gaps=0.0)
HEADING = (
    "| load | rows | loss | over persistence | 90 | 97 | 99 | 99.5 % held |",
    "|---|---|---|---|---|---|---|---|",
)


def run() -> Iterator[str]:
    """The tables."""
    yield f"network {neural.shipped().version}"
    yield from generated_scores()
    folder = os.environ.get("FORESAIL_TRACES")
    if folder is not None:
        yield from recorded_scores(Path(folder))


def generated_scores() -> Iterator[str]:
    """One line per generated shape."""
    yield from HEADING
    for number, shape in enumerate(SHAPES):
        yield line(shape.__name__, drawn_of(shape, HISTORIES, np.random.default_rng([SEED, number]), CorpusConfig()))


def recorded_scores(folder: Path) -> Iterator[str]:
    """One line per history that is not among the loads of the card."""
    seen = json.loads(CARD.read_text())["loads"]
    yield from HEADING
    for path in sorted(folder.glob("*.csv")):
        if path.stem not in seen:
            trace = read_csv(path)
            one = Recorded(trace.name, trace.values, trace.spacing_s)
            yield line(trace.name, drawn([one], HISTORIES, np.random.default_rng(SEED), ONLY))


def line(name: str, rows: Examples) -> str:
    """Pinball loss of the peak in logarithms, over that of the load now times what it grew by over these very rows."""
    said = neural.said(neural.shipped(), rows.inputs)[:, 0]
    actual, weight = rows.target[:, 0].astype(np.float64), rows.weight.astype(np.float64)
    grown = np.broadcast_to(np.quantile(actual, LEVELS), said.shape)
    loss, other = (float((weight * _pinball(actual, one)).sum() / weight.sum()) for one in (said, grown))
    held = 100.0 * (actual[:, None] <= said + 1e-9).mean(axis=0)
    cells = (
        name,
        len(actual),
        f"{loss:.4f}",
        f"{loss / max(other, 1e-12):.2f}",
        *(f"{share:.1f}" for share in held[1:]),
    )
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _pinball(actual: FloatArray, said: FloatArray) -> FloatArray:
    error = actual[:, None] - said
    return np.maximum(LEVELS * error, (LEVELS - 1.0) * error).mean(axis=1)


if __name__ == "__main__":
    for one in run():
        print(one, flush=True)
