// The machine's own Chromium, driven by the Playwright below a folder with node_modules. CHROMIUM
// names another one; without any, status 77: skipped.

import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const SKIPPED = 77;
// The same places as in settings.py and install.sh.
const places = [
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/snap/bin/chromium",
  "/usr/bin/google-chrome",
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];
const executablePath = process.env.CHROMIUM || places.find(existsSync) || places[0];

export async function launch(tools) {
  if (!existsSync(executablePath)) {
    console.error(`there is no Chromium at ${executablePath}: apt-get install chromium, or name one in CHROMIUM`);
    process.exit(SKIPPED);
  }
  const { chromium } = createRequire(join(resolve(tools), "package.json"))("playwright-core");
  return chromium.launch({
    executablePath,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}
