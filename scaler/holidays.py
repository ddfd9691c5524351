"""Public holidays by country, from the `holidays` package: its one door.

Loaded only where a calendar names a country: it takes a tenth of a second and 15 MB.
"""

from scaler.core.agenda import EPOCH

YEARS = range(2015, 2046)
"""Years whose holidays are known: load histories lie in them."""


def days_of(country: str) -> frozenset[int]:
    """Public holidays of a country (`DE`) or a part of it (`DE-BY`) as days since the epoch.

    Raises:
        ValueError: the package knows no such country or part.
    """
    import holidays  # noqa: PLC0415 - see above

    name, _, part = country.partition("-")
    try:
        found = list(holidays.country_holidays(name, subdiv=part or None, years=YEARS))
    except NotImplementedError as error:
        raise ValueError(f"must be a country such as DE, or a part of one such as DE-BY, not {country!r}") from error
    return frozenset((day - EPOCH).days for day in found)
