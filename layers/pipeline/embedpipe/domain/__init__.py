"""Rules of the pipeline: pure, no vendor, no clock, no environment."""
