"""An exported file on the Hugging Face Hub: where it goes, its card, the upload."""
