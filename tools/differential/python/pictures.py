"""A random picture of a seed, written to a path, and what Pillow reads in it, beside it as raw RGB."""
import io
import random
import struct
import zlib

from PIL import Image, ImageOps
from serve import serve

rng = random.Random()


def side():
    return rng.choice([1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 48, 64, rng.randint(1, 96)])


def noise(n):
    return rng.randbytes(n)


def smooth(w, h, channels):
    """Neither flat nor noise: lossy formats are compared within a tolerance."""
    steps = [(rng.uniform(-3, 3), rng.uniform(-3, 3), rng.randint(0, 255)) for _ in range(channels)]
    return bytes(int(min(255, max(0, a * x + b * y + c))) for y in range(h) for x in range(w) for a, b, c in steps)


def picture(mode, soft=False):
    w, h = side(), side()
    if mode == "1":
        return Image.frombytes("L", (w, h), noise(w * h)).convert("1")
    if mode == "P":
        im = Image.frombytes("P", (w, h), bytes(rng.randrange(colours := rng.choice([2, 3, 4, 16, 17, 200, 256])) for _ in range(w * h)))
        im.putpalette(noise(3 * colours))
        return im
    if mode == "I;16":
        kind = rng.choice(["low", "any", "any"])
        return Image.frombytes("I;16", (w, h), struct.pack(f"<{w * h}H", *(rng.randint(0, 300 if kind == "low" else 65535) for _ in range(w * h))))
    if mode == "I":
        return Image.frombytes("I", (w, h), struct.pack(f"<{w * h}i", *(rng.randint(-50, 400) for _ in range(w * h))))
    if mode == "F":
        return Image.frombytes("F", (w, h), struct.pack(f"<{w * h}f", *(rng.uniform(-50, 400) for _ in range(w * h))))
    channels = len(Image.new(mode, (1, 1)).getbands())
    return Image.frombytes(mode, (w, h), smooth(w, h, channels) if soft else noise(w * h * channels))


def exif(im):
    e = Image.Exif()
    e[0x0112] = rng.randint(1, 8)
    return {"exif": e}


def save(im, format, **options):
    out = io.BytesIO()
    im.save(out, format, **options)
    return out.getvalue()


def png():
    mode = rng.choice(["1", "L", "LA", "P", "Pt", "RGB", "RGBA", "I;16", "L", "RGB"])
    im = picture(mode[0] if mode == "Pt" else mode)
    options = exif(im) if rng.random() < 0.2 else {}
    if mode == "Pt":
        options["transparency"] = rng.choice([rng.randrange(2), noise(2)])
    elif mode in ("L", "RGB") and rng.random() < 0.3:
        pixel = im.getpixel((0, 0))
        options["transparency"] = pixel
    return f"png {mode}", save(im, "PNG", **options), 0


def png_by_hand():
    """What Pillow does not write: 16 bits of each kind, 2 and 4 bits, interlacing is left to others."""
    colour, bits = rng.choice([(0, 16), (0, 2), (0, 4), (0, 1), (2, 16), (4, 16), (6, 16), (3, 1), (3, 2), (3, 4)])
    w, h = side(), side()
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = (w * channels * bits + 7) // 8
    raw = b"".join(b"\0" + noise(row) for _ in range(h))
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    chunks = [chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, bits, colour, 0, 0, 0))]
    if rng.random() < 0.2:
        chunks.append(chunk(b"gAMA", struct.pack(">I", rng.choice([45455, 100000]))))
    if colour == 3:
        chunks.append(chunk(b"PLTE", noise(3 << bits)))
    if colour == 3 and rng.random() < 0.3:
        chunks.append(chunk(b"tRNS", noise(rng.randint(1, 1 << bits))))
    if colour == 0 and rng.random() < 0.3:
        chunks.append(chunk(b"tRNS", struct.pack(">H", rng.randrange(1 << bits))))
    chunks += [chunk(b"IDAT", zlib.compress(raw)), chunk(b"IEND", b"")]
    return f"png by hand {colour} {bits}", b"\x89PNG\r\n\x1a\n" + b"".join(chunks), 0


def jpeg():
    mode = rng.choice(["L", "RGB", "CMYK", "RGB"])
    im = picture(mode, soft=True)
    options = exif(im) if rng.random() < 0.3 else {}
    if mode == "RGB":
        options["subsampling"] = rng.choice([0, 1, 2])
    data = save(im, "JPEG", quality=rng.choice([60, 90, 100]), progressive=rng.random() < 0.3, **options)
    if mode == "CMYK" and rng.random() < 0.3:  # without Adobe's mark the inks are as they stand
        at = data.find(b"\xff\xee")
        if at > 0:
            data = data[:at] + data[at + 2 + struct.unpack(">H", data[at + 2 : at + 4])[0] :]
            mode = "CMYK plain"
    return f"jpeg {mode}", data, 0 if mode == "L" else 3


def tiff():
    mode = rng.choice(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "YCbCr"])
    im = picture(mode)
    compression = rng.choice([None, None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
    soft = mode in ("L", "RGB") and rng.random() < 0.2
    if soft:
        compression, im = "jpeg", picture(mode, soft=True)
    if mode == "1" and rng.random() < 0.5:
        compression = "group4"
    options = {} if compression is None else {"compression": compression}
    if rng.random() < 0.3:
        options.update(rng.choice([{"tiffinfo": {274: rng.randint(1, 8)}}, exif(im)]))
    if compression is None or compression != "group4":
        if rng.random() < 0.2 and mode in ("L", "RGB", "RGBA", "CMYK"):
            options["big_tiff"] = True
    return f"tiff {mode} {compression}", save(im, "TIFF", **options), 3 if soft else 0


def tiff_by_hand():
    """Big-endian, white is zero, separate planes, 16 bits, in strips."""
    kind = rng.choice(["white0", "white0 1", "rgb16", "grey16", "cmyk", "rgb", "grey4", "cmyk16", "rgba16"])
    order = rng.choice("<>")
    w, h = side(), side()
    bits = {"grey4": 4, "white0 1": 1, "rgb16": 16, "grey16": 16, "cmyk16": 16, "rgba16": 16}.get(kind, 8)
    n = {"rgb": 3, "rgb16": 3, "cmyk": 4, "cmyk16": 4, "rgba16": 4}.get(kind, 1)
    photometric = {"white0": 0, "white0 1": 0, "rgb": 2, "rgb16": 2, "rgba16": 2, "cmyk": 5, "cmyk16": 5}.get(kind, 1)
    planar = 2 if kind in ("rgb", "cmyk") and rng.random() < 0.4 else 1
    row = (w * bits * (1 if planar == 2 else n) + 7) // 8
    data = noise(row * h * (n if planar == 2 else 1))
    strips = n if planar == 2 else 1
    entries = [
        (256, 3, [w]), (257, 3, [h]), (258, 3, [bits] * n), (259, 3, [1]), (262, 3, [photometric]),
        (273, 4, [8 + i * row * h for i in range(strips)]), (274, 3, [rng.choice([1, 1, 1, 3, 6, 8])]), (277, 3, [n]), (278, 3, [h]),
        (279, 4, [row * h] * strips), (284, 3, [planar]),
    ]
    if kind == "rgba16":
        entries.append((338, 3, [2]))
    data += b"\0" * (len(data) & 1)
    at = 8 + len(data)
    more, ifd = b"", struct.pack(order + "H", len(entries))
    beyond = at + 2 + 12 * len(entries) + 4
    for tag, type_, values in entries:
        packed = struct.pack(order + str(len(values)) + {3: "H", 4: "I"}[type_], *values)
        if len(packed) > 4:
            ifd += struct.pack(order + "HHII", tag, type_, len(values), beyond + len(more))
            more += packed
        else:
            ifd += struct.pack(order + "HHI", tag, type_, len(values)) + packed.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", at)
    return f"tiff by hand {kind} {planar}", head + data + ifd + struct.pack(order + "I", 0) + more, 0


def gif():
    kind = rng.choice(["opaque", "transparent", "grey", "animated", "part"])
    if kind == "grey":
        return "gif grey", save(picture("L"), "GIF", interlace=rng.random() < 0.5), 0
    im = picture("P")
    options = {"interlace": rng.random() < 0.5}
    if kind in ("transparent", "animated", "part"):
        options["transparency"] = rng.choice([0, 1])
    if kind == "animated":
        more = [Image.frombytes("P", im.size, bytes(rng.randrange(2) for _ in range(im.width * im.height))) for _ in range(rng.randint(1, 3))]
        for one in more:
            one.putpalette(im.getpalette())
        options.update(save_all=True, append_images=more, disposal=rng.choice([0, 1, 2, 3]), duration=50)
    data = bytearray(save(im, "GIF", **options))
    if kind == "part":  # the screen is larger than the picture
        w, h = struct.unpack("<HH", data[6:10])
        data[6:10] = struct.pack("<HH", w + rng.randint(0, 5), h + rng.randint(0, 5))
        if rng.random() < 0.5:
            at = data.find(b"\x21\xf9\x04")
            if at > 0:
                del data[at : at + 8]
                kind = "part opaque"
    return f"gif {kind}", bytes(data), 0


def webp():
    mode = rng.choice(["RGB", "RGBA", "L"])
    lossless = rng.random() < 0.6
    im = picture(mode, soft=not lossless)
    options = exif(im) if rng.random() < 0.2 else {}
    return f"webp {mode} {'lossless' if lossless else 'lossy'}", save(im, "WEBP", lossless=lossless, exact=True, **options), 0 if lossless else 3


def bmp():
    top_down = rng.random() < 0.3
    header = rng.choice([12, 40, 40, 52, 56, 64, 108, 124])
    bits = rng.choice([1, 4, 8, 24] if header == 12 else [1, 4, 8, 16, 24, 32])
    w, h = side(), side()
    if header == 12:
        top_down = False
    compression = 0
    masks = None
    if header in (40, 52, 56, 108, 124) and bits in (16, 32) and rng.random() < 0.6:
        compression = 3
        masks = rng.choice(
            [(0xF800, 0x7E0, 0x1F, 0), (0x7C00, 0x3E0, 0x1F, 0)]
            if bits == 16
            else [(0xFF0000, 0xFF00, 0xFF, 0), (0xFF000000, 0xFF0000, 0xFF00, 0), (0xFF0000, 0xFF00, 0xFF, 0xFF000000), (0xFF, 0xFF00, 0xFF0000, 0xFF000000)]
        )
        if header in (40, 52):
            masks = masks[:3] + (0,)
            if bits == 32 and masks[0] == 0xFF:
                masks = (0xFF0000, 0xFF00, 0xFF, 0)
    rle = header in (40, 108, 124) and bits in (4, 8) and not top_down and rng.random() < 0.5
    colours = rng.choice([0, 0, rng.randint(2, 1 << bits)]) if bits <= 8 and header != 12 and bits > 1 else 0
    entries = (colours or 1 << bits) if bits <= 8 else 0
    if rle:
        compression = 1 if bits == 8 else 2
        data = runs(w, h, bits, entries)
    else:
        stride = (w * bits + 31) // 32 * 4
        if bits <= 8:
            rows = []
            for _ in range(h):
                row = 0
                values = [rng.randrange(entries) for _ in range(w)]
                for v in values:
                    row = row << bits | v
                row <<= stride * 8 - w * bits
                rows.append(row.to_bytes(stride, "big"))
            data = b"".join(rows)
        else:
            data = noise(stride * h)
    if header == 12:
        info = struct.pack("<IHHHH", 12, w, h, 1, bits)
    else:
        info = struct.pack("<IiiHHIIiiII", header, w, -h if top_down else h, 1, bits, compression, len(data), 2835, 2835, colours, 0)
        if header > 40:
            extra = struct.pack("<IIII", *masks) if masks else b"\0" * 16
            info = (info + extra + b"\0" * 100)[:header]
    after = struct.pack("<III", *masks[:3]) if masks and header == 40 else b""
    if colours > 2 and not rle and rng.random() < 0.2:
        entries = colours = colours - 1  # an index without an entry
        info = info[:32] + struct.pack("<I", colours) + info[36:]
    grey = bits <= 8 and rng.random() < 0.2
    size = 3 if header == 12 else 4
    palette = b"".join((bytes([i * 255 // max(1, entries - 1)] * 3) if grey else noise(3)) + b"\0" * (size - 3) for i in range(entries))
    gap = noise(rng.choice([0, 0, 4])) if bits > 8 else b""
    at = 14 + len(info) + len(after) + len(palette) + len(gap)
    whole = b"BM" + struct.pack("<IHHI", at + len(data), 0, 0, at) + info + after + palette + gap + data
    return f"bmp {header} {bits} {compression}{' down' if top_down else ''}", whole, 0


def runs(w, h, bits, entries):
    out = bytearray()
    top = min(entries, 1 << bits)
    for _ in range(h):
        x = 0
        while x < w:
            n = rng.randint(1, min(255, w - x))
            if rng.random() < 0.5 or n < 3 or (bits == 4 and n % 4):
                value = rng.randrange(top) if bits == 8 else rng.randrange(top) << 4 | rng.randrange(top)
                out += bytes([n, value])
            elif bits == 8:
                out += bytes([0, n]) + bytes(rng.randrange(top) for _ in range(n)) + b"\0" * (n & 1)
            else:
                out += bytes([0, n]) + bytes(rng.randrange(top) << 4 | rng.randrange(top) for _ in range(n // 2))
            x += n
        out += b"\0\0"
    return bytes(out + b"\0\1")


def resized():
    """A shape and what it is resized to, strips and huge ratios among them."""
    shape = rng.random()
    if shape < 0.35:
        w, h = rng.choice([1, 2, 3, 5]), rng.randint(100, 1500)
    elif shape < 0.5:
        w, h = rng.randint(100, 1500), rng.choice([1, 2, 3, 5])
    else:
        w, h = rng.randint(1, 120), rng.randint(1, 120)
    im = Image.frombytes("RGB", (w, h), noise(3 * w * h))
    to = (rng.choice([1, 2, 7, 24, 33, w, rng.randint(1, 80)]), rng.choice([1, 3, 8, 24, 33, h, rng.randint(1, 80)]))
    filter_ = rng.randrange(6)
    return im, to, filter_


KINDS = [png, png_by_hand, jpeg, tiff, tiff_by_hand, gif, webp, bmp, bmp]


def answer(question):
    rng.seed(question["seed"])
    path = question["path"]
    if rng.random() < 0.25:
        im, to, filter_ = resized()
        made = im.resize(to, filter_)
        open(path, "wb").write(im.tobytes())
        open(f"{path}.rgb", "wb").write(made.tobytes())
        return {"kind": f"resize {filter_}", "from": im.size, "to": to, "filter": filter_}
    kind, data, tolerance = rng.choice(KINDS)()
    open(path, "wb").write(data)
    line = {"kind": kind, "tolerance": tolerance}
    try:
        made = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    except Exception as error:  # noqa: BLE001 whatever Pillow says no with
        return {**line, "refused": f"{type(error).__name__}: {error}"}
    open(f"{path}.rgb", "wb").write(made.tobytes())
    return {**line, "size": made.size}


serve(answer)
