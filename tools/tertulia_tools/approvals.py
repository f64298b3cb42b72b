"""What is shown of a request before it is decided: all that will run, with an escape for whatever nobody sees.

Arguments that do not fit are read in parts by `get_conversation`, whose last part has the digest that `confirm_tool`
then takes. A form asks only about what it shows as a whole.
"""

import json
from dataclasses import dataclass

from tertulia.vocabulary.errors import ConflictError
from tertulia.vocabulary.identifiers import digest
from tertulia.vocabulary.models import Decision, Request, RequestKind
from tertulia.vocabulary.states import RequestStatus
from tertulia.vocabulary.untrusted import escaped, is_plain, shown
from tertulia_tools.quotes import fitting_length, json_size

MAX_TOOL = 100
"""The longest name of a tool that a form shows."""
MAX_PROMPT = 500
"""The most that a form shows of the agent's own sentence."""
MAX_FORM = 2_000
"""The longest arguments that a form shows."""
MAX_SHOWN = 1_000
"""The longest arguments, by their `json_size`, that every result with the request shows as a whole."""
DIGEST_LENGTH = 16

DECLINED = (
    "The form was declined, by your user or by your host itself; ask your user before it is shown again, or let them"
    " run `tertulia approve`."
)
LONG = "Not all of its arguments are shown: get_conversation (include requests) reads them, and gives their digest."


def arguments_text(request: Request) -> str:
    """Return the arguments of a tool as JSON in one line, with an escape for each character that nobody sees."""
    return escaped(json.dumps(request.arguments, ensure_ascii=False, separators=(",", ":")))


def digest_of(request: Request) -> str:
    """Return a digest of all that an approval lets run."""
    return digest({"id": request.id, "tool": request.tool, "arguments": request.arguments})[:DIGEST_LENGTH]


def needs_digest(request: Request) -> bool:
    """Return whether a request is too long to be shown as a whole wherever it is pending."""
    return request.kind is RequestKind.CONFIRMATION and json_size(arguments_text(request)) > MAX_SHOWN


def fits_form(request: Request) -> bool:
    """Return whether a form can show all that will run."""
    if request.kind is RequestKind.QUESTION:
        return True
    return len(request.tool or "") <= MAX_TOOL and len(arguments_text(request)) <= MAX_FORM


def form_text(request: Request, agent: str | None) -> str:
    """Return what a person reads who decides: all that will run, then what the agent says about it, as its words."""
    who = "The agent" if agent is None else _word(agent)
    said = f"{who} says: {shown(request.prompt, MAX_PROMPT)}" if request.prompt else ""
    if request.kind is RequestKind.QUESTION:
        return f"{who} asks: {shown(request.prompt, MAX_PROMPT)}"
    lines = [
        f"{who} wants to run the tool {_word(request.tool or '')}.",
        f"Arguments: {arguments_text(request)}",
    ]
    return "\n".join([*lines, said] if said else lines)


def check_seen(request: Request, decision: Decision, given: str | None) -> None:
    """Check that whoever approves a pending request by a call can have read all that will run.

    Raises:
        ConflictError: no digest was given for arguments that are shown in parts; or it is of something else.
    """
    if decision is not Decision.APPROVE or request.status is not RequestStatus.PENDING:
        return
    if given is None and not needs_digest(request):
        return
    if given != digest_of(request):
        missing = "is not approved without the digest of its arguments, which are long"
        raise ConflictError(
            f"The request {request.id} "
            + (f"{missing}." if given is None else "has another digest: this is not what was shown."),
            hint="get_conversation (include requests) reads all of them, and ends with the digest.",
            request_id=request.id,
            conversation_id=request.conversation_id,
        )


@dataclass(frozen=True, slots=True)
class ArgumentsPart:
    """A part of a request's arguments: the characters from `start` to `end` of `length`."""

    text: str
    start: int
    end: int
    length: int

    @property
    def is_last(self) -> bool:
        """Whether the arguments end with it."""
        return self.end == self.length


def arguments_part(request: Request, start: int, limit: int) -> ArgumentsPart:
    """Return as much of a request's arguments from `start` on as fits into a `json_size` of `limit`."""
    whole = arguments_text(request)
    end = start + fitting_length(whole[start : start + limit], limit)
    return ArgumentsPart(whole[start:end], start, end, len(whole))


def _word(name: str) -> str:
    return name if is_plain(name, MAX_TOOL) else shown(name, len(name))
