"""One use case per command, without a terminal: events out, a result back."""
