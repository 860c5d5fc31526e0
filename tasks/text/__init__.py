"""Text as words and tokens, shared by every group of steps."""
