"""The settings of a client. The caller builds them once; nothing else is configured."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from tertulia.vocabulary.location import PostgresUrl
from tertulia.vocabulary.models import LOCAL_PRINCIPAL

_MIB = 1024 * 1024
USER = "user"
"""The address of the person who runs the process, unless a mailbox name is configured."""


class Approvals(StrEnum):
    """Whose approval of a tool call counts."""

    HOST = "host"
    """The calling host's as well: its own permission prompt is the guard."""
    PERSON = "person"
    """Only a person's, given in a form."""
    ELSEWHERE = "elsewhere"
    """Nobody's here: the caller is an agent that somebody talks to, and that person decides in their own host."""


STORE_CONTENT = "store_content"
"""The option of every platform that says whether the store keeps the contents of messages. It is true by default."""


PRINCIPALS = "principals"
"""The option of every platform beyond this machine's store that names the principals whom the instance serves."""

CREDENTIALS = "credentials"
"""The option of platforms with accounts that has a table for each principal who has an account of their own there."""

EVERYBODY = "*"
"""The key of what counts for all principals who are not named: their credentials; their limits, but for `local`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of what a platform sends is taken. The fields are options of every instance."""

    max_response_mib: float = 16
    """The largest response, decompressed, or message of an agent program."""
    max_answer_mib: float = 16
    """The most text of one answer, with the arguments and results of its tools."""
    max_answer_events: float = 100_000
    """The most events of one answer; its pieces of text do not count."""

    @property
    def response_bytes(self) -> int:
        """The largest response, in bytes."""
        return round(self.max_response_mib * _MIB)

    @property
    def answer_bytes(self) -> int:
        """The most text of one answer, in bytes."""
        return round(self.max_answer_mib * _MIB)


DEFAULT_LIMITS = Limits()
LIMITS = frozenset(field.name for field in fields(Limits))
"""The options of every platform that set its limits."""
COMMON_OPTIONS = LIMITS | {STORE_CONTENT, PRINCIPALS}
"""The options of every platform."""
_SHARED = LIMITS | {
    *(STORE_CONTENT, "base_url", "base_url_env", "card", "hosts", "token_url", "token_url_env", "paths"),
    *("agents", "chat", "all_users", "audience", "scope"),
}
"""What an account has of its instance: where the platform is and how it is used, and nothing that opens it."""
_BARE = re.compile(r"[A-Za-z0-9_-]+")
"""The keys that TOML has without quotation marks."""
_ADDRESS = re.compile(r"[A-Z0-9_]+_(URL|API_BASE)")
"""The variables of the environment from which platforms take addresses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """How an instance reaches its platform."""

    environment_proxy: bool = False
    """Whether through the proxy that the environment names; otherwise directly."""
    kept: int = 20
    """How many idle connections are kept for the next requests."""


DIRECT = Connections()


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSettings:
    """The settings of an instance of a platform. Secrets in `options` never appear in a `repr`."""

    platform: str
    """The name of the platform; empty where nobody has said it, which no client can work with."""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False, compare=False)
    """The environment variables that missing options are read from, under names that the platform documents."""
    identity: str | None = None
    """The mailbox name of this process on the embedded platform."""
    environment_proxy: bool = False
    """Whether requests go through the proxy that the environment names; otherwise they go there directly."""
    account: str | None = None
    """The principal whose account at the platform this is; None if it is the one that its principals share."""
    account_table: str | None = None
    """The key of the table under `CREDENTIALS` that describes the account: the principal, or `EVERYBODY`."""

    @property
    def keeps_content(self) -> bool:
        """Whether the store keeps the contents of messages. If not, it only knows that there were messages."""
        return self.options.get(STORE_CONTENT) is not False

    @property
    def principals(self) -> frozenset[str]:
        """Who may use the instance, and its credentials with it: the principal `local`, unless others are named."""
        return frozenset(self.options.get(PRINCIPALS, (LOCAL_PRINCIPAL,)))

    @property
    def limits(self) -> Limits:
        """How much of what the platform sends is taken."""
        return Limits(**{name: self.options[name] for name in LIMITS if name in self.options})

    @property
    def connections(self) -> Connections:
        """How the platform is reached: each of very many accounts would keep connections of its own."""
        kept = 0 if self.account_table == EVERYBODY else DIRECT.kept
        return Connections(environment_proxy=self.environment_proxy, kept=kept)

    def of_account(self, principal: str) -> "InstanceSettings":
        """Return the settings of the account that a principal has, which `CREDENTIALS` describes, or has for everybody.

        Nothing in them opens the account that others share: of the environment, they have the addresses, and the
        variables that the account names (`NAME_env`).
        """
        tables: Mapping[str, Mapping[str, Any]] = self.options[CREDENTIALS]
        table = principal if principal in tables else EVERYBODY
        own = tables[table]
        named = {value for name, value in own.items() if name.endswith("_env")}
        return replace(
            self,
            options={name: value for name, value in self.options.items() if name in _SHARED}
            | {**own, PRINCIPALS: [principal]},
            environment={
                name: value
                for name, value in self.environment.items()
                if name in named or _ADDRESS.fullmatch(name)
            },
            account=principal,
            account_table=table,
        )


def named_table(instance: str, key: str) -> str:
    """Return what the configuration calls the table of an account (`InstanceSettings.account_table`)."""
    return f"[instances.{instance}.{CREDENTIALS}.{key if _BARE.fullmatch(key) else json.dumps(key)}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrincipalLimits:
    """What one principal may take of what all share. None is as much as there is."""

    active_runs: int | None = None
    """Runs that have not ended, at a time."""
    stored_bytes: int | None = None
    """The bytes of the texts and data of all messages in the store."""
    upstream_runs_per_day: int | None = None
    """Runs that are begun within any 24 hours on platforms beyond the store: they may cost money."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """The settings of a `Client`. `instances` are the configured platforms by name; `local` is always one of them."""

    store: Path | PostgresUrl
    """The path of a file, or the URL of a PostgreSQL database."""
    store_listen_url: PostgresUrl | None = None
    """The URL of the database's server itself, where `store` is a pooler's, which delivers no notices (LISTEN)."""
    approvals: Approvals = Approvals.HOST
    identity: str | None = None
    """The mailbox name of this process on the embedded platform."""
    discover_agents: bool = False
    """Whether agent programs of this machine that are not configured are listed, with how to configure them."""
    instances: Mapping[str, InstanceSettings] = field(default_factory=dict[str, InstanceSettings])
    limits: Mapping[str, PrincipalLimits] = field(default_factory=dict[str, PrincipalLimits])
    """By principal, and for `EVERYBODY` else."""
    max_runs: int | None = None
    """How many runs this process executes at a time; None for any number. Those of a worker count apart."""
    leave_out_misconfigured: bool = False
    """Whether an instance whose configuration cannot work is listed as unavailable, rather than keep the client from
    opening."""


def address_of(principal: str, identity: str | None) -> str:
    """Return the address under which a principal writes on the embedded platform."""
    if identity is not None:
        return f"local:{identity}"
    return USER if principal == LOCAL_PRINCIPAL else principal
