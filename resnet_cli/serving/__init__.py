"""An HTTP server for a model, and a page to try it. No torch: the predictor is passed in."""
