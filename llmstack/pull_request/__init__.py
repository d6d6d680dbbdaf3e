"""What a pull request shows: one comment for all stacks, made once and updated from then on."""
