"""The HTTP side: routes, what they read and what they answer."""
