"""The HTTP API: operations, what they accept and answer, problems, OpenAPI."""
