"""How many examples Hypothesis draws: as many as a test asks for, or fewer in a run that is to be quick."""

from collections.abc import Sequence

from hypothesis import HealthCheck, settings

FULL = 100
"""The `max_examples` of a profile in which every test draws as many examples as it asks for."""


def register_profiles() -> None:
    """Register the profile that `dev.py test --quick` chooses."""
    settings.register_profile("quick", max_examples=FULL // 5)


def examples(number: int, suppress: Sequence[HealthCheck] = ()) -> settings:
    """Return the settings of a test that draws so many examples, a part of them in a quick run; each may take long."""
    drawn = max(1, number * settings().max_examples // FULL)
    return settings(max_examples=drawn, deadline=None, suppress_health_check=suppress)
