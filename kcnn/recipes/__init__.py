"""What to train and how, as plain data."""
