"""Where training clips come from: rendered from the storybook, and kept on disk as pixels and as latents."""

from vitascope.data.clips import Clips, story_clips
from vitascope.data.latents import Latents, encode_clips

__all__ = ["Clips", "Latents", "encode_clips", "story_clips"]
