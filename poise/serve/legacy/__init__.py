"""Bundles of older software: a ZIP that holds the weights of a small network as ``torch.save`` wrote them."""

from poise.serve.legacy.older import Older, read_older
from poise.serve.legacy.recipe import list_differences

__all__ = ["Older", "list_differences", "read_older"]
