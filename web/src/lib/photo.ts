/** Opens a photo with the browser's own decoders; no metadata survives. */
import { photoError } from "./errors.js";
import { headerSize } from "./header.js";
import type { Size } from "./manifest.js";

const MAX_BYTES = 64 * 2 ** 20;
const MAX_PIXELS = 64_000_000;
const GREY = "rgb(128 128 128)";

/** 8-bit RGB, height x width x 3 bytes. */
export interface Pixels {
  readonly pixels: Uint8Array<ArrayBuffer>;
  readonly height: number;
  readonly width: number;
}

/**
 * Opens a photo and brings it to a size: the camera's orientation is applied, transparency laid over grey, colours
 * brought to sRGB, of an animation the first frame taken. For a square the centre of the longer side is kept; to other
 * shapes the photo is stretched.
 *
 * @param size height and width that the converter wants.
 * @throws DapterError not an image that may be opened, damaged, or too large.
 */
export async function openPhoto(file: Blob, [height, width]: Size): Promise<Pixels> {
  if (file.size > MAX_BYTES) throw photoError(`the file is over ${MAX_BYTES / 2 ** 20} MB`, "choose a smaller one");
  const header = headerSize(new Uint8Array(await file.slice(0, 2 ** 20).arrayBuffer()));
  if (!header?.width || !header.height) throw photoError("this file is not a photo that can be opened here");
  if (header.width * header.height > MAX_PIXELS) {
    throw photoError(`the photo has ${header.width} x ${header.height} pixels`, "choose one of at most 64 megapixels");
  }
  checkCanvas();
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image", premultiplyAlpha: "none" });
  } catch (cause) {
    throw photoError("the photo is damaged", "choose another photo", cause);
  }
  try {
    if (bitmap.width * bitmap.height > MAX_PIXELS) throw photoError("the photo is larger than it says");
    return draw(bitmap, height, width);
  } finally {
    bitmap.close();
  }
}

function draw(bitmap: ImageBitmap, height: number, width: number): Pixels {
  const context = newContext(height, width);
  context.fillStyle = GREY;
  context.fillRect(0, 0, width, height);
  // As dapter.imagefile.open_photo does, so that photos look as in training.
  const side = Math.min(bitmap.width, bitmap.height);
  const [wide, high] = height === width ? [side, side] : [bitmap.width, bitmap.height];
  const [left, top] = [(bitmap.width - wide) / 2, (bitmap.height - high) / 2];
  context.drawImage(bitmap, left, top, wide, high, 0, 0, width, height);
  const rgba = context.getImageData(0, 0, width, height).data;
  const pixels = new Uint8Array(height * width * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4, to += 3) pixels.set(rgba.subarray(from, from + 3), to);
  return { pixels, height, width };
}

function newContext(height: number, width: number): CanvasRenderingContext2D {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
  if (!context) throw photoError("this browser cannot open pictures in a page", "use another browser");
  context.imageSmoothingQuality = "high";
  return context;
}

/** Some browsers give pages noise instead of pixels, against tracking; the answer would be about the noise. */
function checkCanvas(): void {
  const context = newContext(8, 8);
  const drawn = Uint8ClampedArray.from({ length: 256 }, (_, place) => (place % 4 === 3 ? 255 : (place * 73) % 256));
  context.putImageData(new ImageData(drawn, 8, 8), 0, 0);
  const read = context.getImageData(0, 0, 8, 8).data;
  if (!drawn.every((value, place) => value === read[place])) {
    throw photoError(
      "this browser does not let pages read pictures as they are (a protection against tracking)",
      "allow this page to read canvas data, or use another browser",
    );
  }
}
