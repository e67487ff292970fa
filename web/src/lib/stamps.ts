/** stamps.json: the published stamps that every payload of a hard budget is made of. docs/release_format.md, Stamps. */
import { fromUtf8 } from "./bytes.js";
import { list, number, one, record } from "./checks.js";
import { releaseError } from "./errors.js";
import type { Size } from "./manifest.js";
import type { Pixels } from "./photo.js";

const FORMAT = "dapter-stamps/1";
const MOST_STAMPS = 4096;
const MOST_PIXELS = 4096;
const MOST_CELLS = 256;

/** An alphabet on a grid: each cell of a payload shows one stamp. */
export interface Stamps {
  /** Cells on a side. */
  readonly grid: number;
  /** Pixels on a side of a stamp. */
  readonly side: number;
  /** Each stamp, RGB, side x side x 3 bytes. */
  readonly alphabet: readonly Uint8Array[];
}

interface File {
  readonly grid: number;
  readonly size: Size;
  readonly alphabet: readonly (readonly (readonly (readonly number[])[])[])[];
}

/**
 * Reads stamps.json.
 *
 * @param budget `budget_bits` of release.json.
 * @param trained `image.trained` of release.json.
 * @throws DapterError not of this format, or the stamps of another converter.
 */
export function parseStamps(data: Uint8Array, budget: number, trained: Size): Stamps {
  const { grid, size, alphabet } = read(data);
  const bits = grid ** 2 * Math.log2(alphabet.length);
  if (Math.abs(bits - budget) > 1e-9 * Math.max(bits, budget)) {
    throw releaseError(`stamps.json: such payloads carry up to ${bits} bits, release.json says ${budget}`);
  }
  if (size.join() !== trained.join()) {
    throw releaseError(`stamps.json: pictures of ${size.join(" x ")}, release.json says ${trained.join(" x ")}`);
  }
  return { grid, side: sideOf(alphabet), alphabet: alphabet.map((stamp) => Uint8Array.from(stamp.flat(2))) };
}

function read(data: Uint8Array): File {
  try {
    const text = fromUtf8(data);
    const value = JSON.parse(text) as File;
    // Written again it must be the same: no name twice, and no 1.0 or 1e1 for an integer.
    if (isFile(value) && JSON.stringify(value) === text.replace(/[ \t\r\n]/g, "")) return value;
  } catch {
    // told below
  }
  throw releaseError(`stamps.json holds no stamps in the format ${FORMAT}`);
}

function isFile(value: File): boolean {
  const side = sideOf(value.alphabet);
  const length = number(1, MOST_PIXELS, true);
  const stamp = list(list(list(number(0, 255, true), 3, 3), side, side), side, side);
  const fields = {
    format: one(FORMAT),
    grid: number(1, MOST_CELLS, true),
    size: list(length, 2, 2),
    alphabet: list(stamp, 2, MOST_STAMPS),
  };
  return side > 0 && record(fields)(value) && value.grid * side <= Math.min(...value.size);
}

const sideOf = (alphabet: File["alphabet"]) => alphabet[0]?.length ?? 0;

/**
 * Whether a picture of any size is made of stamps, to the last bit: pixel (y, x) shows pixel
 * (y c div height, x c div width) of the canvas, where c is the grid times the side of a stamp.
 */
export function isMadeOf({ grid, side, alphabet }: Stamps, { pixels, height, width }: Pixels): boolean {
  const columns = cells(width, grid, side);
  const shows = (stamp: Uint8Array, y: Shown, x: Shown) => {
    const [at, from] = [3 * (y.at * width + x.at), 3 * (y.from * side + x.from)];
    return pixels[at] === stamp[from] && pixels[at + 1] === stamp[from + 1] && pixels[at + 2] === stamp[from + 2];
  };
  return cells(height, grid, side).every((row) =>
    columns.every((column) => alphabet.some((stamp) => row.every((y) => column.every((x) => shows(stamp, y, x))))),
  );
}

/** A pixel of a picture, and the pixel of a stamp that it shows, along one side. */
interface Shown {
  readonly at: number;
  readonly from: number;
}

/** The pixels of each cell along a side of that length. */
function cells(length: number, grid: number, side: number): readonly (readonly Shown[])[] {
  const found: Shown[][] = Array.from({ length: grid }, () => []);
  for (let at = 0; at < length; at++) {
    const place = Math.floor((at * grid * side) / length);
    found[Math.floor(place / side)]?.push({ at, from: place % side });
  }
  return found;
}
