"""Segmentation into words, words as integers, and word n-grams."""
