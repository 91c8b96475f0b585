"""Keeping a store in order: verify, heal, compact, export and remove. Loading does not need these rooms."""
