"""What forecasting refuses.

ForecastingError
├── NotEnoughHistory    a fit needs more samples than it was given
├── NegativeLoad        a history holds a load below zero
└── SpoiltNetwork       the arrays of a network are not what was trained
"""


class ForecastingError(Exception):
    """Root of everything that `forecasting` raises."""


class NotEnoughHistory(ForecastingError):  # noqa: N818 - reads as the fact it states
    """A fit was asked for with too few samples; the message says how many there are and how many it takes."""


class NegativeLoad(ForecastingError):  # noqa: N818
    """A history holds a load below zero, which nothing here can take the logarithm of."""


class SpoiltNetwork(ForecastingError):  # noqa: N818
    """The arrays of a network are missing, changed, or of another shape than its inputs."""
