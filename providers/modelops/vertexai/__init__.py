"""Vertex AI by its REST API v1: models, their deployments, custom jobs and pipeline runs.

What Google's own provider lacks, as resources of ours (`model`, `deployment`, `custom_job`, `pipeline_run`),
and the custom-job code that the runner of staging jobs shares with them (`custom_jobs`).
"""
