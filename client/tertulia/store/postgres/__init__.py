"""A store in a PostgreSQL database that the processes of several machines share, through psycopg.

Nothing here is imported unless a store's location is a URL: psycopg comes with the extra `postgres`.
"""
