"""A session's replayed history as turns, whatever the agent names."""

from typing import Any

import pytest

from tertulia.platforms.acp.mapping import Option, chosen, turns


def user(text: str | None, message_id: str | None = None) -> dict[str, Any]:
    content = {"type": "text", "text": text} if text is not None else {"type": "resource_link", "uri": "a"}
    return {"sessionUpdate": "user_message_chunk", "content": content, "messageId": message_id}


def agent(text: str, message_id: str | None = None) -> dict[str, Any]:
    content = {"type": "text", "text": text}
    return {"sessionUpdate": "agent_message_chunk", "content": content, "messageId": message_id}


def test_a_message_that_was_never_answered_is_one_of_its_own_without_ids() -> None:
    found = turns([agent("before"), user("one"), user("two"), user(None), agent("an"), agent("swer")])
    assert [turn.said for turn in found] == ["one", "two"]
    assert [turn.answer(names_messages=False) for turn in found] == ["", "answer"]


def test_pieces_of_a_message_are_joined_by_its_id() -> None:
    found = turns([user("o", "1"), user("ne", "1"), user("two", "2"), agent("a", "x"), agent("b", "y")])
    assert [turn.said for turn in found] == ["one", "two"]
    assert found[-1].answer(names_messages=True) == "a\n\nb"


@pytest.mark.parametrize(("approved", "option"), [(True, "b"), (False, None)])
def test_nothing_is_chosen_that_decides_about_later_calls(approved: bool, option: str | None) -> None:
    given = [Option("a", "allow_always"), Option("b", "allow_once"), Option("c", "reject_always")]
    found = chosen(given, approved=approved)
    assert (found and found.id) == option
