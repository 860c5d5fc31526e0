"""Stored data: parts, manifests, checks, leases. No other package opens stored data or knows the root's layout."""
