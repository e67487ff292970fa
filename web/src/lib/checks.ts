/** What a value read from JSON may be, put together from small checks. */
export type Check = (value: unknown) => boolean;

export const text =
  (pattern: RegExp): Check =>
  (value) =>
    typeof value === "string" && pattern.test(value);
export const one =
  (...allowed: unknown[]): Check =>
  (value) =>
    allowed.includes(value);
export const number = (low: number, high = Number.MAX_VALUE, whole = false): Check => {
  return (value) => typeof value === "number" && value >= low && value <= high && (!whole || Number.isInteger(value));
};
export const list =
  (each: Check, least: number, most: number): Check =>
  (value) =>
    Array.isArray(value) && value.length >= least && value.length <= most && value.every(each);
export const either =
  (...checks: Check[]): Check =>
  (value) =>
    checks.some((check) => check(value));
export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
export const record =
  (fields: Record<string, Check>): Check =>
  (value) =>
    isObject(value) &&
    Object.keys(value).length === Object.keys(fields).length &&
    Object.entries(fields).every(([name, check]) => Object.hasOwn(value, name) && check(value[name]));
export const table =
  (name: Check, each: Check, least: number): Check =>
  (value) =>
    isObject(value) &&
    Object.keys(value).length >= least &&
    Object.entries(value).every(([key, item]) => name(key) && each(item));
