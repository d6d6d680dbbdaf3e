"""The mutation check: with any single rule of the plan or of the stand-in taken away, a test fails.

`python -m tests.mutation` finds every rule by its form in the source, takes away one at a time, and runs the
unit tests that bring that rule about. A rule that no test misses is a survivor, and fails the check. Nothing
is written to the working tree: rules are taken away in memory, in forked processes.
"""
