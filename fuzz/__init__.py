"""Damaged files thrown at everything that reads files; `python -m fuzz` says what came of it."""
