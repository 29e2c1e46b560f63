"""Clusters: the local Ray (local.py)."""
