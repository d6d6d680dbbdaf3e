"""The tier that needs a real Kubernetes control plane."""
