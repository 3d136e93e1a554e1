"""Downloads, retries, the Hugging Face Hub, and the weights and data sets that have names."""
