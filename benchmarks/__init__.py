"""The benchmarks: each row next to its peers, in one run (`make bench`, `make bench-quick`)."""
