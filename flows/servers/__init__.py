"""Servers on this machine: Prefect's, the report's, and the scheduled runs."""
