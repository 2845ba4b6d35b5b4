// Opens the scene's page in Chromium, waits until its SDK has reported the page load, and says as
// JSON what the page showed:
//   node visit.mjs <folder with node_modules> <address> [<picture.png>]
//
// {"items": how many, "problem": text or null, "trace": id that the SDK reported, "loaded": id in
// the answer's Server-Timing or null, "console": [what the browser complained of]}; status 77
// without Chromium.

import { launch } from "./chromium.mjs";

const [tools, address, picture] = process.argv.slice(2);
const browser = await launch(tools);
try {
  const page = await browser.newPage({ viewport: { width: 480, height: 160 } });
  const complaints = [];
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  const reported = page.waitForResponse((response) => {
    const body = response.request().postData();
    const isReport = /\/(envelope\/|monitoring$)/.test(new URL(response.url()).pathname);
    // A transaction, or streamed spans with that of the page load, which ends last.
    return isReport && /"type":"transaction"|"is_segment":true/.test(body ?? "");
  });
  const answer = await page.goto(address);
  await page.locator("#items li, #problem").first().waitFor();
  const [header] = (await reported).request().postData().split("\n");
  if (picture) await page.screenshot({ path: picture });
  const problem = page.locator("#problem");
  console.log(
    JSON.stringify({
      items: await page.locator("#items li").count(),
      problem: (await problem.count()) ? await problem.textContent() : null,
      trace: JSON.parse(header).trace?.trace_id ?? null,
      loaded: /sentry-trace;desc="([0-9a-f]{32})-/.exec((await answer.allHeaders())["server-timing"] ?? "")?.[1] ?? null,
      console: complaints,
    }),
  );
} finally {
  await browser.close();
}
