"""Deployments on topology `vertex`: machine, container, endpoint, and what they take of quota and money."""
