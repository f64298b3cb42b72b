"""`python -m tests.doubles.r2r_real`: an R2R server whose database and model are ours, and the rest R2R 3.6.6 itself.

Runs in the vendor's environment (requirements/r2r.in) and writes the port that it serves on to stdout. What R2R needs
only to reach databases, models and parsers is not installed there: those modules are empty.
"""

# pyright: basic, reportMissingImports=false

import socket
import sys
from collections.abc import AsyncGenerator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock
from uuid import UUID

import uvicorn

from tests.doubles.r2r import ADMIN, FACTS, KEY, NAME, Memory, played

ABSENT = frozenset(
    "PIL aiohttp anthropic apscheduler asyncpg azure bcrypt boto3 botocore bs4 cryptography docutils docx epub google"
    " hatchet_sdk jwt litellm mailersend mistralai msg_parser nacl networkx numpy olefile ollama openpyxl orgparse"
    " pdf2image pillow_heif pptx psutil pypdf sendgrid sentry_sdk striprtf supabase unstructured_client xlrd yaml"
    "".split()
)


class Empty(ModuleType):
    """A module that has whatever is asked of it, and does nothing."""

    __path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (Exception,), {}) if name[:1].isupper() else MagicMock(name=name)
        setattr(self, name, made)
        return made


class Absent(MetaPathFinder, Loader):
    """Finds the empty modules."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname.partition(".")[0] not in ABSENT:
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return Empty(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


sys.meta_path.append(Absent())

from core.agent import rag  # noqa: E402
from core.base import AggregateSearchResult, ChunkSearchResult, Message, R2RException  # noqa: E402
from core.base.agent.agent import RAGAgentConfig  # noqa: E402
from core.base.api.models import ConversationResponse, MessageResponse, User  # noqa: E402
from core.base.providers.auth import AuthConfig, AuthProvider  # noqa: E402
from core.main.api.v3.conversations_router import ConversationsRouter  # noqa: E402
from core.main.api.v3.retrieval_router import RetrievalRouter  # noqa: E402
from core.main.services import management_service, retrieval_service  # noqa: E402
from fastapi import FastAPI, HTTPException, Request  # noqa: E402
from fastapi.responses import JSONResponse  # noqa: E402


class Handler:
    """R2R's table of conversations, in memory. What it is asked and returns is the Postgres handler's."""

    def __init__(self) -> None:
        self.memory = Memory(lambda status, message: R2RException(status_code=status, message=message))

    async def create_conversation(self, user_id: UUID | None = None, name: str | None = None) -> Any:
        made = self.memory.create(user_id and str(user_id), name)
        return ConversationResponse(id=made.id, created_at=made.created_at, user_id=user_id, name=made.name)

    async def get_conversations_overview(
        self,
        offset: int,
        limit: int,
        filter_user_ids: Sequence[UUID] | None = None,
        conversation_ids: Sequence[UUID] | None = None,
    ) -> Any:
        user = str(filter_user_ids[0]) if filter_user_ids else None
        page, total = self.memory.listed(user, [str(one) for one in conversation_ids or ()], offset, limit)
        return {"results": page, "total_entries": total}

    async def get_conversation(
        self, conversation_id: UUID, filter_user_ids: Sequence[UUID] | None = None
    ) -> Any:
        user = str(filter_user_ids[0]) if filter_user_ids else None
        return [
            MessageResponse(id=one.id, message=Message(**one.inner), metadata=one.metadata)
            for one in self.memory.get(str(conversation_id), user).messages
        ]

    async def add_message(
        self, conversation_id: UUID, content: Any, parent_id: UUID | None = None, metadata: Any = None
    ) -> Any:
        parent = parent_id and str(parent_id)
        added = self.memory.add(str(conversation_id), content.model_dump(), parent, metadata)
        return MessageResponse(id=added.id, message=content)

    async def edit_message(
        self, message_id: UUID, new_content: str | None = None, additional_metadata: Any = None
    ) -> Any:
        edited = self.memory.edit(str(message_id), new_content, additional_metadata)
        return {"id": edited.id, "message": Message(**edited.inner), "metadata": edited.metadata}

    async def update_conversation(self, conversation_id: UUID, name: str) -> Any:
        try:
            found = self.memory.get(str(conversation_id))
        except R2RException as error:
            raise HTTPException(500, f"Failed to update conversation: {error}") from error
        found.name = name
        return ConversationResponse(**found.on_wire())

    async def delete_conversation(
        self, conversation_id: UUID, filter_user_ids: Sequence[UUID] | None = None
    ) -> None:
        user = str(filter_user_ids[0]) if filter_user_ids else None
        del self.memory.conversations[self.memory.get(str(conversation_id), user).id]


class Model:
    """A model that says and calls what the double's agents do."""

    async def aget_completion(self, messages: Any, generation_config: Any) -> Any:
        named = SimpleNamespace(message=SimpleNamespace(content=NAME))
        return SimpleNamespace(choices=[named])

    async def aget_completion_stream(self, messages: Any, generation_config: Any) -> AsyncGenerator[Any]:
        asked = [str(one.get("content")) for one in messages if one["role"] == "user"]
        events = list(played(asked[-1], len(asked)).events)
        if messages[-1]["role"] != "user":  # the tool was called: go on behind the call
            events = events[1 + next(i for i, (name, _) in enumerate(events) if name == "tool_call") :]
        for name, data in events:
            match name:
                case "message":
                    yield _delta(content=data["delta"]["content"][0]["payload"]["value"])
                case "thinking":
                    yield _delta(thinking=data["delta"]["content"][0]["payload"]["value"])
                case "tool_call":
                    call = SimpleNamespace(name=data["name"], arguments=data["arguments"])
                    yield _delta(
                        tool_calls=[SimpleNamespace(index=0, id=data["tool_call_id"], function=call)]
                    )
                    yield _delta(finish="tool_calls")
                    return
                case "error":
                    raise RuntimeError(data["error"]["message"].removeprefix("Agent error: "))
                case _:
                    pass  # citations and the final answer are R2R's to make
        yield _delta(finish="stop")


def _delta(
    *,
    content: str | None = None,
    thinking: str | None = None,
    tool_calls: Any = None,
    finish: str | None = None,
) -> Any:
    delta = SimpleNamespace(content=content, tool_calls=tool_calls)
    if thinking is not None:
        delta.thinking = thinking
    return SimpleNamespace(choices=[SimpleNamespace(delta=delta, finish_reason=finish)])


class Auth(AuthProvider):
    """R2R's own look at credentials, over one user and one key."""

    def __init__(self) -> None:
        self.config = AuthConfig(provider="r2r", require_authentication=True)
        self.admin_email = "admin@example.com"
        self.database_provider = self.crypto_provider = self

    @property
    def users_handler(self) -> Any:
        return self

    async def get_user_by_email(self, email: str) -> Any:
        return User(id=UUID(ADMIN), email=self.admin_email, is_superuser=True)

    async def get_user_by_id(self, user_id: str) -> Any:
        return await self.get_user_by_email("")

    async def get_api_key_record(self, key_id: str) -> Any:
        return (
            {"hashed_key": KEY.partition(".")[2], "user_id": ADMIN} if KEY.startswith(f"{key_id}.") else None
        )

    def verify_api_key(self, raw_api_key: str, hashed_key: str) -> bool:
        return raw_api_key == hashed_key

    async def decode_token(self, token: str) -> Any:
        raise R2RException(status_code=401, message="Invalid token")


Auth.__abstractmethods__ = frozenset()


async def found(*args: Any, **kwargs: Any) -> Any:
    """Find the facts that answers cite."""
    return AggregateSearchResult(chunk_search_results=[ChunkSearchResult(**fact) for fact in FACTS])


def app() -> FastAPI:
    """Return R2R's application, as far as conversations and the agent go. It asks for credentials."""
    # Counting tokens would fetch a vocabulary from the network.
    retrieval_service.num_tokens_from_messages = rag.num_tokens = lambda text: 7
    prompts = MagicMock()
    handler = Handler()

    async def nothing(*args: Any, **kwargs: Any) -> Any:
        return ""

    prompts.get_cached_prompt = nothing
    database = SimpleNamespace(conversations_handler=handler, prompts_handler=prompts)
    llms = SimpleNamespace(quality_llm="m", planning_llm="m", fast_llm="m")
    config = SimpleNamespace(app=llms, agent=RAGAgentConfig(rag_tools=["search_file_knowledge"]))
    providers = SimpleNamespace(auth=Auth(), database=database, llm=Model())
    retrieval = retrieval_service.RetrievalService(config, providers)
    retrieval._build_documents_context = nothing
    retrieval.search = found
    services = SimpleNamespace(
        management=management_service.ManagementService(config, providers), retrieval=retrieval
    )
    served = FastAPI()
    for router in (ConversationsRouter, RetrievalRouter):
        served.include_router(router(providers, services, config).get_router(), prefix="/v3")

    @served.exception_handler(R2RException)  # as core/main/app.py of R2R has it
    async def refused(request: Request, error: Any) -> JSONResponse:
        return JSONResponse({"message": error.message, "error_type": type(error).__name__}, error.status_code)

    return served


if __name__ == "__main__":
    bound = socket.create_server(("127.0.0.1", 0))
    # Named, the protocol makes asyncio send each packet at once.
    listening = socket.socket(bound.family, bound.type, socket.IPPROTO_TCP, fileno=bound.detach())
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    settings = uvicorn.Config(app(), log_level="critical")
    uvicorn.Server(settings).run(sockets=[listening])
