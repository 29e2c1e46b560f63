"""Numbers only: tensors and arrays in, Result objects out."""
