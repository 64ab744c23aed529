"""The small model of a task: the first layers of an encoder, the chosen neurons, a linear head on them, a tokenizer."""
