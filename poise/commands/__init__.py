"""One module for each command: its options, the call into the library, and how the result is shown.

A command imports its stage inside the function, so that ``poise -h`` loads none of the heavy packages.
"""
