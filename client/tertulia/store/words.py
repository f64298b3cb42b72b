"""What the full-text index takes for a word.

`words` splits and folds a text exactly as the tokenizer of the index does (`simplify casefold 1 strip 1 unicodewords`
in `tertulia.store.schema`), so that a query, a snippet and a suggestion never disagree with what is found.
"""

from collections.abc import Iterator
from typing import NamedTuple, cast


class Word(NamedTuple):
    """A word, where it stands in the text, and how the index spells it: no case, accents or punctuation."""

    start: int
    end: int
    folded: str


def words(text: str) -> Iterator[Word]:
    """Yield the words of `text` in order: what Unicode calls words, and single characters of Chinese, Thai and such."""
    # At the first use and not before: `tools/list` is answered without it.
    from apsw import unicode

    split = unicode.word_iter_with_offsets(text, 0, emoji=True, regional_indicator=True)
    for start, end, word in cast("Iterator[tuple[int, int, str]]", split):
        folded = unicode.casefold(unicode.strip(word))
        if folded:
            yield Word(start, end, folded)
