"""The benchmark of images/weights; see bench/README.md."""
