"""Reading ahead of the encoders, in processes of their own that may crash, hang or be killed."""
