"""What a host is told about the tools: a budget it must fit, a form every host can take, and no accidental change."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import jsonschema
import pytest
from mcp_types import Tool

from tertulia.vocabulary.errors import UnavailableError
from tertulia_server.instructions import MAX_INSTRUCTIONS, instructions
from tertulia_tools.definition import STORED
from tertulia_tools.errors import failure
from tertulia_tools.registry import TOOLS, page_tools
from tests.doubles.hosts import Connect
from tests.tools import snapshot

LISTED = [definition.name for definition in TOOLS]
"""What every host gets."""
ON_PAGES = [definition.name for definition in page_tools()]
"""What a host gets besides that shows pages."""
NAMES = [*LISTED, *ON_PAGES]

CHARACTERS_PER_TOKEN = 4.4
"""As OpenAI's cl100k_base counts these definitions: 5,767 tokens of 25,897 characters. No tokenizer of a present Claude
is published."""


def definition_of(name: str) -> dict[str, Any]:
    """Return a tool as `tools/list` gives it to a host."""
    built = next(tool for tool in (*TOOLS, *page_tools()) if tool.name == name).model
    tool = Tool(
        name=built.name,
        title=built.title,
        description=built.description,
        input_schema=built.parameters,
        output_schema=built.output_schema,
        annotations=built.annotations,
        _meta=built.meta,
    )
    return tool.model_dump(mode="json", by_alias=True, exclude_none=True)


def tokens(definition: dict[str, Any]) -> int:
    """Return how many tokens a definition takes, estimated from its compact JSON."""
    return round(
        len(json.dumps(definition, ensure_ascii=False, separators=(",", ":"))) / CHARACTERS_PER_TOKEN
    )


def schemas(node: object) -> Iterator[dict[str, Any]]:
    """Yield every schema in a schema; what stands under `properties` are names, not keywords."""
    if isinstance(node, list):
        for item in cast(list[object], node):
            yield from schemas(item)
    elif isinstance(node, dict):
        schema = cast(dict[str, Any], node)
        yield schema
        for key, value in schema.items():
            yield from schemas(list(value.values()) if key == "properties" else value)


@pytest.mark.parametrize("name", NAMES)
def test_a_definition_is_as_stored(name: str) -> None:
    """Changing what a host sees of a tool is a decision, never a side effect."""
    found = json.dumps(definition_of(name), ensure_ascii=False, indent=2) + "\n"

    snapshot.check(f"{name}.json", found, folder=STORED)


def test_a_tool_is_listed_before_there_is_a_model_of_its_arguments() -> None:
    """To make those of all tools takes 20 ms, for which a host would wait at the start."""
    definition = replace(TOOLS[0])

    assert definition.tool.parameters == definition_of(definition.name)["inputSchema"]
    assert "model" not in vars(definition)


def test_no_stored_definition_is_of_a_tool_that_is_gone() -> None:
    """A tool that was renamed or removed takes its snapshot along."""
    assert sorted(path.stem for path in STORED.iterdir()) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_definition_takes_at_most_550_tokens(name: str) -> None:
    """Each definition is part of every request that a host makes of its model."""
    assert tokens(definition_of(name)) <= 550


def test_all_definitions_take_at_most_6000_tokens() -> None:
    """So is the whole list, of 18 tools at most."""
    for_models = [*LISTED, "show_conversation"]
    assert len(for_models) <= 18
    assert sum(tokens(definition_of(name)) for name in for_models) <= 6_000


@pytest.mark.parametrize("name", NAMES)
def test_names_and_descriptions_fit_every_host(name: str) -> None:
    """Gemini cuts longer names and Claude Code longer descriptions."""
    assert re.fullmatch("[a-z0-9_]{1,40}", name)
    assert 0 < len(definition_of(name)["description"]) < 2_048


@pytest.mark.parametrize("name", NAMES)
def test_the_first_sentence_of_a_description_says_the_point(name: str) -> None:
    """A host may show no more than the first line."""
    first = definition_of(name)["description"].split("\n")[0]

    assert first.endswith(".")
    assert len(first) <= 200


@pytest.mark.parametrize("name", NAMES)
def test_schemas_hold_nothing_but_what_helps_to_call_the_tool_right(name: str) -> None:
    """No generated titles, no references, no unions with null: noise to a model, and some hosts fail on it."""
    definition = definition_of(name)
    for schema in (definition["inputSchema"], definition["outputSchema"]):
        assert schema["type"] == "object"
        assert not {"anyOf", "oneOf", "allOf"} & set(schema)
        for part in schemas(schema):
            assert not {"title", "$defs", "$ref"} & set(part)
            assert part.get("type") != "null"
            assert part.get("default", "") is not None
            assert {"type": "null"} not in part.get("anyOf", [])


@pytest.mark.parametrize("name", NAMES)
def test_arguments_are_described_and_closed(name: str) -> None:
    """Every argument says what it is, and there are no others."""
    arguments = definition_of(name)["inputSchema"]

    assert arguments["additionalProperties"] is False
    for argument, schema in arguments["properties"].items():
        assert schema.get("description"), argument


@pytest.mark.parametrize("name", NAMES)
def test_ranges_and_defaults_are_said_in_words_too(name: str) -> None:
    """Codex strips `default`, `minimum` and `maximum` from schemas."""
    for argument, schema in definition_of(name)["inputSchema"]["properties"].items():
        for keyword in ("minimum", "maximum"):
            if keyword in schema:
                assert str(schema[keyword]) in schema["description"], argument
        if (default := schema.get("default")) not in (None, [], ""):
            assert json.dumps(default).strip('"') in schema["description"], argument


@pytest.mark.parametrize("name", NAMES)
def test_schemas_are_valid_json_schema(name: str) -> None:
    """A host that compiles them finds no fault."""
    definition = definition_of(name)
    for schema in (definition["inputSchema"], definition["outputSchema"]):
        jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", NAMES)
def test_the_hints_are_told_by_which_hosts_ask_a_person(name: str) -> None:
    """Of a tool that changes nothing, no other hint means anything; what MCP assumes by itself costs tokens only."""
    annotations = definition_of(name)["annotations"]

    if annotations["readOnlyHint"]:
        assert annotations == {"readOnlyHint": True}
    else:
        assert isinstance(annotations["destructiveHint"], bool)
        assert set(annotations) <= {"readOnlyHint", "destructiveHint", "idempotentHint"}


@pytest.mark.parametrize("name", NAMES)
def test_what_changes_something_takes_an_idempotency_key_and_what_reads_does_not(name: str) -> None:
    """A call that a broken connection swallowed can be repeated safely."""
    definition = definition_of(name)

    takes_key = "idempotency_key" in definition["inputSchema"]["properties"]
    assert takes_key is not definition["annotations"]["readOnlyHint"]


def test_only_approving_a_tool_asks_for_a_person_at_every_call() -> None:
    """Claude Code then asks in every mode; asking for more than that would train people to click it away."""
    asking = [
        name for name in NAMES if "anthropic/requiresUserInteraction" in definition_of(name).get("_meta", {})
    ]

    assert asking == ["confirm_tool"]


@pytest.mark.anyio
async def test_the_list_of_tools_is_the_same_for_every_host(connect: Connect) -> None:
    """Neither era nor transport nor what happened before changes what is listed, nor its order.

    Hosts that declare MCP Apps get more: `tests/tools/test_page.py`.
    """
    async with connect() as host:
        before = await host.client.list_tools()
        await host.call("list_agents")
        after = await host.client.list_tools(cache_mode="bypass")

    expected = [definition_of(name) for name in LISTED]
    for listed in (before, after):
        assert [
            tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in listed.tools
        ] == expected


@pytest.mark.anyio
async def test_the_instructions_are_short_and_name_only_tools_that_are_offered(
    connect_in_memory: Connect,
) -> None:
    """Claude Code keeps 2,048 characters of them."""
    async with connect_in_memory(tools="list_agents,list_messages") as host:
        said = host.client.instructions or ""

    assert 0 < len(said) < MAX_INSTRUCTIONS
    assert 0 < len(instructions(NAMES, "a" * 63)) < MAX_INSTRUCTIONS
    assert {name for name in NAMES if name in said} <= {"list_agents", "list_messages"}


@pytest.mark.parametrize("name", NAMES)
def test_the_structure_of_an_error_satisfies_the_schema_of_the_result(name: str) -> None:
    """Hosts on the TypeScript SDK 1 check it, and show a model their own complaint instead of what violates it."""
    ids: dict[str, Any] = dict.fromkeys(
        ("conversation_id", "run_id", "request_id", "message_id", "branch"), "local:1"
    )
    error = UnavailableError(
        "No.", hint="Again.", valid=["a"], instance="r2r", agent="r2r:rag", status="open", setting="x", **ids
    )

    structure = failure(error).structured_content

    jsonschema.validate(structure, definition_of(name)["outputSchema"])
