"""Model directories: made, read, verified."""
