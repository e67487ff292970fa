/**
 * Keeps the page and the release for use without a network. It touches nothing but GETs of the page's own files:
 * what is sent to the service never passes its cache.
 */
/// <reference lib="webworker" />
export {};

const worker = self as unknown as ServiceWorkerGlobalScope & { readonly SITE: readonly string[] };

/** `site.mjs` writes SITE before this program: the name of this version, and then every file of the site. */
const [version = "", ...files] = worker.SITE;
const scope = new URL("./", worker.location.href).href;
const wanted = new Set(files.map((file) => new URL(file, scope).href));

/** Only where WebGPU is used; kept once it was loaded. */
const optional = (file: string) => file.includes(".jspi");

worker.addEventListener("install", (event) => {
  const keep = caches.open(version).then((cache) => cache.addAll(files.filter((file) => !optional(file))));
  event.waitUntil(keep.then(() => worker.skipWaiting()));
});

worker.addEventListener("activate", (event) => {
  const old = caches.keys().then((names) => names.filter((name) => name.startsWith("dapter-") && name !== version));
  event.waitUntil(
    old.then((names) => Promise.all(names.map((name) => caches.delete(name)))).then(() => worker.clients.claim()),
  );
});

worker.addEventListener("fetch", (event) => {
  const { request } = event;
  const url =
    request.mode === "navigate" && request.url.startsWith(scope) ? new URL("index.html", scope).href : request.url;
  if (request.method === "GET" && wanted.has(url)) event.respondWith(kept(url));
});

async function kept(url: string): Promise<Response> {
  const cache = await caches.open(version);
  const found = await cache.match(url);
  if (found) return found;
  const response = await fetch(url);
  if (response.ok) await cache.put(url, response.clone());
  return response;
}
