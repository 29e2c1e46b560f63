"""visionjobs: computer-vision training jobs that run the same on a laptop, on one GPU and on a Kubernetes cluster."""

__version__ = "0.1.0"
