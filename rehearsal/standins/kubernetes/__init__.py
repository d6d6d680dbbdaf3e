"""The stand-in for Pulumi's Kubernetes plugin: objects of a rehearsed cluster, or of the world alone."""
