"""Errors as results that a model can act on: one sentence, the valid values, the next step; in text and structure."""

from collections.abc import Sequence
from typing import Any

from mcp_types import CallToolResult, TextContent
from pydantic import ValidationError

from tertulia.vocabulary.errors import InvalidInputError, NotFoundError, TertuliaError
from tertulia_tools.quotes import cleaned

MOST_VALUES = 20


def failure(error: TertuliaError) -> CallToolResult:
    """Return an error as the result of a call."""
    valid = [cleaned(value) for value in error.valid[:MOST_VALUES]]
    sentence = cleaned(error.message)
    parts = [sentence]
    if valid:
        left_out = len(error.valid) - len(valid)
        parts.append(f"Valid: {', '.join(valid)}" + (f" and {left_out} more." if left_out else "."))
    if error.hint:
        parts.append(cleaned(error.hint))
    structured: dict[str, Any] = {"error": error.code, "message": sentence}
    if valid:
        structured["valid"] = valid
    if error.hint:
        structured["next"] = cleaned(error.hint)
    if error.retryable:
        structured["retryable"] = True
    # An id that was passed in may be anything; one that is not as it looks would be of no use to a caller.
    ids = {name: value for name, value in error.ids.items() if isinstance(value, str)}
    structured |= {name: value for name, value in ids.items() if value == cleaned(value)}
    text = TextContent(type="text", text="Error: " + " ".join(parts))
    return CallToolResult(content=[text], structured_content=structured, is_error=True)


def unknown_tool(name: str, known: Sequence[str]) -> NotFoundError:
    """Return the error for a tool that is not there."""
    return NotFoundError(f"There is no tool `{cleaned(name)[:60]}`.", valid=known)


def bad_arguments(error: ValidationError) -> InvalidInputError:
    """Return what is wrong with a call's arguments in a sentence, without repeating what was passed."""
    problems: dict[str, str] = {}
    for detail in error.errors(include_url=False, include_input=False, include_context=True):
        name = str(detail["loc"][0]) if detail["loc"] else "arguments"
        if name not in problems:
            problems[name] = "it is required" if detail["type"] == "missing" else _problem(detail["msg"])
    sentence = "; ".join(f"`{name}`: {problem}" for name, problem in problems.items())
    return InvalidInputError(
        f"The arguments do not fit. {cleaned(sentence)}.", hint="Correct them and call again."
    )


def _problem(message: str) -> str:
    # Pydantic says these in Python's words.
    said = message.replace("a valid dictionary", "an object").replace("a valid list", "a list")
    return said[:1].lower() + said[1:].rstrip(".")
