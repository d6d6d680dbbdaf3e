"""What the workflows do with a real stack: preview it for a pull request, bring it up after a merge."""
