"""Settings of a built-in clip set: size, appearance and effects."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Effects:
    """Effects in the clips; each can be switched off.

    Attributes:
        telling_part: the glyph that identifies the class; off: all classes look alike.
        material: shading and strokes on bodies; off: flat colour.
        video_colors: body colours drawn per video; off: one colour for all.
        texture: textured background; off: flat.
        distractors: flat-coloured shapes without glyph and material in the background.
        camera_motion: the background pans and zooms.
        object_motion: the object moves from frame to frame.
        scale_change: the object changes its size along the shot.
        brightness_drift: the brightness changes along the shot.
        jpeg: JPEG artefacts (quality 80; off: 100).
        empty_frames: some shots have frames without the object.
    """

    telling_part: bool = True
    material: bool = True
    video_colors: bool = True
    texture: bool = True
    distractors: bool = True
    camera_motion: bool = True
    object_motion: bool = True
    scale_change: bool = True
    brightness_drift: bool = True
    jpeg: bool = True
    empty_frames: bool = True


@dataclass(frozen=True)
class ClipSet:
    """Settings of a built-in clip set.

    Attributes:
        seed: seed of all random draws.
        width: of a frame, pixels.
        height: of a frame, pixels.
        videos: number of videos per class in train, val and test.
        shots: minimum and maximum number of shots per video.
        frames: minimum and maximum number of frames of a short shot.
        long_frames: minimum and maximum number of frames of a long shot; one shot in five is long.
        boxed: number of frames with boxes per shot, in val and test.
        length: minimum and maximum length of a body, as a share of the frame's shorter side.
        aspect: minimum and maximum ratio of a body's length to its width.
        part_place: position of the glyph along the body: 0 its middle, 1 its end.
        effects: effects in the clips.
    """

    seed: int = 0
    width: int = 144
    height: int = 108
    videos: tuple[int, int, int] = (90, 10, 12)
    shots: tuple[int, int] = (1, 2)
    frames: tuple[int, int] = (10, 16)
    long_frames: tuple[int, int] = (30, 36)
    boxed: int = 5
    length: tuple[float, float] = (0.4, 0.8)
    aspect: tuple[float, float] = (1.4, 2.2)
    part_place: float = 0.4
    effects: Effects = field(default_factory=Effects)
