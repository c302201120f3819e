"""Model directories: what one holds, how it is checked, how it is made."""
