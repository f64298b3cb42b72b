"""search_conversations in one store: its filters, and what its text form says beside the matches."""

import pytest

from tertulia_tools.search import Match, SearchResultPage
from tests.doubles.hosts import Connect, Host

pytestmark = pytest.mark.anyio

AGENT = "local:archivist"


async def add(host: Host, conversation_id: str, **message: str) -> None:
    """Add a message."""
    await host.call("add_message", conversation_id=conversation_id, **message)


async def test_a_search_is_narrowed_down_by_what_messages_and_conversations_are(
    connect_in_memory: Connect,
) -> None:
    """By role and type, without what programs put in, by source and folder, and with one line per conversation."""
    async with connect_in_memory() as host:
        made = await host.call(
            "create_conversation", agent=AGENT, source="codex", metadata={"folder": "/home/ana/acme"}
        )
        own = made["conversation_id"]
        other = (await host.call("create_conversation", agent=AGENT))["conversation_id"]
        await add(host, own, text="A pangolin, I think.")
        await add(host, own, text="pangolin pangolin", role="tool", type="tool_result")
        await add(host, own, text="The pangolin it is.", role="assistant", type="note")
        await add(host, other, text="No pangolin here.")

        async def found(**filters: object) -> list[tuple[str, str]]:
            result = await host.call("search_conversations", query="pangolin", **filters)
            return [(match["conversation_id"], match["snippet"]) for match in result["matches"]]

        everything = await found()
        assert len(everything) == 4
        assert "pangolin pangolin" in everything[-1][1]
        assert len(await found(type="said")) == 3
        assert [each[0] for each in await found(type="note")] == [own]
        assert [each[0] for each in await found(role="tool")] == [own]
        assert len(await found(source="codex")) == len(await found(folder="acme")) == 3
        assert sorted(each[0] for each in await found(per_conversation=True)) == sorted([own, other])


def test_the_text_tells_of_a_suggestion_and_of_an_index_that_is_being_filled() -> None:
    """Also where something matches."""
    match = Match(conversation_id="local:one", status="open", snippet="a word")
    page = SearchResultPage(
        matches=[match], searched=[], order="best first", total=1, suggestion="words", indexing=True
    )

    assert list(page.lines())[:2] == [
        "Older messages are still being indexed, and not searched yet.",
        "best first, 1 in all. Did you mean: words",
    ]
