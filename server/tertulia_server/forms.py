"""Forms through which the server asks the person behind a host, in both eras of the protocol.

From 2026-07-28 on a call returns the question as its result, and the host repeats the call with the answer. Before
that, the server sends the question as a request while the call waits. Only an accepted form decides. A host without a
person answers `cancel` or `decline` by itself, so neither of them rejects a request. The store notes a `decline`: from
then on only a form can approve the request. A form is shown only where it can show all that will run.
"""

import json
import logging
from collections.abc import Mapping
from typing import Any, cast

import anyio
from mcp.server.mcpserver import Context
from mcp.shared.exceptions import MCPError
from mcp_types import ElicitRequest, ElicitRequestFormParams, ElicitResult, InputRequiredResult
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from tertulia.client import Client
from tertulia.vocabulary.models import Channel, Decision, Request, RequestKind, RunResult, Settlement
from tertulia_tools.approvals import fits_form, form_text
from tertulia_tools.host import Elicitation

logger = logging.getLogger(__name__)


class Forms:
    """The forms of one call: each is open for `form_seconds` at most; with None, there are none."""

    def __init__(self, context: Context[Any, Any], client: Client, form_seconds: float | None) -> None:
        self._context = context
        self._client = client
        self._form_seconds = form_seconds
        self._modern = context.protocol_version in MODERN_PROTOCOL_VERSIONS
        state: dict[str, Any] = json.loads(context.request_state) if context.request_state else {}
        self._asked: list[str] = state.get("asked", [])
        self.run_id: str | None = state.get("run")
        """The run that a repeated call is about; None if the call is made for the first time."""
        self.last_seq: int = state.get("seen", 0)
        """The `seq` of the newest journal entry when the call returned its question."""

    async def settle_answers(self) -> None:
        """Settle the requests that the person answered between the call and its repetition.

        Raises:
            ConflictError: somebody else settled a request in another way meanwhile.
        """
        responses = self._context.input_responses or {}
        for request_id in self._asked:
            response = responses.get(request_id)
            if isinstance(response, ElicitResult):
                await self._settle(await self._client.runs.request(request_id), response)

    async def elicit(self, outcome: RunResult) -> Elicitation:
        """Ask the person to decide a pending request that fits a form, unless this call has asked for it already."""
        askable = (
            request for request in outcome.pending if request.id not in self._asked and fits_form(request)
        )
        request = next(askable, None)
        if request is None or not self._can_ask():
            return Elicitation()
        self._asked.append(request.id)
        if self._modern:
            state = json.dumps({"run": outcome.run.id, "asked": self._asked, "seen": outcome.seq})
            params = ElicitRequestFormParams(
                message=form_text(request, outcome.run.agent), requested_schema=schema(request)
            )
            question = InputRequiredResult(
                input_requests={request.id: ElicitRequest(params=params)}, request_state=state
            )
            return Elicitation(question=question)
        response = await self._ask_live(request, outcome)
        return Elicitation(settled=response is not None and await self._settle(request, response))

    def _can_ask(self) -> bool:
        capabilities = self._context.client_capabilities
        elicitation = None if capabilities is None else capabilities.elicitation
        if (
            self._form_seconds is None
            or elicitation is None
            or (elicitation.form is None and elicitation.url is not None)
        ):
            return False
        return self._modern or self._context.session.can_send_request

    async def _ask_live(self, request: Request, outcome: RunResult) -> ElicitResult | None:
        assert self._form_seconds is not None
        with anyio.move_on_after(self._form_seconds):
            try:
                return await self._context.session.elicit_form(
                    form_text(request, outcome.run.agent),
                    schema(request),
                    related_request_id=self._context.request_id,
                )
            except MCPError as error:
                logger.info("the host could not show a form: %s", error)
        return None

    async def _settle(self, request: Request, response: ElicitResult) -> bool:
        """Apply the person's response to a request; return whether the request is settled."""
        if response.action == "decline":
            await self._client.runs.decline(request.id)
        settlement = settlement_of(request, response.content or {}) if response.action == "accept" else None
        if settlement is None:
            return False
        await self._client.runs.respond(request.id, settlement)
        return True


def schema(request: Request) -> dict[str, Any]:
    """Return the fields of a form, with only those keys that every host accepts: Codex silently cancels on others."""
    if request.kind is RequestKind.QUESTION:
        answer = {"type": "string", "title": "Your answer"}
        return {"type": "object", "properties": {"answer": answer}, "required": ["answer"]}
    fields = {
        "decision": {"type": "string", "title": "Decision", "enum": ["reject", "approve"]},
        "reason": {"type": "string", "title": "Reason (optional)", "description": "The other agent is told."},
    }
    return {"type": "object", "properties": fields, "required": ["decision"]}


def settlement_of(request: Request, content: Mapping[str, Any]) -> Settlement | None:
    """Return the decision of an accepted form; None if its content does not follow the schema."""
    if request.kind is RequestKind.QUESTION:
        answer = content.get("answer")
        if isinstance(answer, str) and answer.strip():
            return Settlement(decision=Decision.ANSWER, answer=answer, by_person=True, channel=Channel.FORM)
        return None
    decision, reason = content.get("decision"), content.get("reason")
    if decision not in (Decision.APPROVE, Decision.REJECT):
        return None
    given = reason if isinstance(reason, str) and reason.strip() else None
    return Settlement(
        decision=Decision(cast(str, decision)), reason=given, by_person=True, channel=Channel.FORM
    )
