"""This machine: files and caches, devices, threads."""
