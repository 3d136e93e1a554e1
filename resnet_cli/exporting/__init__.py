"""One module per format, and the parity check that each file must pass before it is kept."""
