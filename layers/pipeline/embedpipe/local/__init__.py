"""The local cloud: everything that AWS would be, on loopback. No business rule."""
