"""ONNX graphs of sentence encoders: built from weights, or taken from a file and completed."""
