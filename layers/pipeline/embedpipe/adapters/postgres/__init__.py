"""The database ports on PostgreSQL with pgvector."""
