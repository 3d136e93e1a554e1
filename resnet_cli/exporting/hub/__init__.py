"""Exported files on the Hugging Face Hub: destination, model card, upload."""
