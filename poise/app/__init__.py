"""The app of ``poise app``: a recording in, a level out, when in the answer it came from, and when not to believe it.

Modules without Streamlit are tested alone; pages and panels only place what those make.
"""
