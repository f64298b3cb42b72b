"""Draw the pictures of docs/concepts.md: `.venv/bin/python -m docs.media.pictures` writes them.

The states' arrows are those of the code (`tertulia.TRANSITIONS`). A picture is one SVG, for light and dark screens.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from tertulia import TRANSITIONS, Status

MEDIA = Path(__file__).resolve().parent
_STYLE = """
text { font: 14px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328; text-anchor: middle }
text.small { font-size: 12px; fill: #59636e }
rect { fill: #f6f8fa; stroke: #59636e; stroke-width: 1.2 }
rect.end { fill: #ddf4ff }
rect.group { fill: none; stroke-dasharray: 5 4 }
path.arrow { fill: none; stroke: #59636e; stroke-width: 1.4; marker-end: url(#head) }
#head path { fill: #59636e }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } text.small { fill: #9198a1 }
  rect { fill: #151b23; stroke: #9198a1 } rect.end { fill: #0c2d6b } rect.group { fill: none }
  path.arrow { stroke: #9198a1 } #head path { fill: #9198a1 }
}
"""
_HEAD = (
    '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
    'orient="auto-start-reverse"><path d="M0 0L10 5L0 10z"/></marker></defs>'
)


@dataclass(frozen=True)
class Box:
    """A box with a text, by its middle."""

    text: str
    x: int
    y: int
    width: int = 130
    height: int = 40
    kind: str = ""
    below: str = ""
    """What stands in small letters in it, under the text."""

    def drawn(self) -> Iterator[str]:
        """Yield its parts."""
        left, top = self.x - self.width // 2, self.y - self.height // 2
        yield (
            f'<rect class="{self.kind}" x="{left}" y="{top}" width="{self.width}" height="{self.height}" rx="8"/>'
        )
        yield f'<text x="{self.x}" y="{self.y + (5 if not self.below else -3)}">{escape(self.text)}</text>'
        if self.below:
            yield f'<text class="small" x="{self.x}" y="{self.y + 14}">{escape(self.below)}</text>'


def arrow(path: str, label: str = "", at: tuple[int, int] = (0, 0)) -> Iterator[str]:
    """Yield an arrow along a path, with a label in small letters."""
    yield f'<path class="arrow" d="{path}"/>'
    if label:
        yield f'<text class="small" x="{at[0]}" y="{at[1]}">{escape(label)}</text>'


def picture(width: int, height: int, title: str, parts: Sequence[str]) -> str:
    """Return the SVG of these parts."""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-labelledby="title">',
        f'<title id="title">{escape(title)}</title>',
        f"<style>{_STYLE}</style>",
        _HEAD,
        *parts,
        "</svg>",
        "",
    ]
    return "\n".join(lines)


PATHS: Mapping[tuple[Status, Status], tuple[str, str, tuple[int, int]]] = {
    (Status.SUBMITTED, Status.OPEN): ("M145 150H228", "the other side acts", (186, 120)),
    (Status.SUBMITTED, Status.REJECTED): ("M80 170V272", "", (0, 0)),
    (Status.OPEN, Status.PAUSED): ("M275 130C275 90 330 60 388 54", "pause", (300, 72)),
    (Status.PAUSED, Status.OPEN): ("M388 68C345 74 320 95 318 128", "", (0, 0)),
    (Status.OPEN, Status.INPUT_REQUIRED): (
        "M275 170C275 210 330 240 388 246",
        "a person is asked",
        (275, 238),
    ),
    (Status.INPUT_REQUIRED, Status.OPEN): ("M388 232C345 226 320 205 318 172", "", (0, 0)),
}
"""The arrows between single states. Those to the endings go to the group of them."""
ENDING = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELED})
TO_ENDINGS: Mapping[Status, str] = {
    Status.OPEN: "M360 150H588",
    Status.PAUSED: "M520 60C560 62 580 85 590 105",
    Status.INPUT_REQUIRED: "M520 240C560 238 580 215 590 195",
}
FROM_SUBMITTED = "M145 165C210 330 560 340 640 229"


def states() -> str:
    """Draw the states of a conversation."""
    places = {
        Status.SUBMITTED: Box("submitted", 80, 150),
        Status.OPEN: Box("open", 295, 150),
        Status.PAUSED: Box("paused", 455, 60),
        Status.INPUT_REQUIRED: Box("input_required", 455, 240),
        Status.REJECTED: Box("rejected", 80, 294, kind="end"),
        Status.COMPLETED: Box("completed", 660, 102, kind="end"),
        Status.FAILED: Box("failed", 660, 150, kind="end"),
        Status.CANCELED: Box("canceled", 660, 198, kind="end"),
    }
    assert places.keys() == TRANSITIONS.keys()
    parts = [f'<rect class="group" x="{660 - 72}" y="74" width="144" height="152" rx="10"/>']
    for box in places.values():
        parts += box.drawn()
    for path, label, at in PATHS.values():
        parts += arrow(path, label, at)
    for path in (*TO_ENDINGS.values(), FROM_SUBMITTED):
        parts += arrow(path)
    parts.append('<text class="small" x="420" y="330">failed or canceled before it opened</text>')
    return picture(750, 345, "The states of a conversation, and which may follow which", parts)


def drawn_transitions() -> Mapping[Status, frozenset[Status]]:
    """Return the transitions that the picture of the states shows."""
    shown = {status: {to for source, to in PATHS if source is status} for status in Status}
    for status in TO_ENDINGS:
        shown[status] |= ENDING
    shown[Status.SUBMITTED] |= {Status.FAILED, Status.CANCELED}
    return {status: frozenset(targets) for status, targets in shown.items()}


def event() -> str:
    """Draw the way of an event, from an agent to whoever waits for it."""
    boxes = [
        Box("agent", 75, 60, 110, 54, below="says a word"),
        Box("platform's wire", 240, 60, 130, 54, below="a chunk, a mail"),
        Box("run", 410, 60, 120, 54, below="holds the lease"),
        Box("journal", 580, 60, 120, 54, "end", "seq 41, 42, 43"),
        Box("a waiting call", 400, 180, 164, 54, below="progress, then a result"),
        Box("another process", 580, 180, 130, 54, below="cursor: after 41"),
        Box("search index", 740, 60, 110, 54, below="found later"),
    ]
    parts = [part for box in boxes for part in box.drawn()]
    for path, label, at in (
        ("M130 60H173", "", (0, 0)),
        ("M305 60H348", "", (0, 0)),
        ("M470 60H518", "one transaction", (495, 24)),
        ("M640 60H683", "", (0, 0)),
        ("M545 87L445 151", "", (0, 0)),
        ("M580 87V151", "", (0, 0)),
    ):
        parts += arrow(path, label, at)
    return picture(810, 225, "The way of an event: agent, wire, run, journal, and whoever reads it", parts)


PICTURES = {"states": states, "event": event}


def main() -> None:
    """Write the pictures."""
    for name, draw in PICTURES.items():
        (MEDIA / f"{name}.svg").write_text(draw(), "utf-8")


if __name__ == "__main__":
    main()
