"""One module a format, and the parity gate that each file must pass before it is written."""
