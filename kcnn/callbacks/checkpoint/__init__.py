"""All of a training on disk, and out of it again, to the same bits."""
