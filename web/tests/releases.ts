/** The committed releases, read from the disk; a test may damage what is read. */
import { readFile } from "node:fs/promises";
import type { Bytes } from "../src/lib/bytes.js";
import { releaseError } from "../src/lib/errors.js";
import type { ReadFile } from "../src/lib/index.js";

const fixtures = new URL("./fixtures/", import.meta.url);

export const readText = (path: string) => readFile(new URL(path, fixtures), "utf8");

/** Reads a fixture; `damage` gets each file's bytes, and may change them. */
export function reader(
  name: string,
  damage: (path: string, data: Bytes) => Bytes | null = (_, data) => data,
): ReadFile {
  return async (path) => {
    const data = damage(path, new Uint8Array(await readFile(new URL(`${name}/${path}`, fixtures))));
    if (!data) throw releaseError(`${path} is missing from the release`);
    return data;
  };
}
