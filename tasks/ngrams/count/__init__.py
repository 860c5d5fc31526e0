"""The step `count`: every n-gram of the corpus."""
