"""An HTTP server for a model, and a web page for trying it. No torch: the predictor is passed in."""
