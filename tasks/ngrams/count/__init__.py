"""The step `count`: counts of every n-gram of the corpus."""
