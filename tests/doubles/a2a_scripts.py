"""What an A2A agent of the tests does with a message: the double and the real servers play the same scripts.

A script is chosen by the first word of a message; any other message is echoed. Parts are those of A2A 1.0.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

Step = tuple[str, Any]
Part = Mapping[str, Any]

MESSAGE = "message"
"""Answer with this text, without a task."""
WORKING = "working"
"""Say what is being done."""
ARTIFACT = "artifact"
"""Add an artifact, or replace that of the same id: its id and parts."""
APPEND = "append"
"""Add parts to an artifact."""
INPUT = "input"
"""Ask this, and wait for an answer."""
AUTH = "auth"
"""Ask for an authorization, and wait."""
HOLD = "hold"
"""Wait until the test lets it continue; a real server takes a moment instead."""
FAIL = "fail"
REJECT = "reject"
COMPLETE = "complete"
ANSWER = "{answer}"
"""In a text: what was answered last."""


def said(text: str, artifact_id: str = "a1") -> list[Step]:
    """Return a text in pieces, as an agent streams it."""
    pieces = [f"{word} " for word in text.split(" ")]
    pieces[-1] = pieces[-1].rstrip()
    first, *rest = pieces
    return [
        (ARTIFACT, (artifact_id, [{"text": first}])),
        *((APPEND, (artifact_id, [{"text": piece}])) for piece in rest),
    ]


DATA = {"total": 3, "currency": "EUR"}
FILE = {"url": "https://files.example/report.pdf", "mediaType": "application/pdf", "filename": "report.pdf"}
INLINE = {"raw": "aGVsbG8gd29ybGQ=", "mediaType": "text/plain", "filename": "hello.txt"}

SCRIPTS: Mapping[str, Sequence[Step]] = {
    "direct": [(MESSAGE, "At your service.")],
    "work": [(WORKING, "Searching flights"), (WORKING, "Comparing prices"), *said("Take the train.")],
    "hold": [*said("Let me see."), (HOLD, None), (APPEND, ("a1", [{"text": " There it is."}]))],
    "two": [*said("First part."), *said("Second part.", "a2"), (COMPLETE, "That is all.")],
    "replace": [*said("A draft."), (ARTIFACT, ("a1", [{"text": "The final text."}]))],
    "data": [(ARTIFACT, ("a1", [{"data": DATA}]))],
    "files": [*said("Your report."), (ARTIFACT, ("a2", [FILE, INLINE, {"data": [1, 2]}]))],
    "status": [(COMPLETE, "Said at the end only.")],
    "ask": [(INPUT, "Which quarter?"), *said(f"Thank you for {ANSWER}.")],
    "twice": [(INPUT, "Which quarter?"), (INPUT, f"Which year of {ANSWER}?"), *said(f"So {ANSWER} it is.")],
    "authorize": [(AUTH, "Sign in at https://login.example first."), *said("You are signed in.")],
    "fail": [*said("Well,"), (FAIL, "The model is overloaded.")],
    "reject": [(REJECT, "Not in my field.")],
}


def script(text: str) -> Sequence[Step]:
    """Return what is to be done with a message."""
    return SCRIPTS.get(text.partition(" ")[0], said(f"You said: {text}"))


def filled(value: Any, answer: str) -> Any:
    """Return a step's value with the last answer in its texts."""
    if isinstance(value, str):
        return value.replace(ANSWER, answer)
    if isinstance(value, tuple):
        artifact_id, parts = cast(tuple[str, Sequence[Part]], value)
        return artifact_id, [{name: filled(each, answer) for name, each in part.items()} for part in parts]
    return value
