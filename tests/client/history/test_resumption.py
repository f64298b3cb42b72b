"""How imported conversations go on where they came from."""

import pytest

from tertulia import Conversation, Status
from tertulia.vocabulary.resumption import resumption


def came_from(source: str | None, ref: str | None, **metadata: str) -> Conversation:
    """Return an imported conversation."""
    return Conversation(
        id="local:c", agent=None, status=Status.COMPLETED, source=source, source_ref=ref, metadata=metadata
    )


@pytest.mark.parametrize(
    ("source", "way"),
    [
        ("claude-code", "claude --resume 46712e37-8bd4-45e8"),
        ("codex", "codex resume 46712e37-8bd4-45e8"),
        ("opencode", "opencode --session 46712e37-8bd4-45e8"),
        ("chatgpt", "https://chatgpt.com/c/46712e37-8bd4-45e8"),
        ("messages", None),
        (None, None),
    ],
)
def test_by_a_command_or_an_address(source: str | None, way: str | None) -> None:
    """Where the program has one."""
    assert resumption(came_from(source, "46712e37-8bd4-45e8")) == way


@pytest.mark.parametrize(
    "ref",
    [
        None,
        "x_46712e37aaaa",
        "project:46712e37",
        "46712e37; rm -rf ~",
        "--help-me-please",
        "$(touch x)xxxx",
        "short",
    ],
)
def test_what_is_no_id_of_the_program_becomes_no_command(ref: str | None) -> None:
    """Others choose it: whoever copies the command runs nothing else."""
    assert resumption(came_from("claude-code", ref)) is None


def test_a_subagent_goes_on_nowhere() -> None:
    """It was part of another session."""
    assert resumption(came_from("codex", "46712e37-8bd4-45e8", subagent_of="local:x")) is None
