"""Our Pulumi provider, for what Google's provider lacks.

Resources, by token (`providers.modelops.provider.RESOURCES`):
- `modelops:index:StagedModel`: a model's files in a bucket, put there by a job of Cloud Run, Vertex AI or a
  cluster.
- `modelops:vertex:Model`, `ModelDeployment`, `CustomJob`, `PipelineRun`: what Google's provider lacks of
  Vertex AI.
"""
