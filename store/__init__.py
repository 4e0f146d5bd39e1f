"""The database: the truth of Tidegate. One module per aggregate; SQLite and PostgreSQL from the same code."""
