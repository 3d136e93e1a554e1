// Keeps the folder on the device, so that the page works without a network, and adds headers that few hosts can send.

const VERSION = "THE_VERSION";
const FILES = THE_FILES;
const HEADERS = {
  // With these two a page may use several threads, from its second visit on.
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-embedder-policy": "require-corp",
  // The policy of the document does not reach its workers.
  "content-security-policy": "THE_POLICY",
};
// Several such folders may be on one host.
const CACHE = `resnet-cli ${registration.scope} ${VERSION}`;

const isOld = (name) => name.startsWith(`resnet-cli ${registration.scope} `) && name !== CACHE;

self.addEventListener("install", (event) => {
  // The large files follow when the page asks for them: a device needs one of the engines only.
  const fresh = FILES.map((name) => new Request(name, { cache: "reload" }));
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(fresh)));
});

self.addEventListener("activate", (event) => {
  event.waitUntil((async () => {
    await Promise.all((await caches.keys()).filter(isOld).map((name) => caches.delete(name)));
    await self.clients.claim();
  })());
});

const answer = async (event) => {
  const cache = await caches.open(CACHE);
  let response = await cache.match(event.request, { ignoreSearch: true, ignoreVary: true });
  if (!response) {
    response = await fetch(event.request);
    if (response.ok && response.type === "basic" && !response.redirected) {
      // Out of space: the page works, but only with the server.
      event.waitUntil(cache.put(event.request, response.clone()).catch(() => {}));
    }
  }
  if (!response.ok) return response;
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
};

self.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  const { origin, pathname } = new URL(url);
  const isOwn = origin === location.origin && pathname.startsWith(new URL(registration.scope).pathname);
  if (method === "GET" && isOwn && !pathname.endsWith("/sw.js")) event.respondWith(answer(event));
});
