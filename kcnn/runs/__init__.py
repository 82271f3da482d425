"""A run directory, and everything done to a finished one."""
