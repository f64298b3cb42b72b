"""Measure whether a model chooses the right tool for what people ask, with the right arguments.

    python -m benchmarks.choosing                           what the requests cover, and what is easily confused
    python -m benchmarks.choosing --url URL --model NAME    put them to a model, and report what it called

`--wire openai` (the default) speaks Chat Completions at URL/chat/completions, as nearly every server of models does;
`--wire anthropic` speaks Messages at URL/v1/messages. `--key-env NAME` is the variable that has the key; `--least 0.9`
fails below that share of right calls.

The requests, in tests/tools/requests.json, are in people's words, each with the tool that serves it and the arguments
that matter; others are left to the model. Without a model, the words of each request are searched for in the names and
descriptions of the tools, as a host does that shows a model only what such a search finds: which tools come out first
instead of the right one is a hint at what a model may confuse.
"""

import argparse
import json
import math
import os
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import anyio
import httpx
from mcp_types import Tool

from benchmarks._measure import print_table
from tertulia_server.app import build
from tertulia_server.instructions import instructions
from tertulia_server.settings import Settings

REQUESTS = Path(__file__).resolve().parents[1] / "tests" / "tools" / "requests.json"
SECONDS = 120
MAX_TOKENS = 1_000
FIRST = 5
"""So many tools a search shows a model at first."""


@dataclass(frozen=True, slots=True)
class Call:
    """A tool and arguments: the ones that serve a request, or those that a model chose.

    Where they serve a request, a value may be `{"any": true}`, or `{"contains": …}`: a part of a text, or an element.
    """

    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Case:
    """A request, and the calls of which any serves it; the first is the best."""

    request: str
    serving: Sequence[Call]

    @property
    def best(self) -> Call:
        """The call that serves it best."""
        return self.serving[0]

    def is_right(self, chosen: Call | None) -> bool:
        """Whether a call serves the request, with the arguments that matter."""
        return chosen is not None and any(_serves(call, chosen) for call in self.serving)

    def has_right_tool(self, chosen: Call | None) -> bool:
        """Whether the tool is right, whatever the arguments."""
        return chosen is not None and chosen.tool in {call.tool for call in self.serving}


@dataclass(frozen=True, slots=True)
class Wire:
    """How a model is asked over HTTP."""

    path: str
    headers: Mapping[str, str]
    key_header: str
    key_prefix: str = ""


WIRES: Mapping[str, Wire] = {
    "openai": Wire("/chat/completions", {}, "authorization", "Bearer "),
    "anthropic": Wire("/v1/messages", {"anthropic-version": "2023-06-01"}, "x-api-key"),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A model, and everything that it is told besides a request."""

    wire: str
    model: str
    system: str
    tools: Sequence[Tool]

    def body(self, request: str) -> dict[str, Any]:
        """Return what is sent for a request."""
        user = {"role": "user", "content": request}
        if self.wire == "anthropic":
            tools: list[Any] = [
                {"name": tool.name, "description": tool.description, "input_schema": tool.input_schema}
                for tool in self.tools
            ]
            return {
                "model": self.model,
                "max_tokens": MAX_TOKENS,
                "system": self.system,
                "messages": [user],
                "tools": tools,
            }
        tools = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.input_schema,
                },
            }
            for tool in self.tools
        ]
        return {
            "model": self.model,
            "messages": [{"role": "system", "content": self.system}, user],
            "tools": tools,
        }

    def chosen(self, response: Mapping[str, Any]) -> Call | None:
        """Return the first call in a response; None if the model called nothing, or gave no JSON for arguments."""
        if self.wire == "anthropic":
            for block in response["content"]:
                if block["type"] == "tool_use":
                    return Call(block["name"], block["input"])
            return None
        calls: Sequence[Any] = response["choices"][0]["message"].get("tool_calls") or ()
        if not calls:
            return None
        function: Mapping[str, str] = calls[0]["function"]
        try:
            arguments = json.loads(function["arguments"] or "{}")
        except ValueError:
            arguments = None
        return Call(
            function["name"], cast("dict[str, Any]", arguments) if isinstance(arguments, dict) else {}
        )


def read() -> tuple[str, Sequence[Case]]:
    """Return the situation in which all is asked, and the requests."""
    stored = json.loads(REQUESTS.read_text("utf-8"))
    cases = [
        Case(
            one["request"],
            [Call(call["tool"], call.get("arguments", {})) for call in (one, *one.get("also", ()))],
        )
        for one in stored["requests"]
    ]
    return stored["situation"], cases


async def offered() -> Sequence[Tool]:
    """Return the tools as a host lists them."""
    return await build(Settings.model_validate({"store": "unused.db"})).list_tools()


async def ask(client: httpx.AsyncClient, asked: Asked, cases: Sequence[Case]) -> Sequence[Call | None]:
    """Put each request to the model, in a conversation of its own; return what it called.

    Raises:
        httpx.HTTPError: the server is not there, or refuses.
    """
    answers: list[Call | None] = []
    for case in cases:
        response = await client.post(WIRES[asked.wire].path.removeprefix("/"), json=asked.body(case.request))
        response.raise_for_status()
        answers.append(asked.chosen(response.json()))
    return answers


def coverage(tools: Sequence[Tool], cases: Sequence[Case]) -> Mapping[str, tuple[int, Sequence[str]]]:
    """Return for each tool how many requests it serves best, and which of its arguments none of them needs."""
    used = {(call.tool, name) for case in cases for call in case.serving for name in call.arguments}
    counts = Counter(case.best.tool for case in cases)
    return {
        tool.name: (
            counts[tool.name],
            [name for name in tool.input_schema["properties"] if (tool.name, name) not in used],
        )
        for tool in tools
    }


def ranked(tools: Sequence[Tool], request: str) -> Sequence[str]:
    """Return the tools that share words with a request, those with the most and rarest first."""
    texts = {tool.name: _words(f"{tool.name} {tool.description}") for tool in tools}
    occurs = Counter(word for words in texts.values() for word in words)
    weights = {word: math.log(1 + len(tools) / count) for word, count in occurs.items()}
    asked = _words(request)
    scores = {name: sum(weights[word] for word in words & asked) for name, words in texts.items()}
    return sorted((name for name, score in scores.items() if score), key=lambda name: -scores[name])


def confusions(cases: Sequence[Case], first: Sequence[str | None]) -> Mapping[tuple[str, str], int]:
    """Return how often which tool came in place of the right one, the most frequent first."""
    wrong = Counter(
        (case.best.tool, name or "nothing")
        for case, name in zip(cases, first, strict=True)
        if name not in {call.tool for call in case.serving}
    )
    return dict(wrong.most_common())


def _words(text: str) -> frozenset[str]:
    """Return the words of a text without their commonest endings."""
    words = re.findall(r"[a-z]{3,}", text.lower())
    return frozenset(re.sub(r"(?<=\w{3})(ations?|ings?|ed|es|s|e)$", "", word) for word in words)


def _serves(wanted: Call, chosen: Call) -> bool:
    return wanted.tool == chosen.tool and all(
        _fits(value, chosen.arguments.get(name)) for name, value in wanted.arguments.items()
    )


def _fits(wanted: Any, given: Any) -> bool:
    if isinstance(wanted, dict):
        rule = cast("dict[str, Any]", wanted)
        if rule.get("any"):
            return given not in (None, "", [], {})
        shown = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
        return rule["contains"].lower() in shown.lower()
    return given == wanted


def report_coverage(tools: Sequence[Tool], cases: Sequence[Case]) -> None:
    """Print what the requests cover, and what a search by words would confuse."""
    rows = [
        (name, count, ", ".join(unused) or "-") for name, (count, unused) in coverage(tools, cases).items()
    ]
    print_table(["Tool", "requests", "arguments that none needs"], rows)
    ranks = [ranked(tools, case.request) for case in cases]
    shown = sum(
        any(call.tool in names[:FIRST] for call in case.serving)
        for case, names in zip(cases, ranks, strict=True)
    )
    print(f"\n{len(cases)} requests. By words alone the right tool is among the first {FIRST} for {shown}.\n")
    _print_confusions(cases, [names[0] if names else None for names in ranks], "Found first by words")


def report_answers(cases: Sequence[Case], answers: Sequence[Call | None]) -> float:
    """Print what a model called; return the share of right calls."""
    for case, chosen in zip(cases, answers, strict=True):
        if not case.is_right(chosen):
            print(f"{case.request}\n  wanted  {_shown(case.best)}\n  called  {_shown(chosen)}")
    tool = sum(case.has_right_tool(chosen) for case, chosen in zip(cases, answers, strict=True))
    right = sum(case.is_right(chosen) for case, chosen in zip(cases, answers, strict=True))
    print(f"\n{len(cases)} requests: the right tool for {tool}, with the right arguments for {right}.\n")
    _print_confusions(cases, [None if chosen is None else chosen.tool for chosen in answers], "Called")
    return right / len(cases)


def _print_confusions(cases: Sequence[Case], first: Sequence[str | None], title: str) -> None:
    pairs = confusions(cases, first)
    if pairs:
        print_table(
            ["Right", title, "times"], [(right, other, count) for (right, other), count in pairs.items()]
        )


def _shown(call: Call | None) -> str:
    return "nothing" if call is None else f"{call.tool} {json.dumps(call.arguments, ensure_ascii=False)}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--url", help="where the model is served, without the call's own path")
    parser.add_argument("--model", help="its name there")
    parser.add_argument("--wire", choices=WIRES, default="openai")
    parser.add_argument("--key-env", help="the environment variable with the key")
    parser.add_argument("--least", type=float, default=0.0, help="fail below this share of right calls")
    return parser.parse_args()


async def run(arguments: argparse.Namespace) -> int:
    """Report what the requests cover, or what a model called; return the exit code."""
    tools = await offered()
    situation, cases = read()
    if arguments.url is None:
        report_coverage(tools, cases)
        return 0
    wire = WIRES[arguments.wire]
    headers = dict(wire.headers)
    if arguments.key_env:
        headers[wire.key_header] = wire.key_prefix + os.environ[arguments.key_env]
    system = f"{instructions([tool.name for tool in tools])}\n\n{situation}"
    asked = Asked(arguments.wire, arguments.model, system, tools)
    async with httpx.AsyncClient(base_url=arguments.url, headers=headers, timeout=SECONDS) as client:
        try:
            answers = await ask(client, asked, cases)
        except httpx.HTTPError as error:
            print(f"{arguments.url} did not answer: {error}", file=sys.stderr)
            return 2
    return 0 if report_answers(cases, answers) >= arguments.least else 1


if __name__ == "__main__":
    sys.exit(anyio.run(run, _arguments()))
