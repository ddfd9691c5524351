"""`make bench`: run every bench_*.py and print its lines; `python -m benchmarks NAME …` runs bench_NAME.py or NAME.py.

Each benchmark module has `run()`, which yields lines. Absolute targets are meant for a quiet machine with two cores;
ratios within one run hold everywhere.
"""

import importlib
import sys
from pathlib import Path

from benchmarks.calibration import numpy_loop_ms


def main(names: list[str]) -> None:
    found = sorted(path.stem for path in Path(__file__).parent.glob("bench_*.py"))
    for name in names or [stem.removeprefix("bench_") for stem in found]:
        print(f"== {name}   (calibration: NumPy loop {numpy_loop_ms():.2f} ms)", flush=True)
        module = f"bench_{name}" if f"bench_{name}" in found else name
        for line in importlib.import_module(f"benchmarks.{module}").run():
            print(f"   {line}", flush=True)


if __name__ == "__main__":  # processes that a benchmark starts import this file again
    main(sys.argv[1:])
