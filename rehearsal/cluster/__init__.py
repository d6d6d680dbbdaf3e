"""A Kubernetes cluster on loopback: the real control plane, and a node that runs pods as the rehearsal does.

etcd, kube-apiserver, kube-controller-manager and kube-scheduler are the real programs (`make kube-tools`).
The node's kubelet is ours: it starts each pod's container with the runner of the rehearsed cloud, as a plain
process or with Docker, and reports what becomes of it. Nodes of TPU pools are objects alone.
"""
