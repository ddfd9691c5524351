"""How much evidence the property tests gather: little by default, much with FORESAIL_EVIDENCE=1."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile("quick", max_examples=25, deadline=None, derandomize=True, database=None)
settings.register_profile(
    "evidence",
    max_examples=2000,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("evidence" if os.environ.get("FORESAIL_EVIDENCE") == "1" else "quick")
