"""Transfers, retries, and what is published under a name."""
