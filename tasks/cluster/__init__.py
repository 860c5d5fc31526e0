"""Where jobs run. Only here is Dask known."""
