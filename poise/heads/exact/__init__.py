"""Exact heads: penalised linear models solved to their optimum, many at once, in the span of the training rows."""
