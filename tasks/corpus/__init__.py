"""Corpora: planted corpora, ingestion, and documents as integers."""
