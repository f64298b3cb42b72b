"""Asking the person behind a host, by a form, in both eras of the protocol.

From 2026-07-28 on a call returns the question as its result, and the host repeats the call with the answer. Before,
the question is a request of ours while the call waits. Only an accepted form decides. Hosts without a person answer
`cancel` or `decline` by themselves, so neither rejects anything; a `decline` is noted, and from then on only a form can
approve.
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
from tertulia.runs.approvals import settled_alike
from tertulia.vocabulary.models import Decision, Request, RequestKind, RunResult, Settlement
from tertulia_tools.host import Asked
from tertulia_tools.quotes import cleaned, in_a_line
from tertulia_tools.results import compact

logger = logging.getLogger(__name__)

LONGEST_ARGUMENTS = 2_000


class Forms:
    """What one call may ask its person."""

    def __init__(self, context: Context[Any, Any], client: Client, form_seconds: float) -> None:
        self._context = context
        self._client = client
        self._form_seconds = form_seconds
        self._modern = context.protocol_version in MODERN_PROTOCOL_VERSIONS
        state: dict[str, Any] = json.loads(context.request_state) if context.request_state else {}
        self._run_id: str | None = state.get("run")
        self._asked: list[str] = state.get("asked", [])
        self.seen: int = state.get("seen", 0)
        """The newest `seq` that was there when the call asked."""

    @property
    def run_id(self) -> str | None:
        """The run that this repeated call is about; None if it is made for the first time."""
        return self._run_id

    async def carry_out(self) -> None:
        """Do what the person decided between the call and its repetition.

        Raises:
            ConflictError: it was settled otherwise meanwhile.
        """
        responses = self._context.input_responses or {}
        for request_id in self._asked:
            response = responses.get(request_id)
            if isinstance(response, ElicitResult):
                await self._take(await self._client.runs.request(request_id), response)

    async def ask(self, outcome: RunResult) -> Asked:
        """Have the person decide what a run waits for, unless this call asked that already."""
        request = next((pending for pending in outcome.pending if pending.id not in self._asked), None)
        if request is None or not self._can_ask():
            return Asked()
        self._asked.append(request.id)
        if self._modern:
            state = json.dumps({"run": outcome.run.id, "asked": self._asked, "seen": outcome.seq})
            params = ElicitRequestFormParams(
                message=message(request, outcome), requested_schema=schema(request)
            )
            question = InputRequiredResult(
                input_requests={request.id: ElicitRequest(params=params)}, request_state=state
            )
            return Asked(question=question)
        response = await self._ask_live(request, outcome)
        return Asked(settled=response is not None and await self._take(request, response))

    def _can_ask(self) -> bool:
        capabilities = self._context.client_capabilities
        elicitation = None if capabilities is None else capabilities.elicitation
        if elicitation is None or (elicitation.form is None and elicitation.url is not None):
            return False
        return self._modern or self._context.session.can_send_request

    async def _ask_live(self, request: Request, outcome: RunResult) -> ElicitResult | None:
        with anyio.move_on_after(self._form_seconds):
            try:
                return await self._context.session.elicit_form(
                    message(request, outcome), schema(request), related_request_id=self._context.request_id
                )
            except MCPError as error:
                logger.info("the host could not show a form: %s", error)
        return None

    async def _take(self, request: Request, response: ElicitResult) -> bool:
        """Carry out an accepted form; return whether it settled the request."""
        if response.action == "decline":
            await self._client.runs.decline(request.id)
        settlement = settlement_of(request, response.content or {}) if response.action == "accept" else None
        if settlement is None:
            return False
        if not settled_alike(request, settlement):
            await self._client.runs.respond(request.id, settlement)
        return True


def message(request: Request, outcome: RunResult) -> str:
    """Return what a form says above its fields."""
    agent = outcome.run.agent or "The agent"
    if request.kind is RequestKind.QUESTION:
        return cleaned(f"{agent} asks:\n{request.prompt}")
    arguments = compact(request.arguments)
    if len(arguments) > LONGEST_ARGUMENTS:
        arguments = f"{arguments[:LONGEST_ARGUMENTS]}… (+{len(arguments) - LONGEST_ARGUMENTS:,} characters)"
    return cleaned(f"{agent} wants to run {in_a_line(request.tool or '')} with {arguments}\n{request.prompt}")


def schema(request: Request) -> dict[str, Any]:
    """Return a form's fields. Only the keys every host accepts at the top level: Codex cancels silently on others."""
    if request.kind is RequestKind.QUESTION:
        answer = {"type": "string", "title": "Your answer"}
        return {"type": "object", "properties": {"answer": answer}, "required": ["answer"]}
    fields = {
        "decision": {"type": "string", "title": "Decision", "enum": ["approve", "reject"]},
        "reason": {"type": "string", "title": "Reason (optional)", "description": "The other agent is told."},
    }
    return {"type": "object", "properties": fields, "required": ["decision"]}


def settlement_of(request: Request, content: Mapping[str, Any]) -> Settlement | None:
    """Return what an accepted form decides; None if it is broken, which no host is kept from sending."""
    if request.kind is RequestKind.QUESTION:
        answer = content.get("answer")
        if isinstance(answer, str) and answer.strip():
            return Settlement(decision=Decision.ANSWER, answer=answer, by_person=True)
        return None
    decision, reason = content.get("decision"), content.get("reason")
    if decision not in (Decision.APPROVE, Decision.REJECT):
        return None
    said = reason if isinstance(reason, str) and reason.strip() else None
    return Settlement(decision=Decision(cast(str, decision)), reason=said, by_person=True)
