"""Does prediction pay for this workload? Figures in, plain words out."""

from dataclasses import dataclass

WORTH_PCT = 2.0
"""Saving below which two frontiers count as equal: what noise and metric window alone move a value by."""
SEASONAL = 0.3
"""Day-to-day correlation from which a load is called seasonal: the traces with clear daily cycles have 0.5–0.98."""
CALM = 0.98
"""Share of the load whose jumps the headroom must cover for "already covers"."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far one controller's frontier reaches."""

    at_target: float | None
    """Cost at the target short share, None where the frontier does not pass it."""
    within: float | None
    """Cost of its cheapest setting that keeps the target, None where none does."""
    least_short_pct: float
    """Smallest short share of any setting."""

    @property
    def cost(self) -> float | None:
        """What keeping the target costs, by the best evidence there is."""
        return self.within if self.at_target is None else self.at_target


@dataclass(frozen=True, slots=True)
class Case:
    """All that a verdict rests on."""

    target_pct: float
    reactive: Standing
    """The HPA, best in hindsight."""
    ours: Standing
    limit: Standing
    """The clairvoyant."""
    ratio: tuple[float, float] | None
    """95 % interval of our cost over the reactive one, None where too few blocks were seen."""
    season: float
    """Correlation of the load with the day before, −1 … 1."""
    headroom: float
    """Capacity over target of the reactive rule's best setting."""
    covered: float
    """Share of the largest values within the next lead time that the value now, times that headroom, covers."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer."""

    pays: bool | None
    """None: this history cannot tell."""
    saving_pct: float | None
    """Replica-hours saved at the target, negative where ours costs more."""
    interval_pct: tuple[float, float] | None
    """95 % interval of the saving."""
    possible_pct: float | None
    """What perfect foresight would save."""
    sentence: str
    reason: str


def judge(case: Case) -> Verdict:
    """Decide, and say why."""
    saving, interval = _saving(case.ours, case.reactive), _interval(case)
    possible = _saving(case.limit, case.reactive)
    pays = _pays(case, saving, interval)
    return Verdict(pays, saving, interval, possible, _sentence(case, saving, interval), _reason(case, possible))


def _saving(standing: Standing, reactive: Standing) -> float | None:
    """Like is compared with like: both costs read at the target, else both of the cheapest setting that keeps it."""
    for own, other in ((standing.at_target, reactive.at_target), (standing.within, reactive.within)):
        if own is not None and other is not None:
            return round(100.0 * (1.0 - own / other), 2)
    return None


def _interval(case: Case) -> tuple[float, float] | None:
    if case.ratio is None or case.ours.at_target is None or case.reactive.at_target is None:
        return None
    low, high = case.ratio
    return round(100.0 * (1.0 - high), 2), round(100.0 * (1.0 - low), 2)


def _pays(case: Case, saving: float | None, interval: tuple[float, float] | None) -> bool | None:
    if saving is None:
        if (case.ours.cost is None) is (case.reactive.cost is None):
            return None
        return case.ours.cost is not None
    if saving < WORTH_PCT:
        return False
    return None if interval is not None and interval[0] <= 0.0 else True


def _sentence(case: Case, saving: float | None, interval: tuple[float, float] | None) -> str:
    slo = f"{100.0 - case.target_pct:g} % of the load met"
    if saving is None:
        return _one_sided(case, slo)
    between = f" (95 % interval {interval[0]:.0f} to {interval[1]:.0f} %)" if interval else " (no interval)"
    pays = _pays(case, saving, interval)
    if pays:
        return f"Prediction pays here: {saving:.0f} % fewer replica-hours at the same SLO, {slo}{between}."
    if pays is None:
        return f"This history cannot tell: {saving:.0f} % fewer replica-hours at the same SLO, {slo}{between}."
    if saving > -WORTH_PCT:
        return f"Prediction does not pay here: the same replica-hours at the same SLO, {slo}, within {WORTH_PCT:g} %."
    return f"Prediction does not pay here: {-saving:.0f} % more replica-hours at the same SLO, {slo}{between}."


def _one_sided(case: Case, slo: str) -> str:
    least = f"{case.reactive.least_short_pct:.1f} %"
    if case.ours.cost is not None:
        return (
            f"Prediction pays here: it keeps the SLO, {slo}, at {case.ours.cost:.2f} times the replicas needed; no HPA "
            f"threshold does, the best leaves {least} of the load short."
        )
    if case.reactive.cost is not None:
        return (
            f"Prediction does not pay here: it leaves {case.ours.least_short_pct:.1f} % of the load short at best, "
            f"while an HPA keeps the SLO, {slo}, at {case.reactive.cost:.2f} times the replicas needed."
        )
    return (
        f"Nobody keeps the SLO here, {slo}: the HPA leaves at least {least} of the load short, prediction at least "
        f"{case.ours.least_short_pct:.1f} %."
    )


def _reason(case: Case, possible: float | None) -> str:
    season = (
        f"the load resembles the day before (correlation {case.season:.2f})"
        if case.season >= SEASONAL
        else f"there is hardly a season (correlation with the day before {case.season:.2f})"
    )
    share = f"{100.0 * case.covered:.1f} %"
    jumps = (
        f"the HPA's headroom of {case.headroom:.2f} already covers {share} of its jumps within the start-up time"
        if case.covered >= CALM
        else f"the HPA's headroom of {case.headroom:.2f} covers only {share} of its jumps within the start-up time"
    )
    most = "" if possible is None else f"; perfect foresight would save {possible:.0f} %"
    return f"{season[0].upper()}{season[1:]}, and {jumps}{most}."
