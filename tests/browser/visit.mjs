// Opens a page in Chromium and says, as JSON, what came of it:
//   node visit.mjs <folder with node_modules> <address>
//
// {"outcome": what the page left in window.outcome, "console":
// [what it, or the browser, complained of]}

import { launch } from "../scene/chromium.mjs";

const [tools, address] = process.argv.slice(2);
const browser = await launch(tools);
try {
  const page = await browser.newPage();
  const complaints = [];
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.goto(address);
  const outcome = await page.waitForFunction(() => window.outcome).then((handle) => handle.jsonValue());
  console.log(JSON.stringify({ outcome, console: complaints }));
} finally {
  await browser.close();
}
