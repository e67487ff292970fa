/** release.json: read strictly, because an unknown field may mean something that this reader would get wrong. */
import { fromUtf8 } from "./bytes.js";
import { type Check, either, isObject, list, number, one, record, table, text } from "./checks.js";
import { releaseError } from "./errors.js";

/** Height and width. */
export type Size = readonly [number, number];
export type Precision = "float32" | "float16" | "int8";

export interface Dial {
  readonly name: "lam" | "budget_bits";
  readonly low: number;
  readonly high: number;
  readonly default: number;
}

export interface Export {
  readonly path: string;
  readonly format: "onnx" | "executorch" | "litert";
  readonly precision: Precision;
  readonly opset: number | null;
  readonly sizes: "any" | readonly Size[];
}

export interface Manifest {
  readonly format: "dapter-release/1";
  readonly name: string;
  readonly version: string;
  readonly licence: string;
  /** For each question, the names of the classes in the order of the logits. */
  readonly targets: Readonly<Record<string, readonly string[]>>;
  readonly defence: string;
  readonly image: { readonly sizes: "any" | readonly Size[]; readonly trained: Size };
  readonly dial: Dial | null;
  /** The most bits that any payload carries; null: no such bound. */
  readonly budget_bits: number | null;
  readonly exports: readonly Export[];
  readonly files: Readonly<Record<string, { readonly sha256: string; readonly bytes: number }>>;
}

/** A path of the format: plain names, at most 3 levels deep. */
const PATH =
  /^([A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?)(?:\/[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?){0,3}$/;
const DIGEST = text(/^[0-9a-f]{64}$/);
const LABEL = text(/^[^\p{C}]{1,200}$/u);
const SIZE = list(number(1, 65536, true), 2, 2);
const SIZES = either(one("any"), list(SIZE, 1, 256));

const FIELDS: Record<string, Check> = {
  format: one("dapter-release/1"),
  name: text(/^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$/),
  version: text(/^\d{1,6}\.\d{1,6}\.\d{1,6}$/),
  licence: text(/^[A-Za-z0-9][A-Za-z0-9.+() -]{0,99}$/),
  targets: table(LABEL, list(LABEL, 2, 100_000), 1),
  defence: text(/^[a-z][a-z0-9_]{0,63}$/),
  settings: isObject,
  service: record({ digest: DIGEST, targets: list(LABEL, 1, 64) }),
  image: record({ channels: one("RGB"), dtype: one("uint8"), layout: one("NHWC"), sizes: SIZES, trained: SIZE }),
  dial: either(
    one(null),
    record({
      name: one("lam", "budget_bits"),
      low: number(-Number.MAX_VALUE),
      high: number(-Number.MAX_VALUE),
      default: number(-Number.MAX_VALUE),
    }),
  ),
  budget_bits: either(one(null), number(0)),
  exports: list(
    record({
      path: text(/^exports\/[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/),
      format: one("onnx", "executorch", "litert"),
      precision: one("float32", "float16", "int8"),
      opset: either(one(null), number(13, 23, true)),
      sizes: SIZES,
      parity: isObject,
    }),
    1,
    32,
  ),
  training: isObject,
  files: table(text(PATH), record({ sha256: DIGEST, bytes: number(0, 2 ** 30, true) }), 1),
};

/**
 * Reads release.json.
 *
 * @throws DapterError not of this format.
 */
export function parseManifest(data: Uint8Array): Manifest {
  let value: unknown;
  try {
    value = JSON.parse(fromUtf8(data));
  } catch {
    throw releaseError("release.json is not JSON in UTF-8");
  }
  if (!isObject(value)) throw releaseError("release.json is no object");
  if (value.format !== "dapter-release/1") {
    throw releaseError(`the release is of format ${JSON.stringify(value.format)}, not dapter-release/1`);
  }
  for (const name of Object.keys(value)) {
    if (!Object.hasOwn(FIELDS, name)) throw releaseError(`release.json: ${name} is unknown`);
  }
  for (const [name, check] of Object.entries(FIELDS)) {
    if (!Object.hasOwn(value, name)) throw releaseError(`release.json: ${name} is missing`);
    if (!check(value[name])) throw releaseError(`release.json: ${name} is not what the format allows`);
  }
  const manifest = value as unknown as Manifest;
  const dial = manifest.dial;
  if (dial && !(dial.low <= dial.default && dial.default <= dial.high)) {
    throw releaseError("release.json: the dial's default is outside its range");
  }
  return manifest;
}
