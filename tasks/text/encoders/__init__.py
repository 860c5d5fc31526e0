"""Encoders that map every n-gram to a vector."""
