"""Training: recipes, runs, and what leads from one to the other."""
