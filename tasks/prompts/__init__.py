"""Which prompt: those made of the corpus' words, and those that are not (arXiv 2407.14985 §7)."""
