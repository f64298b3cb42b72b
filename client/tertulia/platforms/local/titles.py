"""Titles without a model: the first significant words of a text, in any script.

The same text always gets the same title. It is taken from the first sentence that has a subject: greetings, thanks,
code, quotations and web addresses have none. A conversation gets its title from the first message of a person that has
such a sentence; commands to the archivist count only if there is nothing else.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence

from tertulia.platforms.local.archivist.commands import Find, Quote
from tertulia.platforms.local.archivist.grammar import parse
from tertulia.platforms.local.changes import update_conversation
from tertulia.store import conversations, messages
from tertulia.store.database import Transaction
from tertulia.vocabulary.errors import ConflictError, InvalidInputError
from tertulia.vocabulary.message_types import ARCHIVIST_COMMAND, ARCHIVIST_TYPES
from tertulia.vocabulary.models import Conversation, ConversationChanges, Message, MessageQuery, Role

MAX_WORDS = 8
MAX_CHARACTERS = 80
CHARACTERS_A_WORD = 3
"""How many characters count as a word in scripts without spaces between words."""
_READ = 4_000
"""How many characters of a text are read."""
_FIRST = 50
"""How many messages of a conversation are read."""
_ENOUGH = 2
"""A sentence with this many significant words is taken before those that follow it."""

_FENCED = re.compile(r"^[ \t]*(```|~~~).*?(?:^[ \t]*\1[`~]*[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)
_NOTE = re.compile(r"^\s*(?:please\s+)?(?:remember|note)\b:?\s*(?:that\b)?", re.IGNORECASE)
_LINK = re.compile(r"!?\[([^\]\n]{0,200})\]\([^)\s]{0,500}\)")
_ADDRESS = re.compile(r"<?\b(?:https?://|www\.)[^\s<>]+>?", re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z][^<>\n]{0,200}>")
_NO_PROSE = re.compile(
    r"\s*>|\s{4,}\S|\t|\s*(?:import|from|def|class|return|const|let|var|function|#include)\b.*[(:=;]\s*$"
    r"|\s*[$#]!?\s*/|\s*[-=_*#~]{3,}\s*$|\s*File \"|\s*at \S+\("
)
_MARKS = re.compile(r"^\s*(?:#{1,6}\s+|[-*+•]\s+|\d{1,3}[.)]\s+|\[[ xX]\]\s+)+")
_EMPHASIS = re.compile(r"(\*\*|__|\*|`)(?=\S)(.{1,300}?)(?<=\S)\1")
_SENTENCE = re.compile(r"(?<=[.!?…؟۔])[\"'”’)\]]*\s+|(?<=[。！？｡।॥])|\n+")
_PLAIN = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_WIDE_CLAUSE = re.compile(r"(?<=[，、；：])\s*")
_CLAUSE = re.compile(r"[,;:،؛、，；：]$")
_EDGES = " \t\"'“”„‘’«»‹›`*_~#|<>.,;:!?…。！？、，；：｡।॥؟،؛۔·•–—-=/\\"
_KEPT_FORMATS = "\u200c\u200d"
"""Invisible characters that join or separate letters in Persian, Indic scripts and emoji."""
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fff\u3005-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff]"
)
_SMALL_TALK = frozenset(
    """
    hello hi hey hiya howdy greetings yo good morning afternoon evening day dear there all everyone everybody folks team
    thanks thank you please ok okay yes no sure great cool welcome bye goodbye cheers sorry well so now um
    hallo guten tag morgen abend moin servus liebe lieber danke bitte hola buenos buenas días dias tardes noches gracias
    bonjour salut bonsoir merci ciao salve buongiorno buonasera grazie olá oi bom dia boa tarde noite obrigado obrigada
    hei hej cześć dzień dobry ahoj привет здравствуйте здравствуй добрый день спасибо привіт merhaba selam selamat
    שלום مرحبا السلام عليكم سلام नमस्ते
    你好 您好 早上好 谢谢 こんにちは おはよう おはようございます こんばんは ありがとう 안녕하세요 안녕 감사합니다
    สวัสดี ขอบคุณ xin chào
    """.split()
)
_OPENING = re.compile(
    r"(?:(?:can|could|would|will) (?:you|we|i)(?: please)?|please|i(?: would|'d|’d)? (?:want|like|need)(?: you)? to"
    r"|i need (?:your )?help (?:with|to)|help me(?: to| with)?|tell me(?: about)?|let(?:'s|’s| us)|so|well|ok|okay"
    r"|do you know|i was wondering (?:if|whether)|quick question)\b[\s,:]*",
    re.IGNORECASE,
)
_WEAK_ENDS = frozenset(
    """
    a an the of to in on at for with by from and or but nor as is are was were be been that which who whose this these
    those my your our their its his her into about than so if when while because der die das und oder mit für von zu
    el la los las de del y o con para por en le les des du et ou avec pour un une il lo gli e di da per con
    """.split()
)


def generate_title(
    tx: Transaction, principal: str, conversation_id: str, seed_message: str | None, *, force: bool
) -> Conversation:
    """Give a conversation a title made from `seed_message` or from its messages; return the conversation.

    An existing title stays, unless `force`.

    Raises:
        NotFoundError: there is no such conversation.
        ConflictError: none of its messages has words.
    """
    conversation = conversations.get(tx, principal, conversation_id)
    if conversation.title is not None and not force:
        return conversation
    if seed_message is not None:
        title = title_of(seed_message)
        if title is None:
            raise InvalidInputError(
                "`seed_message` has no words to make a title of.",
                hint="Give the title with update_conversation.",
            )
    else:
        page = messages.page(tx, principal, conversation_id, MessageQuery(limit=_FIRST))
        title = title_of_messages(page.items)
        if title is None:
            raise ConflictError(
                f"Nothing was said in {conversation_id} that a title could be made of.",
                hint="Give a `seed_message`, or the title itself with update_conversation.",
                conversation_id=conversation_id,
            )
    return update_conversation(tx, principal, conversation_id, ConversationChanges(title=title))


def title_of_messages(history: Sequence[Message]) -> str | None:
    """Return a title for a conversation with these messages, oldest first; None if none of them has words."""
    texts = [text for text in map(_text_of, history) if text is not None]
    return (
        next((title for text in texts if (title := _title(text)) is not None), None)
        or next(
            (title for message in history if (title := _title(_words_searched(message))) is not None), None
        )
        or next((title for text in _last_resorts(history) if (title := title_of(text)) is not None), None)
    )


def title_of(text: str) -> str | None:
    """Return a title for a text: of a greeting, its own words; None if it has no words."""
    return _title(text) or _shortened(_cleaned(text[:_READ]).split())


def _text_of(message: Message) -> str | None:
    """Return the text of a person's message; None if it is a command to the archivist, but a question is text."""
    if message.role is not Role.USER or message.text is None:
        return None
    if message.type == ARCHIVIST_COMMAND:
        command = parse(message.text)
        if isinstance(command, Find) and command.query.text is None:
            return message.text  # a question
        return None
    return _NOTE.sub("", message.text[:_READ])


def _words_searched(message: Message) -> str:
    """Return the words that a command searches for."""
    if message.type == ARCHIVIST_COMMAND and message.text is not None:
        command = parse(message.text)
        if isinstance(command, Find | Quote):
            return " ".join(command.query.terms)
    return ""


def _last_resorts(history: Sequence[Message]) -> Iterator[str]:
    for role in (Role.ASSISTANT, Role.USER):
        yield from (
            message.text
            for message in history
            if message.role is role and message.text and message.type not in ARCHIVIST_TYPES
        )


def _title(text: str) -> str | None:
    """Return the first significant words of a text; None if it has none."""
    weak: list[str] | None = None
    for sentence in _sentences(text[:_READ]):
        words = _without_small_talk(sentence.split())
        significance = sum(map(_significance, words))
        if significance >= _ENOUGH:
            return _shortened(words)
        if significance and weak is None:
            weak = words
    return None if weak is None else _shortened(weak)


def _sentences(text: str) -> Iterator[str]:
    text = _FENCED.sub("\n", text.replace("\r\n", "\n").replace("\r", "\n"))
    prose = "\n".join(line for line in text.split("\n") if not _code(line))
    for line in _ADDRESS.sub(" ", _LINK.sub(r"\1", prose)).split("\n"):
        for sentence in _SENTENCE.split(_cleaned(_MARKS.sub("", line))):
            yield sentence.strip(_EDGES)


def _code(line: str) -> bool:
    ends = line.rstrip()[-1:] in {"{", "}", ";"}
    return _NO_PROSE.match(line) is not None or (ends and any(mark in line for mark in "(){}=<>[]"))


def _cleaned(text: str) -> str:
    text = _EMPHASIS.sub(r"\2", _TAG.sub(" ", text))
    return "".join(" " if _is_invisible(character) else character for character in text)


def _is_invisible(character: str) -> bool:
    return (
        unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and character not in _KEPT_FORMATS
    )


def _without_small_talk(words: list[str]) -> list[str]:
    """Return a sentence's words without the greeting and the polite phrases at its beginning."""
    greeting = 0
    while greeting < len(words) and _bare(words[greeting]) in _SMALL_TALK:
        greeting += 1
    if greeting and greeting < len(words):
        # "Hi Bob, the build fails": a name may come between the greeting and its comma
        for end in range(greeting, min(greeting + 2, len(words) - 1)):
            if words[end].endswith((",", "，", "،", "!")) and not words[greeting - 1].endswith((",", "!")):
                greeting = end + 1
                break
    rest = " ".join(words[greeting:])
    while (opening := _OPENING.match(rest)) is not None and opening.end() < len(rest):
        rest = rest[opening.end() :]
    return rest.split()


def _significance(word: str) -> int:
    """Return how many significant words a piece between two spaces counts as."""
    bare = _bare(word)
    if not any(unicodedata.category(character)[0] in "LN" for character in bare):
        return 0
    if bare in _SMALL_TALK or bare in _WEAK_ENDS:
        return 0
    return max(1, len(_UNSPACED.findall(bare)) // CHARACTERS_A_WORD)


def _shortened(words: Sequence[str]) -> str | None:
    """Return the first words that fit a title, up to the end of a clause if possible, with no weak word at the end."""
    taken: list[str] = []
    room = MAX_WORDS * 1.0
    clause = 0
    words = [part for word in words for part in _WIDE_CLAUSE.split(word) if _is_visible(part)]
    for word in words:
        unspaced = len(_UNSPACED.findall(word))
        weight = max(1.0, unspaced / CHARACTERS_A_WORD)
        if weight > room and unspaced and room >= 1:
            taken.append(_cut(word, int(room * CHARACTERS_A_WORD)))
        if weight > room:
            break
        room -= weight
        taken.append(word)
        if _CLAUSE.search(word) and sum(map(_significance, taken)) >= _ENOUGH:
            clause = len(taken)
    else:
        clause = 0  # all of it fits
    taken = taken[: clause or len(taken)]
    whole = len(taken) == len(words)
    while len(taken) > 1 and not whole and _bare(taken[-1]) in _WEAK_ENDS:
        taken.pop()
    title = _cut(_WIDE_CLAUSE.sub("", " ".join(taken)), MAX_CHARACTERS).strip(_EDGES + _KEPT_FORMATS)
    if not any(unicodedata.category(character)[0] in "LNSP" for character in title):
        return None
    first = title.split(" ", 1)[0]
    capital = title[0].upper()
    return capital + title[1:] if first.islower() and _PLAIN.fullmatch(first) and len(capital) == 1 else title


def _is_visible(word: str) -> bool:
    return any(unicodedata.category(character)[0] in "LNSM" for character in word)


def _cut(text: str, length: int) -> str:
    """Return at most `length` characters, cut between words if possible, and never within a combined letter."""
    if len(text) <= length:
        return text
    end = length
    while end > 1 and (
        unicodedata.category(text[end])[0] == "M"
        or text[end] in _KEPT_FORMATS
        or text[end - 1] in _KEPT_FORMATS
        or "\U0001f3fb" <= text[end] <= "\U0001f3ff"
    ):
        end -= 1
    space = text.rfind(" ", length // 2, end)
    return text[: end if space < 0 or text[end] == " " else space]


def _bare(word: str) -> str:
    return word.strip(_EDGES + "()[]{}").casefold()
