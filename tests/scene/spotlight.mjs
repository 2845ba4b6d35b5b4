// Starts Spotlight: node spotlight.mjs <folder of @spotlightjs/spotlight> <port>
//
// Why not Spotlight's own command: it reports on itself to its makers' Sentry, with no switch to
// turn that off. The server it starts is the package's public API, and without the command's set-up
// it sends nothing anywhere. The viewer does the same from the browser, so the page's content
// security policy is narrowed to this machine.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, port] = process.argv.slice(2);
const { setupSpotlight } = await import(pathToFileURL(join(folder, "dist/server/main.js")));

await setupSpotlight({ port: Number(port), filesToServe: viewer(join(folder, "dist/ui")), isStandalone: true });

/** The viewer's files by their path below `/`, as the server takes them. */
function viewer(ui) {
  const assets = readdirSync(join(ui, "assets")).map((name) => `assets/${name}`);
  const files = Object.fromEntries(assets.map((path) => [path, readFileSync(join(ui, path))]));
  const index = readFileSync(join(ui, "index.html"), "utf8").replace(" https://*.sentry.io", "");
  return { ...files, "index.html": Buffer.from(index) };
}
