"""Images to predict on, however they are named."""
