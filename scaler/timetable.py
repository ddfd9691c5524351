"""Which calendars the rows of a fleet live by: time zones and the settings' events, for the weeks around now."""

from collections.abc import Mapping, Sequence

import numpy as np

from forecasting.calendar import Places
from forecasting.series import DAY_S
from scaler.core.agenda import LAID_OUT_AHEAD_S, LAID_OUT_BACK_S, Agenda, lay_out
from scaler.core.domain import Workload

WEEK_S = 7 * DAY_S
PLAIN = ("UTC", None)
"""Time zone and calendar of who has neither."""


class Timetable:
    """Calendars of some rows, laid out anew each week and after each change."""

    def __init__(self) -> None:
        self._agendas: Mapping[str, Agenda] = {}
        self._places: Places | None = None
        self._week = -1

    def schedule(self, agendas: Mapping[str, Agenda]) -> None:
        """Take over the settings' calendars."""
        self._agendas = agendas
        self.changed()

    def changed(self) -> None:
        """Lay out anew: a row has come, has gone, or lives by another calendar."""
        self._week = -1

    def places(self, workloads: Sequence[Workload | None], now_s: float) -> Places | None:
        """Calendars of all rows, None where all live by plain UTC."""
        week = int(now_s // WEEK_S)
        if week != self._week:
            self._week, self._places = week, self._placed(workloads, WEEK_S * week)
        return self._places

    def _placed(self, workloads: Sequence[Workload | None], week_s: float) -> Places | None:
        keys = [PLAIN if one is None else (one.timezone, one.calendar) for one in workloads]
        unlike = sorted({key for key in keys if key != PLAIN}, key=str)
        if not unlike:
            return None
        span = week_s - LAID_OUT_BACK_S, week_s + LAID_OUT_AHEAD_S
        calendars = tuple(lay_out(zone, self._agendas.get(name or "", Agenda()), *span) for zone, name in unlike)
        number = {key: place for place, key in enumerate(unlike)}
        return Places(np.array([number.get(key, -1) for key in keys]), calendars)
