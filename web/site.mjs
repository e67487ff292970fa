#!/usr/bin/env node
import { createHash } from "node:crypto";
// Puts the built page, a verified release and its settings into one folder that any web server can serve.
import { cp, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { openRelease } from "./lib/index.js";

const HELP = `npm run site -- --release DIR --key signing.pub --model https://host/v2/models/NAME --out FOLDER [--title TEXT]

  --release  the folder of a release
  --key      the provider's public key, PEM; the page trusts this key and no other
  --model    the URL of the model, or a path on the page's own host, such as /v2/models/NAME
  --out      a new folder
  --title    the page's heading`;

const { values: options } = parseArgs({
  options: Object.fromEntries(["release", "key", "model", "out", "title"].map((name) => [name, { type: "string" }])),
});
if (!options.release || !options.key || !options.model || !options.out) {
  console.error(HELP);
  process.exit(2);
}

try {
  await build(options);
} catch (error) {
  console.error(error.message);
  process.exit(1);
}

async function build({ release, key, model, out, title }) {
  const origin = modelOrigin(model);
  const pem = await readFile(key, "utf8");
  const read = {};
  // What was verified is what is copied: each file is read once.
  const readOnce = async (path) => {
    read[path] = new Uint8Array(await readFile(join(release, path)));
    return read[path];
  };
  const { manifest } = await openRelease(readOnce, pem);
  const target = resolve(out);
  const site = await mkdtemp(`${target}-`);
  try {
    await cp(fileURLToPath(new URL("dist", import.meta.url)), site, { recursive: true });
    for (const [path, bytes] of Object.entries(read)) {
      await mkdir(dirname(join(site, "release", path)), { recursive: true });
      await writeFile(join(site, "release", path), bytes);
    }
    await writeFile(
      join(site, "config.json"),
      JSON.stringify({ title: title ?? null, model, release: "./release/", key: pem }, null, 2),
    );
    await edit(join(site, "index.html"), (text) => text.replace("connect-src 'self'", `connect-src 'self'${origin}`));
    await listFiles(site);
    await rename(site, target);
  } catch (error) {
    await rm(site, { recursive: true });
    throw error;
  }
  console.log(`${manifest.name} ${manifest.version} verified. Serve ${target}`);
}

/** What the page may speak to beside its own host, as the policy writes it. */
function modelOrigin(model) {
  if (model.startsWith("/") && !model.startsWith("//")) return "";
  const { protocol, origin, hostname } = new URL(model);
  const local = ["localhost", "127.0.0.1", "[::1]"].includes(hostname);
  if (protocol !== "https:" && !(protocol === "http:" && local))
    throw new Error(`${model}: only https is used. Cure: its https address`);
  return ` ${origin}`;
}

/** Tells the service worker every file; a change of any of them changes it, and so reaches browsers. */
async function listFiles(site) {
  const found = (await readdir(site, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  const paths = found
    .map((entry) => relative(site, join(entry.parentPath, entry.name)))
    .filter((path) => path !== "sw.js")
    .sort();
  const digest = createHash("sha256");
  for (const path of paths) digest.update(path).update(await readFile(join(site, path)));
  const names = [`dapter-${digest.digest("hex").slice(0, 16)}`, ...paths];
  await edit(join(site, "sw.js"), (text) => `self.SITE=${JSON.stringify(names)};\n${text}`);
}

async function edit(path, change) {
  await writeFile(path, change(await readFile(path, "utf8")));
}
