"""Model tokens: byte-level BPE and the continuation of prompts."""
