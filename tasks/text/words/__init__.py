"""Words: what a word is, words as integers, and word n-grams."""
