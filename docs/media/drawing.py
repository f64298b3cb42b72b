"""Draw what a terminal showed as one SVG that plays once: no script, nothing loaded, readable as a still picture."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

COLUMNS = 96
_CHARACTER, _LINE = 7.83, 18
_LEFT, _TOP, _BELOW = 18, 58, 16
_TYPING, _BEFORE_OUTPUT, _BETWEEN_LINES, _AFTER_OUTPUT = 0.035, 0.35, 0.06, 1.3
"""Seconds: a character, until a command answers, from line to line, until the next command."""
_STYLE = """
text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #c9d1d9;
  white-space: pre }
.typed { fill: #f0f6fc; font-weight: 600 }
.prompt { fill: #7ee787 }
.note { fill: #8b949e; font-style: italic }
.title { fill: #8b949e }
.shown { opacity: 0; animation: shown 0.01s forwards }
@keyframes shown { to { opacity: 1 } }
@media (prefers-reduced-motion: reduce) { .shown { animation: none; opacity: 1 } }
"""


@dataclass(frozen=True)
class Piece:
    """A piece of what the terminal showed: what a person typed, what a program wrote, or a note between them."""

    text: str
    kind: str = "written"

    @property
    def typed(self) -> bool:
        """Whether a person typed it, one character after another."""
        return self.kind == "typed"


@dataclass(frozen=True)
class _Span:
    """A text of one kind in a line, and when it appears."""

    text: str
    kind: str
    row: int
    column: int
    at: float


def draw(title: str, description: str, pieces: Sequence[Piece]) -> str:
    """Return the SVG of a terminal that shows these pieces, one after another."""
    spans = list(_spans(pieces))
    rows = max(span.row for span in spans)
    width = round(2 * _LEFT + COLUMNS * _CHARACTER)
    height = _TOP + rows * _LINE + _BELOW
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"',
        '  role="img" aria-labelledby="title description">',
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="description">{escape(description)}</desc>',
        f"<style>{_STYLE}</style>",
        f'<rect width="{width}" height="{height}" rx="9" fill="#0d1117" stroke="#30363d"/>',
        *(
            f'<circle cx="{_LEFT + 4 + 20 * number}" cy="20" r="6" fill="{colour}"/>'
            for number, colour in enumerate(("#ff5f56", "#ffbd2e", "#27c93f"))
        ),
        f'<text class="title" x="{width / 2:g}" y="25" text-anchor="middle">{escape(title)}</text>',
    ]
    for span in spans:
        x, y = _LEFT + span.column * _CHARACTER, _TOP + span.row * _LINE
        length = f' textLength="{len(span.text) * _CHARACTER:.1f}"' if span.text.strip() else ""
        lines.append(
            f'<text class="shown {span.kind}" x="{x:.1f}" y="{y}"{length} '
            f'style="animation-delay:{span.at:.2f}s">{escape(span.text)}</text>'
        )
    return "\n".join([*lines, "</svg>", ""])


def _spans(pieces: Sequence[Piece]) -> Iterator[_Span]:
    at, row, column = 0.6, 0, 0
    for piece in pieces:
        for text in piece.text.splitlines(keepends=True):
            words = text.rstrip("\n")
            for part in list(words) if piece.typed else _folded(words, column):
                if column + len(part) > COLUMNS:
                    row, column = row + 1, 0
                if part:
                    yield _Span(part, piece.kind, row, column, at)
                column += len(part)
                at += _TYPING if piece.typed else 0
            if text.endswith("\n"):
                row, column = row + 1, 0
                at += 0 if piece.typed else _BETWEEN_LINES
        at += _BEFORE_OUTPUT if piece.typed else (_AFTER_OUTPUT if piece.kind == "written" else 0)


def _folded(text: str, column: int) -> Iterator[str]:
    """Yield the parts of a line as a terminal breaks it, the first from a column on."""
    first = max(COLUMNS - column, 0)
    yield text[:first]
    for begin in range(first, len(text), COLUMNS):
        yield text[begin : begin + COLUMNS]
