"""Training pictures from fixed cameras: every place, light, camera and crowd another one.

places  where it is, and who may be where
mood    by what light
textures, walls, backdrop, collage  what stands still behind
crowd   who is there
night, lens  lamps, and what a camera adds
demo    the street of `demo:street` itself
sample  one picture of all this, with its truth
"""

from streamvision.capture.street.variety.sample import street_sample

__all__ = ["street_sample"]
