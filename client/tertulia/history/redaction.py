"""Masks secrets in what is imported: keys and tokens that vendors mark as such, and what is assigned to a password.

A vendor's key is told by its own form, which nothing else has. Where only a name tells (`api_key = …`), the value must
look like a secret as well: ordinary text, placeholders, code, digests and packed pictures stay as they are.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import log2
from typing import Any, cast

from tertulia.history.items import Item, MessageItem, Thread

_RUN = re.compile(r"[A-Za-z0-9_.:/+=~-]{20,}")
"""What a vendor's key stands in. Prose has few such runs, so that it is searched fast."""
_LONGEST_RUN = 6_000
"""A longer run is packed data, such as a picture, and no key."""
_MIN_ENTROPY = 3.0
"""Bits for each character: words and counts have less, random characters of this length more."""
_PLACEHOLDER = re.compile(
    r"^(?:x+|\*+|\.+|your|my[_-]|the[_-]|some[_-]|example|placeholder|changeme|change[_-]me|redacted|dummy|sample|test[_-]?"
    r"|none|null|true|false|undefined|process\.|os\.|env\.|secrets?\.|self\.|this\.|config\.|settings\.|\[)",
    re.IGNORECASE,
)
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
_COMMON = frozenset(
    "pass passwd password pwd secret token user username postgres root admin guest mysql".split()
)


@dataclass(frozen=True, slots=True)
class _Rule:
    """How a kind of secret is found. The group `secret` or `quoted` is masked, else all that matches.

    `hints`: a text without any of these has none, which is much faster to see. `in_run`: it stands in one run of
    characters. `guess`: the value must look like a secret too.
    """

    kind: str
    pattern: re.Pattern[str]
    hints: Sequence[str]
    in_run: bool = False
    guess: bool = False


def _marked(kind: str, pattern: str, *hints: str) -> _Rule:
    """Return the rule for what a vendor marks; it stands apart from letters, digits and packed data."""
    alone = rf"(?<![A-Za-z0-9_+-])(?<![A-Za-z0-9]/)(?:{pattern})(?![A-Za-z0-9_+/-])"
    return _Rule(kind, re.compile(alone), hints, in_run=True)


def _named(kind: str, pattern: str, *hints: str) -> _Rule:
    """Return the rule for what only its name tells."""
    return _Rule(kind, re.compile(pattern, re.IGNORECASE), hints, guess=True)


_RULES: Sequence[_Rule] = (
    _Rule(
        "private key",
        re.compile(
            r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
            r"(?:(?:[A-Za-z0-9+/=\s:,.]|-(?!-)|\\[rn])*-----END (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
            r"|(?:[A-Za-z0-9+/=\s]|\\[rn])+)"
        ),
        ("PRIVATE KEY",),
    ),
    _Rule(  # PuTTY's
        "private key",
        re.compile(r"Private-Lines: \d+\s{1,2}(?P<secret>[A-Za-z0-9+/=]+(?:\r?\n[A-Za-z0-9+/=]+)*)(?=\s|$)"),
        ("Private-Lines: ",),
    ),
    _marked("AWS key", r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}", "AKIA", "ASIA", "ABIA", "ACCA"),
    _Rule(
        "AWS key",
        re.compile(
            r"(?i:aws)?_?(?i:secret)_?(?i:access)_?(?i:key)[\"']?\s*[=:]\s*\\?[\"']?(?P<secret>[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])"
        ),
        ("ecret", "ECRET"),
    ),
    _marked(
        "GitHub token", r"gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{60,255}", "gh", "github_pat_"
    ),
    _marked(
        "GitLab token",
        r"gl(?:pat|ptt|dt|rt|cbt|ft|agent|oas|soat|imt)-[A-Za-z0-9_-]{20,300}(?:\.[a-z0-9]{2}\.[a-z0-9]{4,16})?",
        "gl",
    ),
    _marked("Anthropic key", r"sk-ant-[a-z0-9]{2,12}-[A-Za-z0-9_-]{20,200}", "sk-ant-"),
    _marked("OpenRouter key", r"sk-or-v1-[0-9a-f]{40,80}", "sk-or-"),
    _marked(
        "OpenAI key",
        r"sk-(?:proj|svcacct|admin|None)-[A-Za-z0-9_-]{20,250}|sk-(?=[A-Za-z]*[0-9])[A-Za-z0-9]{32,64}",
        "sk-",
    ),
    _marked(
        "Google key",
        r"AIza[A-Za-z0-9_-]{35}|GOCSPX-[A-Za-z0-9_-]{28}|ya29\.[A-Za-z0-9_-]{30,500}|1//0[A-Za-z0-9_-]{40,200}",
        "AIza",
        "GOCSPX-",
        "ya29.",
        "1//0",
    ),
    _marked(
        "Slack token",
        r"xox[abeoprs](?:\.xox[bp])?-[A-Za-z0-9-]{10,300}|xapp-\d-[A-Za-z0-9-]{20,200}",
        "xox",
        "xapp-",
    ),
    _Rule(
        "Slack token",
        re.compile(
            r"https://hooks\.slack\.com/(?:services|workflows|triggers)/(?P<secret>[A-Za-z0-9/_-]{20,120})"
        ),
        ("hooks.slack.com",),
    ),
    _marked(
        "Stripe key",
        r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,250}|whsec_[A-Za-z0-9+/=]{32,64}",
        "k_live_",
        "k_test_",
        "whsec_",
    ),
    _marked("Square key", r"sq0[a-z]{3}-[A-Za-z0-9_-]{22,60}|EAAA[A-Za-z0-9_-]{60}", "sq0", "EAAA"),
    _marked("Twilio key", r"SK[0-9a-f]{32}", "SK"),
    _marked("SendGrid key", r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}", "SG."),
    _marked("Mailchimp key", r"[0-9a-f]{32}-us[0-9]{1,2}", "-us"),
    _marked("npm token", r"npm_[A-Za-z0-9]{36}", "npm_"),
    _marked("PyPI token", r"pypi-AgE[A-Za-z0-9_-]{50,300}", "pypi-AgE"),
    _marked("Hugging Face token", r"(?:hf|api_org)_[A-Za-z0-9]{30,40}", "hf_", "api_org_"),
    _marked("Groq key", r"gsk_[A-Za-z0-9]{40,60}", "gsk_"),
    _marked("xAI key", r"xai-[A-Za-z0-9]{70,90}", "xai-"),
    _marked("Perplexity key", r"pplx-[A-Za-z0-9]{40,60}", "pplx-"),
    _marked("Replicate token", r"r8_[A-Za-z0-9]{37}", "r8_"),
    _marked("Docker token", r"dckr_(?:pat|oat)_[A-Za-z0-9_-]{24,60}", "dckr_"),
    _marked("DigitalOcean token", r"do[opr]_v1_[0-9a-f]{64}", "_v1_"),
    _marked("Shopify token", r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}", "shp"),
    _marked("Databricks token", r"dapi[0-9a-f]{32}(?:-\d)?", "dapi"),
    _marked("Linear key", r"lin_(?:api|oauth)_[A-Za-z0-9]{32,64}", "lin_"),
    _marked("Notion token", r"ntn_[A-Za-z0-9]{40,60}", "ntn_"),
    _marked("Figma token", r"figd_[A-Za-z0-9_-]{36,60}", "figd_"),
    _marked("Airtable token", r"pat[A-Za-z0-9]{14}\.[0-9a-f]{64}", "pat"),
    _marked(
        "Grafana token", r"glsa_[A-Za-z0-9]{32}_[0-9a-f]{8}|glc_[A-Za-z0-9+/]{32,400}={0,2}", "glsa_", "glc_"
    ),
    _marked("Vault token", r"hv[bsr]\.[A-Za-z0-9_-]{24,300}", "hvs.", "hvb.", "hvr."),
    _marked("Supabase token", r"sbp_[0-9a-f]{40}|sb_secret_[A-Za-z0-9_-]{20,60}", "sbp_", "sb_secret_"),
    _marked("Tailscale key", r"tskey-[a-z]{3,12}-[A-Za-z0-9]{8,40}-[A-Za-z0-9]{20,60}", "tskey-"),
    _marked("Doppler token", r"dp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9._-]{40,80}", "dp."),
    _marked("Artifactory token", r"AKCp[A-Za-z0-9]{60,80}", "AKCp"),
    _marked("age key", r"AGE-SECRET-KEY-1[0-9A-Z]{58}", "AGE-SECRET-KEY-"),
    _marked("Telegram token", r"[0-9]{8,10}:AA[A-Za-z0-9_-]{33}", ":AA"),
    _marked("Discord token", r"[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,45}", "."),
    _marked("web token", r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{16,}", "eyJ"),
    _Rule("Azure key", re.compile(r"AccountKey=(?P<secret>[A-Za-z0-9+/]{60,100}={0,2})"), ("AccountKey=",)),
    _named(
        "password in an address",
        r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@\"'<>]{0,80}:(?P<secret>[^\s/@\"'<>]{3,200})@",
        "://",
    ),
    _named(
        "authorization",
        r"\bauthorization[\"']?\s*[:=]\s*\\?[\"']?(?:bearer|basic|token|apikey)\s+(?P<secret>[A-Za-z0-9._~+/=-]{16,4000})",
        "uthorization",
        "UTHORIZATION",
    ),
    _named(
        "password or key",
        r"(?:pass(?:word|wd|phrase)|\bpwd|_pwd|secret|api_?-?key|access_?-?(?:key|token)|auth_?-?token|private_?-?key"
        r"|(?-i:[A-Z]_TOKEN|\bTOKEN))[\"'\]]{0,2}\s*(?:=>|:=|[=:])\s*"
        r"(?:\\?[\"'](?P<quoted>[^\s\"'\\]{6,300})\\?[\"']|(?P<secret>[A-Za-z0-9_~+/!@#%^&*?-][A-Za-z0-9_.~+/!@#%^&*?=-]{7,300}))",
        *("assw", "ASSW", "assphr", "ASSPHR", "ecret", "ECRET", "TOKEN"),
        *(
            "pi_key",
            "PI_KEY",
            "pi-key",
            "piKey",
            "pikey",
            "PIKEY",
            "rivate_k",
            "RIVATE_K",
            "rivate-k",
            "rivateK",
        ),
        *("ccess_", "CCESS_", "ccess-", "ccessK", "ccessT", "uth_t", "UTH_T", "uth-t", "uthT"),
        *("pwd=", "pwd:", "pwd'", 'pwd"', "PWD=", "PWD:"),
    ),
)
_IN_RUNS = [rule for rule in _RULES if rule.in_run]
_ELSEWHERE = [rule for rule in _RULES if not rule.in_run]


class Redactor:
    """Masks the secrets in the items of an import."""

    def __init__(self) -> None:
        self._thread: tuple[Thread, Thread] | None = None
        """The last conversation, as it came and masked: its messages all have it."""

    def masked(self, item: Item) -> Item:
        """Return an item in which each secret is replaced by its kind, as in `[masked: GitHub token]`."""
        match item:
            case Thread():
                return self._masked_thread(item)
            case MessageItem(thread=thread, message=message):
                kinds: list[str] = []
                said = None if message.text is None else _masked(message.text, kinds)
                in_text = len(kinds)
                data = cast(Any, _masked_value(message.data, kinds))
                metadata = cast(Any, _masked_value(message.metadata, []))
                return replace(
                    item,
                    thread=self._masked_thread(thread),
                    message=replace(message, text=said, data=data, metadata=metadata),
                    masked=kinds[:in_text] or kinds,  # the text of a call has its data once more
                )
            case _:
                return item

    def _masked_thread(self, thread: Thread) -> Thread:
        if self._thread is None or self._thread[0] is not thread:
            known = thread.conversation
            title = None if known.title is None else _masked(known.title, [])
            metadata = cast(Any, _masked_value(known.metadata, []))
            conversation = replace(known, title=title, metadata=metadata)
            self._thread = thread, replace(thread, conversation=conversation)
        return self._thread[1]


def _masked_value(value: object, kinds: list[str]) -> object:
    if isinstance(value, str):
        return _masked(value, kinds)
    if isinstance(value, list):
        return [_masked_value(item, kinds) for item in cast(list[object], value)]
    if isinstance(value, Mapping):
        return {
            name: _masked_named(name, item, kinds) for name, item in cast(Mapping[str, object], value).items()
        }
    return value


def _masked_named(name: str, value: object, kinds: list[str]) -> object:
    """Return the value of a field, whose name may tell that it is a secret."""
    if not isinstance(value, str):
        return _masked_value(value, kinds)
    masked = _masked(value, kinds)
    if masked == value and "\n" not in value:
        named = f'{name}="{value}"'
        found = _masked(named, kinds)
        if found != named:
            return found.removeprefix(f'{name}="').removesuffix('"')
    return masked


def _masked(text: str, kinds: list[str]) -> str:
    """Return a text with its secrets masked, and add the kind of each to `kinds`."""
    text = _without(text, _in_runs(text), kinds)  # first: it tells more exactly what a secret is
    for rule in _ELSEWHERE:
        if any(hint in text for hint in rule.hints):
            text = _without(text, _places(rule, text, 0, len(text)), kinds)
    return text


def _without(text: str, places: Iterable[tuple[int, int, str]], kinds: list[str]) -> str:
    pieces: list[str] = []
    at = 0
    for begin, end, kind in places:
        if begin >= at:
            kinds.append(kind)
            pieces += [text[at:begin], f"[masked: {kind}]"]
            at = end
    return "".join([*pieces, text[at:]]) if pieces else text


def _in_runs(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield where secrets stand in runs of characters, in order."""
    for run in _RUN.finditer(text):
        if run.end() - run.start() > _LONGEST_RUN:
            continue
        said = run.group()
        found = [
            place
            for rule in _IN_RUNS
            if any(hint in said for hint in rule.hints)
            for place in _places(rule, text, run.start(), run.end())
        ]
        yield from sorted(found)


def _places(rule: _Rule, text: str, begin: int, end: int) -> Iterator[tuple[int, int, str]]:
    for found in rule.pattern.finditer(text, begin, end):
        group = next((name for name, value in found.groupdict().items() if value is not None), 0)
        if not rule.guess or _looks_secret(found[group], quoted=group == "quoted", kind=rule.kind):
            yield *found.span(group), rule.kind


def _looks_secret(value: str, *, quoted: bool, kind: str) -> bool:
    """Whether a value that is named as a secret looks like one, rather than like a placeholder, a word or code."""
    if _PLACEHOLDER.search(value) or value.casefold() in _COMMON or not set("${}<>()[]`|;").isdisjoint(value):
        return False
    if kind == "password in an address":
        return True
    has_letter, has_digit = any(map(str.isalpha, value)), any(map(str.isdigit, value))
    has_sign = not value.replace("_", "").replace("-", "").replace(".", "").replace("/", "").isalnum()
    if not (has_letter and (has_digit or (quoted and has_sign))):
        return False
    return quoted or (_DOTTED.fullmatch(value) is None and _entropy(value) >= _MIN_ENTROPY)


def _entropy(value: str) -> float:
    shares = [value.count(character) / len(value) for character in set(value)]
    return -sum(share * log2(share) for share in shares)
