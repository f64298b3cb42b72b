"""Identifiers: one spelling each, safe wherever they are put."""

import re
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tertulia import InvalidInputError
from tertulia.vocabulary.identifiers import (
    conversation_id,
    new_id,
    split_agent_address,
    split_conversation_id,
    valid_instance,
)
from tertulia.vocabulary.untrusted import shown

# Not longer than an id can be: a character may take twelve of its 512.
native_ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@given(native_ids)
@example("../../etc/passwd")
@example("..")
@example("%2e%2e%2f")
@example("?page=2")
@example("#top")
@example("a:b@c//d\\e")
@example("été 会議\x00\n")
def test_whatever_a_platform_puts_into_an_id_comes_back(native_id: str) -> None:
    """The native part is opaque to us."""
    assert split_conversation_id(conversation_id("local", native_id)) == ("local", native_id)


@given(native_ids)
@example("../../etc/passwd")
@example("%2e%2e%2f")
@example("?page=2")
@example("#top")
def test_an_id_never_changes_the_structure_of_the_address_it_is_put_into(native_id: str) -> None:
    """It stays one segment of a path, with no query and no fragment of its own."""
    address = f"https://host/conversations/{conversation_id('local', native_id)}/messages?limit=1#end"

    parts = urlsplit(address)

    assert parts.path.split("/")[3:] == ["messages"]
    assert (parts.netloc, parts.query, parts.fragment) == ("host", "limit=1", "end")
    assert re.fullmatch(r"local:[A-Za-z0-9_.~%-]+", parts.path.split("/")[2])


@pytest.mark.parametrize(
    "spelling",
    [
        "local:%61bc",  # abc
        "local:a%2fb",  # a%2Fb
        "local:a/b",
        "local:a b",
        "local:a+b",
        "local:é",
        "local:a?b",
        "local:a#b",
        "local:abc\n",
        "local:%",
        "local:%zz",
        "local:%ff",  # no UTF-8
        "local:%ED%A0%80",  # half of a surrogate pair
        "LOCAL:abc",
    ],
)
def test_a_second_spelling_of_an_id_is_refused(spelling: str) -> None:
    """Two spellings of one conversation would split its state in two."""
    with pytest.raises(InvalidInputError, match="is not a conversation id"):
        split_conversation_id(spelling)


@pytest.mark.parametrize(
    "value",
    [
        "",
        ":",
        "local",
        "local:",
        ":abc",
        "1st:abc",
        "-:abc",
        "a b:c",
        "\ud800:a",
        "local:\ud800",
        "x" * 33 + ":a",
    ],
)
def test_what_is_no_conversation_id_is_refused_with_an_example_of_one(value: str) -> None:
    """The error shows what an id looks like and where to find one."""
    with pytest.raises(InvalidInputError, match="local:7k2mq9x4ab") as raised:
        split_conversation_id(value)

    assert raised.value.hint


@given(st.text())
@example("local:abc")
def test_a_text_is_either_the_one_spelling_of_an_id_or_refused(value: str) -> None:
    """There is nothing between."""
    try:
        instance, native_id = split_conversation_id(value)
    except InvalidInputError:
        return
    assert conversation_id(instance, native_id) == value


def test_an_endless_id_is_refused_without_being_repeated() -> None:
    """Neither ids nor errors have three megabytes."""
    with pytest.raises(InvalidInputError) as raised:
        split_conversation_id("local:" + "a" * 3_000_000)

    assert len(str(raised.value)) < 200


@pytest.mark.parametrize("address", ["local:archivist", "r2r:rag", "rine:Acme: sales", "a:é"])
def test_an_agent_has_a_printable_name_behind_its_instance(address: str) -> None:
    """The first colon separates them; the name may have more."""
    instance, name = split_agent_address(address)

    assert f"{instance}:{name}" == address


@pytest.mark.parametrize(
    "address", ["", "archivist", "local:", ":x", "Local:x", "local:a\nb", "local:\ud800", "l:" + "x" * 600]
)
def test_what_is_no_agents_address_is_refused_with_an_example_of_one(address: str) -> None:
    """The error leads to the list of agents."""
    with pytest.raises(InvalidInputError, match="local:archivist") as raised:
        split_agent_address(address)

    assert "list_agents" in (raised.value.hint or "")


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("r2r", True),
        ("r2r_prod-2", True),
        ("a" * 32, True),
        ("a" * 33, False),
        ("2r", False),
        ("R2R", False),
        ("r2r\n", False),
        ("", False),
    ],
)
def test_an_instance_is_named_in_lower_case_letters_digits_and_dashes(name: str, valid: bool) -> None:
    """Up to 32 of them, beginning with a letter: such a name needs quoting nowhere."""
    assert valid_instance(name) is valid


def test_our_own_ids_are_never_the_same() -> None:
    """They are random, and safe in a URI as they are."""
    ids = {new_id("run_") for _ in range(1000)}

    assert len(ids) == 1000
    assert all(re.fullmatch(r"run_[0-9a-z]{16}", each) for each in ids)


@given(st.text())
@example("\ud800\x00\u202e\n")
def test_a_quoted_value_is_one_short_printable_line(value: str) -> None:
    """Whatever a caller sent can be repeated in an error."""
    assert shown(value).isprintable()
    assert len(shown(value)) <= 61 * 10 + 2
