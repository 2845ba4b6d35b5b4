// Opens pages in Chromium, one after the other, and says of each as a line of JSON what came of it:
//   node visit.mjs <folder with node_modules> <address> [<address> …]
//
// {"outcomes": what the page left in window.outcomes, "console": [what it, or the browser, complained
// of], "sent": {address: the header `baggage` of each PUT that the browser sent}}

import { launch } from "../scene/chromium.mjs";

const [tools, ...addresses] = process.argv.slice(2);
const browser = await launch(tools);
try {
  for (const address of addresses) {
    const page = await browser.newPage();
    const complaints = [];
    const requests = [];
    page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("request", (request) => request.method() === "PUT" && requests.push(request));
    await page.goto(address);
    const outcomes = await page.waitForFunction(() => window.outcomes).then((handle) => handle.jsonValue());
    const sent = {};
    for (const request of requests) sent[request.url()] = (await request.allHeaders()).baggage ?? null;
    console.log(JSON.stringify({ outcomes, console: complaints, sent }));
    await page.close();
  }
} finally {
  await browser.close();
}
