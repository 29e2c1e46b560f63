"""A finished run's model in use: what it says of images, and the model as one file for other programs."""
