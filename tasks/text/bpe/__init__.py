"""Model tokens: byte-level BPE, and prompts with their continuations as tokens."""
