"""Embedders at providers: one file per provider, one way of asking for all."""
