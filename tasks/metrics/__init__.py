"""The measures and their statistics."""
