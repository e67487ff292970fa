/** Runs a verified converter. Every doubt is an error, and nothing leaves. */
import type { InferenceSession, Tensor } from "onnxruntime-web";
import type { Bytes } from "./bytes.js";
import { sameBytes } from "./bytes.js";
import { converterError } from "./errors.js";
import type { Dial } from "./manifest.js";
import type { Pixels } from "./photo.js";
import { encodePng } from "./png.js";
import type { Release } from "./release.js";
import { isMadeOf, type Stamps } from "./stamps.js";

/** What is used of ONNX Runtime: `import * as ort from "onnxruntime-web/wasm"`. */
export interface Runtime {
  readonly InferenceSession: {
    create(graph: Uint8Array, options?: InferenceSession.SessionOptions): Promise<InferenceSession>;
  };
  readonly Tensor: typeof Tensor;
}

const maker = Symbol("only a converter makes payloads");

/** What may leave the device, and the only thing that `ask` sends. */
export class Payload implements Pixels {
  private constructor(
    readonly pixels: Bytes,
    readonly height: number,
    readonly width: number,
    /** The pixels as a PNG file without metadata. */
    readonly png: Bytes,
  ) {}

  /** @internal */
  static async make(key: typeof maker, pixels: Bytes, height: number, width: number): Promise<Payload> {
    if (key !== maker) throw converterError("a payload was made by something else than a converter");
    return new Payload(pixels, height, width, await encodePng(pixels, height, width));
  }
}

export class Converter {
  /** Conversions run one after another: a session does not take two at a time. */
  private last: Promise<unknown> = Promise.resolve();

  private constructor(
    private readonly session: InferenceSession,
    private readonly runtime: Runtime,
    readonly dial: Dial | null,
    private readonly stamps: Stamps | null,
  ) {}

  /**
   * The converter of a release.
   *
   * @param provider `wasm` or `webgpu`.
   * @throws DapterError it cannot be loaded, or takes or gives anything but an image.
   */
  static async open(release: Release, runtime: Runtime, provider: "wasm" | "webgpu" = "wasm"): Promise<Converter> {
    let session: InferenceSession;
    try {
      session = await runtime.InferenceSession.create(release.graph, {
        executionProviders: [provider],
        logSeverityLevel: 3,
      });
    } catch (cause) {
      throw converterError("the converter cannot be loaded", cause);
    }
    checkGraph(session, release.manifest.dial);
    return new Converter(session, runtime, release.manifest.dial, release.stamps);
  }

  /**
   * What may leave the device for an image.
   *
   * @param dial for a converter that has one; by default the release's.
   * @throws DapterError the conversion failed, the image came back as it was, or the payload shows more than stamps.
   */
  async convert(image: Pixels, dial?: number): Promise<Payload> {
    const { pixels, height, width } = image;
    const shape = [1, height, width, 3];
    const feeds: Record<string, Tensor> = { image: new this.runtime.Tensor("uint8", pixels.slice(), shape) };
    if (this.dial) {
      const value = dial ?? this.dial.default;
      if (!(value >= this.dial.low && value <= this.dial.high))
        throw converterError(`${this.dial.name} is out of range`);
      feeds[this.dial.name] = new this.runtime.Tensor("float32", [value], []);
    }
    let found: Tensor | undefined;
    try {
      const run = this.last.then(() => this.session.run(feeds, ["payload"]));
      this.last = run.catch(() => undefined);
      found = (await run).payload;
    } catch (cause) {
      throw converterError("the converter fails on this photo", cause);
    }
    const data = found?.data;
    if (found?.type !== "uint8" || !(data instanceof Uint8Array) || found.dims.join() !== shape.join()) {
      throw converterError("the converter gave something else than an image of the same size");
    }
    if (sameBytes(data, pixels) && !oneColour(pixels)) throw converterError("the converter gave the original back");
    const leaving = new Uint8Array(data);
    if (this.stamps && !isMadeOf(this.stamps, { pixels: leaving, height, width })) {
      throw converterError("the converter gave a picture that is not made of the stamps of its release");
    }
    return Payload.make(maker, leaving, height, width);
  }
}

/** Whether all pixels are alike: such a photo shows its colour only, and may be what leaves. */
const oneColour = (pixels: Uint8Array) => pixels.every((value, place) => value === pixels[place % 3]);

/** Exactly `image` (and the dial) in, exactly `payload` out, with their types. */
function checkGraph(session: InferenceSession, dial: Dial | null): void {
  const describe = (found: readonly InferenceSession.ValueMetadata[]) =>
    found
      .map((entry) => `${entry.name} ${entry.isTensor ? `${entry.type} ${entry.shape.length}` : "?"}`)
      .sort()
      .join(", ");
  const inputs = ["image uint8 4", ...(dial ? [`${dial.name} float32 0`] : [])].sort().join(", ");
  if (describe(session.inputMetadata) !== inputs || describe(session.outputMetadata) !== "payload uint8 4") {
    throw converterError(
      `this is no converter: it takes ${describe(session.inputMetadata)} and gives ${describe(session.outputMetadata)}`,
    );
  }
}
