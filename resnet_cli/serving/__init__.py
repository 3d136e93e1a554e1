"""A model behind HTTP, and a page to try it. No torch here: whoever answers is handed in."""
