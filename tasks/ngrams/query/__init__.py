"""The step `query`: what the tasks ask of the corpus, in one pass."""
