"""An id never changes which of a platform's paths is called, whatever is in it: not one character leaves its segment.

Each platform's calls are made with a harmless id and with hostile ones; what comes over the wire must differ by the id
alone. A2A has its ids in JSON, all of which goes to one path; ACP speaks to a program, which has none.
"""

import importlib
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tertulia.platforms.a2a.mapping import CONTEXT_ID, TASK_ID
from tertulia.platforms.base import Platform
from tertulia.vocabulary.errors import TertuliaError
from tertulia.vocabulary.identifiers import conversation_id
from tertulia.vocabulary.models import (
    ConversationChanges,
    Decision,
    MessageChanges,
    MessageDraft,
    MessageQuery,
    ParticipantRole,
    Rating,
    Request,
    RequestKind,
    Run,
    Settlement,
    StatusChange,
)
from tertulia.vocabulary.states import RequestStatus, RunStatus, Status
from tests.client.platforms import a2a
from tests.support.place import Place

pytestmark = [pytest.mark.anyio, pytest.mark.io]

PLATFORMS = ("agentflow", "knowrithm", "r2r", "revengai", *(() if sys.platform == "win32" else ("rine",)))
HARMLESS = "424b2ee0-5cf1-4ac8-a712-386a08c6a9a6"
HOSTILE = (
    *("..", ".", "../../admin", "..%2f..%2fadmin", "%2e%2e", "%2e%2e%2fadmin", "a/b", "/etc", "a\\..\\b"),
    *("a?b=c", "a#b", "a;b=c", "a&b=c", "a b", "a%00b", "a\x00b", "a\r\nX-Evil: 1", "+", "%", "%%", "é"),
    *("//evil.example/x", "@evil.example", "http://evil.example/", "\u2025", "\uff0e\uff0e\uff0fadmin"),
    *(f"{HARMLESS}/../x", f"{HARMLESS}?x"),
)


class Notes:
    """Keeps what an adapter notes of a call."""

    saved: Mapping[str, Any] = {}

    async def save(self, notes: Mapping[str, Any]) -> None:
        """Forget it."""


def run(instance: str, native_id: str) -> Run:
    """Return a run in a conversation."""
    return Run(
        id="run_1",
        conversation_id=conversation_id(instance, native_id),
        agent=None,
        status=RunStatus.RUNNING,
        message_id=native_id,
        first_seq=0,
    )


def request(instance: str, native_id: str) -> Request:
    """Return a request in a conversation, which its platform knows under the id, too."""
    return Request(
        id="req_1",
        run_id="run_1",
        conversation_id=conversation_id(instance, native_id),
        kind=RequestKind.CONFIRMATION,
        prompt="May I?",
        status=RequestStatus.PENDING,
        tool="tool",
        tool_call_id=native_id,
        data={TASK_ID: native_id, CONTEXT_ID: native_id},
        upstream_id="7" if instance == "revengai" else native_id,  # RevEng.AI's are numbers, and held to that
    )


CALLS: Mapping[str, Callable[[Platform, str], Awaitable[object]]] = {
    "get": lambda platform, id: platform.get("local", id),
    "messages": lambda platform, id: platform.messages("local", id, MessageQuery()),
    "messages of a branch": lambda platform, id: platform.messages(
        "local", HARMLESS, MessageQuery(branch=id)
    ),
    "messages after a cursor": lambda platform, id: platform.messages(
        "local", HARMLESS, MessageQuery(cursor=id)
    ),
    "branches": lambda platform, id: platform.branches("local", id),
    "remove a branch": lambda platform, id: platform.remove_branch("local", id, HARMLESS),
    "remove this branch": lambda platform, id: platform.remove_branch("local", HARMLESS, id),
    "participants": lambda platform, id: platform.participants("local", id),
    "invite": lambda platform, id: platform.invite("local", id, {id: ParticipantRole.OBSERVER}),
    "analytics": lambda platform, id: platform.analytics("local", id),
    "add a message": lambda platform, id: platform.add_message(
        "local", id, MessageDraft(text="x", id=id), Notes()
    ),
    "update a message": lambda platform, id: platform.update_message(
        "local", id, HARMLESS, MessageChanges(text="x")
    ),
    "update this message": lambda platform, id: platform.update_message(
        "local", HARMLESS, id, MessageChanges(text="x", metadata={"a": 1})
    ),
    "rate a message": lambda platform, id: platform.rate_message("local", HARMLESS, id, Rating(value=5)),
    "generate a title": lambda platform, id: platform.generate_title(
        "local", id, seed_message="x", force=True
    ),
    "retitle": lambda platform, id: platform.update("local", id, ConversationChanges(title="x")),
    "change metadata": lambda platform, id: platform.update(
        "local", id, ConversationChanges(metadata={"a": 1})
    ),
    "archive": lambda platform, id: platform.update("local", id, ConversationChanges(archived=True)),
    "end": lambda platform, id: platform.update_status("local", id, StatusChange(Status.COMPLETED)),
    "pause": lambda platform, id: platform.update_status("local", id, StatusChange(Status.PAUSED)),
    "delete": lambda platform, id: platform.delete("local", id),
    "restore": lambda platform, id: platform.restore("local", id),
    "settle": lambda platform, id: platform.settle(
        "local", request(platform.instance, id), Settlement(decision=Decision.APPROVE)
    ),
    "cancel": lambda platform, id: platform.cancel("local", run(platform.instance, id)),
}
"""What is asked of a platform about an id, by what it is."""


async def asked(
    place: Place[Any] | a2a.Place, platform: Platform, call: str, id: str
) -> list[tuple[str, list[str]]]:
    """Make a call; return what came over the wire: methods and paths, and the names of the queries' parts."""
    del place.faults.targets[:]
    with suppress(
        TertuliaError
    ):  # there is no such thing, or the platform does not offer it, or the id can be none
        await CALLS[call](platform, id)
    found: list[tuple[str, list[str]]] = []
    for target in place.faults.targets:
        method, _, path = target.partition(" ")
        parts = urlsplit(f"http://platform{path}" if path.startswith("/") else path)
        found.append((f"{method} {parts.path}", [each.partition("=")[0] for each in parts.query.split("&")]))
    return found


@pytest.mark.parametrize("name", PLATFORMS)
async def test_an_id_changes_no_path(tmp_path: Path, name: str) -> None:
    """Every call with every id: refused before anything is sent, or sent to the path that it belongs to."""
    placed = importlib.import_module(f"tests.client.platforms.{name}").placed
    made: set[str] = set()
    async with placed(tmp_path / "place") as place, place.platform() as platform:
        await platform.agents("local")
        for call in CALLS:
            await asked(place, platform, call, HARMLESS)  # tokens and the like are fetched once
            harmless = await asked(place, platform, call, HARMLESS)
            for hostile in HOSTILE:
                escaped = quote(hostile, safe="", errors="surrogatepass")
                sent = await asked(place, platform, call, hostile)
                for (path, names), (expected, expected_names) in zip(sent, harmless, strict=False):
                    assert path.replace(escaped, HARMLESS) == expected, (call, hostile)
                    assert names == expected_names, (call, hostile)
                assert len(sent) <= len(harmless), (call, hostile)
            if harmless:
                made.add(call)
    assert len(made) >= 4


async def test_an_agent_of_a2a_is_asked_at_one_path(tmp_path: Path) -> None:
    """Whatever the id, which stands in what is sent there."""
    async with a2a.placed(tmp_path) as place, place.platform() as platform:
        targets = {
            target
            for call in CALLS
            for id in (HARMLESS, *HOSTILE)
            for target, _ in await asked(place, platform, call, id)
        }
        card = "GET /.well-known/agent-card.json"
        assert card in targets
        assert len(targets - {card}) == 1
