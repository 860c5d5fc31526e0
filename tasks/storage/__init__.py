"""Stored data: parts, manifests, checks, leases. Only here is stored data opened and the root's layout known."""
