"""`python -m benchmarks`: every bench_*.py of this folder, one line per measurement."""

import importlib
from pathlib import Path

if __name__ == "__main__":  # the backtest's processes import this file again
    for path in sorted(Path(__file__).parent.glob("bench_*.py")):
        for line in importlib.import_module(f"benchmarks.{path.stem}").run():
            print(line, flush=True)
