"""Task-grams: the n-grams of examples, embedded and paired."""
