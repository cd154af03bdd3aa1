"""The words of the whole world: how each label can be said, by topic.

Everything that a caption of that world can contain stands in these tables, in capitals, so that `captions.vocabulary` is
read off them: `things` (who), `deeds` (does what; verbs in their plain form), `settings` (where, when, in which weather and
mood) and `telling` (how a sentence is built, what the camera does). What stands twice is said twice as often. Where a word
serves two attributes ("the camera follows the fox", "a dog follows a cat"), the rest of the phrase tells which is meant.
"""
