"""Where a run decodes and encodes: on this machine, or on a Ray cluster. The bookkeeping is the same for both."""
