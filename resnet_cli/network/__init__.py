"""Downloads, retries, the Hugging Face Hub, and the registry of weights and data sets."""
