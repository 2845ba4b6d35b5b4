// A page with Sentry's browser SDK, as its documentation sets it up. The query says what it does:
//
//   dsn          where the SDK reports
//   tunnel       the path that it reports to instead
//   api          a URL to fetch, and to send the trace to; without it the page only loads
//   credentials  of that fetch: omit unless it says otherwise
//   header       the name of a header of its own that it has
//
// What came of it is then in `window.outcome`.

import * as Sentry from "@sentry/browser";

const asked = new URLSearchParams(location.search);
const api = asked.get("api");
const header = asked.get("header");

Sentry.init({
  dsn: asked.get("dsn"),
  tunnel: asked.get("tunnel") ?? undefined,
  integrations: [Sentry.browserTracingIntegration()],
  tracesSampleRate: 1.0,
  tracePropagationTargets: api ? [api] : [],
});

async function call() {
  try {
    const response = await fetch(api, {
      method: "PUT",
      credentials: asked.get("credentials") ?? "omit",
      headers: header ? { [header]: "1" } : {},
    });
    return {
      status: response.status,
      sentry_trace: response.headers.get("sentry-trace"),
      baggage: response.headers.get("baggage"),
      body: await response.text(),
    };
  } catch (error) {
    return { error: String(error) };
  }
}

const answer = api ? await call() : {};
Sentry.getRootSpan(Sentry.getActiveSpan()).end();
await Sentry.flush(10_000);
window.outcome = answer;
