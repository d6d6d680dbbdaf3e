"""Topology `gke-tpu`: from a deployment's configuration to a cluster, TPU slices and Kubernetes objects."""
