"""Corpora: planted worlds, ingestion, and documents as integers."""
