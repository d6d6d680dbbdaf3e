"""Prepares a Google Cloud project so that the GitHub workflows can deploy into it.

Every part of the preparation is a step that looks at what is there, names what differs from what is wanted,
and can put that right; a dry run is the same steps without the last part.
"""
