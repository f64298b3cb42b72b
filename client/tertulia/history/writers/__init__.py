"""Writers of conversations as text: Tertulia's own JSON Lines, which keep everything, and pages for people."""

from collections.abc import Callable, Mapping
from enum import StrEnum

from tertulia.history.writers.html import Html
from tertulia.history.writers.jsonl import JsonLines
from tertulia.history.writers.markdown import Markdown
from tertulia.history.writers.pages import Writer


class ExportFormat(StrEnum):
    """The formats of an export."""

    JSONL = "jsonl"
    MARKDOWN = "markdown"
    HTML = "html"

    @property
    def extension(self) -> str:
        """The extension of a file of this format."""
        return {"jsonl": ".jsonl", "markdown": ".md", "html": ".html"}[self.value]


WRITERS: Mapping[ExportFormat, Callable[[], Writer]] = {
    ExportFormat.JSONL: JsonLines,
    ExportFormat.MARKDOWN: Markdown,
    ExportFormat.HTML: Html,
}
