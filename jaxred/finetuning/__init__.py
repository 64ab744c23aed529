"""Fine-tunes an encoder and a head on a task: batches, the training step, checkpoints that resume at the very step."""
