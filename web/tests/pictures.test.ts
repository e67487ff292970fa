import { inflateSync } from "node:zlib";
import { expect, it } from "vitest";
import { headerSize } from "../src/lib/header.js";
import { encodePng } from "../src/lib/png.js";
import { amplify } from "../src/lib/residue.js";

/** Undoes the filters 0 and 2, the only ones in use. */
function decode(png: Uint8Array, height: number, width: number): number[] {
  const view = new DataView(png.buffer, png.byteOffset);
  expect([view.getUint32(16), view.getUint32(20), png[24], png[25]]).toEqual([width, height, 8, 2]);
  const rows = inflateSync(png.subarray(41, 41 + view.getUint32(33)));
  const found: number[] = [];
  for (let row = 0; row < height; row++) {
    const start = row * (3 * width + 1);
    for (let place = 0; place < 3 * width; place++) {
      const above = rows[start] === 2 && row ? (found[(row - 1) * 3 * width + place] ?? 0) : 0;
      found.push(((rows[start + 1 + place] ?? 0) + above) & 255);
    }
  }
  return found;
}

it.each([
  [1, 1],
  [5, 7],
  [64, 48],
])("writes %i x %i pixels without loss", async (height, width) => {
  for (const make of [(place: number) => (place * 7919) % 251, (place: number) => 127 + (place % 2), () => 128]) {
    const pixels = Uint8Array.from({ length: height * width * 3 }, (_, place) => make(place));
    expect(decode(await encodePng(pixels, height, width), height, width)).toEqual(Array.from(pixels));
  }
});

it("refuses pixels of another size", async () => {
  await expect(encodePng(new Uint8Array(12), 1, 1)).rejects.toThrow("not of that size");
});

it("reads the size of a PNG that it wrote", async () => {
  expect(headerSize(await encodePng(new Uint8Array(5 * 7 * 3), 5, 7))).toEqual({ width: 7, height: 5 });
});

it.each([
  ["JPEG with a long EXIF part", "ffd8 ffe1 0006 00000000 ffc2 0011 08 0102 0304 03", { height: 0x102, width: 0x304 }],
  ["GIF", "474946383961 0a00 1400 00", { width: 10, height: 20 }],
  ["lossless WebP", "52494646 00000000 57454250 5650384c 00000000 2f 09c00400", { width: 10, height: 20 }],
  ["extended WebP", "52494646 00000000 57454250 56503858 0a000000 10000000 090000 130000", { width: 10, height: 20 }],
  [
    "AVIF",
    "0000001c 66747970 61766966 00000000 00000014 69737065 00000000 0000000a 00000014",
    { width: 10, height: 20 },
  ],
  ["text", "3c73766720", null],
  ["nothing", "", null],
  ["half a JPEG", "ffd8 ffe1", null],
])("reads the size of a %s", (_, hex, size) => {
  expect(headerSize(Uint8Array.from(Buffer.from(hex.replaceAll(" ", ""), "hex")))).toEqual(size);
});

it("stretches what deviates from grey, as the reports do", () => {
  const pixels = Uint8Array.from([128, 129, 127, 130, 126, 128, 129, 129, 127, 131, 127, 128]);
  const { pixels: found, factor } = amplify(pixels);
  expect(factor).toBeCloseTo(127 / 3);
  expect(found[9]).toBe(255);
  expect(found[0]).toBe(128);
  expect(amplify(new Uint8Array(3).fill(128))).toEqual({ pixels: new Uint8Array(3).fill(128), factor: 0 });
});
