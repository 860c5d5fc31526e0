"""Counting in the corpus: n-grams, pairs, ∞-grams, novelty."""
