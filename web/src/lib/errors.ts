/** Where it went wrong; whatever it was, nothing has been sent unless the kind is `service`. */
export type Kind = "release" | "converter" | "photo" | "network" | "service";

/** Every error of this package: says what is wrong, and ends with a cure. */
export class DapterError extends Error {
  override readonly name = "DapterError";

  constructor(
    readonly kind: Kind,
    readonly what: string,
    readonly cure: string,
    options?: ErrorOptions,
  ) {
    super(`${what}. Cure: ${cure}`, options);
  }
}

const NEW_RELEASE = "get the release again from its provider";

export function releaseError(what: string): DapterError {
  return new DapterError("release", what, NEW_RELEASE);
}

export function converterError(what: string, cause?: unknown): DapterError {
  return new DapterError("converter", what, NEW_RELEASE, { cause });
}

export function photoError(what: string, cure = "choose another photo, JPEG or PNG", cause?: unknown): DapterError {
  return new DapterError("photo", what, cure, { cause });
}

export function serviceError(what: string, cure = "try again later, or tell who runs the service"): DapterError {
  return new DapterError("service", what, cure);
}
