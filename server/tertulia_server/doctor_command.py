"""`tertulia doctor`: what works here, what does not, and what to do about it. It changes nothing."""

import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import anyio
from mcp_types import LATEST_PROTOCOL_VERSION
from mcp_types.version import SUPPORTED_PROTOCOL_VERSIONS

from tertulia import Client
from tertulia.store.database import needing_psycopg
from tertulia.store.sqlite.health import examine
from tertulia.vocabulary.errors import TertuliaError
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.location import PostgresUrl
from tertulia.vocabulary.untrusted import one_line
from tertulia_server.app import NAME
from tertulia_server.host_config import HOSTS
from tertulia_server.install_command import PLACES, installed, state
from tertulia_server.settings import Loaded, Settings
from tertulia_server.store_token import token_file

_SECONDS = 15.0
"""How long an instance may take to answer."""
_AHEAD = timedelta(minutes=5)


class Verdict(StrEnum):
    """What was found."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    verdict: Verdict
    about: str
    said: str
    todo: str = ""
    """What to do, unless all is well."""


def examine_all(loaded: Loaded) -> Sequence[Finding]:
    """Look at everything: this machine, the settings, the store, each instance, each host that is here."""
    return [
        *_machine(),
        *_settings(loaded),
        *_store(loaded.settings),
        *anyio.run(_instances, loaded.settings),
        *_models(loaded.settings),
        *_hosts(loaded),
    ]


def shown(findings: Sequence[Finding], *, as_json: bool) -> str:
    """Return the report."""
    if as_json:
        return json.dumps([asdict(finding) for finding in findings], ensure_ascii=False, indent=2)
    return "\n".join(map(_line, findings))


def _line(finding: Finding) -> str:
    todo = f"\n           {finding.todo}" if finding.todo else ""
    return f"{finding.verdict:<9}{finding.about}: {finding.said}{todo}"


def _machine() -> Iterator[Finding]:
    python = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {sys.executable}"
    yield Finding(Verdict.OK, "Python", python)
    eras = f"{LATEST_PROTOCOL_VERSION} and earlier, from {min(SUPPORTED_PROTOCOL_VERSIONS)} on"
    yield Finding(Verdict.OK, "Tertulia", f"{version(NAME)}, mcp {version('mcp')}; speaks MCP {eras}")


def _settings(loaded: Loaded) -> Iterator[Finding]:
    read = "read" if loaded.file_read else "not there; defaults apply"
    yield Finding(Verdict.OK, "configuration", f"{loaded.file} ({read})")
    for warning in loaded.warnings:
        yield Finding(Verdict.WARNING, "configuration", warning, "Take it away, or give it its right name.")


def _store(settings: Settings) -> Iterator[Finding]:
    store = settings.store
    if isinstance(store, PostgresUrl):
        yield from _database(store)
        return
    folder = next(parent for parent in store.parents if parent.exists())
    if not os.access(folder, os.W_OK):
        todo = "Give yourself the right to write there, or name another file with --store."
        yield Finding(Verdict.FAILED, "store", f"nothing can be written in {folder}", todo)
    if not store.exists():
        yield Finding(Verdict.OK, "store", f"{store} is not there yet; the first conversation makes it")
        return
    try:
        found = examine(store)
    except TertuliaError as error:
        yield Finding(Verdict.FAILED, "store", error.message, error.hint or "")
        return
    counts = f"{found.conversations:,} conversations, {found.messages:,} messages, {found.size / 1e6:,.1f} MB"
    schema = f"schema {found.version} of {found.newest_version}, SQLite {found.sqlite}"
    yield Finding(Verdict.OK, "store", f"{store}: whole; {counts}; {schema}")
    if found.newest is not None and found.newest > datetime.now(UTC) + _AHEAD:
        said = f"the store's newest entry is of {found.newest:%Y-%m-%d %H:%M} UTC, which is still to come"
        yield Finding(Verdict.WARNING, "clock", said, "Set the machine's clock right.")
    yield from _permissions(store, token_file(store))


def _database(url: PostgresUrl) -> Iterator[Finding]:
    try:
        with needing_psycopg(url):
            from tertulia.store.postgres.health import examine as examine_database
        found = examine_database(url)
    except TertuliaError as error:
        yield Finding(Verdict.FAILED, "store", error.message, error.hint or "")
        return
    server = f"PostgreSQL {found.server}{', through a pooler' if found.pooled else ''}"
    counts = f"{found.conversations:,} conversations, {found.messages:,} messages, {found.size / 1e6:,.1f} MB"
    schema = f"schema {found.version} of {found.newest_version}"
    said = f"{counts}; {schema}, {server}" if found.version else f"none yet; the first use makes it; {server}"
    yield Finding(Verdict.OK, "store", f"{url}: {said}")
    ahead = found.at - datetime.now(UTC)
    if abs(ahead) > _AHEAD:
        said = f"the database's clock says {found.at:%Y-%m-%d %H:%M} UTC, {ahead.total_seconds():+,.0f} s from here"
        yield Finding(
            Verdict.WARNING, "clock", said, "Set the clock of this machine, or the database's, right."
        )


def _permissions(*files: Path) -> Iterator[Finding]:
    if os.name == "nt":
        return
    for file in files:
        if file.exists() and file.stat().st_mode & 0o077:
            said = f"{file} can be read by other users of this machine"
            yield Finding(Verdict.WARNING, "permissions", said, f"chmod 600 {file}")


async def _instances(settings: Settings) -> list[Finding]:
    """Ask each instance, with an empty store: the user's would be made, or brought to our schema."""
    findings: list[Finding] = []
    with TemporaryDirectory(prefix="tertulia-doctor-") as folder:
        empty = replace(settings.client_settings(), store=Path(folder) / "tertulia.db", store_listen_url=None)
        try:
            async with Client.open(empty) as client:
                findings += [await _instance(client, name) for name in client.instances]
        except TertuliaError as error:
            findings.append(Finding(Verdict.FAILED, "instances", error.message, error.hint or ""))
    return findings


async def _instance(client: Client, name: str) -> Finding:
    about = f"instance {name}"
    with anyio.move_on_after(_SECONDS):
        agents = await client.agents.list(name)
        missing = next((agent for agent in agents if not agent.available), None)
        if missing is not None:
            said = one_line(missing.description)
            return Finding(Verdict.FAILED, about, said, one_line(missing.hint or ""))
        offered = {feature for agent in agents for feature in agent.features}
        lacking = ", ".join(sorted(set(Feature) - offered)) or "nothing"
        count = f"{len(agents)} agent{'' if len(agents) == 1 else 's'}"
        return Finding(Verdict.OK, about, f"{count}; offers everything but: {lacking}")
    return Finding(
        Verdict.FAILED, about, f"no answer within {_SECONDS:g} s", "Look whether it can be reached."
    )


def _models(settings: Settings) -> Iterator[Finding]:
    if settings.agents and not find_spec("pydantic_ai"):
        said = "agents are configured, and what runs models is not installed"
        yield Finding(Verdict.FAILED, "models", said, "pip install 'tertulia[models]'")


def _hosts(loaded: Loaded) -> Iterator[Finding]:
    for name, place in PLACES.items():
        entry = installed(name)
        if entry is None and not place.found:
            continue
        command = None if entry is None else entry.get("cmd") or entry.get("command")
        program: Any = cast("list[Any]", command)[0] if isinstance(command, list) else command
        about, said = f"host {HOSTS[name].title}", state(name, entry, loaded)
        if isinstance(program, str) and shutil.which(program) is None:
            said = f"it starts {program}, which is not there, by {place.file}"
            yield Finding(Verdict.FAILED, about, said, loaded.settings.command("install", name))
        else:
            yield Finding(Verdict.OK, about, said)
