"""DATA from elsewhere: archives, URLs and the Hugging Face Hub."""
