"""Steps in their order, run by Prefect; and the command line."""
