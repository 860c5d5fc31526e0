"""Task-grams: n-grams of examples, embedded and paired."""
