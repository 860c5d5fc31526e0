"""Task examples, one reader per family."""
