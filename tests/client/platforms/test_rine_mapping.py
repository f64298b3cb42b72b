"""Messages as Rine's payloads."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tertulia.platforms.rine.mapping import parts, payload

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(["text", "message", "content"]) | st.text(max_size=8)
DATA = st.dictionaries(NAMES, JSON, max_size=4)


@given(text=st.none() | st.text(min_size=1), data=st.none() | DATA)
def test_every_message_comes_back_as_it_was_sent(text: str | None, data: dict[str, Any] | None) -> None:
    """Where `data` has no field that is shown as text; where it has, its payload is the same, made anew from both."""
    own = (
        None
        if data is None
        else {name: data[name] for name in data if name not in {"text", "message", "content"}}
    )
    if text is not None or own is not None:
        assert parts(payload(text, own)) == (text, own if text is None else own or None)
    if text is None and data is not None and isinstance(data.get("text"), str):
        assert payload(*parts(data)) == data


@given(JSON)
def test_whatever_others_write_can_be_read(found: Any) -> None:
    """It is a text, or data, or both."""
    text, data = parts(found)
    assert text is not None or data is not None
