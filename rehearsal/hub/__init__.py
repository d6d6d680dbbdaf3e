"""A Hub on loopback, and small models to put on it, for where the real Hub cannot be reached."""
