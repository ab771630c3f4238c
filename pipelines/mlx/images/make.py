#!/usr/bin/env python3
"""Draws the images of vision.yaml beside this file, the same bytes every time.

Needs nothing but Python's own library.
"""

import pathlib
import struct
import zlib

SIDE = 224

WHITE, BLACK, RED, GREEN, BLUE, YELLOW = range(6)
PALETTE = bytes.fromhex("ffffff" "000000" "d62828" "2a9d3f" "1d5fd1" "f5c518")

# Five columns and seven rows each; the highest bit is the leftmost column.
FONT = {
    "1": "040c040404040e", "2": "0e11010204081f", "3": "1f02040201110e", "4": "02060a121f0202",
    "5": "1f101e0101110e", "7": "1f010204080808", "+": "0004041f040400", "=": "00001f001f0000",
    "A": "0e11111f111111", "D": "1c12111111121c", "E": "1f10101e10101f", "H": "1111111f111111",
    "I": "0e04040404040e", "R": "1e11111e141211", "S": "0f10100e01011e", "T": "1f040404040404",
}


class Picture:
    """Pixels, each an index into the palette."""

    def __init__(self, background):
        self.rows = [bytearray([background]) * SIDE for _ in range(SIDE)]

    def draw(self, colour, inside):
        """Colours every pixel whose middle is inside."""
        for y, row in enumerate(self.rows):
            for x in range(SIDE):
                if inside(x + 0.5, y + 0.5):
                    row[x] = colour

    def box(self, colour, left, top, width, height):
        self.draw(colour, lambda x, y: 0 < x - left < width and 0 < y - top < height)

    def disc(self, colour, middle_x, middle_y, radius):
        self.draw(colour, lambda x, y: (x - middle_x) ** 2 + (y - middle_y) ** 2 < radius**2)

    def triangle(self, colour, top_x, top_y, height):
        self.draw(colour, lambda x, y: 2 * abs(x - top_x) < y - top_y < height)

    def write(self, colour, text, top, scale):
        """A line of text, centred."""
        left = (SIDE - (6 * len(text) - 1) * scale) // 2
        for place, letter in enumerate(text):
            if letter == " ":
                continue
            for y, bits in enumerate(bytes.fromhex(FONT[letter])):
                for x in range(5):
                    if bits >> (4 - x) & 1:
                        pixel = left + (6 * place + x) * scale, top + y * scale
                        self.box(colour, *pixel, scale, scale)

    def png(self):
        def chunk(kind, data):
            body = kind + data
            return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

        head = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 3, 0, 0, 0)
        # Each row begins with the number of its filter: none.
        pixels = b"".join(b"\0" + row for row in self.rows)
        chunks = [(b"IHDR", head), (b"PLTE", PALETTE), (b"IDAT", zlib.compress(pixels, 9)), (b"IEND", b"")]
        return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in chunks)


def colours():
    picture = Picture(WHITE)
    for place, colour in enumerate([RED, YELLOW, GREEN, BLUE]):
        picture.box(colour, 0, 56 * place, SIDE, 56)
    return picture


def shapes():
    picture = Picture(WHITE)
    picture.disc(RED, 60, 62, 40)
    picture.box(BLUE, 124, 22, 80, 80)
    picture.triangle(GREEN, 112, 124, 80)
    return picture


def numbers():
    picture = Picture(YELLOW)
    picture.write(BLACK, "1 2 3", 40, 7)
    picture.write(BLUE, "47", 130, 9)
    return picture


def text():
    picture = Picture(WHITE)
    picture.write(BLACK, "READ", 50, 8)
    picture.write(RED, "THIS", 124, 8)
    return picture


def sum_():
    picture = Picture(GREEN)
    picture.write(WHITE, "2+3=5", 88, 7)
    return picture


def main():
    folder = pathlib.Path(__file__).parent
    for draw in [colours, shapes, numbers, text, sum_]:
        name = draw.__name__.strip("_")
        (folder / f"{name}.png").write_bytes(draw().png())


if __name__ == "__main__":
    main()
