// A decoded picture as RGB, in a binary PPM: planes of any depth and chroma, the matrix that the film names, chroma between its samples as lib/media/y4m.ts has it.

/** By WebCodecs' names: Kr and Kb of ITU-T H.273, table 4. A film that names none has BT.601's, as ffmpeg takes it. */
const MATRICES = { bt709: [0.2126, 0.0722], "bt2020-ncl": [0.2627, 0.0593] };
const BT601 = [0.299, 0.114];

export async function ppmOf(frame, mostPixels) {
  const { width, height, x, y } = frame.visibleRect;
  if (width * height > mostPixels) throw new Error(`a picture of ${width} × ${height}, more than ${mostPixels} pixels`);
  const head = Buffer.from(`P6 ${width} ${height} 255\n`);
  const out = Buffer.alloc(head.length + 3 * width * height);
  head.copy(out);
  const form = /^(I4(\d)(\d)A?|NV12|NV21)(?:P(\d+))?$/.exec(frame.format ?? "");
  const bytes = new Uint8Array(frame.allocationSize());
  const planes = await frame.copyTo(bytes);
  if (form) fromYuv(out.subarray(head.length), { frame, form, bytes, planes, width, height });
  else if (/^(RGB|BGR)[AX]$/.test(frame.format ?? "")) fromRgb(out.subarray(head.length), { frame, bytes, planes, width, height });
  else throw new Error(`pictures of ${frame.format}, at ${x}, ${y}`);
  return out;
}

function fromRgb(out, { frame, bytes, planes, width, height }) {
  const [red, blue] = frame.format.startsWith("RGB") ? [0, 2] : [2, 0];
  for (let row = 0, at = 0; row < height; ++row)
    for (let i = planes[0].offset + row * planes[0].stride, end = i + 4 * width; i < end; i += 4) {
      out[at++] = bytes[i + red];
      out[at++] = bytes[i + 1];
      out[at++] = bytes[i + blue];
    }
}

/** Chroma samples below and above each of luma, and the part of the upper. */
function between(luma, chroma, step, offset) {
  const [low, high, part] = [new Int32Array(luma), new Int32Array(luma), new Float64Array(luma)];
  for (let i = 0; i < luma; ++i) {
    const place = Math.min(Math.max((i - offset) / step, 0), chroma - 1);
    low[i] = Math.floor(place);
    high[i] = Math.min(chroma - 1, low[i] + 1);
    part[i] = place - low[i];
  }
  return { low, high, part };
}

function fromYuv(out, { frame, form, bytes, planes, width, height }) {
  const isPacked = form[1].startsWith("NV");
  const [stepX, stepY] = isPacked || form[1].startsWith("I420") ? [2, 2] : form[1].startsWith("I422") ? [2, 1] : [1, 1];
  const [columns, rows] = [Math.ceil(width / stepX), Math.ceil(height / stepY)];
  const isDeep = form[4] !== undefined;
  const shift = 2 ** (isDeep ? Number(form[4]) - 8 : 0);
  const values = isDeep ? new Uint16Array(bytes.buffer, 0, bytes.length >> 1) : bytes;
  const size = isDeep ? 2 : 1;
  const plane = (p, offset = 0, step = 1) => {
    const { offset: from, stride } = planes[p];
    return (row, column) => values[(from + row * stride) / size + offset + column * step] / shift;
  };
  const [first, second] = form[1] === "NV21" ? [1, 0] : [0, 1];
  const luma = plane(0);
  const u = isPacked ? plane(1, first, 2) : plane(1);
  const v = isPacked ? plane(1, second, 2) : plane(2);
  const { matrix, fullRange } = frame.colorSpace;
  const [kr, kb] = MATRICES[matrix] ?? BT601;
  const [black, scale, chroma] = fullRange ? [0, 1, 1] : [16, 255 / 219, 255 / 224];
  const [toRed, toBlue] = [2 * (1 - kr) * chroma, 2 * (1 - kb) * chroma];
  const [greenU, greenV] = [(toBlue * kb) / (1 - kr - kb), (toRed * kr) / (1 - kr - kb)];
  const across = between(width, columns, stepX, 0);
  const down = between(height, rows, stepY, stepY === 2 ? 0.5 : 0);
  const [lineU, lineV] = [new Float64Array(columns), new Float64Array(columns)];
  for (let row = 0, at = 0; row < height; ++row) {
    const [above, below, part] = [down.low[row], down.high[row], down.part[row]];
    for (let c = 0; c < columns; ++c) {
      lineU[c] = (1 - part) * u(above, c) + part * u(below, c) - 128;
      lineV[c] = (1 - part) * v(above, c) + part * v(below, c) - 128;
    }
    for (let column = 0; column < width; ++column) {
      const [left, right, t] = [across.low[column], across.high[column], across.part[column]];
      const [cb, cr] = [(1 - t) * lineU[left] + t * lineU[right], (1 - t) * lineV[left] + t * lineV[right]];
      const l = (luma(row, column) - black) * scale;
      out[at++] = toByte(l + toRed * cr);
      out[at++] = toByte(l - greenU * cb - greenV * cr);
      out[at++] = toByte(l + toBlue * cb);
    }
  }
}

const toByte = (value) => (value <= 0 ? 0 : value >= 255 ? 255 : Math.round(value));
