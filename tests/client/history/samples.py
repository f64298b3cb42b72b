"""A small conversation of each program that is not recorded in fixtures/, as its own documentation has the format."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Said = tuple[str, str | None, str]


@dataclass(frozen=True)
class Sample:
    """A file of a program: `array` if its records are the elements of an array, and what comes of it."""

    file: str
    records: Sequence[Mapping[str, Any]]
    said: Sequence[Said]
    """Role, type and text of each message."""
    ref: str
    title: str | None
    array: bool = False
    left_out: Mapping[str, int] | None = None


AT = "2026-01-01T00:00:0{}Z"
CALL: Said = ("tool", "tool_call", 'read {"path": "a"}')
RESULT: Said = ("tool", "tool_result", "AAA")
ANSWER: Said = ("assistant", None, "Fixed it.")


def _text(said: str) -> Mapping[str, Any]:
    return {"type": "text", "text": said}


def _event(number: int, kind: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": kind, "data": data, "id": f"e{number}", "timestamp": AT.format(number), "parentId": None}


def _qwen(number: int, kind: str, *parts: Mapping[str, Any], **fields: Any) -> Mapping[str, Any]:
    about = {"uuid": f"q{number}", "parentUuid": f"q{number - 1}" if number else None, "sessionId": "qw1"}
    message = {"message": {"role": kind, "parts": parts}} if parts else {}
    return {**about, "timestamp": AT.format(number), "type": kind, "cwd": "/p", **message, **fields}


def _pi(number: int, parent: int | None, **message: Any) -> Mapping[str, Any]:
    entry = {"type": "message", "id": f"p{number}", "parentId": None if parent is None else f"p{parent}"}
    return {**entry, "timestamp": AT.format(number), "message": message}


SAMPLES: Mapping[str, Sample] = {
    "cursor": Sample(
        "0e1f.jsonl",
        [
            {
                "role": "user",
                "message": {
                    "content": [
                        _text(
                            "<attached_files>\na.py\n</attached_files>\n<user_query>\nfix the lemur test\n</user_query>"
                        )
                    ]
                },
            },
            {
                "role": "assistant",
                "message": {
                    "content": [
                        _text("Fixed it."),
                        {"type": "tool_use", "name": "read", "input": {"path": "a"}},
                    ]
                },
            },
        ],
        [("system", "context", "a.py"), ("user", None, "fix the lemur test"), ANSWER, CALL],
        "0e1f",
        "fix the lemur test",
    ),
    "opencode": Sample(
        "session.json",
        [
            {
                "info": {
                    "id": "ses_1",
                    "title": "Lemurs",
                    "directory": "/p",
                    "time": {"created": 1_760_000_000_000},
                },
                "messages": [
                    {
                        "info": {"id": "m1", "role": "user", "time": {"created": 1_760_000_000_000}},
                        "parts": [
                            {"id": "a", **_text("fix the lemur test")},
                            {"id": "b", **_text("Called the read tool"), "synthetic": True},
                            {"id": "c", "type": "file", "filename": "a.py", "mime": "text/plain"},
                        ],
                    },
                    {
                        "info": {
                            "id": "m2",
                            "role": "assistant",
                            "modelID": "big",
                            "error": {"name": "Aborted"},
                        },
                        "parts": [
                            {"id": "d", "type": "step-start"},
                            {"id": "e", "type": "reasoning", "text": "Hm"},
                            {
                                "id": "f",
                                "type": "tool",
                                "tool": "read",
                                "callID": "c1",
                                "state": {"status": "completed", "input": {"path": "a"}, "output": "AAA"},
                            },
                            {"id": "g", **_text("Fixed it.")},
                            {"id": "h", "type": "hologram"},
                        ],
                    },
                ],
            }
        ],
        [
            ("user", None, "fix the lemur test"),
            ("system", "context", "Called the read tool"),
            ("user", None, "[file a.py, text/plain]"),
            CALL,
            RESULT,
            ANSWER,
            ("system", "notification", "Aborted"),
        ],
        "ses_1",
        "Lemurs",
        left_out={"reasoning": 1, "contents of unknown kinds": 1},
    ),
    "copilot-cli": Sample(
        "events.jsonl",
        [
            _event(0, "session.start", {"sessionId": "cp1", "context": {"cwd": "/p", "branch": "main"}}),
            _event(
                1, "user.message", {"content": "fix the lemur test", "attachments": [{"displayName": "a.py"}]}
            ),
            _event(
                2,
                "assistant.message",
                {
                    "content": "",
                    "toolRequests": [{"toolCallId": "c1", "name": "read", "arguments": {"path": "a"}}],
                },
            ),
            _event(
                3,
                "tool.execution_start",
                {"toolCallId": "c1", "toolName": "read", "arguments": {"path": "a"}},
            ),
            _event(
                4,
                "tool.execution_complete",
                {"toolCallId": "c1", "success": True, "result": {"content": "AAA"}},
            ),
            _event(5, "assistant.message", {"messageId": "m", "content": "Fixed it.", "toolRequests": []}),
            _event(6, "user.message", {"content": "Go on by yourself.", "source": "autopilot"}),
            _event(7, "session.compaction_complete", {"summaryContent": "So far"}),
            _event(8, "abort", {"reason": "user initiated"}),
        ],
        [
            ("user", None, "fix the lemur test\n[file a.py]"),
            CALL,
            RESULT,
            ANSWER,
            ("system", "notification", "Go on by yourself."),
            ("system", "summary", "So far"),
            ("system", "interruption", "user initiated"),
        ],
        "cp1",
        "fix the lemur test",
    ),
    "qwen-code": Sample(
        "qw1.jsonl",
        [
            _qwen(0, "user", {"text": "fix the lemur test"}),
            _qwen(
                1,
                "assistant",
                {"text": "Hm", "thought": True},
                {"functionCall": {"id": "c1", "name": "read", "args": {"path": "a"}}},
                model="qwen3",
            ),
            _qwen(
                2,
                "tool_result",
                {"functionResponse": {"id": "c1", "name": "read", "response": {"output": "AAA"}}},
            ),
            _qwen(3, "system", subtype="ui_telemetry", systemPayload={}),
            _qwen(4, "assistant", {"text": "Fixed it."}, model="qwen3"),
        ],
        [("user", None, "fix the lemur test"), CALL, RESULT, ANSWER],
        "qw1",
        "fix the lemur test",
        left_out={"reasoning": 1, "notices of the program": 1},
    ),
    "pi": Sample(
        "2026-01-01_pi1.jsonl",
        [
            {"type": "session", "version": 3, "id": "pi1", "timestamp": AT.format(0), "cwd": "/p"},
            _pi(0, None, role="user", content=[_text("fix the lemur test")]),
            _pi(1, 0, role="assistant", content=[_text("Badly.")], model="big"),
            _pi(
                2,
                0,
                role="assistant",
                content=[
                    {"type": "thinking", "thinking": "Hm"},
                    {"type": "toolCall", "id": "c1", "name": "read", "arguments": {"path": "a"}},
                ],
                model="big",
            ),
            _pi(
                3,
                2,
                role="toolResult",
                toolCallId="c1",
                toolName="read",
                content=[_text("AAA")],
                isError=False,
            ),
            {
                "type": "compaction",
                "id": "p4",
                "parentId": "p3",
                "timestamp": AT.format(4),
                "summary": "So far",
            },
            _pi(5, 4, role="assistant", content=[_text("Fixed it.")], model="big"),
            _pi(6, 5, role="bashExecution", command="ls", output="a.py"),
            {
                "type": "session_info",
                "id": "p7",
                "parentId": "p6",
                "timestamp": AT.format(7),
                "name": "Lemurs",
            },
        ],
        [
            ("user", None, "fix the lemur test"),
            CALL,
            RESULT,
            ("system", "summary", "So far"),
            ANSWER,
            ("user", "command", "! ls"),
            ("system", "command_output", "a.py"),
        ],
        "pi1",
        "Lemurs",
        left_out={"reasoning": 1},
    ),
    "cline": Sample(
        "1760000000000/api_conversation_history.json",
        [
            {
                "role": "user",
                "content": [
                    _text("<task>\nfix the lemur test\n</task>"),
                    _text("<environment_details>\n# VSCode\n</environment_details>"),
                ],
            },
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "c1", "name": "read", "input": {"path": "a"}}],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "AAA"}]},
            {
                "role": "user",
                "content": [_text("[read for 'b'] Result:"), _text("<feedback>\nno\n</feedback>")],
            },
            {"role": "assistant", "content": [_text("Fixed it.")]},
        ],
        [
            ("system", "context", "# VSCode"),
            ("user", None, "fix the lemur test"),
            CALL,
            RESULT,
            ("system", "context", "[read for 'b'] Result:"),
            ("user", None, "no"),
            ANSWER,
        ],
        "1760000000000",
        "fix the lemur test",
        array=True,
    ),
    "open-webui": Sample(
        "chat-export.json",
        [
            {
                "id": "ow1",
                "title": "Lemurs",
                "created_at": 1_760_000_000,
                "chat": {
                    "models": ["llama"],
                    "history": {
                        "currentId": "c",
                        "messages": {
                            "a": {
                                "parentId": None,
                                "role": "user",
                                "content": "fix the lemur test",
                                "files": [{"name": "a.py", "size": 9}],
                            },
                            "b": {
                                "parentId": "a",
                                "role": "assistant",
                                "content": "Badly.",
                                "model": "llama",
                            },
                            "c": {
                                "parentId": "a",
                                "role": "assistant",
                                "content": "Fixed it.",
                                "model": "llama",
                            },
                        },
                    },
                },
            }
        ],
        [("user", None, "fix the lemur test\n[file a.py, 9 bytes]"), ANSWER],
        "ow1",
        "Lemurs",
        array=True,
    ),
    "librechat": Sample(
        "lc1.json",
        [
            {
                "conversationId": "lc1",
                "title": "Lemurs",
                "endpoint": "openAI",
                "exportAt": "Thu Jan 01 2026",
                "messages": [
                    {
                        "messageId": "a",
                        "parentMessageId": "0",
                        "isCreatedByUser": True,
                        "text": "fix the lemur test",
                    },
                    {"messageId": "b", "parentMessageId": "a", "isCreatedByUser": False, "text": "Badly."},
                    {
                        "messageId": "c",
                        "parentMessageId": "a",
                        "isCreatedByUser": False,
                        "text": "",
                        "content": [
                            {"type": "think", "think": "Hm"},
                            {
                                "type": "tool_call",
                                "tool_call": {
                                    "id": "c1",
                                    "name": "read",
                                    "args": {"path": "a"},
                                    "output": "AAA",
                                },
                            },
                            _text("Fixed it."),
                        ],
                    },
                ],
            }
        ],
        [("user", None, "fix the lemur test"), CALL, RESULT, ANSWER],
        "lc1",
        "Lemurs",
        left_out={"reasoning": 1},
    ),
    "deepseek": Sample(
        "conversations.json",
        [
            {
                "id": "ds1",
                "title": "Lemurs",
                "inserted_at": "2026-01-01T00:00:00+08:00",
                "mapping": {
                    "root": {"parent": None, "message": None},
                    "1": {
                        "parent": "root",
                        "message": {
                            "files": [{"file_name": "a.py"}],
                            "fragments": [{"type": "REQUEST", "content": "fix the lemur test"}],
                        },
                    },
                    "2": {
                        "parent": "1",
                        "message": {
                            "model": "deepseek-chat",
                            "fragments": [
                                {"type": "THINK", "content": "Hm"},
                                {"type": "RESPONSE", "content": "Fixed it."},
                            ],
                        },
                    },
                },
            }
        ],
        [("user", None, "fix the lemur test\n[file a.py]"), ANSWER],
        "ds1",
        "Lemurs",
        array=True,
        left_out={"reasoning": 1},
    ),
    "sharegpt": Sample(
        "sharegpt.json",
        [
            {
                "id": "sg1",
                "system": "Be brief.",
                "conversations": [
                    {"from": "human", "value": "fix the lemur test"},
                    {"from": "function_call", "value": "read a"},
                    {"from": "observation", "value": "AAA"},
                    {"from": "gpt", "value": "Fixed it."},
                ],
            }
        ],
        [
            ("system", None, "Be brief."),
            ("user", None, "fix the lemur test"),
            ("tool", "tool_call", "tool read a"),
            RESULT,
            ANSWER,
        ],
        "sg1",
        "fix the lemur test",
        array=True,
    ),
}
