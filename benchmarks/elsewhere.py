"""Prophet and statsforecast's MSTL, run by another Python that has them: `python elsewhere.py asked.npz said.npz`.

They and this project cannot live in one environment. Nothing of the project is imported here; arrays come and go:

    asked   stamp_s (n,) and value (n,) per fit, named stamp_s_0, value_0, … and ahead, how many blocks to forecast
    said    prophet_0, mstl_0, … (ahead,), and prophet_s, mstl_s, the mean seconds per fit
"""

import importlib.util
import logging
import sys
import time
import warnings

import numpy as np

DAY = 288
"""Blocks of five minutes in a day."""
JUMPS = {"seasonal_jump": DAY // 10, "trend_jump": DAY // 10, "low_pass_jump": DAY // 10}
"""Smoothing at every tenth of a season and lines between, as R does: 0.9 s instead of 16 s a fit."""


def prophet(stamp_s, value, ahead):
    """Daily and weekly seasons and a trend, as they come."""
    import pandas as pd  # noqa: PLC0415 - only where it is asked for
    from prophet import Prophet  # noqa: PLC0415

    known = ~np.isnan(value)
    model = Prophet(uncertainty_samples=0)
    model.fit(pd.DataFrame({"ds": pd.to_datetime(stamp_s[known], unit="s"), "y": value[known]}))
    later_s = stamp_s[-1] + (stamp_s[1] - stamp_s[0]) * np.arange(1, ahead + 1)
    return model.predict(pd.DataFrame({"ds": pd.to_datetime(later_s, unit="s")})).yhat.to_numpy()


def mstl(stamp_s, value, ahead):  # noqa: ARG001 - the place in the day follows from the number of blocks
    """Seasons of a day, and of a week where two are known; AutoETS on what is left."""
    from statsforecast.models import MSTL  # noqa: PLC0415

    first = int(np.argmax(~np.isnan(value)))
    place, known = np.arange(len(value)), ~np.isnan(value)
    whole = np.interp(place, place[known], value[known])[first:]
    seasons = [DAY, 7 * DAY] if len(whole) >= 14 * DAY else [DAY]
    return MSTL(season_length=seasons, stl_kwargs=JUMPS).fit(whole).predict(h=ahead)["mean"]


def main(asked_path, said_path):
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    asked, said = dict(np.load(asked_path)), {}
    fits = sum(name.startswith("value_") for name in asked)
    for name, forecast, package in (("prophet", prophet, "prophet"), ("mstl", mstl, "statsforecast")):
        if importlib.util.find_spec(package) is None:
            continue
        begun_s = time.perf_counter()
        for k in range(fits):
            said[f"{name}_{k}"] = forecast(asked[f"stamp_s_{k}"], asked[f"value_{k}"], int(asked["ahead"]))
        said[f"{name}_s"] = (time.perf_counter() - begun_s) / fits
    np.savez(said_path, **said)


if __name__ == "__main__":
    main(*sys.argv[1:])
