"""The files of a store: how HDF5 is read safely, what a segment holds, and the index that is derived from segments."""
