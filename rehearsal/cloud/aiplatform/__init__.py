"""Vertex AI v1 in the rehearsed cloud: models, endpoints, deployments, jobs, pipelines, metadata stores.

`methods` has the handlers of the REST face, by method id of Google's discovery document.
"""
