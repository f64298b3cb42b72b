"""What libraries make anew for each server, client and connection though it is always the same, made once by tests.

That is which certificates count, what prompts and resource templates take, and whether tools have schemas at all.
Together it takes as long as what most tests of a server are about.
"""

import json
import ssl
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
from jsonschema import Draft202012Validator
from mcp.server.mcpserver.prompts.base import Prompt
from mcp.server.mcpserver.resources.templates import ResourceTemplate

T = TypeVar("T")


@contextmanager
def made_once() -> Generator[None]:
    """Let these things be made once in the context."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", _remembered(ssl.create_default_context, _all))
        for kind in (Prompt, ResourceTemplate):
            patch.setattr(kind, "from_function", _remembered(kind.from_function, _all))
        patch.setattr(
            Draft202012Validator, "check_schema", _remembered(Draft202012Validator.check_schema, json.dumps)
        )
        yield


def _all(*given: Any, **named: Any) -> object:
    return given, tuple(sorted(named.items()))


def _remembered(make: Callable[..., T], key: Callable[..., object]) -> Callable[..., T]:
    """Return a function that makes one thing for each key of what it is given."""
    made: dict[object, T] = {}

    def remembered(*given: Any, **named: Any) -> T:
        known = key(*given, **named)
        if known not in made:
            made[known] = make(*given, **named)
        return made[known]

    return remembered
