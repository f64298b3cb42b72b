"""Reading the options of a configured instance: each by its name, from the configuration or the environment."""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, cast, overload

from tertulia.platforms.kit.secrets import CommandSecret, Secret
from tertulia.settings import COMMON_OPTIONS, InstanceSettings, named_table
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.identifiers import split_agent_address

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"\s*([0-9]{1,12}(?:\.[0-9]{1,9})?)\s*([smhd])\s*", re.IGNORECASE)
_LONGEST = 3650 * 86400


class Options:
    """The options of one instance. Every method notes the name it was asked for; `finish` refuses the others.

    An option that is left out is looked for in the environment, under the platform's `variable`; with `NAME_env` the
    configuration names another variable, so that several instances can have credentials of their own. In place of a
    secret, `NAME_command` names a command that prints it.

    Raises (from every method):
        InvalidInputError: a value cannot be what the option is; the value itself is not shown.
    """

    def __init__(self, instance: str, settings: InstanceSettings) -> None:
        self._instance = instance
        self._settings = settings
        self._known = {*COMMON_OPTIONS}

    def text(self, name: str, *, variable: str | None = None) -> str | None:
        """Return a text, or None where there is none (or an empty one)."""
        value: Any = self._settings.options.get(name)
        self._known.add(name)
        if variable is not None:
            chosen = self._variable(name, variable)
            value = self._settings.environment.get(chosen) if value is None else value
        if value is not None and not isinstance(value, str):
            raise self._refuse(name, "a text")
        return (value or "").strip() or None

    def header(self, name: str, *, variable: str) -> str | None:
        """Return a text that can stand in a header, or None."""
        value = self.text(name, variable=variable)
        if value is not None and not (value.isascii() and value.isprintable()):
            raise self._refuse(name, "printable ASCII")
        return value

    def secret(self, name: str, *, variable: str, in_header: bool = True) -> Secret | None:
        """Return a secret, or None: a text that can stand in a header unless it need not, or what a command prints."""
        option = f"{name}_command"
        words = self.names(option)
        if not words:
            return self.header(name, variable=variable) if in_header else self.text(name, variable=variable)
        self._known |= {name, f"{name}_env"}
        if not {name, f"{name}_env"}.isdisjoint(self._settings.options):
            raise InvalidInputError(
                f"The instance {self._instance} has both `{option}` and another `{name}`.",
                hint="Keep one of the two.",
                instance=self._instance,
            )
        return CommandSecret.of(
            words,
            instance=self._instance,
            principal=self._settings.account,
            option=option,
            in_header=in_header,
        )

    def configures(self, name: str) -> bool:
        """Whether the configuration itself says what a secret is, rather than the platform's own variable."""
        return not {name, f"{name}_env", f"{name}_command"}.isdisjoint(self._settings.options)

    def path(self, name: str, *, variable: str | None = None) -> Path | None:
        """Return a path that is the same in every working folder, or None."""
        value = self.text(name, variable=variable)
        path = None if value is None else Path(value).expanduser()
        if path is not None and not path.is_absolute():
            raise self._refuse(name, "an absolute path")
        return path

    def how_to_set(self, name: str, *, variable: str) -> str:
        """Return what to do about an option that is missing."""
        table = self._settings.account_table
        if table is not None:
            return f"Set `{name}` in {named_table(self._instance, table)}."
        chosen = self._variable(name, variable)
        return f"Set {chosen} in the environment, or `{name}` in [instances.{self._instance}]."

    @overload
    def url(self, name: str, *, variable: str, default: str) -> str: ...

    @overload
    def url(self, name: str, *, variable: str) -> str | None: ...

    def url(self, name: str, *, variable: str, default: str | None = None) -> str | None:
        """Return the address of a server, without a `/` at its end; None where there is none."""
        value = self.text(name, variable=variable) or default
        if value is None:
            return None
        # At the first address and not before: `tools/list` is answered without it.
        import httpx

        try:
            url = httpx.URL(value)
        except (httpx.InvalidURL, ValueError):
            url = httpx.URL()
        if url.scheme not in {"http", "https"} or not url.host or url.userinfo or url.query or url.fragment:
            raise self._refuse(name, "an address like https://example.org, with nothing but a path behind it")
        return value.rstrip("/")

    def duration(self, name: str) -> timedelta | None:
        """Return a span of time, from a second to ten years, or None.

        It is written as a number with its unit (`90s`, `30m`, `12h`, `7d`); a bare number means minutes.
        """
        value: Any = self._settings.options.get(name)
        self._known.add(name)
        if value is None:
            return None
        expected = (
            "a time like `90s`, `30m`, `12h` or `7d` (from `1s` to `3650d`); a bare number means minutes"
        )
        text = f"{value}m" if isinstance(value, int | float) and not isinstance(value, bool) else value
        written = _DURATION.fullmatch(text) if isinstance(text, str) else None
        if written is None:
            raise self._refuse(name, expected)
        seconds = float(written[1]) * _SECONDS[written[2].lower()]
        if not 1 <= seconds <= _LONGEST:
            raise self._refuse(name, expected)
        return timedelta(seconds=seconds)

    def table(self, name: str) -> Mapping[str, Any]:
        """Return a table, empty where there is none."""
        value: Any = self._settings.options.get(name, {})
        self._known.add(name)
        if not isinstance(value, Mapping):
            raise self._refuse(name, "a table")
        return cast(Mapping[str, Any], value)

    def agents(self, *, called: str, without: str | None = None) -> Mapping[str, str]:
        """Return the table `agents`: what each agent is on the platform, by the name that it has here.

        `called` is what the platform calls that, in a sentence; `without` is a character that no name may have.
        """
        table = self.table("agents")
        names = "each name" if without is None else f"each name, which has no `{without}`"
        for name, value in table.items():
            if not isinstance(value, str) or not value.strip() or (without is not None and without in name):
                raise InvalidInputError(
                    f"`agents` of the instance {self._instance} must give {called}, as text, to {names}.",
                    instance=self._instance,
                )
            split_agent_address(f"{self._instance}:{name}")
        return {name: value.strip() for name, value in table.items()}

    def names(self, name: str) -> Sequence[str]:
        """Return a list of texts, empty where there is none."""
        value: Any = self._settings.options.get(name, [])
        self._known.add(name)
        if not isinstance(value, list) or not all(isinstance(each, str) for each in cast(list[Any], value)):
            raise self._refuse(name, "a list of texts")
        return cast(list[str], value)

    def finish(self) -> None:
        """See that there is no option that nobody asked for."""
        for name in self._settings.options:
            if name not in self._known:
                raise InvalidInputError(
                    f"The instance {self._instance} has an option `{name}`, which its platform does not know.",
                    valid=sorted(self._known),
                    instance=self._instance,
                )

    def _variable(self, name: str, variable: str) -> str:
        self._known.add(f"{name}_env")
        chosen: Any = self._settings.options.get(f"{name}_env", variable)
        if not isinstance(chosen, str):
            raise self._refuse(f"{name}_env", "the name of an environment variable")
        return chosen

    def _refuse(self, name: str, expected: str) -> InvalidInputError:
        return InvalidInputError(
            f"`{name}` of the instance {self._instance} must be {expected}.", instance=self._instance
        )
