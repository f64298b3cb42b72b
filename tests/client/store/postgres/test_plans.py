"""How PostgreSQL finds rows before it knows anything of the tables."""

import pytest

from tertulia.store.database import Store, Transaction
from tertulia.vocabulary.location import PostgresUrl
from tests.client.making import add_conversation, add_message
from tests.support.postgres import Database

pytestmark = [pytest.mark.anyio, pytest.mark.io]

UNIQUE = """
SELECT i.indrelid::regclass, array_agg(quote_ident(a.attname))
FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
WHERE i.indisunique AND i.indpred IS NULL AND i.indrelid::regclass::text LIKE 'tertulia.%'
GROUP BY i.indexrelid, i.indrelid
"""


async def test_one_row_is_found_by_its_key_in_a_new_database(postgres: Database) -> None:
    """And not among all that is somebody's: a process keeps to its first plan while thousands are entered."""
    async with Store(postgres.url) as store:
        await store.read(lambda _: None)
    keys = postgres.execute(UNIQUE).fetchall()
    assert len(keys) > 15

    for table, columns in keys:
        postgres.execute(f"TRUNCATE {table}" if table != "tertulia.meta" else "SELECT")
        wanted = " AND ".join(f"{each} = (SELECT max({each}) FROM {table})" for each in columns)
        (((plan,),),) = postgres.execute(
            f"EXPLAIN (FORMAT JSON) SELECT * FROM {table} WHERE {wanted}"
        ).fetchall()

        condition = plan["Plan"].get("Index Cond", "")
        assert all(f"{each} = " in condition for each in columns), (table, columns, condition)


async def test_a_word_is_found_beside_thousands_that_are_deleted_and_not_vacuumed(
    database: PostgresUrl, postgres: Database
) -> None:
    """To correct a search, words are looked up in a few of the rows that have them; these may all be gone."""

    def known(tx: Transaction) -> object:
        return list(tx.index.known(["zebra", "zebras"])), list(
            tx.index.known(["zeb", "zeg"], beginnings=True)
        )

    async with Store(database) as store:
        await store.write(add_conversation)
        postgres.execute(
            "INSERT INTO tertulia.said_words SELECT n, 0, 'bob', 1, CAST('zebra' AS tsvector)"
            " FROM generate_series(1, 50000) AS s (n)"
        )
        await store.write(lambda tx: add_message(tx, "A zebra."))
        postgres.execute("DELETE FROM tertulia.said_words WHERE principal = 'bob'")

        assert await store.read(known) == (["zebra"], ["zeb"])
