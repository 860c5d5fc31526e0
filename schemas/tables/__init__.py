"""Contracts of every table, one file for each topic."""
