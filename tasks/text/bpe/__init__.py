"""Model tokens: texts as ids, and prompts with their continuations as tokens."""
