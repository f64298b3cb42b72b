"""Whatever a host sends as arguments: the server tells what is wrong with it, and answers the next call."""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import given
from hypothesis import strategies as st

from tertulia_tools.registry import TOOLS
from tests.doubles.hosts import Connector, Host, Reply, memory
from tests.doubles.stage import ACTOR
from tests.support.drawing import examples
from tests.tools.checks import RAW, assert_fits

ANY_CHARACTER = st.characters(exclude_categories=())
"""Halves of surrogate pairs too: JSON can spell them."""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(ANY_CHARACTER),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(), values, max_size=4),
    max_leaves=12,
)
EXTREME_TIMES = ["9999-12-31", "9999-12-31T23:59:59-23:00", "0001-01-01", "0001-01-01T00:00:00+23:00"]


@dataclass
class Served:
    """A host for tests that are not asynchronous, with a conversation that exists."""

    portal: BlockingPortal
    host: Host
    conversation_id: str

    def call(self, tool: str, arguments: dict[str, Any]) -> Reply:
        """Call a tool, whatever comes of it."""
        return self.portal.call(lambda: self.host.try_call(tool, **arguments))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    """Return a server that a whole module's examples share: what one leaves behind, the next meets."""
    folder: Path = tmp_path_factory.mktemp("served")
    connector = Connector("2026-07-28", memory, folder)
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(connector(wait_seconds=0)) as host,
    ):
        sent = portal.call(lambda: host.call("send_message", agent=ACTOR, text="Hello."))
        yield Served(portal, host, sent["conversation_id"])


def arguments_of(tool: str, conversation_id: str) -> st.SearchStrategy[dict[str, Any]]:
    """Return arguments with the right names and any values, with wrong names, and with values that exist."""
    properties = next(each for each in TOOLS if each.name == tool).tool.parameters["properties"]
    there: dict[str, list[Any]] = {
        "agent": [ACTOR],
        "conversation_id": [conversation_id],
        "instance": ["stage"],
        "wait_seconds": [0, "0", 0.0, -1, "x", None],
        **dict.fromkeys(("since", "until", "created_after", "created_before"), EXTREME_TIMES),
        "metadata": [dict.fromkeys(map(str, range(2_000)), 10**40)],
        "ids": [[f"local:c{number}" for number in range(5_000)]],
    }
    values = {
        name: st.sampled_from(there[name])
        if name == "wait_seconds"
        else st.sampled_from(there.get(name, [""])) | JSON
        for name in properties
    }
    named = st.fixed_dictionaries({}, optional=values)
    unnamed = st.dictionaries(st.text(max_size=8), JSON, max_size=1)
    few = st.sampled_from([False, False, True]).flatmap(
        lambda some: unnamed if some else st.builds(dict[str, Any])
    )
    return st.tuples(named, few).map(lambda pair: {**pair[1], **pair[0]})


@pytest.mark.parametrize("tool", [tool.name for tool in TOOLS])
@examples(60)
@given(data=st.data())
def test_any_arguments_get_a_result_that_reads_well(served: Served, tool: str, data: st.DataObject) -> None:
    """No crash, no traceback, no raw validation error, and the next call is answered."""
    kept = "local:none" if tool in {"delete_conversation", "update_status"} else served.conversation_id

    reply = served.call(tool, data.draw(arguments_of(tool, kept)))

    assert_fits(reply)
    reply.text.encode()
    reply.json.encode()
    if reply.failed:
        assert reply["error"] in {"invalid_input", "not_found", "conflict", "not_offered", "not_allowed"}
        assert not RAW.search(reply.text), reply.text
    assert not served.call("get_conversation", {"conversation_id": served.conversation_id}).failed


@given(name=st.text())
@examples(60)
def test_any_name_of_a_tool_gets_a_result(served: Served, name: str) -> None:
    """An unknown tool is told like any other mistake."""
    reply = served.call(name, {})

    assert reply.failed or name in {tool.name for tool in TOOLS}
    reply.text.encode()
