"""Readers of task files, one per format."""
