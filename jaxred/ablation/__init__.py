"""Neurons and layers that are removed inside the forward pass of a model with its head."""
