"""Other engines, each run in an environment of its own, which holds nothing of this project."""
