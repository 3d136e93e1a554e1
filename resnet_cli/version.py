"""The version of this package, and nothing else: every other module may import it."""

__version__ = "0.1.0"
