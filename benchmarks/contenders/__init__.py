"""Who is compared: one process each."""
