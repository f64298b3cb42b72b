"""How many examples Hypothesis draws: as many as a test asks for in a long run, half of them in the usual one.

How long that takes is no matter: the machine may be busy.
"""

from collections.abc import Sequence

from hypothesis import HealthCheck, settings

FULL = 100
"""The `max_examples` of a profile in which every test draws as many examples as it asks for."""
_SLOW = HealthCheck.too_slow


def register_profiles() -> None:
    """Register the profiles of `dev.py test --quick` and `--long`, and choose that of the usual run."""
    for name, number in (("full", FULL), ("usual", FULL // 2), ("quick", FULL // 5)):
        settings.register_profile(name, max_examples=number, deadline=None, suppress_health_check=[_SLOW])
    settings.load_profile("usual")


def examples(number: int, suppress: Sequence[HealthCheck] = ()) -> settings:
    """Return the settings of a test that draws so many examples in a long run."""
    drawn = max(1, number * settings().max_examples // FULL)
    return settings(max_examples=drawn, suppress_health_check=[_SLOW, *suppress])
