"""The machine: files and caches, devices, threads, events."""
