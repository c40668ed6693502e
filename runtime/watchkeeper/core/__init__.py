"""The words of the product: what exists, what is said about it, what may be asked. Pure."""
