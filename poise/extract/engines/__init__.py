"""Where a run decodes and encodes; the bookkeeping is the same for all of them."""
