"""Rows that name an image and its label, and the image files that they denote."""
