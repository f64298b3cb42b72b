"""The tokens of the archivist's grammar: quoted text, references to conversations, and search terms."""

import re
from collections.abc import Iterator

from tertulia.platforms.local.archivist.commands import ById, ByTitle, Reference, This
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.identifiers import split_conversation_id

QUOTED = re.compile(
    r"""
      "(?P<plain> (?: [^"\\] | \\. ){0,500} )"
    | “(?P<english> [^”]{0,500} )” | „(?P<german> [^“”]{0,500} )[“”] | «(?P<french> [^»]{0,500} )»
    | (?<! \w )['‘](?P<single> [^'’]{0,500} )['’](?! \w )
    | `(?P<code> [^`]{0,500} )`
    """,
    re.VERBOSE | re.DOTALL,
)
_TOKEN = re.compile(rf"{QUOTED.pattern} | (?P<word> [^\s,;&]+ )", re.VERBOSE | re.DOTALL)
_ID = re.compile(r"[a-z][a-z0-9_-]{0,31}:[\w.~%-]+", re.ASCII)
_WORD = re.compile(r"[^\W_]+(?:['’.@:/+_-]+[^\W_]+)*[+#]*")
_NOISE = frozenset(
    {"and", "the", "my", "conversation", "conversations", "chat", "one", "titled", "called", "please"}
)
_INSIGNIFICANT = frozenset(
    """
    a about after again all also am an and any anyone anything are as ask asked at be because been before being but
    by can could did didn't discuss discussed do does doesn't doing don't done else ever everything find for from
    get give had has have having he hello her here hers hey hi him his how i i'd i'll i'm i've if in into is isn't
    it it's its just know let let's look me mention mentioned might mine must my no not of off ok okay on or our
    ours over please remember said say says search shall she should show so some someone something talk talked tell
    than thank thanks that that's the their theirs them then there these they this those to told under up us was we
    were what what's when where which who whom whose why will with would yes you your yours
    """.split()
)


def quoted(text: str) -> str:
    """Return `text` in quotation marks, as the grammar reads them."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def unquoted(text: str) -> str:
    """Return `text` without the quotation marks around all of it, if there are any."""
    text = text.strip()
    bare = text.removesuffix(".")
    for candidate in (text, bare):
        if whole := QUOTED.fullmatch(candidate):
            return _content(whole)
    return bare[1:-1] if len(bare) > 1 and bare[0] == bare[-1] == '"' else text


def references(text: str) -> tuple[Reference, ...] | None:
    """Return the conversations that `text` names, each once; None if it names none or has other words."""
    named: dict[Reference, None] = {}
    for token in _tokens(text):
        reference = _reference(token)
        if reference is None:
            return None
        named[reference] = None
    return tuple(named) or None


def first_reference(text: str) -> tuple[Reference, str] | None:
    """Return the conversation that `text` names first, and the text after it; None if it begins with something else."""
    for token in _tokens(text):
        reference = _reference(token)
        return None if reference is None else (reference, text[token.end() :])
    return None


def terms(text: str) -> tuple[str, ...]:
    """Return the words of a text and its phrases in quotation marks, each once."""
    found: dict[str, str] = {}
    position = 0
    for match in [*QUOTED.finditer(text), None]:
        for word in _WORD.findall(text[position : match.start() if match else len(text)]):
            found.setdefault(word.casefold(), word)
        if match:
            position = match.end()
            phrase = " ".join(_content(match).replace('"', " ").split())
            if _WORD.search(phrase):
                found.setdefault(phrase.casefold(), phrase)
    return tuple(found.values())


def significant(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return the words that say what a question is about, without those that any question may have."""
    return tuple(word for word in words if word.casefold().replace("’", "'") not in _INSIGNIFICANT)


def _tokens(text: str) -> Iterator[re.Match[str]]:
    for token in _TOKEN.finditer(text):
        word = token["word"]
        if word is None or word.strip(".!?:").casefold() not in {"", *_NOISE}:
            yield token


def _reference(token: re.Match[str]) -> Reference | None:
    word = token["word"]
    if word is None:
        content = _content(token)
        by_id = None if token["code"] is None else _by_id(content.strip())
        return by_id or (ByTitle(" ".join(content.split())) if content.strip() else None)
    bare = word.rstrip(".!?:")
    return This() if bare.casefold() == "this" else _by_id(bare)


def _by_id(word: str) -> ById | None:
    try:
        if _ID.fullmatch(word):
            split_conversation_id(word)
            return ById(word)
    except InvalidInputError:
        pass
    return None


def _content(match: re.Match[str]) -> str:
    plain = match["plain"]
    if plain is not None:
        return re.sub(r"\\(.)", r"\1", plain, flags=re.DOTALL)
    names = ("english", "german", "french", "single", "code")
    return next(match[name] for name in names if match[name] is not None)
