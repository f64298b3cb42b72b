"""What the engines say differently in SQL, where no statement suits all of them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dialect:
    """The fragments of SQL that are an engine's own."""

    join_in_order: str
    """Joins a table after the one that stands before it. SQLite alone needs to be told, and keeps to it."""
    each_text: str
    """A table with the columns `key` (from 0) and `value` of the texts in a JSON array, which is bound to it."""
    each_number: str
    """The same of an array of whole numbers."""
    index_hint: str
    """Follows the name of a table: the index that SQLite is to use. Other engines go by their statistics."""

    def indexed_by(self, index: str) -> str:
        """Return what follows the name of a table, so that this index of it is used."""
        return self.index_hint.format(index)


SQLITE = Dialect("CROSS JOIN", "json_each(?)", "json_each(?)", "INDEXED BY {}")
