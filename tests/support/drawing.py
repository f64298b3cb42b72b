"""How many examples Hypothesis draws: as many as a test asks for in a long run, half of them in the usual one."""

from collections.abc import Sequence

from hypothesis import HealthCheck, settings

FULL = 100
"""The `max_examples` of a profile in which every test draws as many examples as it asks for."""


def register_profiles() -> None:
    """Register the profiles of `dev.py test --quick` and `--long`, and choose that of the usual run."""
    settings.register_profile("full", max_examples=FULL)
    settings.register_profile("usual", max_examples=FULL // 2)
    settings.register_profile("quick", max_examples=FULL // 5)
    settings.load_profile("usual")


def examples(number: int, suppress: Sequence[HealthCheck] = ()) -> settings:
    """Return the settings of a test that draws so many examples in a long run; each may take long."""
    drawn = max(1, number * settings().max_examples // FULL)
    return settings(max_examples=drawn, deadline=None, suppress_health_check=suppress)
