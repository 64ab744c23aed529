"""jaxred measures how much of a pretrained transformer is redundant, and finds the few layers and neurons a task
needs.
"""

__version__ = "0.1.0"
