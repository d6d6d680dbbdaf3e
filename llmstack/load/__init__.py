"""Load tests of a deployment: what is sent when, what came back, and how that is summed up."""
