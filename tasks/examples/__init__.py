"""Task examples: read from task files, one reader per format, and turned into prompts."""
