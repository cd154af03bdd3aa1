"""What Wan reads of a prompt: cleaning, SentencePiece's tokens, UMT5's states, and a place on disk where they are kept."""

from vitascope.wan_text.cleaning import clean, left_undone
from vitascope.wan_text.encoder import LENGTH, StreamedUMT5, UMT5Text, footprint
from vitascope.wan_text.kept import Kept, kept_folder
from vitascope.wan_text.tokens import T5Words

__all__ = ["LENGTH", "Kept", "StreamedUMT5", "T5Words", "UMT5Text", "clean", "footprint", "kept_folder", "left_undone"]
