"""A store in one SQLite file that the processes of a machine share, through APSW."""
