"""Tables of images and labels, whatever their format and their columns."""
