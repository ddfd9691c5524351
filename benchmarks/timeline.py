"""A scenario's first seed as a picture: `python -m benchmarks.timeline "level × 2" docs/img/trust-timeline.svg`."""

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.scenarios import CAPACITY, SCENARIOS, Lived, lived_through, settled
from forecasting.forecast import FloatArray
from scaler.core.domain import Mode

WIDTH, LEFT, RIGHT = 960, 60, 20
COLOURS = {
    Mode.LEARNING: "#b0bec5",
    Mode.RECOVERY: "#ffd54f",
    Mode.NORMAL: "#81c784",
    Mode.DEGRADED: "#e57373",
    Mode.RETRAINING: "#ffb74d",
    Mode.HOLDING: "#9575cd",
    Mode.FAILED: "#616161",
}


def curve(hours: FloatArray, values: FloatArray, top: float, height: float) -> str:
    """Points of a polyline in a panel whose base line is `top` + `height`."""
    thin = max(len(hours) // 900, 1)
    x = LEFT + (hours - hours[0]) / (hours[-1] - hours[0]) * (WIDTH - LEFT - RIGHT)
    y = top + height * (1.0 - values / max(float(np.nanmax(values)), 1e-9))
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x[::thin], y[::thin], strict=True) if np.isfinite(b))


def bands(hours: FloatArray, mode: FloatArray, top: float) -> list[str]:
    """The modes as coloured stretches with their names."""
    borders = [0, *(np.flatnonzero(np.diff(mode)) + 1).tolist(), len(mode)]
    scale = (WIDTH - LEFT - RIGHT) / (hours[-1] - hours[0])
    parts = []
    for first, last in pairwise(borders):
        x, width = LEFT + (hours[first] - hours[0]) * scale, (hours[last - 1] - hours[first]) * scale
        one = Mode(int(mode[first]))
        parts.append(f'<rect x="{x:.1f}" y="{top}" width="{max(width, 1):.1f}" height="26" fill="{COLOURS[one]}"/>')
        if width > 60:
            parts.append(f'<text x="{x + 4:.1f}" y="{top + 18}">{one.label}</text>')
    return parts


def drawn(lived: Lived) -> str:
    """The whole picture as SVG."""
    hours, n = lived.since_s / 3600.0, lived.load.shape[1]
    need = lived.load[:, 0] / CAPACITY
    most = float(max(lived.ready[:, 0].max(), lived.ready[:, n].max()))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} 430" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="430" fill="white"/>',
        f'<text x="{LEFT}" y="18">replicas: needed by the load (grey), Foresail (blue), the rule alone (red)</text>',
    ]
    for values, colour in ((need, "#bdbdbd"), (lived.ready[:, n], "#d32f2f"), (lived.ready[:, 0], "#1976d2")):
        ceiling = np.append(values, most)
        points = curve(np.append(hours, hours[-1]), ceiling, 30, 190).rsplit(" ", 1)[0]
        lines.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.3" points="{points}"/>')
    lines += [f'<text x="8" y="40">{most:.0f}</text>', '<text x="8" y="220">0</text>']
    lines += bands(hours, lived.mode[:, 0], 240)
    for title, values, top in (("drift", lived.drift[:, 0], 285), ("w", lived.earned[:, 0], 345)):
        points = curve(np.append(hours, hours[-1]), np.append(values, 1.0), top, 45).rsplit(" ", 1)[0]
        lines.append(f'<text x="8" y="{top + 28}">{title}</text>')
        lines.append(f'<polyline fill="none" stroke="#37474f" stroke-width="1.3" points="{points}"/>')
    lines.append(
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="316.5" y2="316.5" stroke="#e57373" stroke-dasharray="4"/>'
    )
    scale = (WIDTH - LEFT - RIGHT) / (hours[-1] - hours[0])
    for hour in range(0, int(hours[-1]) + 1, 6):
        lines.append(f'<text x="{LEFT + (hour - hours[0]) * scale:.1f}" y="418">{hour} h</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def main(name: str, path: str) -> None:
    scenario = next(one for one in SCENARIOS if one.name == name)
    Path(path).write_text(drawn(lived_through(scenario, settled(1, 60.0), 1)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
