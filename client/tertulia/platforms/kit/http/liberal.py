"""Answers whose shapes nobody documents, read liberally.

An object, or a list, may come as a text that holds its JSON. A list may stand under its own name or a common one, and
what a server tells of its pages may stand under several.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from tertulia.platforms.kit.http.values import read_json, text, whole_number
from tertulia.platforms.kit.numbered_pages import NumberedPage, Record

_LISTS = ("items", "data", "results")


def decoded(value: Any) -> Any:
    """Return a value that may have come as a text that holds its JSON."""
    if isinstance(value, str) and value.lstrip()[:1] in {"{", "["}:
        try:
            return read_json(value)
        except (ValueError, RecursionError):
            return value
    return value


def as_record(value: Any) -> Record | None:
    """Return an object, which may have come as a text; None for anything else."""
    value = decoded(value)
    return cast(Record, value) if isinstance(value, Mapping) else None


def id_of(value: Any) -> str | None:
    """Return an id as text, from a text or a number; None for anything else."""
    return str(value) if whole_number(value) is not None else text(value)


def count_in(record: Record, *names: str) -> int | None:
    """Return the first of these fields that is a count; None where none is."""
    found = (whole_number(record.get(name)) for name in names)
    return next((count for count in found if count is not None and count >= 0), None)


def listed(body: Any, names: Sequence[str]) -> Sequence[Any] | None:
    """Return the list that an answer is, or has under one of these names, at whatever depth; None where none is."""
    body = decoded(body)
    if isinstance(body, list):
        return cast("list[Any]", body)
    outer = as_record(body)
    if outer is None:
        return None
    found = (listed(outer[name], names) for name in names if outer.get(name) is not None)
    return next((listed for listed in found if listed is not None), None)


def nested_record(body: Any, name: str) -> Record | None:
    """Return the record in an answer: below its name, below `data` and the like, or the answer itself."""
    outer = as_record(body)
    if outer is None:
        return None
    for key in (name, "data", "result", "response"):
        inner = as_record(outer.get(key))
        if inner is not None and (found := nested_record(inner, name)) is not None:
            return found
    return outer if id_of(outer.get("id")) else None


def as_page(body: Any, name: str, *, number: int, asked: int) -> NumberedPage | None:
    """Return page `number` of a list, of which `asked` entries were asked for; None for what is no list."""
    found = listed(body, (name, *_LISTS))
    if found is None:
        return None
    records = [record for record in map(as_record, found) if record is not None and id_of(record.get("id"))]
    figures = _paging(body)
    size = count_in(figures, "per_page", "page_size", "limit") or asked
    size = size if len(found) <= size else max(asked, len(found))
    total = count_in(figures, "total", "total_items", "total_count")
    pages = count_in(figures, "pages", "total_pages", "page_count")
    has_next = next(
        (figures[key] for key in ("has_next", "has_more") if isinstance(figures.get(key), bool)), None
    )
    if has_next is not None:
        more = bool(has_next)
    elif pages is not None:
        more = number < pages
    elif total is not None:
        more = number * size < total
    else:
        more = bool(found)
    # A server may put fewer on a page than it was asked for; as many as a page has that is not the last.
    return NumberedPage(records, len(found) if more and found else size, total, more and bool(found))


def _paging(body: Any) -> dict[str, Any]:
    outer = as_record(body) or {}
    figures: dict[str, Any] = {}
    for key in ("data", "meta", "pagination"):
        inner = as_record(outer.get(key))
        if inner is not None:
            figures |= {**inner, **_paging(inner)}
    return {**outer, **figures}
