"""The HTTP API: routes, authentication, problems."""
