"""Where training clips come from: the storybook, or somebody's films; kept on disk as pixels and as latents."""

from vitascope.data.clips import Clips, StoryClips, story_clips
from vitascope.data.folder import Listing, listing
from vitascope.data.latents import Latents, encode_clips
from vitascope.data.own import OwnClips, own_clips

__all__ = [
    "Clips",
    "Latents",
    "Listing",
    "OwnClips",
    "StoryClips",
    "encode_clips",
    "listing",
    "own_clips",
    "story_clips",
]
