"""The types of messages that imports and the archivist give, beside those of the platforms.

A message that was simply said has none.
"""

TOOL_CALL = "tool_call"
"""Calls a tool. `data` has `id`, `name` and `arguments`."""
TOOL_RESULT = "tool_result"
"""Has a tool's result. `data` has `id` and, where they are known, `name` and `failed`."""
ATTACHMENT = "attachment"
"""Has the text of an attached file. `data` describes the file."""
DOCUMENT = "document"
"""Has a document that an assistant wrote beside the talk: a canvas, an artifact. `data` describes it."""
COMMAND = "command"
"""A command that a person gave to the program, such as `/review the parser`."""

COMMAND_OUTPUT = "command_output"
"""Has what a command put out that a person ran beside the talk."""
CONTEXT = "context"
"""Has what a program put in for the model: the open file, a skill, a hook's text."""
NOTIFICATION = "notification"
"""A program's notice of what happened: a task that ended, an error, a warning."""
INTERRUPTION = "interruption"
"""Marks where a person stopped an answer."""
SUMMARY = "summary"
"""Has the summary by which a program replaced the talk before it."""
MEMORY = "memory"
"""Has what a program had remembered about a person or a project."""

ARCHIVIST_COMMAND = "archivist.command"
"""A command to `local:archivist`."""
ARCHIVIST_ANSWER = "archivist.answer"
"""An answer of `local:archivist`."""
ARCHIVIST_TYPES = frozenset({ARCHIVIST_COMMAND, ARCHIVIST_ANSWER})

PROGRAM_TYPES = frozenset({COMMAND_OUTPUT, CONTEXT, NOTIFICATION, INTERRUPTION, SUMMARY})
"""The types of what a program put in: nobody said it."""
