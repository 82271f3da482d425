"""How to compare: contests, machines, peaks, rows."""
