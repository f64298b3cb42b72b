"""`tertulia chat`: a person talks to an agent in the terminal."""

import json
import sys
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest

from tertulia_server.cli import main
from tests.doubles.hosts import CONFIG, Connector, memory
from tests.doubles.stage import ACTOR

if sys.platform == "win32":
    pytest.skip("Windows has no pseudo terminal that Python could open", allow_module_level=True)

from tests.doubles.terminal import CTRL_C, CTRL_D, Terminal, terminal

Chat = Callable[..., Terminal]
PROMPT = "\n> "


@pytest.fixture
def chat(tmp_path: Path) -> Generator[Chat]:
    """Return what starts a chat; every chat of a test is on the same store."""
    config = tmp_path / "config.toml"
    config.write_text(CONFIG)
    with ExitStack() as stack:

        def start(*arguments: str) -> Terminal:
            options = ("--store", str(tmp_path / "tertulia.db"), "--config", str(config))
            started: AbstractContextManager[Terminal] = terminal(
                "tests.doubles.serve", "chat", *options, *arguments
            )
            return stack.enter_context(started)

        yield start


def line(*steps: dict[str, Any]) -> str:
    """Return a script as a person would type it, so that the terminal's echo cannot be taken for the answer."""
    written = json.dumps({"play": steps})
    return "".join(f"\\u{ord(c):04x}" if c in "ABXYZ" else c for c in written) + "\n"


@pytest.mark.io
def test_a_person_asks_and_reads_the_answer(chat: Chat) -> None:
    """The conversation is named at the start, and how to go on with it at the end."""
    talk = chat(ACTOR)
    conversation_id = talk.until(f" with {ACTOR}. Ctrl-C stops an answer, Ctrl-D leaves.").strip()
    talk.until(PROMPT)
    talk.type("Hello.\n")
    talk.until("You said: Hello.\n")
    talk.until("> ")
    talk.type(CTRL_D)
    talk.until("To go on: tertulia --config ")
    talk.until(f" chat --conversation {conversation_id}")

    assert talk.end() == 0
    assert "Traceback" not in talk.shown


@pytest.mark.io
def test_an_answer_is_shown_as_it_streams_and_tools_as_they_run(chat: Chat) -> None:
    """What was said before the wait is there during the wait."""
    talk = chat(ACTOR)
    talk.until(PROMPT)
    talk.type(line({"say": "AB", "times": 3}, {"tool": "XYZ"}, {"say": "ZZ"}, {"hold": "curtain"}))
    talk.until("ABABAB")
    talk.until("\n· XYZ\n")
    talk.until("ZZ")


@pytest.mark.io
def test_ctrl_c_stops_the_answer_and_not_the_program(chat: Chat) -> None:
    """The person goes on with the same conversation."""
    talk = chat(ACTOR)
    talk.until(PROMPT)
    talk.type(line({"say": "AB"}, {"hold": "curtain"}))
    talk.until("AB")
    talk.type(CTRL_C)
    talk.until("! canceled\n")
    talk.until("> ")
    talk.type("Still there?\n")
    talk.until("You said: Still there?\n")
    talk.until("> ")
    talk.type(CTRL_D)

    assert talk.end() == 0
    assert "Traceback" not in talk.shown


@pytest.mark.io
def test_ctrl_c_at_the_prompt_clears_the_line(chat: Chat) -> None:
    """As in every shell."""
    talk = chat(ACTOR)
    talk.until(PROMPT)
    talk.type("half a line" + CTRL_C)
    if not talk.shows(PROMPT):  # it came between the prompt and the reading, where no Python notices it
        talk.type(CTRL_C)
    talk.until(PROMPT)
    talk.type("Hello.\n")
    talk.until("You said: Hello.\n")


@pytest.mark.parametrize(
    ("said", "decided"),
    [
        ("y", '[AX: approved {"B": 1}]'),
        ("yes", '[AX: approved {"B": 1}]'),
        ("n", "[AX: rejected]"),
        ("we need it", "[AX: rejected because we need it]"),
    ],
)
@pytest.mark.io
def test_an_approval_is_asked_for_in_the_terminal(chat: Chat, said: str, decided: str) -> None:
    """With what would run; whatever is no yes is a no, and says why."""
    talk = chat(ACTOR)
    talk.until(PROMPT)
    talk.type(line({"ask": "AX", "arguments": {"B": 1}, "prompt": "May I, Z?"}))
    talk.until(f"? {ACTOR} wants to run the tool AX.\n")
    talk.until('Arguments: {"B":1}\n')
    talk.until(f"{ACTOR} says: “May I, Z?”\n")
    talk.until("  approve? [y/n, or why not] ")
    talk.type(f"{said}\n")
    talk.until(decided)


@pytest.mark.io
def test_a_question_is_answered_in_the_terminal(chat: Chat) -> None:
    """The answer goes on to the agent."""
    talk = chat(ACTOR)
    talk.until(PROMPT)
    talk.type(line({"question": "Which, A or B?"}))
    talk.until(f"? {ACTOR} asks: “Which, A or B?”\n  answer: ")
    talk.type("the second\n")
    talk.until("[question: answered the second]")


@pytest.mark.io
def test_what_was_left_undecided_is_asked_again_later(chat: Chat) -> None:
    """Leaving decides nothing, also not for the next one who goes on."""
    talk = chat(ACTOR)
    conversation_id = talk.until(" with ").strip()
    talk.until(PROMPT)
    talk.type(line({"ask": "AX"}))
    talk.until("approve? [y/n, or why not] ")
    talk.type(CTRL_D)
    talk.until("Left undecided")
    talk.until("> ")
    talk.type(CTRL_D)
    assert talk.end() == 0

    again = chat("--conversation", conversation_id)
    again.until("approve? [y/n, or why not] ")
    again.type("y\n")
    again.until("[AX: approved {}]")


@pytest.mark.io
def test_a_failed_answer_is_told_and_the_talk_goes_on(chat: Chat) -> None:
    """It is no reason to leave."""
    talk = chat(ACTOR)
    talk.until(PROMPT)
    talk.type(line({"fail": "The model is gone, A."}))
    talk.until("! failed: The model is gone, A.\n")
    talk.until("> ")
    talk.type("Hello.\n")
    talk.until("You said: Hello.\n")


@pytest.mark.io
def test_what_cannot_be_sent_is_told_and_the_talk_goes_on(chat: Chat, tmp_path: Path) -> None:
    """Here another process has paused the conversation meanwhile, and opens it again."""
    talk = chat(ACTOR)
    conversation_id = talk.until(" with ").strip()
    talk.until(PROMPT)
    talk.type("Hello.\n")
    talk.until("You said: Hello.\n> ")

    async def move(status: str) -> None:
        async with Connector("legacy", memory, tmp_path)() as host:
            await host.call("update_status", conversation_id=conversation_id, status=status)

    anyio.run(move, "paused")
    talk.type("And now?\n")
    talk.until(f"! The conversation {conversation_id} is paused.")
    talk.until("> ")
    anyio.run(move, "open")
    talk.type("And now?\n")
    talk.until("You said: And now?\n")


@pytest.mark.io
def test_an_agent_cannot_move_the_cursor_or_colour_the_screen(chat: Chat) -> None:
    """What it says is cleaned before a terminal obeys it."""
    talk = chat(ACTOR)
    talk.until(PROMPT)
    talk.type(line({"say": "A\x1b[2J\x07B"}))
    talk.until("A[2JB")

    assert "\x1b" not in talk.shown


@pytest.mark.io
def test_two_people_write_to_each_other_under_names_of_their_own(chat: Chat) -> None:
    """Who is written to sees what awaits an answer; the other has it as soon as it is given."""
    bob = chat("--as", "bob")
    bob.until(PROMPT)
    bob.type(CTRL_D)
    assert bob.end() == 0

    alice = chat("--as", "alice", "local:bob")
    conversation_id = alice.until(" with local:bob.").strip()
    alice.until(PROMPT)
    alice.type("Shall we?\n")
    bob = chat("--as", "bob", "--conversation", conversation_id)
    bob.until("local:alice: Shall we?\n")
    bob.until("> ")
    bob.type("Let us.\n")
    bob.until("Delivered.\n")
    alice.until("Let us.\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["local:nobody"], "There is no agent local:nobody."),
        (["nonsense"], "“nonsense” is not an agent's address"),
        (["--conversation", "local:0000000000"], "There is no conversation local:0000000000."),
    ],
)
def test_an_unknown_agent_or_conversation_ends_it_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    """Before anything is asked."""
    assert main(["chat", "--store", str(tmp_path / "t.db"), *arguments]) == 2

    assert says in capsys.readouterr().err
