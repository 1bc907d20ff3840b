"""A store in a file of SQLite: its tables, a writing and a reading thread, and the places for its file."""
