"""An agent's card: who it is, where and in which version of A2A it is spoken to, and which credentials it takes.

Whoever serves a card can write anything into it, so it is not trusted: an address in it counts only on the host that
the card came from, and on those that the configuration allows; its words are quoted.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import httpx

from tertulia.platforms.kit.http.values import table, tables, text
from tertulia.vocabulary.errors import NotAllowedError, NotConfiguredError
from tertulia.vocabulary.untrusted import shown

JSON_RPC = "JSONRPC"
_LONGEST_NAME = 80
_LONGEST_DESCRIPTION = 300
_MOST_SKILLS = 12


class Version(StrEnum):
    """A version of A2A that is spoken here."""

    V1 = "1.0"
    V03 = "0.3"


class KeyPlace(StrEnum):
    """Where an API key stands in a request."""

    HEADER = "header"
    QUERY = "query"
    COOKIE = "cookie"


@dataclass(frozen=True, slots=True)
class Interface:
    """Where an agent is spoken to."""

    url: str
    version: Version
    tenant: str | None = None


class SchemeKind(StrEnum):
    """A kind of credentials."""

    API_KEY = "an API key"
    BEARER = "a bearer token"
    OTHER = "credentials of a kind that Tertulia does not have"


@dataclass(frozen=True, slots=True)
class Scheme:
    """One way to authenticate, as a card declares it."""

    kind: SchemeKind
    key_name: str = ""
    key_place: KeyPlace = KeyPlace.HEADER
    token_url: str | None = None
    """Where a machine gets its token (OAuth's client credentials)."""


@dataclass(frozen=True, slots=True)
class Card:
    """What a card says, as far as it is needed."""

    name: str
    description: str
    interface: Interface
    streaming: bool
    skills: Sequence[str] = ()
    schemes: Mapping[str, Scheme] = field(default_factory=dict[str, Scheme])
    requirements: Sequence[Collection[str]] = ()
    """Alternatives: the names of the schemes that each needs together. None at all: nothing is required."""

    @property
    def about(self) -> str:
        """The agent's name, description and skills in one line."""
        said = f"{self.name}: {self.description}" if self.description else self.name
        skills = f" Skills: {', '.join(self.skills)}." if self.skills else ""
        return f"{said.rstrip('.')}.{skills}"

    @property
    def api_key(self) -> Scheme | None:
        """The scheme that takes an API key."""
        return next((each for each in self.schemes.values() if each.kind is SchemeKind.API_KEY), None)

    @property
    def token_url(self) -> str | None:
        """Where a machine gets a token."""
        return next((each.token_url for each in self.schemes.values() if each.token_url), None)

    def lacking(self, given: Collection[SchemeKind]) -> str | None:
        """Return which credentials the agent requires, in words, if those that are given do not suffice."""
        wanted: list[str] = []
        for names in self.requirements:
            kinds = [self.schemes[name].kind if name in self.schemes else SchemeKind.OTHER for name in names]
            if all(kind in given for kind in kinds):
                return None
            wanted.append(" and ".join(sorted(set(kinds))))
        return " or ".join(dict.fromkeys(wanted)) or None


def read_card(body: Any, *, card_url: str, hosts: Collection[str]) -> Card | None:
    """Return what a card says; None for what is no card. `hosts` are those that it may name beside its own.

    Raises:
        NotConfiguredError: it offers no interface that is spoken here.
        NotAllowedError: the interface is on another host, or not encrypted although the card was.
    """
    card = table(body)
    name = _line(card.get("name"), _LONGEST_NAME)
    if not name or not {"supportedInterfaces", "url"} & card.keys():
        return None
    interface = _interface(card)
    check_address(interface.url, card_url=card_url, hosts=hosts)
    skills = [_line(skill.get("name"), _LONGEST_NAME) for skill in tables(card.get("skills"))]
    return Card(
        name=name,
        description=_line(card.get("description"), _LONGEST_DESCRIPTION),
        interface=interface,
        streaming=table(card.get("capabilities")).get("streaming") is True,
        skills=[skill for skill in skills if skill][:_MOST_SKILLS],
        schemes={name: _scheme(each) for name, each in table(card.get("securitySchemes")).items()},
        requirements=_requirements(card),
    )


def check_address(url: str, *, card_url: str, hosts: Collection[str]) -> None:
    """Check that an address in a card may be used.

    Raises:
        NotAllowedError: it is on a host that is neither the card's nor allowed, or not encrypted although the card was.
    """
    asked, named = httpx.URL(card_url), _url(url)
    is_web = named.scheme in {"http", "https"} and bool(named.host)
    if not is_web or (asked.scheme, named.scheme) == ("https", "http"):
        raise NotAllowedError(
            f"The card at {card_url} names {shown(url)}, which is no address to send a message to.",
            hint="Ask whoever runs the agent for a card with an https address.",
        )
    if _host(named) != _host(asked) and not {_host(named), named.host} & set(hosts):
        raise NotAllowedError(
            f"The card at {card_url} names an address on another host: {shown(_host(named))}. Nothing was sent there.",
            hint=f"If that host is the agent's, add it to `hosts` in the configuration: {shown(_host(named))}.",
        )


def _interface(card: Mapping[str, Any]) -> Interface:
    """Return the first interface that is spoken here: one of version 1.0, else of 0.3."""
    offered = [
        (
            text(each.get("url")),
            each.get("protocolBinding"),
            text(each.get("protocolVersion")),
            text(each.get("tenant")),
        )
        for each in tables(card.get("supportedInterfaces"))
    ]
    if not offered:  # a card of version 0.3
        main = {"url": card.get("url"), "transport": card.get("preferredTransport", JSON_RPC)}
        offered = [
            (text(each.get("url")), each.get("transport"), Version.V03, None)
            for each in (main, *tables(card.get("additionalInterfaces")))
        ]
    for version in Version:
        for url, binding, told, tenant in offered:
            if url and binding == JSON_RPC and (told or Version.V1).startswith(version):
                return Interface(url, version, tenant)
    found = sorted({f"{binding} {told or ''}".strip() for _, binding, told, _ in offered})
    raise NotConfiguredError(
        f"The agent offers no interface that is spoken here, but {shown(', '.join(found), 200)}.",
        hint="Tertulia speaks A2A 1.0 and 0.3 over JSON-RPC.",
    )


def _scheme(value: Any) -> Scheme:
    """Return a security scheme: in 1.0 an object under the name of its kind, in 0.3 one with `type`."""
    scheme = table(value)
    kind = text(scheme.get("type"))
    if kind is None:
        kind = next((name for name in scheme if name.endswith("SecurityScheme")), "")
        scheme = table(scheme.get(kind))
    kind = kind.lower().removesuffix("securityscheme")
    if kind == "apikey":
        place = scheme.get("location") or scheme.get("in")
        known = place in set(KeyPlace) and text(scheme.get("name"))
        return Scheme(SchemeKind.API_KEY, str(known), KeyPlace(place)) if known else Scheme(SchemeKind.OTHER)
    if kind in {"http", "httpauth"} and str(scheme.get("scheme")).lower() == "bearer":
        return Scheme(SchemeKind.BEARER)
    if kind in {"oauth2", "openidconnect"}:
        flow = table(table(scheme.get("flows")).get("clientCredentials"))
        return Scheme(SchemeKind.BEARER, token_url=text(flow.get("tokenUrl")))
    return Scheme(SchemeKind.OTHER)


def _requirements(card: Mapping[str, Any]) -> Sequence[Collection[str]]:
    """Return the alternatives: in 1.0 the names stand under `schemes`."""
    found = tables(card.get("securityRequirements")) or tables(card.get("security"))
    named = [table(each["schemes"]) if "schemes" in each else each for each in found]
    return [list(each) for each in named]


def _line(value: Any, longest: int) -> str:
    said = " ".join("".join(c if c.isprintable() else " " for c in text(value) or "").split())
    return said if len(said) <= longest else said[:longest] + "…"


def _url(value: str) -> httpx.URL:
    try:
        return httpx.URL(value)
    except (httpx.InvalidURL, ValueError):
        return httpx.URL()


def _host(url: httpx.URL) -> str:
    return url.host if url.port is None else f"{url.host}:{url.port}"
