"""The calls whose paths the vendor does not publish (see `kit.http.inferred`).

Every deployment serves `/openapi.json`, so says the vendor's API reference.
"""

from collections.abc import Mapping
from enum import StrEnum

from tertulia.platforms.kit.http.inferred import CallShapes
from tertulia.vocabulary.features import Feature


class CallName(StrEnum):
    """A call without a published path, as the table `paths` of the configuration calls it."""

    DELETE = "delete"
    TITLE = "title"
    GENERATE_TITLE = "generate_title"
    WATCH = "watch"
    CANCEL = "cancel"
    RESPOND_APPROVAL = "respond_approval"
    ANSWER_QUESTION = "answer_question"


FEATURES: Mapping[CallName, frozenset[Feature]] = {
    CallName.DELETE: frozenset({Feature.DELETE}),
    CallName.TITLE: frozenset({Feature.TITLE}),
    CallName.GENERATE_TITLE: frozenset({Feature.GENERATE_TITLE}),
    CallName.WATCH: frozenset(),  # answers are found again without it, by looking at their conversation
    CallName.CANCEL: frozenset({Feature.CANCEL}),
    CallName.RESPOND_APPROVAL: frozenset({Feature.CONFIRM, Feature.EDIT_ARGUMENTS}),
    CallName.ANSWER_QUESTION: frozenset({Feature.QUESTIONS}),
}
"""What an instance does not offer where its deployment has not the call."""

_ONE = "/conversations/{conversation_id}"
_APPROVAL = "/approvals/{approval_id}"
_QUESTION = "/questions/{question_id}"
SHAPES = CallShapes(
    {
        CallName.DELETE: [f"DELETE {_ONE}"],
        CallName.TITLE: [
            *(f"{method} {_ONE}" for method in ("PATCH", "PUT")),
            *(f"{method} {_ONE}/title" for method in ("PATCH", "PUT", "POST")),
        ],
        CallName.GENERATE_TITLE: [
            f"POST {_ONE}/{tail}" for tail in ("generate-title", "generate_title", "title/generate")
        ],
        CallName.WATCH: [f"GET {_ONE}/{tail}" for tail in ("watch", "stream", "events")],
        CallName.CANCEL: [
            f"POST {_ONE}/cancel",
            f"POST {_ONE}/calls/{{call_id}}/cancel",
            f"POST {_ONE}/runs/{{call_id}}/cancel",
            "POST /calls/{call_id}/cancel",
            "POST /runs/{call_id}/cancel",
            f"POST {_ONE}/stop",
        ],
        CallName.RESPOND_APPROVAL: [
            *(f"POST {_APPROVAL}/{tail}" for tail in ("respond", "response", "decision", "resolve")),
            *(f"{method} {_APPROVAL}" for method in ("POST", "PUT", "PATCH")),
        ],
        CallName.ANSWER_QUESTION: [
            *(f"POST {_QUESTION}/{tail}" for tail in ("answer", "respond", "response")),
            f"POST {_ONE}{_QUESTION}/answer",
            f"POST {_QUESTION}",
        ],
    },
    prefix="/api/v1",
)
