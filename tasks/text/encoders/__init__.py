"""Encoders that give every n-gram a vector."""
