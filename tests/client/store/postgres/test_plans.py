"""How PostgreSQL finds rows before it knows anything of the tables."""

import pytest

from tertulia.store.database import Store
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
