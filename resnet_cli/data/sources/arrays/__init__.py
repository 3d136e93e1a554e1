"""Images and labels in arrays."""
