"""Where jobs run. No other package knows Dask."""
