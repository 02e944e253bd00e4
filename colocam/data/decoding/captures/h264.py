"""H.264: the sequence parameter set (SPS), without decoding a frame.

Syntax: ITU-T H.264, 7.3.2.1.1 and E.1.1; byte stream: annex B; in files: ISO/IEC 14496-15, 5.3.3.1.
"""

from __future__ import annotations

from typing import NamedTuple

_SPS = 7  # type of a network abstraction layer (NAL) unit
_PROFILES_WITH_CHROMA_FORMAT = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}
_UNSPECIFIED = 2  # color space
_EXTENDED_SAR = 255


class SequenceParameters(NamedTuple):
    """What an SPS states.

    Attributes:
        frame_mbs_only: whether there are neither fields nor macroblock pairs of fields: no frame is
            interlaced.
        colorspace: matrix_coefficients, the color space as FFmpeg numbers it.
    """

    frame_mbs_only: bool
    colorspace: int


def read_sps(extradata: bytes | None) -> SequenceParameters | None:
    """Reads the first SPS of a stream.

    Args:
        extradata: parameter sets of the stream, in either format.

    Returns:
        What it states; None if there is no valid SPS.
    """
    data = bytes(extradata or b"")
    try:
        sps = data[8:] if is_for_all_frames(data) else _first_sps(data)
        return _parse(_Bits(sps.replace(b"\0\0\3", b"\0\0")))
    except (IndexError, ValueError):
        return None


def is_for_all_frames(extradata: bytes | None) -> bool:
    """Returns whether the parameter sets are those of a file, which has them outside of frames."""
    return (
        extradata is not None and extradata[:1] == b"\1"
    )  # version of the decoder configuration record


def _first_sps(data: bytes) -> bytes:
    """Returns the first SPS of a byte stream."""
    for unit in data.split(b"\0\0\1")[1:]:
        if unit[0] & 31 == _SPS:
            return unit
    raise ValueError("no SPS")


class _Bits:
    """Reads bits; IndexError at the end."""

    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 0

    def read(self, count: int = 1) -> int:
        """Reads an unsigned number of `count` bits."""
        value = 0
        for _ in range(count):
            byte, bit = divmod(self.position, 8)
            value = value << 1 | self.data[byte] >> (7 - bit) & 1
            self.position += 1
        return value

    def exp_golomb(self) -> int:
        """Reads an unsigned exponential-Golomb code."""
        zeros = 0
        while not self.read():
            zeros += 1
        return (1 << zeros) - 1 + self.read(zeros)

    def signed_exp_golomb(self) -> int:
        """Reads a signed exponential-Golomb code."""
        code = self.exp_golomb()
        return (code + 1) // 2 if code % 2 else -code // 2


def _parse(bits: _Bits) -> SequenceParameters:
    """Parses an SPS up to the color space."""
    if bits.read(8) & 31 != _SPS:
        raise ValueError("not an SPS")
    profile, _ = bits.read(8), bits.read(16)  # constraints, level
    bits.exp_golomb()  # seq_parameter_set_id
    if profile in _PROFILES_WITH_CHROMA_FORMAT:
        _skip_chroma_format(bits)
    bits.exp_golomb()  # log2_max_frame_num_minus4
    order_type = bits.exp_golomb()
    if order_type == 0:
        bits.exp_golomb()  # log2_max_pic_order_cnt_lsb_minus4
    elif order_type == 1:
        bits.read()
        bits.exp_golomb(), bits.exp_golomb()
        for _ in range(bits.exp_golomb()):
            bits.exp_golomb()
    bits.exp_golomb()  # max_num_ref_frames
    bits.read()
    bits.exp_golomb(), bits.exp_golomb()  # width and height in macroblocks
    frame_mbs_only = bits.read()
    bits.read(1 if frame_mbs_only else 2)
    if bits.read():  # frame_cropping_flag
        for _ in range(4):
            bits.exp_golomb()
    colorspace = _colorspace(bits) if bits.read() else _UNSPECIFIED
    return SequenceParameters(bool(frame_mbs_only), colorspace)


def _colorspace(bits: _Bits) -> int:
    """Parses video usability information up to matrix_coefficients."""
    if bits.read() and bits.read(8) == _EXTENDED_SAR:
        bits.read(32)
    if bits.read():  # overscan_info_present_flag
        bits.read()
    if not bits.read():  # video_signal_type_present_flag
        return _UNSPECIFIED
    bits.read(4)  # video_format, video_full_range_flag
    if not bits.read():  # colour_description_present_flag
        return _UNSPECIFIED
    bits.read(16)  # colour_primaries, transfer_characteristics
    return bits.read(8)


def _skip_chroma_format(bits: _Bits) -> None:
    """Skips chroma format, bit depths and scaling matrices."""
    chroma_format = bits.exp_golomb()
    if chroma_format == 3:
        bits.read()
    bits.exp_golomb(), bits.exp_golomb(), bits.read()
    if bits.read():  # seq_scaling_matrix_present_flag
        for matrix in range(12 if chroma_format == 3 else 8):
            if bits.read():
                _skip_scaling_list(bits, 16 if matrix < 6 else 64)


def _skip_scaling_list(bits: _Bits, length: int) -> None:
    scale = 8
    for _ in range(length):
        scale = (scale + bits.signed_exp_golomb()) % 256
        if scale == 0:  # the rest repeats the last value
            return
