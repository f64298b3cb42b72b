"""The store: what survives the end of a process. See `schema` for the tables and `database` for transactions."""
