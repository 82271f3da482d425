"""What this machine is: names, memory, precision."""
