"""The network, its weights, its features, and what it knows about its own limits."""
