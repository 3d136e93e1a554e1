"""The version of this package and of its JSON, and nothing else: every other module may import it."""

__version__ = "0.1.0"
#: Version of every JSON object that is printed, served or written for other programs; raised when an old reader would
#: misread one. Models, checkpoints and exported files, which this program reads back, have versions of their own.
SCHEMA_VERSION = 1
