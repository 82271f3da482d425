"""The steps of a training, and the epochs that they make up."""
