"""Reading what Knowrithm answers: tasks, their hints and addresses, lists, replies and figures, in whatever shape."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia import Role, Status
from tertulia.platforms.kit.http.liberal import as_page, as_record, nested_record
from tertulia.platforms.knowrithm import mapping
from tertulia.platforms.knowrithm.mapping import Reply
from tertulia.platforms.knowrithm.wire import (
    LONGEST_SECONDS,
    SHORTEST_SECONDS,
    Standing,
    Task,
    address,
)
from tertulia.vocabulary.models import Rating

BASE = "https://app.knowrithm.org/api"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *(
                        "id",
                        "status",
                        "state",
                        "result",
                        "data",
                        "response",
                        "message",
                        "messages",
                        "content",
                    ),
                    *(
                        "error",
                        "retry_after",
                        "retry_at",
                        "meta",
                        "task_id",
                        "poll_url",
                        "conversation",
                        "role",
                    ),
                    *("conversations", "pagination", "total", "pages", "per_page", "metadata", "agent_id"),
                    *("message_statistics", "total_messages", "deleted_at", "created_at", "rating", "title"),
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("body", "standing"),
    [
        ({}, Standing.PENDING),
        ({"status": "whatever"}, Standing.PENDING),
        ({"status": 7}, Standing.PENDING),
        ({"state": "success"}, Standing.DONE),
        ({"status": "success", "state": "pending"}, Standing.PENDING),
        ({"status": "processing", "state": "success"}, Standing.DONE),
        ({"status": "completed", "state": None}, Standing.DONE),
        ({"status": "failed", "state": "success"}, Standing.FAILED),
        ({"status": "success", "state": "FAILURE"}, Standing.FAILED),
        ({"data": {"status": "completed"}}, Standing.DONE),
        ({"task": {"state": "failure"}}, Standing.FAILED),
    ],
)
def test_a_task_is_as_far_as_its_state_says_and_else_its_status(
    body: dict[str, Any], standing: Standing
) -> None:
    """A `status` of success beside a state may be that of the question; a failure is one under either name."""
    assert Task(body).standing is standing


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ({}, None),
        ({"retry_after": 3}, 3),
        ({"retry_after": "3"}, 3),
        ({"retry_after_seconds": 2.5}, 2.5),
        ({"retry_after_ms": 1500}, 1.5),
        ({"poll_in": 4}, 4),
        ({"poll_interval": 4}, 4),
        ({"eta": (NOW + timedelta(seconds=9)).isoformat()}, 9),
        ({"retry_at": NOW.timestamp() + 5}, 5),
        ({"retry_at": (NOW - timedelta(days=1)).isoformat()}, SHORTEST_SECONDS),
        ({"meta": {"next_poll_in": 6}}, 6),
        ({"retry_after": 2, "info": {"wait_for": 8}}, 8),
        ({"retry_after": 0}, SHORTEST_SECONDS),
        ({"retry_after": -5}, SHORTEST_SECONDS),
        ({"retry_after": 1e9}, LONGEST_SECONDS),
        ({"retry_after": "soon", "eta": "later", "poll_in": True, "retry_at": None}, None),
    ],
)
def test_a_task_is_asked_again_after_the_longest_of_its_hints_within_bounds(
    body: dict[str, Any], seconds: float | None
) -> None:
    """Those that the vendor's SDK knows, in the body and in what it holds."""
    assert Task(body).pause(NOW) == (None if seconds is None else pytest.approx(seconds))
    assert Task(body, retry_after=59.0).pause(NOW) == max(59.0, seconds or 0)


@pytest.mark.parametrize(
    ("url", "segments"),
    [
        ("/v1/tasks/7/status", ("tasks", "7", "status")),
        ("/api/v1/tasks/7/status", ("tasks", "7", "status")),
        ("api/v1/tasks/7/status", ("tasks", "7", "status")),
        ("/tasks/7/status", ("tasks", "7", "status")),
        ("tasks/a%2Fb", ("tasks", "a/b")),
        (BASE + "/v1/tasks/7", ("tasks", "7")),
        ("https://app.knowrithm.org:443/api/v1/tasks/7", ("tasks", "7")),
        ("https://APP.knowrithm.org/v1/tasks/7", ("tasks", "7")),
        ("//app.knowrithm.org/v1/tasks/7", None),
        ("http://app.knowrithm.org/api/v1/tasks/7", None),
        ("https://app.knowrithm.org:444/api/v1/tasks/7", None),
        ("https://app.knowrithm.org.example.org/api/v1/tasks/7", None),
        ("https://app.knowrithm.org@example.org/api/v1/tasks/7", None),
        ("https://example.org/api/v1/tasks/7", None),
        ("ftp://app.knowrithm.org/api/v1/tasks/7", None),
        ("/v1/../admin", None),
        ("/v1/%2e%2e/admin", None),
        ("https://[", None),
        ("/", None),
        ("", None),
    ],
)
def test_a_url_is_a_path_of_this_server_or_none(url: str, segments: tuple[str, ...] | None) -> None:
    """However it is written."""
    found = address(url, BASE)
    assert (None if found is None else found.segments) == segments


def test_a_url_keeps_its_query() -> None:
    """In the form in which it is sent."""
    found = address("/v1/tasks/7?a=b%20c&d=", BASE)
    assert found is not None
    assert found.params == {"a": "b c"}


@pytest.mark.parametrize("base", ["http://localhost:8000", "https://kn.example.org/some/api/", BASE])
def test_every_base_has_its_own_path(base: str) -> None:
    """With and without one."""
    for url in ("/v1/tasks/7", "/api/v1/tasks/7", f"{base.rstrip('/')}/v1/tasks/7"):
        found = address(url, base)
        assert found is not None
        assert found.segments == ("tasks", "7")


REPLY = {"id": "m2", "role": "assistant", "content": "Hi!"}
ASKED = {"id": "m1", "role": "user", "content": "Hello"}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (REPLY, Reply("Hi!", "m2")),
        ({"message": REPLY}, Reply("Hi!", "m2")),
        ({"messages": [ASKED, REPLY]}, Reply("Hi!", "m2")),
        ([ASKED, REPLY], Reply("Hi!", "m2")),
        ({"assistant_message": REPLY, "user_message": ASKED}, Reply("Hi!", "m2")),
        ({"response": "Hi!", "message_id": "m1"}, Reply("Hi!")),
        ({"response": "Hi!", "assistant_message_id": "m2"}, Reply("Hi!", "m2")),
        ({"response": {"content": "Hi!", "id": "m1"}}, Reply("Hi!")),
        ({"content": "Hi!"}, Reply("Hi!")),
        ({"data": json.dumps({"messages": [REPLY]})}, Reply("Hi!", "m2")),
        ("Hi!", Reply("Hi!")),
        (json.dumps({"answer": "Hi!"}), Reply("Hi!")),
        ({"message": REPLY, "citations": ["a"]}, Reply("Hi!", "m2", ["a"])),
        ({**REPLY, "metadata": {"cited_sources": ["a"]}}, Reply("Hi!", "m2", ["a"])),
        ({"result": {"messages": [ASKED, REPLY]}}, Reply("Hi!", "m2")),
        ({"data": {"response": "Hi!", "assistant_message_id": "m2"}}, Reply("Hi!", "m2")),
        ({"result": {"data": {"result": REPLY}}}, None),
        ({"output": REPLY}, None),
        ({"messages": "Hi!"}, None),
        ({"message": "Chat processed"}, None),
        ({"messages": [ASKED]}, None),
        (ASKED, None),
        ({"content": ""}, None),
        (" ", None),
        (None, None),
        (7, None),
        ([], None),
    ],
)
def test_a_reply_is_found_in_each_shape_that_is_known_and_in_no_other(value: Any, said: Reply | None) -> None:
    """What was asked is none, and neither is a sentence about the call; a reply has not the id of what it answers."""
    found = mapping.reply_in(value, asked="m1")
    assert found == (said if said is None or said.citations else Reply(said.text, said.id, ()))


@pytest.mark.parametrize(
    ("record", "status", "archived"),
    [
        ({}, Status.OPEN, False),
        ({"status": "active"}, Status.OPEN, False),
        ({"status": "Ended"}, Status.COMPLETED, False),
        ({"status": "ARCHIVED"}, Status.COMPLETED, True),
        ({"status": "active", "is_archived": True}, Status.COMPLETED, True),
        ({"status": "somehow"}, Status.OPEN, False),
    ],
)
def test_states_are_mapped_onto_ours(record: dict[str, Any], status: Status, archived: bool) -> None:
    """The archive is a flag beside them."""
    found = mapping.conversation({"id": "c", **record}, instance="knowrithm", agent=None)
    assert found is not None
    assert (found.status, found.archived) == (status, archived)


@pytest.mark.parametrize(
    "record", [{"status": "deleted"}, {"deleted_at": "2026-01-01"}, {"is_deleted": True}]
)
def test_a_deleted_conversation_is_none(record: dict[str, Any]) -> None:
    """Wherever a list shows it."""
    assert mapping.conversation({"id": "c", **record}, instance="knowrithm", agent=None) is None


@pytest.mark.parametrize(
    ("role", "ours"),
    [
        ("user", Role.USER),
        ("USER", Role.USER),
        ("lead", Role.USER),
        ("assistant", Role.ASSISTANT),
        ("agent", Role.ASSISTANT),
        ("system", Role.SYSTEM),
        (None, Role.ASSISTANT),
    ],
)
def test_roles_are_mapped_onto_ours(role: str | None, ours: Role) -> None:
    """Whoever is no user and no system is the agent."""
    row = {"id": 7, "role": role, "content": "a", "rating": 4}
    message = mapping.message(row, conversation="knowrithm:c", agent="knowrithm:a")
    assert (message.id, message.role, message.rating) == ("7", ours, Rating(value=4))


@pytest.mark.parametrize(
    ("body", "messages", "seconds", "rating", "details"),
    [
        ({"data": {"conversation_flow": {"duration_minutes": "2"}}}, {}, 120, None, {}),
        (
            {
                "message_statistics": {"total_messages": 3, "user_messages": 1, "assistant_messages": 2},
                "x": 1,
            },
            {"user": 1, "assistant": 2},
            None,
            None,
            {"x": 1},
        ),
        ({"quality_metrics": {"satisfaction_rating": 4.5}}, {}, None, 4.5, {}),
        (
            {"quality_metrics": {"satisfaction_rating": "good"}},
            {},
            None,
            None,
            {"quality_metrics": {"satisfaction_rating": "good"}},
        ),
        ({"message_statistics": 7}, {}, None, None, {"message_statistics": 7}),
        ([], {}, None, None, {}),
    ],
)
def test_figures_are_read_as_far_as_they_are_figures(
    body: Any, messages: dict[str, int], seconds: float | None, rating: float | None, details: dict[str, Any]
) -> None:
    """The rest stays what it was; what is not known is not zero."""
    found = mapping.analytics(body)
    assert (found.messages, found.duration_seconds, found.rating) == (messages, seconds, rating)
    assert (found.details, found.computed) == (details, False)


@given(value=anything, page=st.integers(1, 5))
def test_nothing_that_a_server_may_answer_breaks_the_reading(value: Any, page: int) -> None:
    """It is read, or it is nothing."""
    part = as_page(value, "conversations", number=page, asked=20)
    for record in part.records if part is not None else ():
        mapping.conversation(record, instance="knowrithm", agent=None)
        mapping.message(record, conversation="knowrithm:c", agent="knowrithm:a")
        mapping.reply_of(record)
    nested_record(value, "conversation")
    said = mapping.reply_in(value)
    assert said is None or said.text.strip()
    assert mapping.analytics(value).computed is False
    task = Task(as_record(value) or {})
    pause = task.pause(NOW)
    assert pause is None or SHORTEST_SECONDS <= pause <= LONGEST_SECONDS
    assert task.standing in Standing
    assert (task.failure, task.acknowledged, task.outcome) is not None
    task.address(BASE)
