"""Neural heads: small networks on pooled rows or on clips, trained as stacks. Importing a module here loads torch."""
