"""Programs that classify an image with an exported file, in several languages, and without this package."""
