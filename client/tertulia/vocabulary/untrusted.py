"""Words that somebody else has chosen: how they enter, and how a sentence of ours shows them.

An id has the alphabet of ids, or is replaced by a digest. A name becomes one clean line. In a sentence, whatever could
be more than an id stands between curly quotation marks, which the words inside cannot contain: so every reader of the
sentence, a program too, sees where other people's words begin and end.
"""

import hashlib
import re

MAX_ID = 128
"""The longest id (of a message, a branch, a tool call) that the store keeps as it came."""
MAX_NAME = 100
"""The longest name (of an author, an agent, a source) that the store keeps as it came."""

_PLAIN = re.compile(r"[A-Za-z0-9_.:@/+~%={}?,-]+")
_HIDDEN = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls but tab and line feed
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"  # invisible fillers and joiners
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"  # zero-width, bidi
    "\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"  # signs that span numbers
    "\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"  # format controls of other notations
    "\U000e0000-\U000e0fff"  # tags and variation selectors: a whole hidden alphabet
    "\ud800-\udfff"  # halves of pairs, which are no text
)
_JOINING = (
    f"(?![{_HIDDEN}])["
    "\u0620-\u077f\u07c0-\u07ff\u0840-\u085f\u0860-\u08ff\ufb50-\ufdff\ufe70-\ufefc"  # Arabic and its kin
    "\u0900-\u0dff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u1820-\u18aa"  # the scripts of India and its neighbours
    "]"
)
_EMOJI = (
    "[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u23ff\u24c2\u25a0-\u27bf\u2900-\u297f\u2b00-\u2bff"
    "\u3030\u303d\u3297\u3299\U0001f000-\U0001faff]"
)
_EMOJI_UNIT = f"(?:{_EMOJI}[\U0001f3fb-\U0001f3ff]?[\ufe0e\ufe0f]?|[0-9#*]\ufe0f\u20e3)"
_KEPT_OR_HIDDEN = re.compile(
    # A joiner is kept where it shapes what is seen: within an emoji, and between letters of scripts that need it.
    f"({_EMOJI_UNIT}(?:\u200d{_EMOJI_UNIT})*|{_JOINING}[\u200c\u200d](?={_JOINING}))|[{_HIDDEN}]"
)
_ANY_HIDDEN = re.compile(f"[{_HIDDEN}]")
_BREAKS = re.compile("\r\n?|[\u2028\u2029\x85\x0b\x0c]")
_QUOTES = re.compile("[“”]")
_KEYS = re.compile(
    r"(?<![\w-])(?:sk|pk|rk|xox\w|gh\w|key|pat)[-_][\w*.-]{3,}|\bAIza[\w-]+|\beyJ[\w.-]+|(?<=Bearer )\S+"
    r"|(?<=://)[^\s/@]+(?=@)|(?<![\w-])(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{32,}(?![\w-])",
    re.IGNORECASE,
)


def clean_text(text: str) -> str:
    """Return `text` without characters that only hide or reorder something; line breaks become line feeds.

    The joiners of emoji and of scripts that need them stay.
    """
    text = _BREAKS.sub("\n", text)
    if _ANY_HIDDEN.search(text) is None:
        return text
    return _KEPT_OR_HIDDEN.sub(lambda match: match[1] or "", text)


def one_line(text: str) -> str:
    """Return the cleaned `text` in one line."""
    return " ".join(clean_text(text).split())


def escaped(text: str) -> str:
    r"""Return `text` with an escape (`\u200b`) for each character that nobody sees, so that nothing in it is hidden.

    It is for whoever decides about the text: unlike `clean_text`, it loses nothing. Line feeds and tabs stay.
    """
    return "".join(
        character if character.isprintable() and not _ANY_HIDDEN.match(character) else _escape(character)
        for character in text
    )


def is_plain(value: str, limit: int = MAX_ID) -> bool:
    """Return whether `value` can only be an id, an address or a word: of the alphabet of ids, and short."""
    return len(value) <= limit and _PLAIN.fullmatch(value) is not None


def safe_id(value: str) -> str:
    """Return an id that is short and of the alphabet of ids: the given one, or else a digest of it."""
    if is_plain(value):
        return value
    return "x_" + hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def safe_name(value: str, limit: int = MAX_NAME) -> str:
    """Return a name as one clean line of at most `limit` characters."""
    line = one_line(value)
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def shown(value: str, limit: int = 60) -> str:
    """Return `value` in curly quotation marks for a sentence: in one line, not longer than `limit`, nothing hidden."""
    text = value if len(value) <= limit else value[:limit] + "…"
    return "“" + _QUOTES.sub('"', escaped(text).replace("\n", "\\n").replace("\t", "\\t")) + "”"


def without_keys(text: str) -> str:
    """Return `text` with dots in place of whatever looks like a key, a token, or credentials in an address."""
    return _KEYS.sub("…", text)


def named(value: str) -> str:
    """Return an id for a sentence: as it is, or as `shown` where it can be none."""
    return value if is_plain(value) else shown(value)


def _escape(character: str) -> str:
    return character if character in "\n\t" else character.encode("unicode_escape", "replace").decode()
