"""Media files: opened safely, probed, and decoded to pictures and sound on one clock."""
