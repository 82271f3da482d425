"""What a training leaves to look at: figures, tables, bars, TensorBoard."""
