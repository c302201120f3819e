"""The database ports on PostgreSQL with pgvector, its migrations, its roles."""

from embedpipe.adapters.postgres.database import PostgresDatabase

__all__ = ["PostgresDatabase"]
