"""``--format web``: a folder for any web server, in which the browser itself runs the model."""
