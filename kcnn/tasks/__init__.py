"""What makes images a task: data, loss, figures, evaluation, predictions."""
