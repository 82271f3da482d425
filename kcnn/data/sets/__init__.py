"""Where images come from, and their three splits."""
