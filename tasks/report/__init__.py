"""The report: figures and one page."""
