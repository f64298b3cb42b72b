"""The platforms, by the name a configuration knows them under.

Each is imported only when an instance of it is there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import cast

from tertulia.platforms.base import Execution, Platform
from tertulia.settings import (
    COMMON_OPTIONS,
    CREDENTIALS,
    EVERYBODY,
    LIMITS,
    PRINCIPALS,
    STORE_CONTENT,
    InstanceSettings,
    named_table,
)
from tertulia.store.database import Store
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.identifiers import valid_instance
from tertulia.vocabulary.models import LOCAL_PRINCIPAL, Agent
from tertulia.vocabulary.untrusted import shown

PLATFORMS: Mapping[str, str] = {
    "local": "tertulia.platforms.local.platform:LocalPlatform",
    "revengai": "tertulia.platforms.revengai.platform:RevEngAIPlatform",
    "r2r": "tertulia.platforms.r2r.platform:R2RPlatform",
    "knowrithm": "tertulia.platforms.knowrithm.platform:KnowrithmPlatform",
    "agentflow": "tertulia.platforms.agentflow.platform:AgentFlowPlatform",
    "a2a": "tertulia.platforms.a2a.platform:A2APlatform",
    "acp": "tertulia.platforms.acp.platform:AcpPlatform",
    "rine": "tertulia.platforms.rine.platform:RinePlatform",
}
"""Where each platform's class is. A class is called with the instance's name, its settings, the store and the clock."""

LOCAL = "local"
MAX_ACCOUNTS = 5_000
"""How many principals can have an account of their own at an instance within one process."""
_MOST = 1_000_000
_WITHOUT_ACCOUNTS = {LOCAL, "acp"}
"""Platforms of this machine: what they may do is what whoever runs the process may do."""


def build(
    instances: Mapping[str, InstanceSettings],
    store: Store,
    *,
    identity: str | None = None,
    clock: Clock = SYSTEM_CLOCK,
    leave_out: bool = False,
) -> dict[str, Platform]:
    """Return the configured platforms by instance, the embedded one always among them.

    `identity` is the name under which this process speaks there. With `leave_out`, an instance that cannot work keeps
    no other from being built: it is there as one that cannot be used, if it has a possible name.

    Raises:
        InvalidInputError: instances have an impossible name, an unknown platform or impossible options; it names all.
    """
    default = InstanceSettings(platform=LOCAL, identity=identity)
    built: dict[str, Platform] = {}
    errors: list[InvalidInputError] = []
    for name, settings in {LOCAL: default, **instances}.items():
        try:
            built[name] = _build(name, replace(settings, identity=identity), store, clock)
        except InvalidInputError as error:
            errors.append(error)
            if name == LOCAL:
                built[name] = _build(name, default, store, clock)
            elif valid_instance(name):
                built[name] = _misconfigured(name, error)
    if errors and not leave_out:
        raise errors[0] if len(errors) == 1 else _all_of(errors)
    for platform in built.values():
        platform.peers = built
        for account in platform.accounts.values():
            account.peers = built
    return built


def unconfigured_agents(instances: Mapping[str, InstanceSettings]) -> Sequence[Agent]:
    """Return the agent programs of this machine that no instance is about, with how to configure them."""
    find: Callable[[Mapping[str, InstanceSettings]], Sequence[Agent]]
    find = import_module("tertulia.platforms.acp.settings").unconfigured
    return find(instances)


def _misconfigured(name: str, error: InvalidInputError) -> Platform:
    missing = " ".join((_sentence(error), *filter(None, [error.hint])))
    return _unusable(name, missing, LOCAL_PRINCIPAL)  # who runs the process can correct it


def _unusable(name: str, missing: str, principal: str) -> Platform:
    from tertulia.platforms.kit.misconfigured import MisconfiguredPlatform

    built = MisconfiguredPlatform(name, missing=missing)
    built.principals = [principal]
    return built


def _all_of(errors: Sequence[InvalidInputError]) -> InvalidInputError:
    problems = "; ".join(_sentence(error).rstrip(".") for error in errors)
    return InvalidInputError(
        f"{len(errors)} instances are configured in a way that cannot work: {problems}.",
        hint="Correct these tables.",
    )


def _sentence(error: InvalidInputError) -> str:
    valid = f" (valid: {', '.join(error.valid)})" if error.valid else ""
    return f"{error.message.rstrip('.')}{valid}."


def _build(name: str, settings: InstanceSettings, store: Store, clock: Clock) -> Platform:
    if not valid_instance(name):
        raise InvalidInputError(
            f"{shown(name)} cannot be the name of an instance.",
            hint="Use up to 32 lower-case letters, digits, `-` and `_`, beginning with a letter.",
        )
    if not settings.platform:
        raise InvalidInputError(
            f"The instance {name} does not say which platform it is of.",
            hint=f'Add `platform = "…"` to [instances.{name}].',
            instance=name,
        )
    if settings.platform not in PLATFORMS:
        raise InvalidInputError(
            f"The instance {name} is of an unknown platform, {shown(settings.platform)}.",
            valid=sorted(PLATFORMS),
            instance=name,
        )
    if (settings.platform == LOCAL) != (name == LOCAL):
        raise InvalidInputError(
            f"The instance {name} cannot be of the platform {settings.platform}: there is one embedded platform, "
            f"and its instance is `{LOCAL}`.",
            instance=name,
        )
    if not isinstance(settings.options.get(STORE_CONTENT, True), bool):
        raise InvalidInputError(
            f"`{STORE_CONTENT}` of the instance {name} is neither true nor false.", instance=name
        )
    for limit in sorted(LIMITS & settings.options.keys()):
        value: object = settings.options[limit]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _MOST:
            raise InvalidInputError(
                f"`{limit}` of the instance {name} must be a number from 1 to {_MOST:,}.", instance=name
            )
    if name == LOCAL and not settings.keeps_content:
        raise InvalidInputError(
            f"`{STORE_CONTENT}` of the instance {name} cannot be false: its conversations are in the store or nowhere.",
            instance=name,
        )
    if PRINCIPALS in settings.options:
        _check_principals(name, settings.options[PRINCIPALS])
    shared = {option: value for option, value in settings.options.items() if option != CREDENTIALS}
    built = _made(name, replace(settings, options=shared), store, clock)
    if built.capabilities.execution is Execution.WORKER and not settings.keeps_content:
        raise InvalidInputError(
            f"`{STORE_CONTENT}` of the instance {name} cannot be false: another process sends its messages, and "
            "has them from the store.",
            instance=name,
        )
    accounts = {
        principal: _account(name, settings.of_account(principal), store, clock)
        for principal in _accounts(name, settings)
    }
    if accounts.pop(EVERYBODY, None) is not None:  # it was made to see that it can be
        built.open_account = _Opener(built, settings, store, clock)
    built.accounts = accounts
    return built


@dataclass(frozen=True, slots=True)
class _Opener:
    """Makes the accounts of principals who are not named, each when it is first needed."""

    instance: Platform
    settings: InstanceSettings
    store: Store
    clock: Clock

    def __call__(self, principal: str) -> Platform:
        name, accounts = self.instance.instance, self.instance.accounts
        if len(accounts) >= MAX_ACCOUNTS:
            full = (
                f"This server has the accounts of {MAX_ACCOUNTS:,} people in use, which is as many as it can."
            )
            return _unusable(name, f"{full} Whoever runs it can start it anew.", principal)
        account = _account(name, self.settings.of_account(principal), self.store, self.clock)
        account.peers = self.instance.peers
        accounts[principal] = account
        return account


def _made(name: str, settings: InstanceSettings, store: Store, clock: Clock) -> Platform:
    module, _, attribute = PLATFORMS[settings.platform].partition(":")
    platform = cast(
        Callable[[str, InstanceSettings, Store, Clock], Platform], getattr(import_module(module), attribute)
    )
    built = platform(name, settings, store, clock)
    built.principals = settings.principals
    built.limits = settings.limits
    return built


def _account(name: str, settings: InstanceSettings, store: Store, clock: Clock) -> Platform:
    try:
        return _made(name, settings, store, clock)
    except InvalidInputError as error:
        table = named_table(name, settings.account_table or "")
        raise InvalidInputError(
            f"{table}: {error.message}", hint=error.hint, valid=error.valid, instance=name
        ) from error


def _accounts(name: str, settings: InstanceSettings) -> Sequence[str]:
    """Return the principals who have an account of their own.

    Raises:
        InvalidInputError: they are not described by a table each, or the platform has no accounts.
    """
    if CREDENTIALS not in settings.options:
        return ()
    if settings.platform in _WITHOUT_ACCOUNTS:
        raise InvalidInputError(
            f"`{CREDENTIALS}` of the instance {name} cannot be set: its platform has no accounts.",
            instance=name,
        )
    tables: object = settings.options[CREDENTIALS]
    described = cast("Mapping[str, object]", tables if isinstance(tables, Mapping) else {})
    if not described or not all(isinstance(table, Mapping) for table in described.values()):
        raise InvalidInputError(
            f"`{CREDENTIALS}` of the instance {name} must have a table for each principal.",
            hint=f"Write [instances.{name}.{CREDENTIALS}.NAME], and below it what opens the account of NAME.",
            instance=name,
        )
    for principal, table in cast("Mapping[str, Mapping[str, object]]", described).items():
        if own := (COMMON_OPTIONS | {CREDENTIALS}) & set(table):
            raise InvalidInputError(
                f"`{min(own)}` of the instance {name} is nothing that the account of {shown(principal)} can set.",
                instance=name,
            )
        texts = [option for option in table if not option.endswith("_command")]
        if texts and principal == EVERYBODY:
            raise InvalidInputError(
                f"`{min(texts)}` of the instance {name} would open one account for everybody.",
                hint=f"{named_table(name, EVERYBODY)} has commands only (`NAME_command`), which are told for whom they "
                f"run. An account that is shared stands in [instances.{name}], with its `{PRINCIPALS}`.",
                instance=name,
            )
    return [*described]


def _check_principals(name: str, value: object) -> None:
    if name == LOCAL:
        raise InvalidInputError(
            f"`{PRINCIPALS}` of the instance {name} cannot be set: everybody has conversations of their own there.",
            instance=name,
        )
    named = cast(list[object], value) if isinstance(value, list) else []
    if not named or not all(isinstance(each, str) and each for each in named):
        raise InvalidInputError(
            f"`{PRINCIPALS}` of the instance {name} must be a list of one principal or more.",
            hint=f'Leave it out for the person who runs Tertulia: it is ["{LOCAL_PRINCIPAL}"] then.',
            instance=name,
        )
