"""PNG made small, with a palette of 256 colours, which is enough for text and plots (PNG specification, 3rd edition)."""

import collections
import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {2: 3, 6: 4}  # colour type: bytes a pixel


def small(png):
    """The same image with a palette."""
    width, height, pixels = read(png)
    counted = collections.Counter(pixels)
    # Of colours that hardly differ the most frequent one, so that a small patch of another colour keeps its own.
    alike = {}
    for colour, _ in counted.most_common():
        alike.setdefault(tuple(part >> 4 for part in colour), []).append(colour)
    firsts = [colours[0] for colours in alike.values()]
    palette = [*firsts, *(colour for colour, _ in counted.most_common() if colour not in firsts)][:256]
    index = {colour: nearest(palette, colour) for colour in counted}
    rows = b"".join(b"\0" + bytes(index[pixel] for pixel in pixels[row * width : (row + 1) * width]) for row in range(height))
    header = struct.pack("!IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = [(b"IHDR", header), (b"PLTE", b"".join(palette)), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")]
    return SIGNATURE + b"".join(struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data)) for kind, data in parts)


def nearest(palette, colour):
    """Where the palette has the colour, or the one that differs least."""
    return min(range(len(palette)), key=lambda at: sum((one - other) ** 2 for one, other in zip(palette[at], colour)))


def read(png):
    """Width, height and the pixels as three bytes each, of an image as browsers write it: 8 bits a channel, not interlaced."""
    parts = list(chunks(png))
    width, height, _, kind = struct.unpack("!IIBB", parts[0][1][:10])
    size = CHANNELS[kind]
    raw = zlib.decompress(b"".join(data for name, data in parts if name == b"IDAT"))
    stride, above, pixels = width * size, bytearray(width * size), []
    for at in range(0, len(raw), stride + 1):
        above = unfiltered(raw[at], bytearray(raw[at + 1 : at + 1 + stride]), above, size)
        pixels += [bytes(above[start : start + 3]) for start in range(0, stride, size)]
    return width, height, pixels


def chunks(png):
    at = len(SIGNATURE)
    while at < len(png):
        length, name = struct.unpack_from("!I4s", png, at)
        yield name, png[at + 8 : at + 8 + length]
        at += 12 + length


def unfiltered(kind, line, above, size):
    """A line of pixels as it was before its filter."""
    for at in range(len(line)):
        left, corner = (line[at - size], above[at - size]) if at >= size else (0, 0)
        guess = (0, left, above[at], (left + above[at]) // 2, paeth(left, above[at], corner))[kind]
        line[at] = (line[at] + guess) & 255
    return line


def paeth(left, up, corner):
    estimate = left + up - corner
    return min((left, up, corner), key=lambda each: abs(estimate - each))
