"""embedpipe: documents in over HTTPS, searchable vectors in PostgreSQL."""
