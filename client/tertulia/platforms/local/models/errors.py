"""What providers and tools say of a failure, in a sentence that can be shown."""

from tertulia.platforms.kit.http.values import table, text

_MOST = 500
"""How many characters of an error are shown."""


def one_sentence(error: Exception) -> str:
    """Return what an error says, in one line of bounded length; what a provider says in the body comes first."""
    said = text(table(getattr(error, "body", None)).get("message"))
    line = " ".join((said or str(error) or type(error).__name__).split())
    line = line if len(line) <= _MOST else f"{line[:_MOST]}…"
    return line if line.endswith((".", "…", "!", "?")) else f"{line}."
