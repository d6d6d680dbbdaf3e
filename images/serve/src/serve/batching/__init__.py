"""What engines share: a request's answer, who runs with whom, and the loop over batches."""
