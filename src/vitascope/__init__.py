"""vitascope: a prompt becomes a video by walking a learned vector field from noise to data."""

__version__ = "0.1.0"
