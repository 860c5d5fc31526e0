"""Planted corpora: documents and tasks whose correct answers are known."""
