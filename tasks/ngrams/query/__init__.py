"""The step `query`: counts of the tasks' n-grams and pairs in the corpus, in one pass."""
