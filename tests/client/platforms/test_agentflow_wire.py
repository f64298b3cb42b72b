"""Whatever an AgentFlow deployment sends, reading it never fails."""

import json
from typing import Any

import pytest
from httpx_sse import ServerSentEvent
from hypothesis import example, given
from hypothesis import strategies as st

from tertulia import EventKind, Message, Role
from tertulia.platforms.agentflow import mapping
from tertulia.platforms.agentflow.mapping import ASKING, EventMapper, UpstreamEvent
from tertulia.platforms.agentflow.paths import SHAPES
from tertulia.platforms.agentflow.wire import read_refusal
from tertulia.store.database import encode
from tests.doubles.agentflow_scripts import ELSEWHERE, GUESSED
from tests.doubles.clocks import JumpingClock
from tests.support.drawing import examples

TEXT = st.text(st.characters(), max_size=20)
"""Also with halves of surrogate pairs, which JSON can hold and UTF-8 cannot."""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
TYPES = st.sampled_from(
    [
        *("start", "delta", "end", "error", "START", "DELTA", "End", "conversation_update", "[DONE]"),
        *(
            "approval_required",
            "approval_resolved",
            "QUESTION_ASKED",
            "question_answered",
            "artifact_completed",
        ),
    ]
)
IDS = st.none() | st.sampled_from(["call_1", "call_2", ""]) | JSON
CONTENT = JSON | st.dictionaries(
    st.sampled_from(
        [
            *("approval_id", "id", "tool_name", "arguments", "question", "approval", "text", "message"),
            *("messages", "conversation", "has_active_generation", "options"),
        ]
    ),
    JSON,
)
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "type": TYPES | JSON,
        "call_id": IDS,
        "parent_call_id": IDS,
        "root_call_id": IDS,
        "content": CONTENT,
        "delta": CONTENT,
        "seq": st.integers() | JSON,
        "metadata": st.dictionaries(st.sampled_from(["display_name", "content_type"]), JSON) | JSON,
    },
)


def frame(data: str, event: str = "message", own_id: str = "") -> ServerSentEvent:
    return ServerSentEvent(event=event, data=data, id=own_id)


@examples(50)
@given(st.lists(EVENTS | JSON, max_size=12))
@example([{"type": "delta", "content": [[[[[["deep"]]]]]]}])
@example(["[DONE]"])
def test_every_event_can_be_told(payloads: list[Any]) -> None:
    """And written to the journal; what asks somebody can be asked."""
    mapper = EventMapper("m_1", clock=JumpingClock())
    for payload in payloads:
        upstream = mapping.read(frame(json.dumps(payload)))
        if upstream is None:
            continue
        for event in [*mapper.events(upstream), *mapper.held()]:
            encode(event.data)
            (event.upstream_id or "").encode()
        if upstream.name in ASKING:
            draft = mapping.request(upstream)
            encode(draft.arguments)
            assert draft.prompt.isprintable()
            f"{draft.tool} {draft.upstream_id} {draft.tool_call_id}".encode()
        mapping.snapshot(upstream.content)
    for event in mapper.closed("The end."):
        encode(event.data)


@pytest.mark.parametrize(
    "data", ["[DONE]", '"[DONE]"', '{"type": "ping"}', '{"type": "KeepAlive", "seq": 3}']
)
def test_a_keep_alive_is_no_event(data: str) -> None:
    """It says nothing, in whatever form it comes."""
    assert mapping.read(frame(data)) is None


@examples(50)
@given(st.text(), st.text(max_size=10), st.text(max_size=5))
def test_every_frame_can_be_read(data: str, event: str, own_id: str) -> None:
    """Also one whose data is no JSON: it is kept as it came."""
    upstream = mapping.read(frame(data, event, own_id))
    mapped = [] if upstream is None else EventMapper("m_1", clock=JumpingClock()).events(upstream)
    if mapped and mapped[0].kind is EventKind.RAW:
        encode(mapped[0].data)


@examples(50)
@given(st.lists(st.tuples(st.sampled_from(["call_0", "call_1", "call_2"]), st.text(min_size=1)), max_size=30))
def test_only_the_root_call_is_the_answer(pieces: list[tuple[str, str]]) -> None:
    """However its words and those of its sub-agents are mixed."""
    mapper = EventMapper("m_1", clock=JumpingClock())
    upstream = [
        UpstreamEvent(
            name="delta",
            content=piece,
            number=number,
            call_id=call,
            parent=None if call == "call_0" else "call_0",
            root="call_0",
        )
        for number, (call, piece) in enumerate(pieces)
    ]
    events = [event for each in upstream for event in mapper.events(each)] + mapper.held()
    answer = "".join(event.data["delta"] for event in events if event.kind is EventKind.TEXT_MESSAGE_CONTENT)
    assert answer == "".join(piece for call, piece in pieces if call == "call_0")
    for child in ("call_1", "call_2"):
        told = [
            event.data["message"]
            for event in events
            if event.kind is EventKind.TOOL_CALL_PROGRESS and event.data["tool_call_id"] == child
        ]
        assert "".join(told) == "".join(piece for call, piece in pieces if call == child)


@examples(50)
@given(st.lists(CONTENT.filter(lambda one: isinstance(one, dict)), max_size=5), st.none() | st.text())
def test_every_record_can_be_read(records: list[dict[str, Any]], question: str | None) -> None:
    """Whatever its fields are."""
    sent = Message(id="m_1", conversation_id="agentflow:conv_1", author="user", role=Role.USER, text=question)
    mapping.exchange(records, sent)
    for record in records:
        mapping.message("agentflow:conv_1", 0, record, "agentflow")
        mapping.conversation("agentflow", {**record, "id": "conv_\ud8001"}, None)
        mapping.listed_request(record, "appr_1")


@examples(50)
@given(JSON)
def test_every_refusal_can_be_read(body: Any) -> None:
    """The shape of one is not documented."""
    for part in read_refusal(body):
        assert part is None or isinstance(part, str)


@examples(50)
@given(
    st.dictionaries(
        st.sampled_from([call.partition(" ")[2] for call in [*GUESSED.values(), *ELSEWHERE.values()]])
        | st.text(max_size=20),
        st.dictionaries(st.sampled_from(["get", "post", "delete", "put", "patch"]), JSON) | JSON,
    )
    | JSON
)
def test_every_document_can_be_searched_for_calls(paths: Any) -> None:
    """What is found there keeps to the places that a call of its kind has."""
    for name, call in SHAPES.discovered({"paths": paths}).items():
        assert call.certain
        assert "{" not in "".join(
            call.segments(conversation_id="c", call_id="c", approval_id="a", question_id="q")
        )
        assert name in SHAPES.guesses()


def test_references_that_go_round_end() -> None:
    """A document may refer to itself."""
    around = {"$ref": "#/components/schemas/A"}
    document = {
        "paths": {"/approvals/{id}/respond": {"post": {"requestBody": around}}},
        "components": {"schemas": {"A": around}},
    }
    (call,) = SHAPES.discovered(document).values()
    assert (call.template, call.fields) == ("/approvals/{approval_id}/respond", frozenset())
