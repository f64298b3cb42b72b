"""What `[agents.NAME]` says: a model, its instructions, its tools and its limits."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.identifiers import checked_mailbox
from tertulia.vocabulary.models import LOCAL_PRINCIPAL


class Approve(StrEnum):
    """Which calls of a server's tools a person is asked about."""

    ALWAYS = "always"
    WRITES = "writes"
    """Those of every tool that its server does not call read-only."""
    NEVER = "never"


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ToolServer(_Table):
    """An MCP server whose tools the model may call: a program of this machine, or one that HTTP reaches."""

    url: str | None = Field(default=None, pattern="^https?://[^/@\\s]+(/\\S*)?$")
    bearer_env: str | None = None
    """The environment variable with the bearer token that `url` wants."""
    command: tuple[str, ...] | None = Field(default=None, min_length=1)
    env: dict[str, str] = Field(default_factory=dict[str, str], repr=False)
    prefix: str | None = Field(default=None, pattern="^[a-z][a-z0-9_]{0,20}$")
    """What is put before the names of its tools, where two servers have tools of the same name."""
    approve: Approve = Approve.WRITES

    @property
    def title(self) -> str:
        """Return what it is called in a sentence."""
        return self.url or " ".join(self.command or ())

    @model_validator(mode="after")
    def _one_way(self) -> "ToolServer":
        if (self.url is None) == (self.command is None):
            raise ValueError("it has either a `url` or a `command`")
        return self


class HistoryLimits(_Table):
    """How much of the conversation the model is given: the newest messages that fit."""

    messages: int = Field(default=100, ge=0, le=10_000)
    characters: int = Field(default=100_000, ge=0, le=10_000_000)


class Limits(_Table):
    """Where one answer ends at the latest."""

    requests: int = Field(default=30, ge=1, le=1_000)
    """Requests to the model."""
    tokens: int = Field(default=500_000, ge=1)
    """Tokens that the requests take in and put out, in all."""
    seconds: float = Field(default=600, gt=0, le=86_400)
    """Seconds without a person having been asked."""


def _kind(tool: object) -> str:
    return "own" if isinstance(tool, str) else "server"


_Tool = Annotated[
    Annotated[Literal["history"], Tag("own")] | Annotated[ToolServer, Tag("server")], Discriminator(_kind)
]


class ModelAgent(_Table):
    """An agent that a model answers for."""

    name: str
    model: str = Field(pattern="^[a-z0-9-]+(/[a-z0-9-]+)?:\\S+$")
    """The provider and the model, as pydantic-ai names them: `ollama:qwen3`, `anthropic:claude-sonnet-5`."""
    base_url: str | None = Field(default=None, pattern="^https?://[^/@\\s]+(/\\S*)?$")
    """Where the provider's wire is spoken, if not at the provider."""
    api_key_env: str | None = None
    """The environment variable with the key, if it is not the provider's usual one."""
    description: str | None = None
    instructions: str = ""
    tools: tuple[_Tool, ...] = ()
    history: HistoryLimits = HistoryLimits()
    limits: Limits = Limits()
    principals: tuple[str, ...] = Field(default=(LOCAL_PRINCIPAL,), min_length=1)
    """Who may talk to it: whoever does uses its model's key, and its tools with the rights of who runs the process."""

    @property
    def servers(self) -> Sequence[ToolServer]:
        """Return the MCP servers among its tools."""
        return [tool for tool in self.tools if isinstance(tool, ToolServer)]


def read(tables: Mapping[str, Any]) -> Mapping[str, ModelAgent]:
    """Return the configured agents by name.

    Raises:
        InvalidInputError: a table cannot be what it is to be; the values are not shown.
    """
    return {name: _read(name, table) for name, table in tables.items()}


def _read(name: str, table: Any) -> ModelAgent:
    if not isinstance(table, Mapping):
        raise InvalidInputError(f"`agents` must have a table for each agent: [agents.{name}].")
    try:
        return ModelAgent.model_validate({**table, "name": checked_mailbox(name)})
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in detail["loc"] if part not in {"own", "server"})
        message = detail["msg"].removeprefix("Value error, ")
        raise InvalidInputError(
            f"`{where}` of [agents.{name}] is not possible: {message[:1].lower()}{message[1:]}.",
            valid=sorted(set(ModelAgent.model_fields) - {"name"})
            if detail["type"] == "extra_forbidden"
            else (),
        ) from None
