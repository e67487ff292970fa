/**
 * PNG, written here: a canvas may manage colours, premultiply or (against fingerprinting) change pixels, and what
 * leaves must be the converter's bytes. 8-bit RGB, no metadata.
 */
import { type Bytes, concat, toUtf8 } from "./bytes.js";

const SIGNATURE = Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10);

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

function crc32(bytes: Uint8Array): number {
  let value = 0xffffffff;
  for (const byte of bytes) value = (CRC_TABLE[(value ^ byte) & 255] ?? 0) ^ (value >>> 8);
  return ~value >>> 0;
}

function chunk(type: string, data: Uint8Array): Bytes {
  const body = concat([toUtf8(type), data]);
  const frame = new DataView(new ArrayBuffer(8));
  frame.setUint32(0, data.length);
  frame.setUint32(4, crc32(body));
  return concat([new Uint8Array(frame.buffer, 0, 4), body, new Uint8Array(frame.buffer, 4, 4)]);
}

async function deflate(bytes: Bytes): Promise<Bytes> {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Rows with PNG's filter byte before each: 0 leaves a row as it is, 2 subtracts the row above. */
function filtered(pixels: Uint8Array, height: number, width: number, filter: 0 | 2): Bytes {
  const step = 3 * width;
  const rows = new Uint8Array(height * (step + 1));
  for (let row = 0; row < height; row++) {
    const start = row * (step + 1) + 1;
    rows[start - 1] = filter;
    for (let place = 0; place < step; place++) {
      const here = row * step + place;
      const above = filter && row ? (pixels[here - step] ?? 0) : 0;
      rows[start + place] = (pixels[here] ?? 0) - above;
    }
  }
  return rows;
}

/**
 * Encodes one image.
 *
 * @param pixels RGB, height x width x 3 bytes.
 */
export async function encodePng(pixels: Uint8Array, height: number, width: number): Promise<Bytes> {
  if (pixels.length !== height * width * 3 || !height || !width)
    throw new RangeError("the pixels are not of that size");
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, width);
  header.setUint32(4, height);
  header.setUint8(8, 8); // bits a channel
  header.setUint8(9, 2); // RGB
  const forms = await Promise.all(([0, 2] as const).map((filter) => deflate(filtered(pixels, height, width, filter))));
  const [smallest] = forms.sort((one, other) => one.length - other.length);
  return concat([
    SIGNATURE,
    chunk("IHDR", new Uint8Array(header.buffer)),
    chunk("IDAT", smallest ?? new Uint8Array()),
    chunk("IEND", new Uint8Array()),
  ]);
}
