"""Postprocessing of score maps along a video; causal, reset at every cut.

- `settings`: what is applied, `Postprocessing`
- `refinement`: refinement by the joint CRF over the last frames
- `smoothing`: running mean
- `video_scores`: postprocessed maps of single frames, from the earlier frames of their videos
"""

from colocam.postprocessing.refinement import Refinement
from colocam.postprocessing.settings import NO_POSTPROCESSING, Postprocessing
from colocam.postprocessing.smoothing import Smoothing

__all__ = ["NO_POSTPROCESSING", "Postprocessing", "Refinement", "Smoothing"]
