/** How large an image file says it is, before it is unpacked: a small file can unpack to far more memory. */

/** Width and height in pixels as the header says, before any rotation; null: not a format that may be opened. */
export function headerSize(bytes: Uint8Array): { width: number; height: number } | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    return png(bytes, view) ?? jpeg(bytes, view) ?? webp(bytes, view) ?? gif(bytes, view) ?? avif(bytes, view);
  } catch {
    return null; // it ends too early
  }
}

function letters(bytes: Uint8Array, start: number, length: number): string {
  return String.fromCharCode(...bytes.subarray(start, start + length));
}

function png(bytes: Uint8Array, view: DataView) {
  if (letters(bytes, 0, 8) !== "\x89PNG\r\n\x1a\n" || letters(bytes, 12, 4) !== "IHDR") return null;
  return { width: view.getUint32(16), height: view.getUint32(20) };
}

function jpeg(bytes: Uint8Array, view: DataView) {
  if (view.getUint16(0) !== 0xffd8) return null;
  for (let place = 2; ; ) {
    if (bytes[place] !== 0xff) return null;
    const marker = view.getUint8(place + 1);
    if (marker === 0xff) place += 1;
    else if (marker === 0x01 || (marker >= 0xd0 && marker <= 0xd8)) place += 2;
    else if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      return { height: view.getUint16(place + 5), width: view.getUint16(place + 7) };
    } else place += 2 + view.getUint16(place + 2);
  }
}

function webp(bytes: Uint8Array, view: DataView) {
  if (letters(bytes, 0, 4) !== "RIFF" || letters(bytes, 8, 4) !== "WEBP") return null;
  const kind = letters(bytes, 12, 4);
  if (kind === "VP8 ") return { width: view.getUint16(26, true) & 0x3fff, height: view.getUint16(28, true) & 0x3fff };
  if (kind === "VP8L") {
    const packed = view.getUint32(21, true);
    return { width: (packed & 0x3fff) + 1, height: ((packed >>> 14) & 0x3fff) + 1 };
  }
  if (kind !== "VP8X") return null;
  return { width: (view.getUint32(24, true) & 0xffffff) + 1, height: (view.getUint32(26, true) >>> 8) + 1 };
}

function gif(bytes: Uint8Array, view: DataView) {
  if (!/^GIF8[79]a$/.test(letters(bytes, 0, 6))) return null;
  return { width: view.getUint16(6, true), height: view.getUint16(8, true) };
}

/** The largest of the sizes that the boxes `ispe` name. */
function avif(bytes: Uint8Array, view: DataView) {
  if (letters(bytes, 4, 4) !== "ftyp" || !/avif|avis|mif1/.test(letters(bytes, 8, 24))) return null;
  const head = letters(bytes, 0, Math.min(bytes.length, 8192));
  let found: { width: number; height: number } | null = null;
  for (let at = head.indexOf("ispe"); at >= 0; at = head.indexOf("ispe", at + 4)) {
    const size = { width: view.getUint32(at + 8), height: view.getUint32(at + 12) };
    if (!found || size.width * size.height > found.width * found.height) found = size;
  }
  return found;
}
