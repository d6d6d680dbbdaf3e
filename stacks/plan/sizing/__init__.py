"""How much memory a model needs, term by term, and the smallest machine that has it.

One module for each purpose: `serving` (a container, a GPU, GPUs that share a model), `staging`, `streaming`
(a Dataflow worker), `training` and `tpu`. Each lists `SizingLine`s, every one with its arithmetic; terms
marked "assumed" are estimates of this project, not figures of Google or of a library's documentation, and
terms marked "measured" say what was measured.
"""
