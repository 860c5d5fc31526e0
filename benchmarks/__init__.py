"""The benchmarks of the counting engine: each row beside its peers, in one run (`make bench`, `make bench-quick`)."""
