"""Errors as results that a model can act on: one sentence, the valid values and the next step, in both forms."""

from collections.abc import Collection, Sequence
from typing import Any

from mcp_types import CallToolResult, TextContent
from pydantic import ValidationError

from tertulia.vocabulary.errors import InvalidInputError, NotFoundError, TertuliaError
from tertulia.vocabulary.untrusted import is_plain, named
from tertulia_tools.host import without_withheld
from tertulia_tools.quotes import Quoter

MAX_VALUES = 20
MAX_REPEATED = 512
"""The longest id that an error repeats."""


def failure(error: TertuliaError, withheld: Collection[str] = ()) -> CallToolResult:
    """Return the result of a call that failed with `error`, whose advice names none of the tools in `withheld`."""
    quoter = Quoter()
    sentence = quoter.sentence(error.message)
    advice = without_withheld(error.hint, withheld) if error.hint else None
    hint = quoter.sentence(advice) if advice else None
    valid = [quoter.name(value) for value in error.valid[:MAX_VALUES]]
    # The caller or a platform may have chosen anything as an id. It is repeated only if it can be one.
    ids = {
        name: value
        for name, value in error.ids.items()
        if isinstance(value, str) and is_plain(value, MAX_REPEATED)
    }
    structured: dict[str, Any] = {"error": error.code, "message": sentence}
    parts = [sentence]
    if valid:
        left_out = len(error.valid) - len(valid)
        parts.append(f"Valid: {', '.join(valid)}" + (f" and {left_out} more." if left_out else "."))
        structured["valid"] = valid
    if hint:
        parts.append(hint)
        structured["next"] = hint
    if error.retryable:
        structured["retryable"] = True
    if unsaid := [f"{name} {value}" for name, value in ids.items() if value not in " ".join(parts)]:
        parts.append(f"({', '.join(unsaid)})")
    if quoter.explanation:
        structured["untrusted"] = quoter.explanation
        parts.append(quoter.explanation)
    kind = f"{error.code}, can be retried" if error.retryable else error.code
    text = TextContent(type="text", text=f"Error ({kind}): {' '.join(parts)}")
    return CallToolResult(content=[text], structured_content={**structured, **ids}, is_error=True)


def sentence_of(error: TertuliaError, withheld: Collection[str] = ()) -> str:
    """Return what `failure` says, without the kind of the error, for answers that name the kind by a code."""
    (text,) = failure(error, withheld).content
    assert isinstance(text, TextContent)
    return text.text.partition("): ")[2]


def unknown_tool(name: str, known: Sequence[str]) -> NotFoundError:
    """Return the error for a call of a tool that does not exist."""
    return NotFoundError(f"There is no tool `{named(name)}`.", valid=known)


def bad_arguments(error: ValidationError) -> InvalidInputError:
    """Return the error for arguments that do not validate; its sentence does not repeat their values."""
    problems: dict[str, str] = {}
    for detail in error.errors(include_url=False, include_input=False, include_context=True):
        name = str(detail["loc"][0]) if detail["loc"] else "arguments"
        if name not in problems:
            problems[name] = "it is required" if detail["type"] == "missing" else _problem(detail["msg"])
    sentence = "; ".join(f"`{name}`: {problem}" for name, problem in problems.items())
    return InvalidInputError(f"The arguments do not fit. {sentence}.", hint="Correct them and call again.")


def _problem(message: str) -> str:
    # Pydantic uses the words of Python, the caller those of JSON.
    in_json_terms = message.replace("a valid dictionary", "an object").replace("a valid list", "a list")
    return in_json_terms[:1].lower() + in_json_terms[1:].rstrip(".")
