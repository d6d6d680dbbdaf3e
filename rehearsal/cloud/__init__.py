"""The cloud process: Google's REST APIs on loopback, and the containers that they start."""
