"""The test pattern: grey bars, the camera's name, the time, and the object as a light box. Plain bytes, no imaging library."""

from __future__ import annotations

GLYPHS = {
    "0": "75557", "1": "26227", "2": "71747", "3": "71717", "4": "55711", "5": "74717", "6": "74757", "7": "71111",
    "8": "75757", "9": "75717", "A": "25755", "B": "65656", "C": "34443", "D": "65556", "E": "74647", "F": "74644",
    "G": "34553", "H": "55755", "I": "72227", "J": "11152", "K": "55655", "L": "44447", "M": "57755", "N": "65555",
    "O": "25552", "P": "65644", "Q": "25563", "R": "65655", "S": "34216", "T": "72222", "U": "55557", "V": "55552",
    "W": "55775", "X": "55255", "Y": "55222", "Z": "71247", "-": "00700", ":": "02020", ".": "00002", "_": "00007",
    " ": "00000",
}  # fmt: skip
"""A font of 3 by 5 dots: five octal digits, one per row, whose bits are the dots from left to right."""

_INK, _PAPER, _BOX = 235, 16, 200
_MARGIN = 8


def text_rows(text: str, scale: int) -> list[bytes]:
    """`text` as five rows of luma values, each dot `scale` values wide and a dot's space after each character."""
    rows = []
    for row in range(5):
        dots = bytearray()
        for character in text.upper():
            bits = int(GLYPHS.get(character, GLYPHS["-"])[row])
            for bit in (4, 2, 1, 0):
                dots += bytes((_INK if bits & bit else _PAPER,)) * scale
        rows.append(bytes(dots))
    return rows


class Pattern:
    """Draws luma planes of `stride` bytes a row; the name and the bars are drawn once, the time and the box for each frame."""

    def __init__(self, width: int, height: int, stride: int, name: str) -> None:
        self.width, self.height, self.stride = width, height, stride
        bars = bytes(40 + 20 * (8 * x // width) for x in range(width)) + bytes(stride - width)
        self._background = bytearray(bars * height)
        self._scale = max(1, width // 128)
        self._write(self._background, _MARGIN, name)

    def _write(self, plane: bytearray, top: int, text: str) -> None:
        for row, dots in enumerate(text_rows(text, self._scale)):
            fitting = dots[: self.width - _MARGIN]
            for line in range(self._scale):
                at = (top + row * self._scale + line) * self.stride + _MARGIN
                plane[at : at + len(fitting)] = fitting

    def draw(self, clock: str, box: tuple[int, int, int, int] | None) -> bytearray:
        """One luma plane with the time as text, and the object's box (left, top, width, height) where there is one."""
        plane = bytearray(self._background)
        if box is not None:
            left, top, width, height = box
            row = bytes((_BOX,)) * width
            for at in range(top * self.stride + left, (top + height) * self.stride + left, self.stride):
                plane[at : at + width] = row
        self._write(plane, _MARGIN + 7 * self._scale, clock)
        return plane
