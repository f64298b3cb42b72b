"""Secrets that pass an import are masked on request, and nothing else is."""

import base64
import hashlib
import json
import random
import time
import uuid
from pathlib import Path

import pytest

from tertulia.history.items import MessageItem
from tertulia.history.redaction import Redactor
from tertulia.history.threads import ThreadBuilder, imported_thread
from tertulia.vocabulary.models import Role
from tests.client.history.bringing import Bringing
from tests.client.history.making import array_of

DRAWN = random.Random(11)
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def drawn(length: int, alphabet: str = LETTERS) -> str:
    """Return random characters, of which one is a digit."""
    return "".join(DRAWN.choice(alphabet) for _ in range(length - 1)) + "7"


HEX = "0123456789abcdef"
SECRETS = {
    "AWS key": ["AKIA" + drawn(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"), "ASIA" + drawn(16, "ABCDEFGH234567")],
    "GitHub token": ["ghp_" + drawn(36), "gho_" + drawn(36), "github_pat_" + drawn(82)],
    "GitLab token": ["glpat-" + drawn(20)],
    "Anthropic key": ["sk-ant-api03-" + drawn(93)],
    "OpenAI key": ["sk-proj-" + drawn(120), "sk-" + drawn(48)],
    "OpenRouter key": ["sk-or-v1-" + drawn(64, HEX)],
    "Google key": ["AIza" + drawn(35), "GOCSPX-" + drawn(28), "ya29." + drawn(60)],
    "Slack token": ["xoxb-123456789012-123456789012-" + drawn(24)],
    "Stripe key": ["sk_live_" + drawn(24), "rk_test_" + drawn(24)],
    "Square key": ["sq0csp-" + drawn(43)],
    "Twilio key": ["SK" + drawn(32, HEX)],
    "SendGrid key": [f"SG.{drawn(22)}.{drawn(43)}"],
    "Mailchimp key": [drawn(32, HEX) + "-us12"],
    "npm token": ["npm_" + drawn(36)],
    "PyPI token": ["pypi-AgEIcHlwaS5vcmc" + drawn(80)],
    "Hugging Face token": ["hf_" + drawn(34)],
    "Groq key": ["gsk_" + drawn(52)],
    "Docker token": ["dckr_pat_" + drawn(27)],
    "DigitalOcean token": ["dop_v1_" + drawn(64, HEX)],
    "Shopify token": ["shpat_" + drawn(32, HEX)],
    "Databricks token": ["dapi" + drawn(32, HEX)],
    "Vault token": ["hvs." + drawn(90)],
    "Telegram token": ["123456789:AA" + drawn(33)],
    "Discord token": [f"MTIzNDU2Nzg5MDEyMzQ1Njc4OQ.G{drawn(5)}.{drawn(38)}"],
    "web token": [f"eyJ{drawn(20)}.eyJ{drawn(40)}.{drawn(43)}"],
}
ASSIGNED = {
    "aws_secret_access_key = {}": ("AWS key", drawn(40)),
    "DefaultEndpointsProtocol=https;AccountKey={};": ("Azure key", drawn(86) + "=="),
    "https://hooks.slack.com/services/{}": ("Slack token", f"T{drawn(8)}/B{drawn(8)}/{drawn(24)}"),
    "postgresql://app:{}@db.example.com:5432/app": ("password in an address", "k9-fuzzy"),
    "curl -H 'Authorization: Bearer {}'": ("authorization", drawn(32)),
    'headers = {{"Authorization": "Basic {}"}}': ("authorization", drawn(24)),
    "DB_PASSWORD={}": ("password or key", "Zk3mQ9-vT2x"),
    "password: '{}'": ("password or key", "hunter2"),
    '{{"client_secret": "{}"}}': ("password or key", drawn(32, HEX)),
    'settings["client_secret"] = "{}"': ("password or key", drawn(32, HEX)),
    "//registry.example.com/:_authToken={}": ("password or key", drawn(36)),
    "Private-Lines: 1\n{}\nPrivate-MAC: 0a1b": ("private key", drawn(64)),
    'apiKey: "{}",': ("password or key", drawn(40)),
    "export DEPLOY_TOKEN={}": ("password or key", drawn(30)),
    "auth_token={}": ("password or key", str(uuid.UUID(int=DRAWN.getrandbits(128)))),
}
KEY = "\n".join(base64.b64encode(DRAWN.randbytes(48)).decode() for _ in range(8))
PEM = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{KEY}\n-----END OPENSSH PRIVATE KEY-----"
ORDINARY = [
    "the password: see the vault, the key is under the mat",
    "password = get_password()",
    "password=os.environ['DB_PASSWORD1']",
    "api_key: str = Field(min_length=16)",
    "secret = config.secrets2.primary_secret_1",
    "def login(password: string, token: str) -> None:",
    "api_key=YOUR_API_KEY_HERE_123",
    "OPENAI_API_KEY=sk-...",
    "ANTHROPIC_API_KEY=${ANTHROPIC_API_KEY_2}",
    "Authorization: Bearer <token-goes-here-1234>",
    "postgres://user:password@localhost/db",
    "http://example.com:8080/a@b",
    "git@github.com:acme/app.git at 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
    "max_tokens=4096, token_count: 1234567890123456, next_token: 12",
    "sk-learn-contrib is a list of packages; task-1-sk-learn",
    "pass: 12 fail: 3, secrets: none, keys: a1, b2",
    "AKIAshort ghp_short hf_hub npm_config_registry_name_of_some_length",
    "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----",
    "/usr/lib/python3/dist-packages/secret_storage/api_key/authentication_token.py:12",
    "Die Prüfung der Schlüssel, 会议纪要 2026, l'été à 3.2.0, naïve café",
]


def masked(said: str) -> tuple[str | None, list[str]]:
    """Return a message as it is once it was masked, and the kinds of what was."""
    builder = ThreadBuilder(imported_thread("messages", "one", title="Title"))
    (item,) = [each for each in builder.message("m", Role.USER, said, None) if isinstance(each, MessageItem)]
    done = Redactor().masked(item)
    assert isinstance(done, MessageItem)
    return done.message.text, [*done.masked]


@pytest.mark.parametrize("kind", SECRETS)
def test_what_a_vendor_marks_is_masked(kind: str) -> None:
    """Wherever it stands: in prose, in code, in JSON, at the end of an address."""
    for secret in SECRETS[kind]:
        for around in ("{}", "my key is {}.", 'x = "{}"', "`{}`", "a={}&b=2", "({})\n", "see\n{}\nthere"):
            said, kinds = masked(around.format(secret))

            assert said == around.format(f"[masked: {kind}]")
            assert kinds == [kind]


@pytest.mark.parametrize("text", ASSIGNED)
def test_what_a_name_tells_is_masked(text: str) -> None:
    """The value alone: what it was for can still be read."""
    kind, secret = ASSIGNED[text]

    assert masked(text.format(secret)) == (text.format(f"[masked: {kind}]"), [kind])


def test_a_private_key_is_masked_as_a_whole() -> None:
    """Also where its line breaks are escapes, and where its end is missing."""
    for key in (PEM, PEM.replace("\n", "\\n"), PEM.replace("OPENSSH ", ""), PEM.replace("OPENSSH", "RSA")):
        assert masked(f"before {key} after") == ("before [masked: private key] after", ["private key"])
    old = (
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,0A1B\n\n"
        + PEM.partition("\n")[2]
    )
    assert masked(old.replace("OPENSSH", "RSA")) == ("[masked: private key]", ["private key"])
    cut, _ = masked(PEM[: len(PEM) // 2])
    assert cut == "[masked: private key]"


@pytest.mark.parametrize(
    "said",
    [
        *("-----BEGIN PRIVATE KEY-----\n", "postgres://a:", "password: 'x", "eyJaaaaaaaaaaaaa.", "sk-ant-a"),
        *("Authorization: Bearer a", "a=b:c/d.e-", "AccountKey=", "TOKEN=='", "Private-Lines: 8\na"),
    ],
)
def test_hostile_text_takes_no_longer_than_other(said: str) -> None:
    """The time grows with the length alone: four times as much of it takes no sixteen times as long."""

    def steps(count: int) -> float:
        begun = time.process_time()
        masked(said * count)
        return time.process_time() - begun

    assert min(steps(12_000) for _ in range(3)) < 8 * max(0.01, min(steps(3_000) for _ in range(3)))


@pytest.mark.parametrize("said", ORDINARY)
def test_ordinary_text_stays(said: str) -> None:
    """Placeholders, code, names and prose are no secrets."""
    assert masked(said) == (said, [])


def test_random_characters_that_are_no_secrets_stay() -> None:
    """Packed pictures in one line and in many, digests and UUIDs."""
    packed = base64.b64encode(DRAWN.randbytes(600_000)).decode()
    wrapped = "\n".join(packed[at : at + 76] for at in range(0, len(packed), 76))
    digests = "\n".join(
        f"{name} {uuid.UUID(int=DRAWN.getrandbits(128))} {hashlib.new(name, DRAWN.randbytes(9)).hexdigest()}"
        for name in ("md5", "sha1", "sha256", "sha512") * 500
    )
    for said in (f"![a](data:image/png;base64,{packed})", wrapped, digests):
        assert masked(said) == (said, [])


def test_our_own_sources_stay() -> None:
    """Code that is about keys and passwords has none."""
    root = Path(__file__).resolve().parents[3]
    for file in [*root.glob("client/**/*.py"), *root.glob("server/**/*.py"), *root.glob("docs/**/*.md")]:
        said = file.read_text("utf-8")
        assert masked(said)[1] == [], file.name


@pytest.mark.anyio
async def test_an_import_masks_texts_arguments_and_titles(here: Bringing, tmp_path: Path) -> None:
    """It tells how many of each kind, once in each message, and only what was added."""
    token, key = SECRETS["GitHub token"][0], SECRETS["Anthropic key"][0]
    call = {"id": "c1", "function": {"name": "deploy", "arguments": json.dumps({"env": {"API_KEY": key}})}}
    file = array_of(
        tmp_path / "talk.json",
        {"role": "user", "content": f"Use {token} for it"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": f"env:\n{key}\n{token}"},
    )

    summary = await here.bring(file, redact=True)
    again = await here.bring(file, redact=True)

    conversation, messages = await here.only()
    assert conversation.title == "Use [masked: GitHub token] for it"
    assert messages[1].data is not None
    assert messages[1].data["arguments"] == {"env": {"API_KEY": "[masked: Anthropic key]"}}
    assert (summary.masked, again.messages, again.masked) == ({"GitHub token": 2, "Anthropic key": 2}, 0, {})
    export = await here.export()
    assert token not in export
    assert key not in export
